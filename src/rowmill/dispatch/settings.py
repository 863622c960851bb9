"""Values the dispatcher is told and tells: how it works, where it stands, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rowmill.dispatch.pool import PoolStatistics


class Ending(StrEnum):
    """How the dispatcher's work ended."""

    COMPLETE = "complete"
    DRAINED = "drained"
    """Stopped on request, the running calls have finished."""
    CANCELLED = "cancelled"
    """Stopped on request, running calls were cut off."""
    STOPPED = "stopped"
    """An outcome stopped the run: every row would fail."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How the dispatcher works. Durations in seconds."""

    max_in_flight: int = 1024
    commit_window_s: float = 0.040
    cool_down_s: float = 2.0
    drain_s: float = 30.0
    """How long running calls may take to finish once the run is to stop."""


@dataclass(frozen=True, slots=True)
class DispatchStatistics:
    """Where the dispatcher stands."""

    turns: int
    running_tasks: int
    pools: tuple[PoolStatistics, ...]
