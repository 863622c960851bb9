"""The status of several run databases as one: of shards, or of whatever is made side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from rowmill.store.reading.status import ColumnProgress, ResourceStatus, Status

_STATES = ("running", "paused", "stopped", "new", "finished")
"""Of several states the one that is said of all: the first that any of them has."""


def status_sum(statuses: Sequence[Status]) -> Status:
    """What the run databases are together: counts added up, columns and resources by their names; no details."""
    first = statuses[0]
    started = [each.started_at for each in statuses if each.started_at is not None]
    states = {each.state for each in statuses}

    def total(name: str) -> int:
        return sum(getattr(each, name) for each in statuses)

    return Status(
        name=", ".join(dict.fromkeys(each.name for each in statuses)),
        state=next((state for state in _STATES if state in states), first.state),
        records=total("records"),
        rows_finished=total("rows_finished"),
        rows_dropped=total("rows_dropped"),
        row_groups=total("row_groups"),
        row_groups_active=total("row_groups_active"),
        row_groups_finished=total("row_groups_finished"),
        invocations=total("invocations"),
        requests=total("requests"),
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        cost_usd=_known_sum([each.cost_usd for each in statuses]),
        started_at=min(started, default=None),
        updated_at=max(each.updated_at for each in statuses),
        reason=None,
        columns=tuple(_columns(statuses)),
        resources=tuple(_resources(statuses)),
        answers_cut_off=total("answers_cut_off"),
        rows_lost=total("rows_lost"),
        cached_tokens=total("cached_tokens"),
        cache_write_tokens=total("cache_write_tokens"),
    )


def _known_sum(costs: Iterable[float | None]) -> float | None:
    """The sum of the costs that are known; None if none is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _columns(statuses: Iterable[Status]) -> Iterable[ColumnProgress]:
    found: dict[str, ColumnProgress] = {}
    for status in statuses:
        for column in status.columns:
            known = found.get(column.column_name)
            counts = ("cells", "done", "skipped", "dropped", "deferred", "waiting")
            found[column.column_name] = (
                column
                if known is None
                else replace(known, **{name: getattr(known, name) + getattr(column, name) for name in counts})
            )
    return found.values()


def _resources(statuses: Iterable[Status]) -> Iterable[ResourceStatus]:
    found: dict[str, ResourceStatus] = {}
    for status in statuses:
        for one in status.resources:
            known = found.get(one.resource)
            if known is None:
                found[one.resource] = replace(one, explanation="")
                continue
            found[one.resource] = replace(
                known,
                configured_limit=known.configured_limit + one.configured_limit,
                learned_limit=known.learned_limit + one.learned_limit,
                in_flight=known.in_flight + one.in_flight,
                cooling_until=_later(known.cooling_until, one.cooling_until),
                reason=one.reason or known.reason,
            )
    return found.values()


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)
