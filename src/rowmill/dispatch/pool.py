"""A pool: the tasks of one resource that were handed out, and how many of its calls run.

A saturated or cooling pool holds only its own tasks, so it never stands in the way of another (C3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from rowmill.task import Request, Task

_LEAST_PREFETCH = 8
_MOST_PREFETCH = 4096


class Worker:
    """A long-lived worker of a pool. Its cancel scope is its whole life: cancelling a call costs the worker."""

    __slots__ = ("deadline", "journal", "scope", "started_at", "tasks", "timed_out")

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.tasks: Sequence[Task] = ()
        self.journal: list[Request] = []
        self.deadline = float("inf")
        """When the running call is over time, on the event loop's clock."""
        self.started_at = 0.0
        self.timed_out = False


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Where a pool stands."""

    resource: str
    limit: int
    running_calls: int
    running_tasks: int
    queued: int
    cooling_until: float | None
    """On the event loop's clock; None when it does not cool down."""


class Pool:
    """The handed-out tasks of one resource. ``limit`` is how many calls may run at once."""

    def __init__(self, resource: str, limit: int, rows_per_call: int, max_in_flight: int) -> None:
        self.resource = resource
        self.limit = limit
        self.capacity = min(limit * rows_per_call, max(max_in_flight, rows_per_call))
        """Tasks that can run at once when every call is full."""
        self.queue: deque[Task] = deque()
        self.idle: list[anyio.Event] = []
        self.busy: set[Worker] = set()
        self.workers = 0
        self.running_tasks = 0
        self.cooling_until = float("-inf")
        self.prefetch = _LEAST_PREFETCH
        self.has_backlog = False
        """The last turn gave it all it asked for, so there is probably more."""
        self._completed = 0

    def free(self, now: float) -> int:
        """How many more tasks it can use: what could start now, and a little to have at hand during a turn."""
        if now < self.cooling_until:
            return 0
        return max(0, self.capacity + self.prefetch - self.running_tasks - len(self.queue))

    def take(self, max_rows: Sequence[int], room: int, now: float) -> list[Task]:
        """The next call's tasks: of one generator, up to its rows per call; none if no call may start."""
        if not self.queue or len(self.busy) >= self.limit or room < 1 or now < self.cooling_until:
            return []
        first = self.queue.popleft()
        tasks = [first]
        # A task that failed before goes alone, so that it cannot fail its neighbours with it.
        most = min(max_rows[first.generator], room) if first.attempts == 0 else 1
        while len(tasks) < most and self.queue:
            following = self.queue[0]
            if following.generator != first.generator or following.attempts:
                break
            tasks.append(self.queue.popleft())
        return tasks

    def is_starved(self, now: float) -> bool:
        """True if it could start more than it has, and there is more to be had."""
        return self.has_backlog and not self.queue and len(self.busy) < self.limit and now >= self.cooling_until

    def completed(self, tasks: int) -> None:
        """Counts tasks that ended, to know how many to have at hand."""
        self._completed += tasks

    def adapt_prefetch(self, turn_was_long: bool) -> None:
        """Has at hand what ended during the last turn and half as much again, unless turns get too long for it."""
        wanted = self._completed + self._completed // 2
        if turn_was_long:
            wanted = min(wanted, self.prefetch)
        self.prefetch = min(_MOST_PREFETCH, max(_LEAST_PREFETCH, wanted, self.prefetch * 7 // 8))
        self._completed = 0

    def statistics(self, now: float) -> PoolStatistics:
        """A value that says where the pool stands."""
        return PoolStatistics(
            self.resource,
            self.limit,
            len(self.busy),
            self.running_tasks,
            len(self.queue),
            self.cooling_until if self.cooling_until > now else None,
        )
