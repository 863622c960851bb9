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
_FIRST_VERSION_WITH_LAGS = 19
"""The schema version from which on a run database has them."""


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """What the requests to a model of an endpoint used, in all invocations. The endpoint is empty if no column uses
    it any more."""

    endpoint: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cut_off: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How figures spread over ranges: how many lie in each, how many there are, and their sum."""

    bounds: tuple[float, ...]
    """Upper bounds of the ranges, rising; what is above the last one is only part of the count."""
    within: tuple[int, ...]
    """How many are at most each bound, and more than the one before it."""
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A run at one moment, for machines that watch it."""

    status: Status
    endpoints: tuple[EndpointFigures, ...]
    requests: tuple[tuple[str, str, str, int], ...]
    """Endpoint, model, outcome, requests."""
    durations: tuple[tuple[str, str, Spread], ...]
    """Endpoint, model, seconds their requests took."""
    lags: Spread | None
    """Seconds that results waited for their commit; None while nothing is known of it."""
    deferred: tuple[tuple[str, str, int], ...]
    """Generator, kind of error, tasks."""
    dropped: tuple[tuple[str, str, str, int], ...]
    """Column, reason, kind of error, rows."""


def read_figures(connection: Queryable, status: Status, version: int) -> Figures:
    """Reads the figures that go with a status, of a file of that schema version.

    O(attempts + dropped rows + deferred tasks).
    """
    with engine_errors.mapped("reading figures"):
        bounds_ms = [bound * 1000 for bound in DURATION_BOUNDS_S]
        durations = connection.execute(sql.durations_by_endpoint.text, {"bounds_ms": bounds_ms})
        return Figures(
            status=status,
            endpoints=tuple(EndpointFigures(*row) for row in connection.execute(sql.requests_by_endpoint.text)),
            requests=tuple(connection.execute(sql.requests_by_outcome.text)),
            durations=tuple(
                (endpoint, model, Spread(DURATION_BOUNDS_S, tuple(within), count, total))
                for endpoint, model, within, count, total in durations
            ),
            lags=_lags(connection) if version >= _FIRST_VERSION_WITH_LAGS else None,
            deferred=tuple(connection.execute(sql.deferred_by_reason.text)),
            dropped=tuple(connection.execute(sql.dropped_by_reason.text)),
        )


def _lags(connection: Queryable) -> Spread | None:
    rows = connection.execute(sql.commit_lags.text)
    if not rows:
        return None
    ranges = [(upper_ms / 1000, results) for upper_ms, results, _ in rows if upper_ms is not None]
    return Spread(
        bounds=tuple(bound for bound, _ in ranges),
        within=tuple(results for _, results in ranges),
        count=sum(results for _, results, _ in rows),
        total=sum(lag_s for _, _, lag_s in rows),
    )
