"""The dispatcher: starts tasks as capacity allows, reports outcomes, and asks for the next turn.

It knows tasks, resources and outcomes, and nothing of SQL, HTTP or templates. Long-lived workers take
calls from the queue of their pool; one task watches deadlines; the turn loop hands outcomes over and
gets new tasks, never blocked by the writer and never blocking it.

A worker that finds nothing to do waits on an event of its own. A call over its deadline is cancelled
together with its worker, which is rare and cheap; a scope per call would cost more than a no-op call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from rowmill.deferral import cool_down_s
from rowmill.dispatch.pool import Pool, PoolStatistics, Worker
from rowmill.dispatch.protocol import Executor, TakeTurn, Traits
from rowmill.errors import Transient
from rowmill.task import FinishedRowGroup, Outcome, OutcomeKind, TurnResult

_CALLS_BETWEEN_CHECKPOINTS = 64
_STARVED_PAUSE_S = 0.004
_LONG_TURN_S = 0.040


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
    commit_window_s: float = 0.025
    cool_down_s: float = 2.0
    drain_s: float = 30.0
    """How long running calls may take to finish once the run is to stop."""


@dataclass(frozen=True, slots=True)
class DispatchStatistics:
    """Where the dispatcher stands."""

    turns: int
    running_tasks: int
    pools: tuple[PoolStatistics, ...]


class Dispatcher:
    """Works on one run until it is complete or told to stop. Use once."""

    def __init__(
        self,
        executor: Executor,
        take_turn: TakeTurn,
        traits: Sequence[Traits | None],
        limits: Mapping[str, int],
        settings: DispatchSettings,
        *,
        wall_clock: Callable[[], float],
        cooling: Mapping[str, float] | None = None,
        on_finished: Callable[[FinishedRowGroup], None] | None = None,
    ) -> None:
        """``traits`` by generator number (None: never a task); ``limits`` calls at once per resource.

        ``wall_clock`` gives seconds since the epoch; ``cooling`` says which resources rest until when.
        ``on_finished`` is called after the commit of each finished row group; what it raises stops the run.
        """
        self._executor = executor
        self._take_turn = take_turn
        self._settings = settings
        self._wall_clock = wall_clock
        self._on_finished = on_finished
        self._timeouts = [trait.timeout_s if trait and trait.timeout_s else math.inf for trait in traits]
        self._max_rows = [trait.max_rows_per_call if trait else 1 for trait in traits]
        used: dict[str, int] = {}
        for trait in traits:
            if trait is not None:
                used[trait.resource] = max(used.get(trait.resource, 1), trait.max_rows_per_call)
        self._pools = {name: Pool(name, limits[name], rows, settings.max_in_flight) for name, rows in used.items()}
        self._resource_of = [trait.resource if trait else "" for trait in traits]
        self._cooling = dict(cooling or {})
        self._outcomes: list[Outcome] = []
        self._arrived = anyio.Event()
        self._running_tasks = 0
        self._calls = 0
        self._turns = 0
        self._last_turn_at = -math.inf
        self._is_draining = False
        self._is_cancelled = False
        self._drain_until = math.inf
        self._group: TaskGroup | None = None
        self.stop: Outcome | None = None
        """The outcome that stopped the run, if one did."""

    def statistics(self) -> DispatchStatistics:
        """A value that says where the dispatcher stands."""
        now = anyio.current_time()
        pools = tuple(pool.statistics(now) for pool in self._pools.values())
        return DispatchStatistics(self._turns, self._running_tasks, pools)

    # Steering ------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Starts nothing more and lets running calls finish, for at most ``drain_s`` seconds."""
        if not self._is_draining:
            self._is_draining = True
            self._drain_until = anyio.current_time() + self._settings.drain_s
        self._arrived.set()

    def cancel(self) -> None:
        """Cuts running calls off; what has arrived is still committed."""
        self.drain()
        self._is_cancelled = True
        for pool in self._pools.values():
            for worker in pool.busy:
                worker.scope.cancel()

    # The turn loop ---------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Works until the run is complete or stopped. Raises what a turn, an executor or a callback raises."""
        now = anyio.current_time()
        for name, until in self._cooling.items():
            if name in self._pools:
                self._pools[name].cooling_until = now + max(0.0, until - self._wall_clock())
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._watch_deadlines)
                ending = await self._take_turns()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            raise _single(raised) from raised
        return ending

    async def _take_turns(self) -> Ending:
        while True:
            result = await self._one_turn()
            if result.complete:
                # Calls that still run belong to rows that were dropped: nobody waits for them, but they cost.
                self.cancel()
            over = self._is_draining and not self._running_tasks
            if over and not self._outcomes:
                return self._ending(result)
            if not result.again or self._is_draining:
                await self._wait_for_turn(result)

    async def _one_turn(self) -> TurnResult:
        outcomes, self._outcomes = self._outcomes, []
        self._arrived = anyio.Event()
        self._last_turn_at = anyio.current_time()
        free = {} if self._is_draining else {n: p.free(self._last_turn_at) for n, p in self._pools.items()}
        result = await self._take_turn(outcomes, free, self._wall_clock())
        self._turns += 1
        was_long = anyio.current_time() - self._last_turn_at > _LONG_TURN_S
        for pool in self._pools.values():
            pool.adapt_prefetch(was_long)
        if self._on_finished is not None:
            for finished in result.finished:
                self._on_finished(finished)
        if result.stop is not None and self.stop is None:
            self.stop = result.stop
            self.drain()
        if not self._is_draining:
            for task in result.tasks:
                resource = self._resource_of[task.generator]
                self._pools[resource].queue.append(task)
                free[resource] -= 1
            for name, left in free.items():
                self._pools[name].has_backlog = left <= 0
            self._start_workers()
        return result

    def _ending(self, result: TurnResult) -> Ending:
        if result.complete:
            return Ending.COMPLETE
        if self.stop is not None:
            return Ending.STOPPED
        return Ending.CANCELLED if self._is_cancelled else Ending.DRAINED

    async def _wait_for_turn(self, result: TurnResult) -> None:
        """Waits until there is a reason for a turn: outcomes, a deferral that passed, a pool that takes tasks again."""
        now = anyio.current_time()
        if not self._outcomes:
            wake_at = self._wake_at(result, now)
            with anyio.CancelScope(deadline=wake_at):
                await self._arrived.wait()
            now = anyio.current_time()
            if self._is_draining and now >= self._drain_until:
                self.cancel()
            if not self._outcomes:
                self._start_workers()
                return
        if self._is_draining or not self._running_tasks:
            return
        # Group commit: results wait for each other a little, unless a pool stands idle that the database has tasks for.
        starved = any(pool.is_starved(now) for pool in self._pools.values())
        pause = _STARVED_PAUSE_S if starved else self._settings.commit_window_s
        await anyio.sleep(max(0.0, self._last_turn_at + pause - now))

    def _wake_at(self, result: TurnResult, now: float) -> float:
        """When to take a turn even if nothing arrives, on the event loop's clock."""
        if self._is_draining:
            return self._drain_until
        wake_at = math.inf
        if result.next_not_before is not None:
            wake_at = now + max(0.0, result.next_not_before - self._wall_clock())
        cooling = (pool.cooling_until for pool in self._pools.values() if pool.cooling_until > now)
        return min(wake_at, min(cooling, default=math.inf))

    # Workers -----------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """Wakes or spawns as many workers as there are calls that can start."""
        group = self._group
        assert group is not None, "workers start inside run()"
        for pool in self._pools.values():
            startable = min(len(pool.queue), pool.limit - len(pool.busy))
            while startable > 0 and pool.idle:
                pool.idle.pop().set()
                startable -= 1
            spawned = min(startable, pool.limit - pool.workers)
            for _ in range(spawned):
                pool.workers += 1
                group.start_soon(self._work, pool)

    async def _work(self, pool: Pool) -> None:
        """A worker's life: one call after another, until one of them is cancelled."""
        worker = Worker()
        try:
            with worker.scope:
                while True:
                    now = anyio.current_time()
                    room = self._settings.max_in_flight - self._running_tasks
                    tasks = [] if self._is_draining else pool.take(self._max_rows, room, now)
                    if not tasks:
                        event = anyio.Event()
                        pool.idle.append(event)
                        await event.wait()
                        continue
                    worker.tasks = tasks
                    worker.journal = []
                    worker.started_at = now
                    worker.deadline = now + self._timeouts[tasks[0].generator]
                    pool.busy.add(worker)
                    pool.running_tasks += len(tasks)
                    self._running_tasks += len(tasks)
                    outcomes = await self._executor.execute(tasks, worker.journal)
                    self._end_call(pool, worker, outcomes)
                    self._calls += 1
                    if self._calls % _CALLS_BETWEEN_CHECKPOINTS == 0:
                        await checkpoint()
        finally:
            pool.workers -= 1
            if worker.scope.cancelled_caught and worker.tasks:
                self._end_call(pool, worker, self._cut_off(worker))

    def _end_call(self, pool: Pool, worker: Worker, outcomes: Sequence[Outcome]) -> None:
        count = len(worker.tasks)
        worker.tasks = ()
        pool.busy.discard(worker)
        pool.running_tasks -= count
        pool.completed(count)
        at_the_bound = self._running_tasks >= self._settings.max_in_flight
        self._running_tasks -= count
        for outcome in outcomes:
            if outcome.kind is OutcomeKind.RATE_LIMITED:
                rest = cool_down_s(outcome.error, self._settings.cool_down_s)
                pool.cooling_until = max(pool.cooling_until, anyio.current_time() + rest)
        self._outcomes.extend(outcomes)
        self._arrived.set()
        if at_the_bound and not self._is_draining:
            self._start_workers()

    def _cut_off(self, worker: Worker) -> list[Outcome]:
        """The outcomes of a call that was cancelled: over its deadline, or because the run ends."""
        took_ms = (anyio.current_time() - worker.started_at) * 1000
        kind, error = OutcomeKind.RELEASED, None
        if worker.timed_out:
            kind = OutcomeKind.TRANSIENT
            error = Transient(f"No result after {took_ms / 1000:.3g} s; the call was cut off.", "Timeout")
        started_at = self._wall_clock() - took_ms / 1000
        return [
            Outcome(kind, task, None, error, worker.journal if place == 0 else (), started_at, took_ms)
            for place, task in enumerate(worker.tasks)
        ]

    async def _watch_deadlines(self) -> None:
        """Cuts off calls that are over their deadline.

        A call that starts while this sleeps cannot end its time before the shortest time-out has passed.
        """
        shortest = min(self._timeouts, default=math.inf)
        if math.isinf(shortest):
            return
        while True:
            now = anyio.current_time()
            next_check = now + shortest
            for pool in self._pools.values():
                for worker in tuple(pool.busy):
                    if worker.deadline <= now:
                        worker.timed_out = True
                        worker.scope.cancel()
                    else:
                        next_check = min(next_check, worker.deadline)
            await anyio.sleep_until(next_check)


def _single(raised: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that matters of a group: the first one, since the others follow from it."""
    error: BaseException = raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
