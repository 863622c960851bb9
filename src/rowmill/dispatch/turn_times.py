"""How long turns take: how much pools have at hand depends on it, how long results wait, and whether turns go alone.

A turn is taken beside the event loop, on the writer's thread. If the loop is never idle, the two wait for each other:
the turn gives the interpreter up for every statement and waits to have it back, so it takes two to four times as long
as it would alone, and results wait for their commit meanwhile. Then the loop stands still while a turn is taken. About
as many calls are made: each side is quicker without the other.
"""

from __future__ import annotations

import math

_LONG_AGO_S = 30.0
"""A long turn counts half after this time. One waits now and then while the log is folded, and the next will, too."""
_LONGEST_LAG_S = 0.048
"""What a result may wait for its commit (D2), and a little less."""
_MEAN_LAG_S = 0.042
"""What it may wait in the mean where turns go alone."""
_LONGEST_PAUSE_S = 0.050
"""Between turns that go alone: the next one may take twice as long as the last one, and results wait for its end."""
_IDLE_SHARE = 0.15
"""A loop that is idle for less than this share of its time has none left for a turn beside it."""
_LEAST_TIME_S = 0.002
"""Shorter times do not tell whether the loop is busy."""
_LONG_BESIDE_S = 0.030
"""Turns beside a busy loop that take longer are tried alone."""
_CHOSEN_FOR_S = 15.0
"""After this time one turn is taken beside the loop again, as circumstances may have changed; and so long it is left at
that if turns that go alone take longer than results may wait."""
_WEIGHT = 0.1
"""Of the last turn in the mean of those that went alone. One long turn, whatever it met, changes nothing."""


class TurnTimes:
    """When turns start and end, on the event loop's clock, and whether the loop stands still for the next one."""

    def __init__(self) -> None:
        self.started_at = -math.inf
        """The last one."""
        self.took_s = 0.0
        """The last one that ended."""
        self.longest_s = 0.0
        """Of late."""
        self.is_alone = False
        """Whether the loop stands still for the one that has started; when it has ended, whether it did."""
        self._ended_at: float | None = None
        self._idle_s_at_start = 0.0
        self._is_loop_busy = False
        self._goes_alone = False
        self._chosen_until = -math.inf
        self._alone_s = 0.0
        """What turns that went alone took in the mean."""

    def start(self, now: float, idle_s: float) -> None:
        """A turn starts. ``idle_s``: how long the event loop has been idle so far, in seconds."""
        ran_s = now - self.started_at - (self.took_s if self.is_alone else 0.0)
        if _LEAST_TIME_S <= ran_s < math.inf:
            self._is_loop_busy = idle_s - self._idle_s_at_start < _IDLE_SHARE * ran_s
        self.started_at = now
        self._idle_s_at_start = idle_s
        self.is_alone = self._is_loop_busy and self._goes_alone

    def end(self, now: float) -> float:
        """It ends. Returns how long ago the one before ended, or the first one started."""
        since_s = now - (self.started_at if self._ended_at is None else self._ended_at)
        self.took_s = now - self.started_at
        self.longest_s = max(self.took_s, self.longest_s * 0.5 ** (since_s / _LONG_AGO_S))
        self._ended_at = now
        if self.is_alone:
            self._went_alone(now)
        elif self._is_loop_busy and self.took_s > _LONG_BESIDE_S and now >= self._chosen_until:
            self._goes_alone = True
            self._chosen_until = now + _CHOSEN_FOR_S
            self._alone_s = 0.0
        return since_s

    def next_at(self, window_s: float) -> float:
        """When the next one starts if results may wait ``window_s`` seconds for each other (D2).

        The longer turns take the less results may wait: for the next one to start, and to end. Beside the loop they
        come in while a turn is taken, too, and wait for the one after it. Alone, they wait half the time between turns
        in the mean.
        """
        if self.is_alone:
            pause_s = 2 * min(window_s, max(0.0, _MEAN_LAG_S - self.took_s))
            return self.started_at + self.took_s + min(pause_s, _LONGEST_PAUSE_S)
        return self.started_at + min(window_s, max(0.0, _LONGEST_LAG_S - self.took_s))

    def _went_alone(self, now: float) -> None:
        took_s = min(self.took_s, 2 * _LONGEST_LAG_S)
        self._alone_s += (took_s - self._alone_s) * _WEIGHT
        if self._alone_s > _LONGEST_LAG_S:
            self._goes_alone = False
            self._chosen_until = now + _CHOSEN_FOR_S
        elif now >= self._chosen_until:
            self._goes_alone = False
