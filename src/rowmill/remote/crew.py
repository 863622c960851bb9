"""The crew: all workers of an invocation. Who gets which call, when one counts as lost, what takes its place.

Pure anyio. It knows links and messages, nothing of processes or clusters, so that its rules (W1 to W6) are tried on a
virtual clock.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from rowmill.counted import plural
from rowmill.dispatch.protocol import CallEnding
from rowmill.dispatch.slot import Slot
from rowmill.errors import RowmillError, Transient, WorkersAway
from rowmill.remote.crew_news import CrewNews
from rowmill.remote.introduction import failure_of, introduce
from rowmill.remote.link import CannotLaunch, Launcher, Link, LinkLost
from rowmill.remote.members import QUIET_S, CrewGroup, CrewWorker, GroupPlan
from rowmill.remote.messages import (
    Answer,
    Drain,
    Failed,
    Question,
    Results,
    Work,
    decode,
    encode,
)
from rowmill.remote.plain import call_data, error_data, outcomes_of
from rowmill.spec.declaration import THREADS
from rowmill.task import Outcome, OutcomeKind, TaskKey
from rowmill.worker import WorkerFacts, WorkerNews

_LOOK_S = 0.25
_CALLS_IN_A_FRAME = 256
_CUT_OFF_S = 1.0
"""So long a worker may take to tell of a call that was cut off."""
_LOSSES_TO_SUSPECT = 2
_LOSSES_OF_WAITING = 5
"""Calls that only wait for a model share their worker's fate, and rarely cause it."""
_LONGEST_BACK_OFF_S = 30.0
_CLOCKS_AGREE_S = 0.1
_CLOSING_S = 3.0
_SHORT_CALL_S = 0.25
"""Plain functions that take less have their next call at hand in the worker: else it would stand idle until the driver
has heard of the last one and sent another."""
_WEIGHT = 0.1
"""Of the last call, in how soon a long one is forgotten."""

_log = logging.getLogger("rowmill.workers")

Answerer = Callable[[Question], Awaitable[object]]
"""Does what a worker asks of the driver."""


@dataclass(frozen=True, slots=True)
class CrewSettings:
    """How patient a crew is. Durations in seconds."""

    silence_s: float = 6.0
    start_s: float = 600.0
    wait_s: float = 600.0


class Crew:
    """All workers of an invocation: :class:`~rowmill.dispatch.protocol.Workers`. Made by :func:`hire`."""

    def __init__(
        self,
        launcher: Launcher,
        groups: Sequence[GroupPlan],
        settings: CrewSettings,
        answer: Answerer,
        wall_clock: Callable[[], float],
        note: Callable[[WorkerNews], Coroutine[Any, Any, None]],
        waiting_only: frozenset[int] = frozenset(),
        users: Mapping[str, frozenset[int]] | None = None,
        threads: int = 1,
        resources: Mapping[int, str] | None = None,
    ) -> None:
        """``users``: the generators that share each limit; those of threads take one each, of which a worker has
        ``threads``. ``resources``: what the calls of each generator take a place of."""
        self._launcher = launcher
        self._settings = settings
        self._answer = answer
        self._wall_clock = wall_clock
        self._waiting_only = waiting_only
        self._users = users or {}
        self._threaded = self._users.get(THREADS, frozenset())
        self._threads = threads
        self._call_s = math.inf
        """What calls of plain functions take at most, of late."""
        self._groups = [CrewGroup(plan) for plan in groups]
        self._crew_news = CrewNews(self._groups, settings.wait_s, wall_clock, note)
        self._group_of = {number: group for group in self._groups for number in group.plan.open.generators}
        self._slots: dict[int, CrewWorker | None] = {}
        """Who has each call; None: nobody yet."""
        self._losses: dict[TaskKey, int] = {}
        self._suspects: set[TaskKey] = set()
        self._silent_nodes: set[str] = set()
        self._ended: list[CallEnding] = []
        self._news = anyio.Event()
        self._fatal: BaseException | None = None
        self._numbers = itertools.count(1)
        self._tasks: TaskGroup | None = None
        self._limits: dict[str, int] = {}
        """Calls at once of resources, requests at once to servers of models: of all workers together."""
        self._resource_of = resources or {}
        self._resources = frozenset(self._resource_of.values()) - {THREADS}
        self._shared: set[str] = set()
        """Resources of which each worker keeps to its share; of others each may take all that the driver hands over."""
        self._is_closing = False
        self._last_look = 0.0
        self._all_gone = anyio.Event()

    # What the dispatcher uses --------------------------------------------------------------------------

    @property
    def suspects(self) -> Set[TaskKey]:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        return self._suspects

    def submit(self, slots: Sequence[Slot]) -> None:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        touched: dict[int, CrewGroup] = {}
        for slot in slots:
            task = slot.tasks[0]
            group = self._group_of[task.generator]
            self._slots[slot.call] = None
            is_suspect = bool(self._suspects) and task.key in self._suspects
            if is_suspect:
                group.suspects.append(slot)
            elif task.generator in self._threaded:
                group.waiting_for_thread.append(slot)
            else:
                group.waiting.append(slot)
            touched[id(group)] = group
        for group in touched.values():
            self._route(group)

    def cancel(self, calls: Sequence[int]) -> None:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        now = anyio.current_time()
        for call in calls:
            if call not in self._slots:
                continue
            worker = self._slots[call]
            if worker is None:
                self._end_waiting(call)
            elif any(data.call == call for data in worker.outgoing):
                worker.outgoing = [data for data in worker.outgoing if data.call != call]
                self._end_unheard(worker, call)
            elif call in worker.calls:
                worker.cancels.append(call)
                worker.cut_off.setdefault(call, now)
                worker.tell()

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        if not limits:
            return
        self._limits |= limits
        if THREADS in limits:
            self._threads = max(
                1, limits[THREADS] // sum(group.plan.workers for group in self._groups_that_use(THREADS))
            )
            for group in self._groups:
                self._route(group)
        self._tell_limits(limits)

    def can_share(self, resource: str, calls: int) -> bool:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        if resource in self._shared:
            return True
        groups = self._groups_that_use(resource)
        workers = [worker for group in groups for worker in group.workers if worker.is_ready]
        if len(workers) < sum(group.plan.workers for group in groups):
            return False
        if any(self._calls_of(worker, resource) > self._share(resource, calls, worker) for worker in workers):
            return False
        self._shared.add(resource)
        self._tell_limits([resource])
        return True

    def _calls_of(self, worker: CrewWorker, resource: str) -> int:
        return sum(self._resource_of.get(slot.tasks[0].generator) == resource for slot in worker.calls.values())

    def _tell_limits(self, names: Iterable[str]) -> None:
        """Tells all workers of their shares of these limits."""
        known = [name for name in names if name in self._limits]
        for worker in self._ready() if known else ():
            worker.limits = {**worker.limits, **{name: self._limit_of(worker, name) for name in known}}
            worker.tell()

    def _groups_that_use(self, name: str) -> Sequence[CrewGroup]:
        """The groups with a generator that a limit is for, or else all."""
        users = self._users.get(name, frozenset())
        return [group for group in self._groups if not users.isdisjoint(group.plan.open.generators)] or self._groups

    def _limit_of(self, worker: CrewWorker, name: str) -> int:
        """What a worker is told to keep to: its share, or the whole limit of a resource that cannot be shared now."""
        is_whole = name in self._resources and name not in self._shared
        return self._limits[name] if is_whole else self._share(name, self._limits[name], worker)

    def _share(self, name: str, calls: int, worker: CrewWorker) -> int:
        """A worker's share of a limit: at least one, unless nothing is to start."""
        groups = self._groups_that_use(name)
        workers = sum(group.plan.workers for group in groups)
        place = worker.place
        for group in itertools.takewhile(lambda group: group is not worker.group, groups):
            place += group.plan.workers
        return calls and max(1, calls // workers + (place < calls % workers))

    def _end_waiting(self, call: int) -> None:
        """Ends a call that waits for a worker."""
        del self._slots[call]
        waiting = [slot for group in self._groups for slot in group.all_waiting()]
        self._end_released(next(slot for slot in waiting if slot.call == call), "")

    def _end_unheard(self, worker: CrewWorker, call: int) -> None:
        """Ends a call that was cut off, and of which its worker tells nothing."""
        slot = self._taken_from(worker, call)
        worker.cut_off.pop(call, None)
        if slot is not None and self._slots.pop(call, None) is not None:
            self._end_released(slot, worker.name)
            self._route(worker.group)

    def _end_released(self, slot: Slot, worker: str) -> None:
        self._ended.append(
            CallEnding(slot.call, [Outcome(OutcomeKind.RELEASED, task, worker=worker) for task in slot.tasks])
        )
        self._news.set()

    async def endings(self) -> AsyncIterator[Sequence[CallEnding]]:
        """See :class:`~rowmill.dispatch.protocol.Workers`."""
        while True:
            if self._ended:
                batch, self._ended = self._ended, []
                yield batch
            elif self._fatal is not None:
                raise self._fatal
            else:
                self._news = anyio.Event()
                await self._news.wait()

    def statistics(self) -> tuple[WorkerFacts, ...]:
        """Where each worker stands, of those that have been started."""
        return self._crew_news.statistics()

    # Routing -------------------------------------------------------------------------------------------

    def _route(self, group: CrewGroup) -> None:
        """Gives waiting calls to the workers with the least to do."""
        now = anyio.current_time()
        self._route_suspects(group, now)
        for waiting in (group.waiting, group.waiting_for_thread):
            while waiting:
                if waiting[0].call not in self._slots:  # cancelled meanwhile
                    waiting.popleft()
                    continue
                worker = self._least_busy(group, now, takes_thread=waiting is group.waiting_for_thread)
                if worker is None:
                    break
                self._give(worker, waiting.popleft(), now)

    def _route_suspects(self, group: CrewGroup, now: float) -> None:
        """Lets suspects run alone: one worker takes nothing else until all have run (W4)."""
        while group.suspects and group.suspects[0].call not in self._slots:
            group.suspects.popleft()
        if not group.suspects:
            if group.reserved is not None and not group.reserved.calls:
                group.reserved = None
            return
        if group.reserved is None or not group.reserved.is_ready:
            group.reserved = self._least_busy(group, now)
        worker = group.reserved
        if worker is not None and not worker.calls and now - worker.heard_at <= QUIET_S:
            self._give(worker, group.suspects.popleft(), now)

    def _least_busy(self, group: CrewGroup, now: float, *, takes_thread: bool = False) -> CrewWorker | None:
        best: CrewWorker | None = None
        most = self._threads * (2 if self._call_s < _SHORT_CALL_S else 1) if takes_thread else math.inf
        for worker in group.workers:
            if not worker.is_ready or worker is group.reserved or now - worker.heard_at > QUIET_S:
                continue
            if worker.threads_taken >= most:
                continue
            if best is None or len(worker.calls) < len(best.calls):
                best = worker
        return best

    def _give(self, worker: CrewWorker, slot: Slot, now: float) -> None:
        self._slots[slot.call] = worker
        worker.calls[slot.call] = slot
        takes_thread = slot.tasks[0].generator in self._threaded
        worker.threads_taken += takes_thread
        if takes_thread and worker.threads_taken > self._threads:
            worker.next_up.append(slot)
        else:
            slot.begin(now)
        worker.outgoing.append(call_data(slot.call, slot.tasks))
        worker.tell()

    def _taken_from(self, worker: CrewWorker, call: int) -> Slot | None:
        """A call that its worker has no more; None if it never had it, or told of it before."""
        slot = worker.calls.pop(call, None)
        if slot is None or slot.tasks[0].generator not in self._threaded:
            return slot
        worker.threads_taken -= 1
        if slot in worker.next_up:
            worker.next_up.remove(slot)
        elif worker.next_up:
            worker.next_up.popleft().begin(anyio.current_time())
        return slot

    # Endings -------------------------------------------------------------------------------------------

    def _take(self, worker: CrewWorker, message: Results) -> None:
        now = anyio.current_time()
        was_quiet = now - worker.heard_at > QUIET_S
        worker.heard_at = now
        worker.offset_s = min(worker.offset_s, self._wall_clock() - message.clock)
        offset_s = worker.offset_s if abs(worker.offset_s) > _CLOCKS_AGREE_S else 0.0
        for ending in message.endings:
            slot = self._taken_from(worker, ending.call)
            if worker.cut_off:
                worker.cut_off.pop(ending.call, None)
            if slot is None or self._slots.pop(ending.call, None) is None:
                continue  # late, or told twice (W1)
            outcomes = outcomes_of(ending, slot.tasks, worker.name, offset_s)
            is_made = outcomes[0].kind is not OutcomeKind.RELEASED
            worker.done += is_made
            if slot.tasks[0].generator in self._threaded:
                self._note_time(ending.duration_ms / 1000)
            if self._losses and is_made:
                for task in slot.tasks:
                    self._losses.pop(task.key, None)
                    self._suspects.discard(task.key)
            self._ended.append(CallEnding(ending.call, outcomes))
        for name, level, text, fields in message.logs:
            logging.getLogger(name).log(level, "%s", text, extra={**fields, "worker": worker.name})
        for question in message.questions:
            self._start(self._reply, worker, question)
        if self._ended:
            self._news.set()
        group = worker.group
        if was_quiet or group.suspects or group.reserved is not None or group.waiting_for_thread:
            self._route(group)

    def _note_time(self, took_s: float) -> None:
        """A plain function took so long."""
        before_s = took_s if math.isinf(self._call_s) else self._call_s
        self._call_s = max(took_s, before_s + (took_s - before_s) * _WEIGHT)

    async def _reply(self, worker: CrewWorker, question: Question) -> None:
        try:
            answer = Answer(question.question, await self._answer(question))
        except RowmillError as error:
            answer = Answer(question.question, None, error_data(error))
        worker.answers.append(answer)
        worker.tell()

    def _release(self, worker: CrewWorker) -> None:
        """Ends the calls of a worker that was lost: nobody is to blame, or the one that was alone with it (W2, W4)."""
        calls, worker.calls = worker.calls, {}
        for call, slot in calls.items():
            if self._slots.pop(call, None) is None:
                continue
            if slot in worker.next_up:
                self._end_released(slot, worker.name)
                continue
            worker.calls_lost += 1
            keys = [task.key for task in slot.tasks]
            is_to_blame = len(keys) == 1 and keys[0] in self._suspects and worker is worker.group.reserved
            most = _LOSSES_OF_WAITING if slot.tasks[0].generator in self._waiting_only else _LOSSES_TO_SUSPECT
            for key in keys:
                self._losses[key] = self._losses.get(key, 0) + 1
                if self._losses[key] >= most:
                    self._suspects.add(key)
            self._ended.append(CallEnding(call, self._lost_outcomes(slot, worker, is_to_blame=is_to_blame)))
        if worker.group.reserved is worker:
            worker.group.reserved = None
        self._news.set()

    def _lost_outcomes(self, slot: Slot, worker: CrewWorker, *, is_to_blame: bool) -> list[Outcome]:
        if not is_to_blame:
            return [Outcome(OutcomeKind.RELEASED, task, worker=worker.name) for task in slot.tasks]
        took_s = anyio.current_time() - slot.started_at
        lost = self._losses[slot.tasks[0].key]
        error = Transient(
            f"{lost} workers were lost while they made it, the last one alone: {worker.reason}", "WorkerDied"
        )
        started_at = self._wall_clock() - took_s
        return [
            Outcome(OutcomeKind.TRANSIENT, task, None, error, (), started_at, took_s * 1000, worker=worker.name)
            for task in slot.tasks
        ]

    # Lives of workers ----------------------------------------------------------------------------------

    def _start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        assert self._tasks is not None, "the crew is hired"
        self._tasks.start_soon(function, *arguments)

    async def work(self, tasks: TaskGroup) -> None:
        """Starts all workers and waits until each group has one. Raises what keeps them from getting ready."""
        self._tasks = tasks
        self._last_look = anyio.current_time()
        for group in self._groups:
            group.empty_since = self._last_look
            for place in range(group.plan.workers):
                self._start(self._keep, group, place)
        self._start(self._watch)
        self._start(self._tell_news)
        for group in self._groups:
            await group.first_ready.wait()
        if self._fatal is not None:
            raise self._fatal

    async def close(self) -> None:
        """Lets workers end by themselves, for a moment; then ends them."""
        self._is_closing = True
        workers = [worker for group in self._groups for worker in group.workers]
        for worker in workers:
            worker.tell()
        with anyio.move_on_after(_CLOSING_S):
            while any(group.workers for group in self._groups):
                self._all_gone = anyio.Event()
                await self._all_gone.wait()

    async def _keep(self, group: CrewGroup, place: int) -> None:
        """Has one worker of a group, and another one when it is lost (W3)."""
        failures = 0
        while not self._is_closing and self._fatal is None:
            worker = CrewWorker(f"{group.plan.name}-{next(self._numbers)}", group, place)
            group.workers.append(worker)
            try:
                with worker.scope:
                    await self._live(worker)
            except RowmillError as error:
                worker.reason = worker.reason or str(error)
                if not isinstance(error, LinkLost | CannotLaunch):
                    self._fail(error)
            finally:
                group.workers.remove(worker)
                self._release(worker)
                # The others may take its share.
                shared, self._shared = self._shared, set()
                self._tell_limits(shared)
                self._all_gone.set()
            if self._is_closing:
                return
            self._crew_news.tell_loss(worker)
            now = anyio.current_time()
            if not any(other.is_ready for other in group.workers):
                group.empty_since = now if group.empty_since is None else group.empty_since
            self._route(group)
            failures = 0 if worker.done else failures + 1
            if failures > 1 or not worker.is_ready:
                await anyio.sleep(min(_LONGEST_BACK_OFF_S, 0.25 * 2.0 ** min(failures, 10)))

    async def _tell_news(self) -> None:
        try:
            await self._crew_news.keep_telling()
        except RowmillError as error:  # F7: the run stops
            self._fail(error)

    async def tell_news(self) -> None:
        """Has kept what is new."""
        await self._crew_news.keep()

    async def _live(self, worker: CrewWorker) -> None:
        link: Link | None = None
        try:
            try:
                with anyio.fail_after(self._settings.start_s):
                    link = await self._launcher.launch(
                        worker.name, worker.group.plan.name, frozenset(self._silent_nodes)
                    )
                    worker.is_placed = True
                    await introduce(worker, link)
            except TimeoutError:
                raise LinkLost(f"it was not ready after {self._settings.start_s:g} s (run.executor.start_s)") from None
            self._join(worker)
            async with anyio.create_task_group() as both:
                both.start_soon(self._catch, worker, both.cancel_scope, self._send, worker, link)
                both.start_soon(self._catch, worker, both.cancel_scope, self._receive, worker, link)
        finally:
            if link is not None:
                with anyio.CancelScope(shield=True):
                    await link.kill()

    async def _catch(
        self,
        worker: CrewWorker,
        both: anyio.CancelScope,
        function: Callable[..., Awaitable[object]],
        *arguments: object,
    ) -> None:
        try:
            await function(*arguments)
        except RowmillError as error:
            worker.reason = worker.reason or str(error)
            if not isinstance(error, LinkLost):
                self._fail(error)
        both.cancel()

    def _join(self, worker: CrewWorker) -> None:
        group = worker.group
        worker.is_ready = True
        worker.joined_at = self._wall_clock()
        if self._limits:
            worker.limits = {name: self._limit_of(worker, name) for name in self._limits}
            worker.tell()
        worker.heard_at = anyio.current_time()
        group.empty_since = None
        group.has_said_so = False
        group.first_ready.set()
        hello = worker.hello
        where = f"pid {hello.pid} on {hello.host}" if hello else ""
        _log.info("Worker %s joins: %s", worker.name, where)
        self._crew_news.tell("worker joined", worker.name, where)
        self._route(group)

    async def _send(self, worker: CrewWorker, link: Link) -> None:
        while True:
            await worker.wake.wait()
            worker.wake = anyio.Event()
            while worker.outgoing or worker.cancels or worker.answers or worker.limits:
                calls, worker.outgoing = (
                    worker.outgoing[:_CALLS_IN_A_FRAME],
                    worker.outgoing[_CALLS_IN_A_FRAME:],
                )
                cancels, worker.cancels = worker.cancels, []
                answers, worker.answers = worker.answers, []
                limits, worker.limits = worker.limits, {}
                await link.send(encode(Work(calls, cancels, answers, limits)))
            if self._is_closing:
                await link.send(encode(Drain()))
                await link.wait_ended()
                return

    async def _receive(self, worker: CrewWorker, link: Link) -> None:
        while True:
            message = decode(await link.receive())
            if isinstance(message, Results):
                self._take(worker, message)
            elif isinstance(message, Failed):
                raise failure_of(message)

    def _fail(self, error: BaseException) -> None:
        """The run cannot go on."""
        if self._is_closing:
            return
        self._fatal = self._fatal or error
        self._news.set()
        for group in self._groups:
            group.first_ready.set()

    # Silence -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ends workers that are silent (W2), and the run when none is left for long (W5)."""
        while True:
            await anyio.sleep(_LOOK_S)
            now = anyio.current_time()
            late_s = now - self._last_look - _LOOK_S
            self._last_look = now
            if late_s > 1.0:  # it was this process that heard nothing: it was stopped, or busy
                for worker in self._ready():
                    worker.heard_at += late_s
                continue
            for worker in self._ready():
                for call in [call for call, since in worker.cut_off.items() if now - since > _CUT_OFF_S]:
                    self._end_unheard(worker, call)
                silent_s = now - worker.heard_at
                if silent_s > self._settings.silence_s:
                    worker.reason = f"it was silent for {silent_s:.1f} s (run.executor.silence_s)"
                    if worker.node:
                        self._silent_nodes.add(worker.node)
                    worker.scope.cancel()
            for group in self._groups:
                self._look_after(group, now)

    def _ready(self) -> Iterable[CrewWorker]:
        return [worker for group in self._groups for worker in group.workers if worker.is_ready]

    def _look_after(self, group: CrewGroup, now: float) -> None:
        if group.empty_since is None:
            return
        is_over = now - group.empty_since > self._settings.wait_s
        if not group.first_ready.is_set():
            # One that was placed may load a model: it has start_s for that.
            if is_over and not any(worker.is_placed for worker in group.workers):
                self._fail(
                    WorkersAway(
                        f"No worker of group '{group.plan.name}' got ready within {self._settings.wait_s:g} s "
                        f"(run.executor.wait_s): {group.last_reason or 'none could be placed'}. Nothing was begun. "
                        "See to that, then run again."
                    )
                )
            return
        if not group.has_said_so:
            group.has_said_so = True
            _log.warning("No worker of group '%s' is left: its calls wait for one.", group.plan.name)
            self._crew_news.tell("no worker left", group.plan.name, "its calls wait for one")
        if is_over:
            waiting = plural(len(group.all_waiting()), "call")
            self._fail(
                WorkersAway(
                    f"No worker of group '{group.plan.name}' was left for {self._settings.wait_s:g} s "
                    f"(run.executor.wait_s), and {waiting} waited for one. Nothing was "
                    "dropped. Look at the log for why workers end, then run again to go on."
                )
            )


@asynccontextmanager
async def hire(crew: Crew, launcher: Launcher) -> AsyncIterator[Crew]:
    """The crew at work; its workers are gone when this is left. Raises what keeps them from getting ready."""
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            await crew.work(tasks)
            yield crew
            await crew.tell_news()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  raised again below, as itself and not as one of a group
            raised = error
        finally:
            with anyio.CancelScope(shield=True):
                await crew.close()
                tasks.cancel_scope.cancel()
                with anyio.move_on_after(_CLOSING_S):
                    await launcher.aclose()
    if raised is not None:
        raise raised
