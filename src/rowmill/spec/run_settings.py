"""Run settings: how hard and how patiently a run works. They never change a value."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from rowmill.spec.column import StrictModel
from rowmill.spec.executor import Executor, LocalExecutor
from rowmill.spec.model import Seconds
from rowmill.spec.said_moment import no_short_number


def _count(low: int, high: int) -> object:
    return Field(strict=True, ge=low, le=high)


class OtelSettings(StrictModel):
    """What OpenTelemetry hears of a run: a span for each request, in a trace for each row."""

    share: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = 1.0
    """The share of the rows that are traced; the same rows each time."""
    endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """The collector, over HTTP: ``http://127.0.0.1:4318``. Default: what ``OTEL_EXPORTER_OTLP_ENDPOINT`` names, else
    that. Headers come from ``OTEL_EXPORTER_OTLP_HEADERS``."""


class RunSettings(StrictModel):
    """The spec's field ``run``. Durations are in the unit their name ends with."""

    max_in_flight: Annotated[int, _count(1, 1_000_000)] = 1024
    """Tasks running at once, over all resources (C5)."""
    max_active_rows: Annotated[int, _count(1, 100_000_000)] = 8192
    """Rows of all active row groups: how much is worked on at once. One larger group is let in when none is active
    (A2)."""
    max_active_row_groups: Annotated[int, _count(1, 1_000_000)] = 64
    """Row groups worked on at once (A2)."""
    max_parked_rows: Annotated[int, _count(1, 10**12)] = 1_000_000
    """Rows that may wait for an endpoint that rests, outside the working set (A7)."""
    max_local_workers: Annotated[int, _count(1, 1024)] = 4
    """Threads for sync functions. Where calls are made by workers elsewhere, each of them has so many."""
    max_attempts: Annotated[int, _count(1, 1000)] = 4
    """Tries of a task that fails transiently before its row is dropped (F2)."""
    give_up_after_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """Patience with an endpoint: when it has refused every call (429) for so long, all rows that wait for it are
    dropped, with reason ``given_up``; an answer of it begins the time anew. A custom function that raises
    ``RateLimited`` waits so long by itself (F1). Default: for ever."""
    unavailable_after_s: Seconds = 3600.0
    """How long an endpoint may be away (nobody listens, 502, 503, 504) until the run stops with 75, dropping nothing;
    time in which nobody works does not count (F2a). A preview waits 20 s."""
    backoff_base_s: Seconds = 1.0
    """Wait after the first failure; doubled each time (F2)."""
    backoff_max_s: Seconds = 60.0
    """The longest such wait."""
    rate_limit_cooldown_s: Seconds = 2.0
    """How long an endpoint rests after a 429 without ``Retry-After`` (C2)."""
    task_timeout_s: Seconds = 600.0
    """Of one call of a custom function."""
    error_window: Annotated[int, _count(1, 1_000_000)] = 50
    """Over how many of the last results the share of failures is watched (F6)."""
    max_error_share: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = 0.5
    """Stop when this share of the window are failures: rejected, out of attempts, or a constraint that was not met
    (F6). A run with fewer results than the window never stops this way."""
    commit_window_ms: Annotated[float, Field(strict=True, ge=0, le=50, allow_inf_nan=False)] = 40.0
    """How long a result may wait for others before it is committed (D2)."""
    executor: Executor = Field(default_factory=LocalExecutor)
    """Where calls are made: ``local``, in this process; ``processes``, beside it; or with settings, ``{kind: processes,
    workers: 4}``. See [scaling](scaling.md)."""
    trace: Annotated[bool, Field(strict=True)] = False
    """Record when each task was handed out, started and ended (T1): the views task_trace and task_time."""
    otel: OtelSettings | None = None
    """Send spans of requests to a collector, from what is committed; see [monitoring](monitoring.md#opentelemetry).
    Needs ``pip install 'rowmill[otel]'``."""
    answer_cache: Annotated[str, Field(min_length=1)] | None = None
    """A directory in which any number of runs, also at the same time, share the answers of models with
    ``reuse_answers``; each looks into its own file first. It may be deleted at any time; a damaged file in it counts as
    none."""
    max_cost_usd: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """The budget, over all invocations. What reaches it finishes the calls that run, then stops with exit code 75;
    raise it and run again to go on. Needs a price for every model."""
    max_tokens: Annotated[int, _count(1, 10**15)] | None = None
    """The same, of tokens sent and received together."""
    max_requests: Annotated[int, _count(1, 10**15)] | None = None
    """The same, of requests."""
    deadline: datetime | None = None
    """A point in time with its zone (``2026-11-22T08:00:00Z``) from which nothing starts; then as with the budget."""

    @field_validator("deadline", mode="before")
    @classmethod
    def _deadline_is_a_time(cls, value: object) -> object:
        if value is not None and not isinstance(value, (str, datetime)):
            raise ValueError("A deadline is a date and a time with its zone: 2026-11-22T08:00:00Z.")
        return no_short_number(value)

    @field_validator("deadline")
    @classmethod
    def _deadline_has_a_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("A deadline needs its time zone: 2026-11-22T08:00:00Z, or +02:00 in place of Z.")
        return value

    @model_validator(mode="after")
    def _backoff_grows(self) -> Self:
        if self.backoff_max_s < self.backoff_base_s:
            raise ValueError(
                f"backoff_max_s ({self.backoff_max_s:g}) is below backoff_base_s ({self.backoff_base_s:g})."
            )
        return self
