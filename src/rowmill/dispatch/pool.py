"""A pool: the tasks of one resource that were handed out, and how many of its calls run.

A saturated or cooling pool holds only its own tasks, so it never stands in the way of another (C3).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import anyio

from rowmill.absence import Absence
from rowmill.dispatch.slot import Slot
from rowmill.task import Request, Task, TaskKey

_LEAST_PREFETCH = 8
_MOST_PREFETCH = 4096
_AT_HAND_S = 1.0
"""What ends in so long a time is at hand, so that the database is asked about twice a second."""
_MOST_AT_HAND = 2048
"""More are at hand only if turns take so long: of so many tasks, asking costs less than handing them over."""
_SHORT_CALL_S = 0.25
"""Calls of plain functions that take less in the mean wait at the workers that will make them."""
_AHEAD_S = 0.03
"""What ends in so long a time waits at the workers, of other calls: they hear of the next one about so late."""
_SUCCESSES_TO_GROW = 25
_DECREASE = 0.75


class Worker:
    """A long-lived worker of a pool. Its cancel scope is its whole life: cancelling a call costs the worker."""

    __slots__ = ("deadline", "journal", "limit_at_start", "scope", "started_at", "tasks", "timed_out")

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.tasks: Sequence[Task] = ()
        self.journal: list[Request] = []
        self.deadline = float("inf")
        """When the running call is over time, on the event loop's clock."""
        self.started_at = 0.0
        self.limit_at_start = 0
        self.timed_out = False


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """How many calls of a resource may run at once."""

    configured: int
    learned: int
    """What earlier invocations found it to take; at most ``configured`` (C2)."""
    cooling_until: float | None = None
    """It rests until then, seconds since the epoch; may be past."""
    cools_down: bool = True
    """A 429 makes the whole resource rest; otherwise the task waits alone."""
    ramp_up_s: float | None = None
    """The limit grows linearly from 1 over this time at the start of an invocation; None: at once."""
    waits_for_threads: bool = False
    """Calls are made elsewhere, by workers that have a thread for each; as many again wait there if they are short."""
    workers: int = 0
    """Calls are made elsewhere, by so many workers that keep to the limit, too; a few wait there for one that ends."""


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
    """The handed-out tasks of one resource, and how many of its calls may run at once.

    The limit is learned by additive increase, multiplicative decrease (C2): × 0.75 on a 429 of a request that was
    started under the current limit or less, + 1 after 25 successes, never above the configured one.
    """

    def __init__(self, resource: str, limit: ResourceLimit, rows_per_call: int, max_in_flight: int, now: float) -> None:
        self.resource = resource
        self.queue: deque[Task] = deque()
        self.idle: list[anyio.Event] = []
        self.busy: set[Worker | Slot] = set()
        self.suspects: Set[TaskKey] = frozenset()
        """Tasks that may end a worker: each goes alone (W4)."""
        self.workers = 0
        self.running_tasks = 0
        self.cooling_until = float("-inf")
        self.prefetch = min(_MOST_PREFETCH, max(_LEAST_PREFETCH, limit.learned))
        self.has_backlog = False
        """The last turn gave it all it asked for, so there is probably more."""
        self._configured = limit.configured
        self._learned = max(1, min(limit.learned, limit.configured))
        self._reported = self._learned
        self._waits_for_threads = limit.waits_for_threads
        self._sharers = limit.workers
        self.is_shared = False
        """The workers are all there, so each can keep to its share of the limit."""
        self._told: int | None = None
        """The limit that workers keep to; None: they were told of none."""
        self._ramp = limit.ramp_up_s
        self._cools_down = limit.cools_down
        self._started_at = now
        self._rows_per_call = rows_per_call
        self.max_in_flight = max_in_flight
        self._successes = 0
        self._completed = 0
        self._ended_per_s = 0.0
        """Tasks, over about the last second."""
        self._is_refusing = False
        """Its last answer was a 429: what it is handed may wait for a cool-down each, and waits better in the table."""
        self._absence = Absence()

    # Limits ----------------------------------------------------------------------------------------

    def limit(self, now: float) -> int:
        """Calls that may run at once: what was learned, less while the resource is ramped up; one while it is away."""
        if self._absence.is_away:
            return 1
        return self._learned if self._ramp is None else min(self._learned, self._ramped(now))

    def _most_handed_over(self, now: float) -> int:
        """Calls that may be under way, those that wait at workers included."""
        limit = self.limit(now)
        if self._waits_for_threads and self._ended_per_s * _SHORT_CALL_S >= limit:
            return 2 * limit
        return limit + self.ahead(now)

    def ahead(self, now: float) -> int:
        """Calls that wait at the workers for one that ends: none where the resource is not trusted with its limit."""
        if not self.is_shared or self._learned < 2 * self._sharers or self._is_refusing or self._absence.is_away:
            return 0
        if self._ramp is not None and self._ramped(now) < self._learned:
            return 0
        return min(self._learned, int(self._ended_per_s * _AHEAD_S / self._rows_per_call))

    @property
    def may_be_shared(self) -> bool:
        """Whether workers may keep to its limit."""
        return self._sharers > 0

    def limit_to_tell(self, now: float) -> int | None:
        """The limit for workers if it is not what they were told last: 0 while the resource rests."""
        if self._told is None and not self.ahead(now):
            return None
        limit = 0 if now < self.cooling_until else self.limit(now)
        if limit == self._told:
            return None
        self._told = limit
        return limit

    def _ramped(self, now: float) -> int:
        """How far the ramp has come, as a limit."""
        if self._ramp is None or now >= self._started_at + self._ramp:
            return self._configured
        # A little is added so that the step is reached at the very time grows_at() gives, whatever the rounding.
        return max(1, int(self._configured * (now - self._started_at) / self._ramp + 1e-6))

    def grows_at(self, now: float) -> float:
        """When the ramp lets one more call in, on the event loop's clock; infinity when it holds back none."""
        ramped = self._ramped(now)
        if self._ramp is None or ramped >= self._learned:
            return float("inf")
        return self._started_at + (ramped + 1) * self._ramp / self._configured

    def configure(self, calls: int) -> None:
        """Sets the limit; what was learned follows, unless it was learned to be lower."""
        self._learned = calls if self._learned == self._configured else min(self._learned, calls)
        self._configured = calls
        self._reported = self._learned

    def succeeded(self) -> None:
        """A call succeeded: after 25 of them the resource is trusted with one more at once."""
        self._is_refusing = False
        if self._absence.since is not None:
            self._absence.answered()
        self._successes += 1
        if self._successes >= _SUCCESSES_TO_GROW and self._learned < self._configured:
            self._successes = 0
            self._learned += 1

    def rate_limited(self, limit_at_start: int, rests_until: float) -> None:
        """A call was answered with a 429: the resource rests, and takes fewer calls at once from then on."""
        if not self._cools_down:
            return
        self._is_refusing = True
        self.cooling_until = max(self.cooling_until, rests_until)
        self._successes = 0
        if limit_at_start <= self._learned:
            self._learned = max(1, int(self._learned * _DECREASE))

    def answered(self) -> None:
        """The endpoint answered, whatever it said: it is not away."""
        self._absence.answered()

    def unavailable(self, now: float, asked_s: float, *, is_certain: bool) -> None:
        """A call found the endpoint away: it rests, and takes one call at a time until it answers one (F2a)."""
        if self._cools_down and self._absence.failed(now, asked_s, is_certain=is_certain):
            self._is_refusing = True
            self.cooling_until = max(self.cooling_until, self._absence.rests_until)

    def newly_learned(self) -> int | None:
        """The learned limit if it changed since the last call, else None."""
        if self._learned == self._reported:
            return None
        self._reported = self._learned
        return self._learned

    # Tasks -----------------------------------------------------------------------------------------

    def free(self, now: float) -> int:
        """How many more tasks it can use: what could start now, and a little to have at hand during a turn."""
        if now < self.cooling_until:
            return 0
        limit = self.limit(now)
        capacity = min(limit * self._rows_per_call, max(self.max_in_flight, self._rows_per_call))
        most = max(_LEAST_PREFETCH, capacity * 4, self._at_hand)
        prefetch = 0 if self._is_refusing else min(self.prefetch, most)
        missing = capacity + prefetch - self.running_tasks - len(self.queue)
        # Asking costs about the same for one task as for many: as long as two thirds are there, there is time.
        return missing if missing > 0 and missing * 3 >= prefetch else 0

    def take(self, max_rows: Sequence[int], room: int, now: float) -> list[Task]:
        """The next call's tasks: of one generator, up to its rows per call; none if no call may start."""
        if not self.queue or room < 1 or now < self.cooling_until or len(self.busy) >= self._most_handed_over(now):
            return []
        first = self.queue.popleft()
        tasks = [first]
        # A task that failed before goes alone, so that it cannot fail its neighbours with it.
        most = min(max_rows[first.generator], room) if first.attempts == 0 else 1
        if self.suspects and first.key in self.suspects:
            most = 1
        while len(tasks) < most and self.queue:
            following = self.queue[0]
            if following.generator != first.generator or following.attempts:
                break
            if self.suspects and following.key in self.suspects:
                break
            tasks.append(self.queue.popleft())
        return tasks

    def forget(self, is_pointless: Callable[[Task], bool]) -> list[Task]:
        """Takes queued tasks that nobody waits for any more out and returns them (F5)."""
        gone = [task for task in self.queue if is_pointless(task)]
        if gone:
            self.queue = deque(task for task in self.queue if not is_pointless(task))
        return gone

    def startable(self, now: float) -> int:
        """How many more calls could start now, if each took one task."""
        if now < self.cooling_until:
            return 0
        return max(0, min(len(self.queue), self._most_handed_over(now) - len(self.busy)))

    @property
    def running_calls(self) -> int:
        """How many calls run: no more than may, as the others wait at their worker."""
        waits = self._waits_for_threads or self._sharers
        return min(len(self.busy), self._learned) if waits else len(self.busy)

    def is_starved(self, now: float) -> bool:
        """True if it could start more than it has, and there is more to be had."""
        return self.has_backlog and not self.queue and now >= self.cooling_until and len(self.busy) < self.limit(now)

    def completed(self, tasks: int) -> None:
        """Counts tasks that ended, to know how many to have at hand."""
        self._completed += tasks

    @property
    def _at_hand(self) -> int:
        """How many tasks are at hand so that the database is seldom asked."""
        return math.ceil(min(self._ended_per_s * _AT_HAND_S, _MOST_AT_HAND))

    def can_wait(self, for_s: float) -> bool:
        """Whether what is at hand lasts for so long a time."""
        return len(self.queue) >= self._ended_per_s * for_s

    def adapt_prefetch(self, elapsed_s: float, longest_turn_s: float, *, turn_is_full: bool) -> None:
        """Has at hand four times what may end during the longest turn, unless turns carry enough already.

        What a turn hands out is counted when it starts, and has to last until the next one ends: a turn, the pause
        after it, and a turn again. It is asked for when half of it is left, and lasts a second where that is not too
        much, as asking costs some milliseconds. ``elapsed_s``: since the last call.
        """
        if elapsed_s > 0:
            self._ended_per_s += (self._completed / elapsed_s - self._ended_per_s) * min(1.0, elapsed_s)
        wanted = max(4 * self._completed, math.ceil(self._ended_per_s * 4 * longest_turn_s), self._at_hand)
        if turn_is_full:
            wanted = min(wanted, self.prefetch)
        self.prefetch = min(_MOST_PREFETCH, max(_LEAST_PREFETCH, wanted, self.prefetch * 31 // 32))
        self._completed = 0

    def statistics(self, now: float) -> PoolStatistics:
        """A value that says where the pool stands."""
        return PoolStatistics(
            self.resource,
            self.limit(now),
            self.running_calls,
            self.running_tasks,
            len(self.queue),
            self.cooling_until if self.cooling_until > now else None,
        )
