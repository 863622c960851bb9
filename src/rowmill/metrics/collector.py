"""Metrics of a run database, written by prometheus-client in the formats that monitoring systems read.

Every figure is read from the run database, also while a run works on it: counters go on where they stood, whatever
crashes and is started again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowmill.errors import RowmillError, UsageError
from rowmill.metrics import table
from rowmill.metrics.table import Kind, Metric
from rowmill.store.reading.figures import Figures, Spread
from rowmill.version import VERSION

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

MISSING = "Metrics are written by prometheus-client, which is not installed: pip install 'rowmill[metrics]'."
_STATES = ("new", "running", "paused", "stopped", "finished")
Read = Callable[[], Figures]


class MetricsFormat(StrEnum):
    """How metrics are written."""

    PROMETHEUS = "prometheus"
    OPENMETRICS = "openmetrics"


def read_file(path: Path) -> Figures:
    """The figures of a run database, whoever has it open. Raises a RowmillError if it cannot be read."""
    from rowmill.inspect.opening import open_reader

    with open_reader(path) as reader:
        return reader.figures(time.time())


def exposition(read: Read, form: MetricsFormat) -> bytes:
    """The metrics of one moment as text. Raises UsageError without prometheus-client, and what ``read`` raises."""
    figures = read()
    registry = registry_of(lambda: figures)
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics import exposition as openmetrics

    return bytes(
        generate_latest(registry) if form is MetricsFormat.PROMETHEUS else openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    )


def registry_of(read: Read) -> CollectorRegistry:
    """A registry that asks ``read`` each time it is collected. Raises UsageError without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise UsageError(MISSING) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(read))
    return registry


class _Collector:
    """Turns figures into metrics; one that cannot be read is :data:`.table.UP` 0."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> list[Family]:
        """Nothing is read when this is registered."""
        return []

    def collect(self) -> Iterator[Family]:
        """The metrics of now."""
        try:
            figures = self._read()
        except RowmillError:
            yield from _Families("").with_samples(table.UP, [((), 0)], names_run=False)
            return
        yield from _Families("").with_samples(table.UP, [((), 1)], names_run=False)
        yield from _metrics(figures)


class _Families:
    """Makes families of one run's samples."""

    def __init__(self, run: str) -> None:
        self._run = run

    def with_samples(
        self, metric: Metric, samples: list[tuple[tuple[str, ...], float]], *, names_run: bool = True
    ) -> Iterator[Family]:
        """A metric with the values of its labels; none if there is no sample."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if not samples:
            return
        kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        own = (table.RUN,) if names_run else ()
        family: Any = kind(metric.name, metric.meaning, labels=[*own, *metric.labels])
        for labels, value in samples:
            family.add_metric([*((self._run,) if names_run else ()), *labels], value)
        yield family

    def histogram(self, metric: Metric, samples: list[tuple[tuple[str, ...], Spread]]) -> Iterator[Family]:
        """A histogram of how figures spread."""
        from prometheus_client.core import HistogramMetricFamily

        if not samples:
            return
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=[table.RUN, *metric.labels])
        for labels, spread in samples:
            below = accumulate(spread.within)
            buckets = [(str(bound), count) for bound, count in zip(spread.bounds, below, strict=True)]
            family.add_metric([self._run, *labels], [*buckets, ("+Inf", spread.count)], spread.total)
        yield family


def _metrics(figures: Figures) -> Iterator[Family]:
    status = figures.status
    details = status.details
    families = _Families(status.name)
    one = families.with_samples
    yield from one(table.BUILD, [((VERSION,), 1)])
    yield from one(table.STATE, [((state,), float(state == status.state)) for state in _STATES])
    rows = {"planned": status.records, "finished": status.rows_finished, "dropped": status.rows_dropped}
    yield from one(table.ROWS, [((state,), number) for state, number in rows.items()])
    groups = {
        "planned": status.row_groups,
        "active": status.row_groups_active,
        "finished": status.row_groups_finished,
    }
    yield from one(table.ROW_GROUPS, [((state,), number) for state, number in groups.items()])
    yield from one(
        table.CELLS,
        [
            ((column.column_name, state), getattr(column, state))
            for column in status.columns
            for state in ("done", "skipped", "dropped", "deferred", "waiting")
        ],
    )
    yield from one(table.DROPPED, [((column, reason, kind), rows) for column, reason, kind, rows in figures.dropped])
    yield from one(table.DEFERRED, [((column, kind), tasks) for column, kind, tasks in figures.deferred])
    yield from one(table.INVOCATIONS, [((), status.invocations)])
    yield from one(
        table.REQUESTS, [((endpoint, model, outcome), count) for endpoint, model, outcome, count in figures.requests]
    )
    yield from families.histogram(
        table.DURATION, [((endpoint, model), spread) for endpoint, model, spread in figures.durations]
    )
    yield from one(
        table.TOKENS, _by_model(figures, "input_tokens", "input") + _by_model(figures, "output_tokens", "output")
    )
    yield from one(table.COST, _by_model(figures, "cost_usd"))
    yield from one(table.CUT_OFF, _by_model(figures, "cut_off"))
    yield from one(table.IN_FLIGHT, [((each.resource,), each.in_flight) for each in status.resources])
    yield from one(
        table.LIMIT,
        [
            ((each.resource, kind), getattr(each, f"{kind}_limit"))
            for each in status.resources
            for kind in ("configured", "learned")
        ],
    )
    now = details.read_at if details is not None else status.updated_at
    yield from one(
        table.COOLING,
        [
            ((each.resource,), max((each.cooling_until - now).total_seconds(), 0.0) if each.cooling_until else 0.0)
            for each in status.resources
        ],
    )
    if figures.lags is not None:
        yield from families.histogram(table.COMMIT_LAG, [((), figures.lags)])
    yield from one(table.COMMITTED_AT, [((), status.updated_at.replace(tzinfo=UTC).timestamp())])
    yield from one(table.COMMIT_AGE, [((), max((now - status.updated_at).total_seconds(), 0.0))])
    if details is None:
        return
    yield from one(
        table.WORKERS,
        [
            ((group.worker_group, state), number)
            for group in details.workers
            for state, number in (("planned", group.workers), ("ready", group.ready), ("lost", group.lost))
        ],
    )
    if details.pace.seconds_left is not None:
        yield from one(table.SECONDS_LEFT, [((), details.pace.seconds_left)])
    used = {
        "usd": (details.budget.max_cost_usd, status.cost_usd or 0.0),
        "tokens": (details.budget.max_tokens, status.input_tokens + status.output_tokens),
        "requests": (details.budget.max_requests, status.requests),
    }
    bounded = {kind: (bound, spent) for kind, (bound, spent) in used.items() if bound is not None}
    yield from one(table.BUDGET, [((kind,), bound) for kind, (bound, _) in bounded.items()])
    yield from one(table.BUDGET_LEFT, [((kind,), max(bound - spent, 0)) for kind, (bound, spent) in bounded.items()])


def _by_model(figures: Figures, what: str, *labels: str) -> list[tuple[tuple[str, ...], float]]:
    """The sum over endpoints of one figure, for each model."""
    models = sorted({each.model for each in figures.endpoints})
    return [
        ((model, *labels), math.fsum(known))
        for model in models
        if (
            known := [
                value
                for each in figures.endpoints
                if each.model == model and (value := getattr(each, what)) is not None
            ]
        )
    ]
