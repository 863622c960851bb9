"""The time of day as a living process counts it: no setting of the machine's clock changes what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable


def _since_boot() -> float:
    """Seconds, those asleep among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """Seconds since the epoch by the machine's clock when this was made, and by seconds that passed since."""

    def __init__(
        self, wall_clock: Callable[[], float] = time.time, since_boot: Callable[[], float] = _since_boot
    ) -> None:
        self._since_boot = since_boot
        self._epoch_s = wall_clock() - since_boot()

    def __call__(self) -> float:
        """What time it is."""
        return self._epoch_s + self._since_boot()
