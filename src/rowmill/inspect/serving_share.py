"""How much of the machine serving may take: a share of one core, with a little saved up for who asks now and then.

Serving has four parts: queries, calls for the status, and the two readings of it (with and without details). Each may
take :data:`SHARE` in the long run, together a twentieth of a core. So readers that never pause wait, not the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SHARE = 0.0125
"""Of one core, in the long run: so much each part of serving may take."""
CALL_CPU_S = 0.0005
"""What a call costs beside its answer: Flight's own work, in threads we cannot measure."""
_SAVED_S = 0.25
"""CPU seconds saved up while nobody asks: a hundred small queries at once."""
LONGEST_PAUSE_S = 1.0
"""So long a pause at most pays for a long query: its CPU time is its reader's business."""


class ServingShare:
    """CPU seconds that serving may still take; what was taken too much is waited for. Used under its owner's lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._left_s = _SAVED_S
        self._as_of = clock()

    def spend(self, cpu_s: float) -> None:
        """So many CPU seconds were used for a reader."""
        self._left_s = max(self._now_left_s() - cpu_s, -LONGEST_PAUSE_S * SHARE)

    def wait_s(self) -> float:
        """Seconds until the next query may begin; 0 if it may now."""
        return max(-self._now_left_s() / SHARE, 0.0)

    def _now_left_s(self) -> float:
        now = self._clock()
        self._left_s = min(self._left_s + (now - self._as_of) * SHARE, _SAVED_S)
        self._as_of = now
        return self._left_s


class Turnstile:
    """Lets small calls pass one by one, as fast as their allowance has them. Used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance = ServingShare(clock)
        self._lock = threading.Lock()
        self._is_open = threading.Event()

    def pass_through(self) -> None:
        """Waits until the call may be answered."""
        with self._lock:
            while (wait_s := self._allowance.wait_s()) and not self._is_open.wait(wait_s):
                pass
            self._allowance.spend(CALL_CPU_S)

    def open(self) -> None:
        """From now on nobody waits: the server closes, and tells them."""
        self._is_open.set()
