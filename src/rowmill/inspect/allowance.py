"""How much of the machine serving may take: a share of one core, with a little saved up for who asks now and then."""

from __future__ import annotations

from collections.abc import Callable

SHARE = 0.05
"""Of one core, in the long run: so much may queries of readers who never pause take, and as much the status again."""
_SAVED_S = 0.25
"""CPU seconds saved up while nobody asks: a hundred small queries at once."""
_DEEPEST_DEBT_S = 0.05
LONGEST_PAUSE_S = _DEEPEST_DEBT_S / SHARE
"""So long a pause at most pays for a long query: its CPU time is its reader's business."""


class Allowance:
    """CPU seconds that serving may still take; what was taken too much is waited for. Used under its owner's lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._left_s = _SAVED_S
        self._as_of = clock()

    def spend(self, cpu_s: float) -> None:
        """So many CPU seconds were used for a reader."""
        self._left_s = max(self._now_left_s() - cpu_s, -_DEEPEST_DEBT_S)

    def wait_s(self) -> float:
        """Seconds until the next query may begin; 0 if it may now."""
        return max(-self._now_left_s() / SHARE, 0.0)

    def _now_left_s(self) -> float:
        now = self._clock()
        self._left_s = min(self._left_s + (now - self._as_of) * SHARE, _SAVED_S)
        self._as_of = now
        return self._left_s
