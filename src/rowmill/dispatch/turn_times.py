"""How long turns take: how much pools have at hand depends on it, and how long results wait for each other."""

from __future__ import annotations

import math

_LONG_AGO_S = 30.0
"""A long turn counts half after this time. One waits now and then while the log is folded, and the next will, too."""


class TurnTimes:
    """When turns start and end, on the event loop's clock."""

    def __init__(self) -> None:
        self.started_at = -math.inf
        """The last one; from then on results wait for the next one."""
        self.took_s = 0.0
        """The last one that ended."""
        self.longest_s = 0.0
        """Of late."""
        self._ended_at: float | None = None

    def start(self, now: float) -> None:
        """A turn starts."""
        self.started_at = now

    def end(self, now: float) -> float:
        """It ends. Returns how long ago the one before ended, or the first one started."""
        since_s = now - (self.started_at if self._ended_at is None else self._ended_at)
        self.took_s = now - self.started_at
        self.longest_s = max(self.took_s, self.longest_s * 0.5 ** (since_s / _LONG_AGO_S))
        self._ended_at = now
        return since_s
