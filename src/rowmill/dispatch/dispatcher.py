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

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from rowmill.deferral import asked_wait_s, cool_down_s
from rowmill.dispatch.pool import Pool, ResourceLimit, Worker
from rowmill.dispatch.protocol import Executor, TakeTurn, Traits, Workers
from rowmill.dispatch.settings import DispatchSettings, DispatchStatistics, Ending
from rowmill.dispatch.slot import Slot
from rowmill.dispatch.turn_times import TurnTimes
from rowmill.errors import Interrupted, Transient, Unavailable
from rowmill.task import FinishedRowGroup, Outcome, OutcomeKind, Steering, Task, TurnResult

_CALLS_BETWEEN_CHECKPOINTS = 64
_STARVED_PAUSE_S = 0.004
_PULL_S = 0.050
"""By so much a turn is longer that asks for many tasks."""
_LONG_TURN_S = 0.040
_FULL_TURN = 1500
_MANY_OUTCOMES = 64
"""So many are committed before tasks are looked for: that takes longer than the rest of a turn, and they would wait."""


class Dispatcher:
    """Works on one run until it is complete or told to stop. Use once."""

    def __init__(
        self,
        executor: Executor,
        take_turn: TakeTurn,
        traits: Sequence[Traits | None],
        limits: Mapping[str, ResourceLimit],
        settings: DispatchSettings,
        *,
        wall_clock: Callable[[], float],
        loop_clock: Callable[[], float] = anyio.current_time,
        idle_clock: Callable[[], float] = anyio.current_time,
        on_finished: Callable[[FinishedRowGroup], None] | None = None,
        starts_paused: bool = False,
        workers: Workers | None = None,
        elsewhere: frozenset[int] = frozenset(),
    ) -> None:
        """``traits`` by generator number (None: never a task); ``limits`` per resource.

        ``workers`` make the calls of the generators ``elsewhere``; ``executor`` those of all others.

        ``wall_clock`` gives seconds since the epoch, ``loop_clock`` what :func:`anyio.current_time` gives: workers look
        at it once a call. ``idle_clock`` gives the seconds the event loop has waited for something to do; if nobody
        knows, it is never busy, and no turn is taken alone. ``on_finished`` is called after the commit of each finished
        row group; what it raises stops the run (F8). ``starts_paused``: nothing starts before :meth:`resume`.
        """
        self._executor = executor
        self._take_turn = take_turn
        self._settings = settings
        self._wall_clock = wall_clock
        self._loop_clock = loop_clock
        # Calls that are made elsewhere need a loop that goes on, so no turn is taken alone then.
        self._idle_clock = idle_clock if workers is None else anyio.current_time
        self._on_finished = on_finished
        self._timeouts = [trait.timeout_s if trait and trait.timeout_s else math.inf for trait in traits]
        self._max_rows = [trait.max_rows_per_call if trait else 1 for trait in traits]
        self._resource_of = [trait.resource if trait else "" for trait in traits]
        self._limits = dict(limits)
        self._pools: dict[str, Pool] = {}
        self._rotation = 0
        self._outcomes: list[Outcome] = []
        self._arrived = anyio.Event()
        self._running_tasks = 0
        self._calls = 0
        self._turns = 0
        self._times = TurnTimes()
        self._asks_next = False
        """The last turn only took outcomes in; the next one asks for tasks, whatever arrived meanwhile."""
        self._max_in_flight = settings.max_in_flight
        self._is_paused = starts_paused
        self._is_draining = False
        self._is_cancelled = False
        self._drain_until = math.inf
        self._group: TaskGroup | None = None
        self._workers = workers
        self._elsewhere = elsewhere if workers is not None else frozenset()
        self._slots: dict[int, Slot] = {}
        self._next_call = 0
        self.stop: BaseException | None = None
        """What stopped the run, if something did."""

    def statistics(self) -> DispatchStatistics:
        """A value that says where the dispatcher stands."""
        now = anyio.current_time()
        pools = tuple(pool.statistics(now) for pool in self._pools.values())
        return DispatchStatistics(self._turns, self._running_tasks, pools)

    def running_calls(self) -> dict[str, int]:
        """Calls that run now, per resource. May be asked from any thread."""
        return {name: pool.running_calls for name, pool in tuple(self._pools.items())}

    # Steering ------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Starts nothing more and lets running calls finish, for at most ``drain_s`` seconds."""
        if not self._is_draining:
            self._is_draining = True
            self._drain_until = anyio.current_time() + self._settings.drain_s
        self._arrived.set()

    def nudge(self) -> None:
        """Takes a turn soon, even if nothing has arrived: somebody wants something of it."""
        self._arrived.set()

    def pause(self) -> None:
        """Starts nothing more until :meth:`resume`; running calls finish and are committed."""
        self._is_paused = True

    def resume(self) -> None:
        """Starts tasks again."""
        if self._is_paused:
            self._is_paused = False
            self._arrived.set()

    def set_limit(self, resource: str, calls: int) -> None:
        """From now on at most so many calls of a resource run at once; more that run already finish."""
        if resource in self._pools:
            self._pools[resource].configure(calls)
            self._tell_limit(self._pools[resource])
            self._arrived.set()

    def set_max_in_flight(self, tasks: int) -> None:
        """From now on at most so many tasks run at once, over all resources."""
        self._max_in_flight = tasks
        for pool in self._pools.values():
            pool.max_in_flight = tasks
        self._arrived.set()

    def _obey(self, steering: Steering) -> None:
        for resource, calls in steering.limits.items():
            self.set_limit(resource, calls)
        if steering.max_in_flight is not None:
            self.set_max_in_flight(steering.max_in_flight)
        if steering.paused is not None:
            (self.pause if steering.paused else self.resume)()
        if steering.drain:
            self.drain()
        if steering.cancel:
            self.cancel()

    def cancel(self) -> None:
        """Cuts running calls off; what has arrived is still committed."""
        self.drain()
        self._is_cancelled = True
        for pool in self._pools.values():
            for worker in tuple(pool.busy):
                worker.scope.cancel()

    # The turn loop ---------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Works until the run is complete or stopped. Raises what a turn, an executor or a callback raises."""
        self._open_pools()
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._watch_deadlines)
                if self._workers is not None:
                    group.start_soon(self._take_endings, self._workers)
                ending = await self._take_turns()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            raise _single(raised) from raised
        return ending

    def _open_pools(self) -> None:
        now = anyio.current_time()
        rows_per_call: dict[str, int] = {}
        for resource, rows in zip(self._resource_of, self._max_rows, strict=True):
            if resource:
                rows_per_call[resource] = max(rows_per_call.get(resource, 1), rows)
        for name, rows in rows_per_call.items():
            limit = self._limits[name]
            pool = self._pools[name] = Pool(name, limit, rows, self._max_in_flight, now)
            if limit.cooling_until is not None:
                pool.cooling_until = now + max(0.0, limit.cooling_until - self._wall_clock())
            if self._workers is not None:
                pool.suspects = self._workers.suspects

    async def _take_turns(self) -> Ending:
        while True:
            result = await self._one_turn()
            if result.complete:
                # Calls that still run belong to rows that were dropped: nobody waits for them, but they cost.
                self.cancel()
            is_over = self._is_draining and not self._running_tasks and not self._outcomes
            # A turn after the last callbacks notes that they ran (K3).
            if is_over and not (result.finished and self._on_finished):
                return self._ending(result)
            if not is_over and (not result.again or self._is_draining or self._is_paused):
                await self._wait_for_turn(result)

    async def _one_turn(self) -> TurnResult:
        outcomes, self._outcomes = self._outcomes, []
        self._arrived = anyio.Event()
        now = anyio.current_time()
        self._times.start(now, self._idle_clock())
        rests = self._is_draining or self._is_paused
        free = {} if rests else {name: pool.free(now) for name, pool in self._pools.items()}
        self._asks_next = not self._asks_next and len(outcomes) >= _MANY_OUTCOMES and self._can_ask_later(free)
        if self._asks_next:
            free = {}
        changes = {name: pool.newly_learned() for name, pool in self._pools.items()}
        learned = {name: limit for name, limit in changes.items() if limit is not None}
        now_on_wall = self._wall_clock()
        result = await self._take_turn(outcomes, free, now_on_wall, learned, alone=self._times.is_alone)
        self._turns += 1
        elapsed_s = self._times.end(anyio.current_time())
        # Most of a turn's cost does not grow with its tasks, so only one that is long because it is full counts.
        is_full = len(outcomes) > _FULL_TURN and self._times.took_s > _LONG_TURN_S
        for pool in self._pools.values():
            pool.adapt_prefetch(elapsed_s, self._times.longest_s, turn_is_full=is_full)
        if self._on_finished is not None:
            for finished in result.finished:
                self._on_finished(finished)
        if result.stop is not None and self.stop is None:
            self.stop = result.stop
            self.drain()
        if result.steering is not None:
            self._obey(result.steering)
        if result.dropped or result.outdated:
            self._forget(result.dropped, result.outdated)
        if not self._is_draining:
            for task in result.tasks:
                resource = self._resource_of[task.generator]
                self._pools[resource].queue.append(task)
                free[resource] -= 1
            for name, left in free.items():
                self._pools[name].has_backlog = left <= 0
            self._start_workers()
        return result._replace(again=True) if self._asks_next and not result.complete else result

    def _can_ask_later(self, free: Mapping[str, int]) -> bool:
        """Whether tasks are wanted, and none of those who want them runs dry soon."""
        wanting = [self._pools[name] for name, count in free.items() if count]
        return bool(wanting) and all(pool.can_wait(2 * self._times.took_s + _PULL_S) for pool in wanting)

    def _forget(self, dropped: frozenset[tuple[int, int]], outdated: frozenset[tuple[int, int, int]]) -> None:
        """Gives up the other tasks of dropped rows, and those on values taken back: nobody waits for them (F5)."""

        def is_pointless(task: Task) -> bool:
            row = (task.row_group, task.row_index)
            return row in dropped or (task.generator, *row) in outdated

        for pool in self._pools.values():
            self._outcomes += [Outcome(OutcomeKind.RELEASED, task) for task in pool.forget(is_pointless)]
            for worker in tuple(pool.busy):
                if all(is_pointless(task) for task in worker.tasks):
                    worker.scope.cancel()
        if self._outcomes:
            self._arrived.set()

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
        window = self._settings.commit_window_s
        next_at = self._times.next_at(min(_STARVED_PAUSE_S, window) if starved else window)
        await anyio.sleep(max(0.0, next_at - now))

    def _wake_at(self, result: TurnResult, now: float) -> float:
        """When to take a turn even if nothing arrives, on the event loop's clock."""
        if self._is_draining:
            return self._drain_until
        wake_at = math.inf
        if self._is_paused:
            return wake_at
        if result.next_not_before is not None:
            wake_at = now + max(0.0, result.next_not_before - self._wall_clock())
        for pool in self._pools.values():
            if pool.cooling_until > now:
                wake_at = min(wake_at, pool.cooling_until)
            elif pool.queue or pool.has_backlog:
                wake_at = min(wake_at, pool.grows_at(now))
        return wake_at

    # Workers -----------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """Wakes or spawns workers for the calls that can start, sharing the room for more between the pools."""
        group = self._group
        assert group is not None, "workers start inside run()"
        if self._is_paused:
            return
        now = anyio.current_time()
        pools = list(self._pools.values())
        self._rotation = (self._rotation + 1) % max(1, len(pools))
        waiting = [(pool, pool.startable(now)) for pool in pools[self._rotation :] + pools[: self._rotation]]
        room = self._max_in_flight - self._running_tasks
        while room > 0 and (waiting := [(pool, count) for pool, count in waiting if count > 0]):
            share = max(1, room // len(waiting))
            for place, (pool, count) in enumerate(waiting):
                started = min(count, share, room)
                self._start(group, pool, started)
                room -= started
                waiting[place] = (pool, count - started)

    def _start(self, group: TaskGroup, pool: Pool, calls: int) -> None:
        if self._workers is not None:
            calls -= self._hand_over(self._workers, pool, calls)
        for _ in range(calls):
            if pool.idle:
                pool.idle.pop().set()
            else:
                pool.workers += 1
                group.start_soon(self._work, pool)

    async def _work(self, pool: Pool) -> None:
        """A worker's life: one call after another, until one of them is cancelled."""
        worker, clock = Worker(), self._loop_clock
        try:
            with worker.scope:
                yields = False
                while True:
                    now = clock()
                    room = self._max_in_flight - self._running_tasks
                    rests = yields or self._is_draining or self._is_paused
                    rests = rests or (self._workers is not None and self._is_for_workers(pool))
                    tasks = [] if rests else pool.take(self._max_rows, room, now)
                    yields = False
                    if not tasks:
                        event = anyio.Event()
                        pool.idle.append(event)
                        await event.wait()
                        continue
                    worker.tasks = tasks
                    worker.journal = []
                    worker.started_at = now
                    worker.limit_at_start = pool.limit(now)
                    worker.deadline = now + self._timeouts[tasks[0].generator]
                    pool.busy.add(worker)
                    pool.running_tasks += len(tasks)
                    self._running_tasks += len(tasks)
                    outcomes = await self._executor.execute(tasks, worker.journal)
                    # At the bound on all tasks, the place that gets free goes round the pools that want it.
                    yields = self._running_tasks >= self._max_in_flight and self._others_wait(pool)
                    self._end_call(pool, worker, outcomes)
                    if yields:
                        self._start_workers()
                    self._calls += 1
                    if self._calls % _CALLS_BETWEEN_CHECKPOINTS == 0:
                        await checkpoint()
        finally:
            pool.workers -= 1
            if worker.scope.cancelled_caught and worker.tasks:
                self._end_call(pool, worker, self._cut_off(worker))

    # The bulk lane: calls that are made elsewhere -----------------------------------------------------

    def _is_for_workers(self, pool: Pool) -> bool:
        return bool(pool.queue) and pool.queue[0].generator in self._elsewhere

    def _hand_over(self, workers: Workers, pool: Pool, calls: int) -> int:
        """Hands over up to so many calls, as long as the next one is made elsewhere; returns how many."""
        now = anyio.current_time()
        if pool.may_be_shared:
            pool.is_shared = workers.can_share(pool.resource, pool.limit(now))
            self._tell_limit(pool)
        slots: list[Slot] = []
        while len(slots) < calls and self._is_for_workers(pool):
            tasks = pool.take(self._max_rows, self._max_in_flight - self._running_tasks, now)
            if not tasks:
                break
            self._next_call += 1
            slot = Slot(self._next_call, pool, tasks, self._timeouts[tasks[0].generator], now, self._give_up)
            self._slots[slot.call] = slot
            pool.busy.add(slot)
            pool.running_tasks += len(tasks)
            self._running_tasks += len(tasks)
            slots.append(slot)
        if slots:
            workers.submit(slots)
        return len(slots)

    def _tell_limit(self, pool: Pool) -> None:
        """Has workers keep to the limit of calls of which some wait there (W9)."""
        limit = None if self._workers is None else pool.limit_to_tell(anyio.current_time())
        if self._workers is not None and limit is not None:
            self._workers.set_limits({pool.resource: limit})

    async def _take_endings(self, workers: Workers) -> None:
        try:
            async for batch in workers.endings():
                for call, outcomes in batch:
                    slot = self._slots.pop(call, None)
                    if slot is None:
                        continue
                    if slot.is_cut_off:
                        slot.journal = list(outcomes[0].requests)
                        outcomes = self._cut_off(slot)
                    self._end_call(slot.pool, slot, outcomes)
                if not self._is_draining:
                    self._start_workers()
        except Interrupted as error:  # no worker is left (W5)
            self.stop = self.stop or error
            self.cancel()
            for slot in tuple(self._slots.values()):
                self._end_call(slot.pool, slot, self._cut_off(slot))
            self._slots.clear()

    def _give_up(self, slot: Slot) -> None:
        """Has a call ended that nobody waits for. Its values are thrown away; which requests it made is told soon."""
        if self._workers is not None and slot.call in self._slots and not slot.is_cut_off:
            slot.is_cut_off = True
            slot.deadline = math.inf
            self._workers.cancel([slot.call])

    # How calls end -------------------------------------------------------------------------------------

    def _others_wait(self, pool: Pool) -> bool:
        now = anyio.current_time()
        return any(other is not pool and other.startable(now) for other in self._pools.values())

    def _end_call(self, pool: Pool, worker: Worker | Slot, outcomes: Sequence[Outcome]) -> None:
        count = len(worker.tasks)
        worker.tasks = ()
        pool.busy.discard(worker)
        pool.running_tasks -= count
        pool.completed(count)
        self._running_tasks -= count
        for outcome in outcomes:
            if outcome.kind is OutcomeKind.SUCCEEDED:
                pool.succeeded()
            elif outcome.kind is OutcomeKind.RATE_LIMITED:
                rest = cool_down_s(outcome.error, self._settings.cool_down_s)
                pool.rate_limited(worker.limit_at_start, anyio.current_time() + rest)
                pool.answered()
                self._tell_limit(pool)
            elif isinstance(outcome.error, Unavailable):
                asked_s = asked_wait_s(outcome.error.retry_after_s, 0.0)
                pool.unavailable(anyio.current_time(), asked_s, is_certain=outcome.error.is_certain)
                self._tell_limit(pool)
        if not self._outcomes:
            self._arrived.set()
        self._outcomes.extend(outcomes)

    def _cut_off(self, worker: Worker | Slot) -> list[Outcome]:
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
