"""How fast a run is and when it will be done, from the statuses of the last half minute."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status

_WINDOW_S = 30.0


class Pace(NamedTuple):
    """Rows and cells a second, and the seconds left; None until that can be told."""

    rows_per_s: float
    cells_per_s: float
    seconds_left: float | None


class _Sample(NamedTuple):
    at_s: float
    rows: int
    cells: int


class Pacemaker:
    """Remembers statuses with their times (any clock, seconds) and tells the pace over a sliding window."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[_Sample] = deque()

    def observe(self, status: Status, at_s: float) -> Pace:
        """Adds a status and returns the pace up to it."""
        sample = _Sample(at_s, status.rows_finished, status.cells_settled)
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at_s < at_s - self._window_s:
            self._samples.popleft()
        first = self._samples[0]
        elapsed = sample.at_s - first.at_s
        if elapsed <= 0:
            return Pace(0.0, 0.0, None)
        cells_per_s = (sample.cells - first.cells) / elapsed
        left = status.cells - sample.cells
        seconds_left = 0.0 if left <= 0 else left / cells_per_s if cells_per_s > 0 else None
        return Pace((sample.rows - first.rows) / elapsed, cells_per_s, seconds_left)
