"""Figures for a monitoring system, of one moment: a status and what is counted by endpoint, column and reason."""

from __future__ import annotations

from dataclasses import dataclass

from rowmill.store.database.question import Queryable
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.reading.status import Status

sql = statements_of("reading/metrics")

DURATION_BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Upper bounds of the durations of requests: those OpenTelemetry's conventions for generative AI advise."""


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """The requests made of a model of an endpoint, in all invocations. An endpoint no column uses any more is empty."""

    within: tuple[int, ...]
    """How many took at most each of :data:`DURATION_BOUNDS_S` and more than the one before it."""
    endpoint: str
    model: str
    succeeded: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    duration_s: float
    """Of all together."""
    cut_off: int


@dataclass(frozen=True, slots=True)
class Figures:
    """A run at one moment, for machines that watch it."""

    status: Status
    endpoints: tuple[EndpointFigures, ...]
    deferred: tuple[tuple[str, str, int], ...]
    """Generator, kind of error, tasks."""
    dropped: tuple[tuple[str, str, str, int], ...]
    """Column, reason, kind of error, rows."""


def read_figures(connection: Queryable, status: Status) -> Figures:
    """Reads the figures that go with a status. O(attempts + dropped rows + deferred tasks)."""
    with engine_errors.mapped("reading figures"):
        bounds_ms = [bound * 1000 for bound in DURATION_BOUNDS_S]
        within = {
            (endpoint, model): tuple(requests)
            for endpoint, model, requests in connection.execute(
                sql.durations_by_endpoint.text, {"bounds_ms": bounds_ms}
            )
        }
        none = (0,) * len(DURATION_BOUNDS_S)
        return Figures(
            status=status,
            endpoints=tuple(
                EndpointFigures(within.get((row[0], row[1]), none), *row)
                for row in connection.execute(sql.requests_by_endpoint.text)
            ),
            deferred=tuple(connection.execute(sql.deferred_by_reason.text)),
            dropped=tuple(connection.execute(sql.dropped_by_reason.text)),
        )
