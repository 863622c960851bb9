"""The error window: when too many of the last results are failures, the run stops instead of burning money (F6)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from rowmill.errors import RowmillError


class TooManyFailures(RowmillError):
    """Too many of the last results were rejected or out of attempts. Nothing of them was dropped."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed result: the rows it would drop as (row group, row index), and what went wrong."""

    column: str
    rows: tuple[tuple[int, int], ...]
    error_type: str
    message: str


class ErrorWindow:
    """The last results of this invocation, oldest first: None for a success, else the failure.

    It starts empty with every invocation: what is asked is whether things go wrong now.
    """

    def __init__(self, size: int, max_share: float) -> None:
        self._results: deque[Failure | None] = deque(maxlen=size)
        self._max_share = max_share
        self._failed = 0

    def add(self, results: Sequence[Failure | None]) -> None:
        """Adds the results of a turn in the order they arrived, None for a success.

        Stops at the failure that is one too many, so that the window still holds all that led to it.
        """
        if not self._failed and not any(results):
            self._results.extend(results)
            return
        for result in results:
            if len(self._results) == self._results.maxlen:
                self._failed -= self._results[0] is not None
            self._results.append(result)
            self._failed += result is not None
            if result is not None and self._is_over():
                break

    def sample(self, succeeded: int, failures: Sequence[Failure]) -> list[Failure | None]:
        """Results of rows that were evaluated all at once, as if they had come one by one, failures evenly spread.

        At most as many as the window holds, in the proportion of successes to failures.
        """
        size = min(self._results.maxlen or 0, succeeded + len(failures))
        failing = min(len(failures), max(1, round(size * len(failures) / (succeeded + len(failures)))))
        results: list[Failure | None] = [None] * size
        for number in range(failing):
            results[(number + 1) * size // failing - 1] = failures[number * len(failures) // failing]
        return results

    def _is_over(self) -> bool:
        size = self._results.maxlen or 0
        return len(self._results) == size and self._failed >= self._max_share * size

    def failures(self) -> list[Failure]:
        """The failures in the window."""
        return [failure for failure in self._results if failure is not None]

    def verdict(self) -> TooManyFailures | None:
        """The error that stops the run once the window is full and the share of failures reaches the limit."""
        if not self._is_over():
            return None
        size = self._results.maxlen
        failures = self.failures()
        (column, kind), count = Counter((failure.column, failure.error_type) for failure in failures).most_common(1)[0]
        example = next(f.message for f in reversed(failures) if (f.column, f.error_type) == (column, kind))
        return TooManyFailures(
            f"{len(failures)} of the last {size} results failed, {count} of them in column {column!r} with {kind}: "
            f"{example.rstrip('. ')}. Their rows were not dropped. Mend the spec or the endpoint, then run again "
            "(run.max_error_share sets the limit)."
        )
