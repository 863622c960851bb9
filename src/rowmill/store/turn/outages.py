"""Outages: which endpoints are away, since when, and which of their failures use up an attempt all the same (F2a).

Kept by the working process alone: the time in which nobody works on a run does not count.
"""

from __future__ import annotations

from typing import NamedTuple

from rowmill.absence import Absence
from rowmill.deferral import asked_wait_s
from rowmill.errors import EndpointAway, Unavailable
from rowmill.store.database.staging import from_epoch
from rowmill.task import TaskKey

_LONG_AGO = -1.0


class Finding(NamedTuple):
    """What a failure says of an endpoint. Times are seconds since the epoch."""

    is_counted: bool
    """It uses up an attempt: the endpoint answered others between failures of this task."""
    since: float
    rests_until: float | None
    """None: the endpoint is not taken to be away."""


class Outages:
    """What one invocation knows of its endpoints."""

    def __init__(self) -> None:
        self._absences: dict[str, Absence] = {}
        self._answered: dict[str, float] = {}
        """When the latest call that was answered started."""
        self._failed: dict[TaskKey, float] = {}
        """When tasks failed in a way that may be their own fault; for ever ago if it is."""

    def answered(self, resource: str, started_at: float) -> None:
        """Takes note of a call that was answered."""
        if started_at > self._answered.get(resource, 0.0):
            self._answered[resource] = started_at
        absence = self._absences.get(resource)
        if absence is not None:
            absence.answered()

    @property
    def has_failed(self) -> bool:
        """Is there a task :meth:`ended` has to be told of?"""
        return bool(self._failed)

    def ended(self, key: TaskKey) -> None:
        """Takes note of a task that has its result."""
        self._failed.pop(key, None)

    def failed(self, resource: str, key: TaskKey, error: Unavailable, now: float) -> Finding:
        """Takes note of a call that found an endpoint away."""
        before = None if error.is_certain else self._failed.get(key)
        is_counted = before is not None and self._answered.get(resource, 0.0) > before
        if not error.is_certain:
            self._failed[key] = _LONG_AGO if is_counted else now
        absence = self._absences.setdefault(resource, Absence())
        is_away = absence.failed(now, asked_wait_s(error.retry_after_s, 0.0), is_certain=error.is_certain)
        since = now if absence.since is None else absence.since
        return Finding(is_counted, since, absence.rests_until if is_away else None)


def away_for_too_long(resource: str, since: float, longest_s: float, error: str) -> EndpointAway:
    """Why a run stops that has waited for an endpoint."""
    return EndpointAway(
        f"{resource} has been away since {from_epoch(since):%Y-%m-%d %H:%M:%S} UTC, longer than the {longest_s:g} s "
        f"this run waits for it (run.unavailable_after_s): {error.rstrip('.')}. No row was dropped for that. When it "
        "is back, run again to go on."
    )
