"""What is known of workers elsewhere: values on their way from who hires them to the run database.

Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class WorkerFacts(NamedTuple):
    """Where a worker stands."""

    name: str
    worker_group: str
    kind: str
    """processes or ray."""
    state: str
    """starting, ready, quiet (it gets no new calls) or lost."""
    pid: int | None
    host: str
    node: str
    """The node of a cluster it runs on; empty where there are none."""
    joined_at: float | None
    """When it was ready for calls; None if it never was."""
    heard_at: float | None
    """Its last sign of life."""
    ended_at: float | None
    in_flight: int
    """Calls it has."""
    done: int
    """Calls that ended on it."""
    calls_lost: int
    """Calls it had when it was lost: they were made again elsewhere."""
    reason: str = ""
    """Why it was lost."""


class GroupFacts(NamedTuple):
    """Where a group of workers stands."""

    worker_group: str
    kind: str
    """processes or ray."""
    workers: int
    """How many it is to have."""
    empty_since: float | None
    """Since when none of them is there; None if one is."""
    waits_until: float | None
    """When the run stops for it (W5)."""


class WorkerEvent(NamedTuple):
    """Something that happened."""

    at: float
    kind: str
    subject: str
    detail: str


class WorkerNews(NamedTuple):
    """What is new, and to be kept."""

    events: Sequence[WorkerEvent] = ()
    workers: Sequence[WorkerFacts] = ()
    """Those of which something is new."""
    groups: Sequence[GroupFacts] = ()
    """All, if something is new of one."""
