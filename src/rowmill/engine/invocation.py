"""An invocation: one process working on a run database, from open to close."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.protocol import Workers
from rowmill.dispatch.settings import Ending
from rowmill.engine.adoption import adopt, is_all_there, open_run
from rowmill.engine.binding import (
    OpenModels,
    OpenProvider,
    bind_generators,
    column_names,
    dispatch_settings,
    open_generators,
    open_models,
    open_tools,
    skip_conditions,
    starting_limits,
    takes_several_rows,
    task_columns,
    traits_of,
)
from rowmill.engine.busy_hint import BusyHint
from rowmill.engine.change import accept_change
from rowmill.engine.elsewhere import (
    Job,
    OpenWorkers,
    executor_of,
    limit_users,
    limits_with,
    made_elsewhere,
    resources_elsewhere,
    waits_only,
    workers_of,
)
from rowmill.engine.ending import RunReport, report_of, resting, stopped_message
from rowmill.engine.execution import LocalExecutor
from rowmill.engine.file_check import check_files, sweep_files
from rowmill.engine.following import follow, follows
from rowmill.engine.garbage import collected_rarely
from rowmill.engine.health import check_models
from rowmill.engine.interruption import Deadline, obey_interrupts, obey_signals
from rowmill.engine.known_answers import AnswerLookup
from rowmill.engine.loop_clock import idle_clock, loop_clock
from rowmill.engine.preparation import Prepared
from rowmill.engine.reopening import prepare_inside
from rowmill.engine.server_states import limits_of_workers, newly_learned, note_servers, obeyed, remember
from rowmill.engine.serving import announce, answer
from rowmill.engine.sharding import rest_reason, shard_of
from rowmill.engine.steady_clock import SteadyClock
from rowmill.engine.writer import StoreWriter, WriterThread
from rowmill.errors import Interrupted, RowmillError, Untouched, UsageError, WriteFailed
from rowmill.generators.file_directory import FileDirectory, files_of
from rowmill.generators.prompting.answer_directory import AnswerDirectory
from rowmill.generators.protocol import Generator
from rowmill.generators.runtime import InvocationRuntime
from rowmill.graph.shard import ShardOrder
from rowmill.inspect.place import LivePlace
from rowmill.inspect.waiting import open_store
from rowmill.metrics.spans import SpanSender
from rowmill.providers.key_ring import KeyRing
from rowmill.providers.opening import open_provider
from rowmill.secret import hidden
from rowmill.spec.executor import ExecutorSettings
from rowmill.spec.executor import Workers as WorkerSettings
from rowmill.spec.run_settings import OtelSettings
from rowmill.spec.spec import Spec
from rowmill.store.reading.details import read_details
from rowmill.store.reading.requests import number_of_attempts
from rowmill.store.reading.status import Details, Status, read_drop_reasons, read_status
from rowmill.store.run_store import ResourceMemory, RunStore
from rowmill.store.turn.control import HandSettings
from rowmill.store.turn.turn import Turn
from rowmill.task import FinishedRowGroup, Outcome, TurnResult
from rowmill.worker import WorkerNews

_log = logging.getLogger("rowmill.run")

Progress = Callable[[Status], None]
_DETAILS_INTERVAL_S = 2.0
"""How often the details of a status are read while a run works: its writer has other things to do."""


async def run(
    prepared: Prepared | None,
    database: Path,
    *,
    on_progress: Progress | None = None,
    progress_interval_s: float = 0.5,
    handle_signals: bool = False,
    takes_interrupts: bool = False,
    on_drain: Callable[[], None] | None = None,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None = None,
    environ: Mapping[str, str] | None = None,
    resume: bool = False,
    shard: ShardOrder | None = None,
    executor: ExecutorSettings | None = None,
    otel: OtelSettings | None = None,
    open_workers: OpenWorkers | None = None,
) -> RunReport:
    """Creates, resumes or extends the run database and works until it is complete or told to stop.

    ``prepared`` None goes on with the spec inside the database. ``handle_signals``: the first SIGINT or SIGTERM drains
    and then calls ``on_drain``; the second, like ``cancel``, cuts running calls off and ends the process within 2 s.
    ``takes_interrupts``: SIGINT does the same while calls run, in a program that lives on.
    ``resume``: also if the run is paused. ``shard``: only those rows of a new run; one that goes on must be made of
    them. ``executor``, ``otel``: in the place of the spec's fields of these names; without ``open_workers`` calls are
    always made in this process. A run that is refused, or whose models do not answer, is not extended, resumed or
    changed; only what no value was made under is taken over before. Raises RowmillError: SpecError, Locked,
    Incompatible, Damaged, WriteFailed, what stopped the run (RunStopping), or what a callback raised.
    """
    once = partial(
        _run,
        prepared,
        database,
        on_progress=on_progress,
        progress_interval_s=progress_interval_s,
        handle_signals=handle_signals,
        takes_interrupts=takes_interrupts,
        on_drain=on_drain,
        on_row_group_finished=on_row_group_finished,
        environ=os.environ if environ is None else environ,
        resume=resume,
        shard=shard,
        executor=executor,
        otel=otel,
        open_workers=open_workers,
    )
    try:
        return await once()
    except Untouched as change:
        _log.info("%s The run goes on with it.", change)
        await anyio.to_thread.run_sync(_take_over, prepared, database)
    return await once()


def _take_over(prepared: Prepared | None, database: Path) -> None:
    """A change under which nothing was made needs nobody's consent."""
    accept_change(prepared if prepared is not None else prepare_inside(database), database, time.time())


async def _run(
    prepared: Prepared | None,
    database: Path,
    *,
    on_progress: Progress | None,
    progress_interval_s: float,
    handle_signals: bool,
    takes_interrupts: bool,
    on_drain: Callable[[], None] | None,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None,
    environ: Mapping[str, str],
    resume: bool,
    shard: ShardOrder | None,
    executor: ExecutorSettings | None,
    otel: OtelSettings | None,
    open_workers: OpenWorkers | None,
) -> RunReport:
    deadline = Deadline()
    async with AsyncExitStack() as afterwards, AsyncExitStack() as stack:
        if handle_signals:  # the process is ours to end
            afterwards.enter_context(deadline)
        writer = await stack.enter_async_context(WriterThread())
        store = await writer.call(_open_store, database, prepared, shard, environ)
        sender = await writer.call(_span_sender, store, prepared, database, otel)
        if sender is not None:
            afterwards.push_async_callback(send_the_last, sender, deadline)
        place = announce(database)
        try:
            return await work(
                store,
                writer,
                prepared,
                place=place,
                wall_clock=SteadyClock(),
                environ=environ,
                on_progress=on_progress,
                progress_interval_s=progress_interval_s,
                on_drain=on_drain,
                on_row_group_finished=on_row_group_finished,
                resume=resume,
                shard=shard,
                deadline=deadline if handle_signals else None,
                takes_interrupts=takes_interrupts,
                executor=executor,
                open_workers=open_workers,
            )
        finally:
            await writer.call(store.close)
            if place is not None:
                place.withdraw()


def _span_sender(
    store: RunStore, prepared: Prepared | None, database: Path, otel: OtelSettings | None
) -> SpanSender | None:
    """Who sends spans of this invocation, if its spec wants them sent, or whoever started it."""
    settings = otel
    if settings is None and prepared is not None:
        settings = prepared.spec.run.otel
    elif settings is None:
        stored = None if store.is_new else json.loads(store.stored_spec().text).get("run", {}).get("otel")
        settings = OtelSettings.model_validate(stored) if stored is not None else None
    if settings is None:
        return None
    return SpanSender(database, settings, 0 if store.is_new else number_of_attempts(store.connection))


async def send_the_last(sender: SpanSender, deadline: Deadline) -> None:
    """Waits for the last spans; hardly, when the process has to end by now."""
    finish = partial(sender.finish, in_haste=deadline.is_armed)
    await anyio.to_thread.run_sync(finish, abandon_on_cancel=True)


def _open_store(
    database: Path, prepared: Prepared | None, shard: ShardOrder | None, environ: Mapping[str, str]
) -> RunStore:
    """Opens the run database. A new one is made only if there is a spec for it, and the keys the spec names."""
    if not database.exists():
        if prepared is None:
            raise UsageError(f"There is no run database {database}. Name a spec to create one.")
        shard_of(prepared, shard)
        for config in prepared.spec.models:
            config.require_secrets(environ)
    return open_store(database)


@dataclass(frozen=True)
class _Work:
    """What the steps of an invocation share."""

    store: RunStore
    writer: StoreWriter
    given: Prepared | None
    """The spec as it was given; None: the one inside the database."""
    prepared: Prepared
    """The spec that is worked on."""
    wall_clock: Callable[[], float]
    environ: Mapping[str, str]
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None
    resume: bool
    elsewhere: WorkerSettings | None
    """The workers that make calls; None: all are made here."""

    @property
    def name(self) -> str:
        """What messages call the run."""
        return str(self.store.connection.path or "the run")

    @property
    def made_elsewhere(self) -> frozenset[int]:
        """The generators whose calls workers make."""
        return frozenset() if self.elsewhere is None else made_elsewhere(self.prepared)

    @property
    def follows(self) -> bool:
        """Whether rows of another run are taken while that lives."""
        return follows(self.prepared, self.store)

    async def is_done(self) -> bool:
        """Whether there is nothing to do, and nobody who wants to be told of row groups."""
        if self.on_row_group_finished is not None or self.follows:
            return False
        return await self.writer.call(is_all_there, self.store, self.given)

    async def adopt(self) -> None:
        """From here on the database is what the given spec asks for."""
        adopting = partial(adopt, self.store, self.given, self.prepared.graph, resume=self.resume)
        await self.writer.call(adopting, self.wall_clock())

    async def sign_out(self, reason: str) -> None:
        """Signs out if the database still takes it: after a failed write it may not, and the first error tells why."""
        # An error is raised, and whoever gets it says what it says.
        _log.info("The invocation ends: %s", "failed" if reason.startswith("failed") else reason)
        with anyio.CancelScope(shield=True):
            try:
                await self.writer.call(self.store.end, reason, self.wall_clock())
            except RowmillError:
                if not reason.startswith("failed"):
                    raise

    async def sign_out_refused(self, refusal: Exception) -> None:
        """Signs out of work that cannot begin."""
        await self.sign_out(hidden(f"failed: {refusal}")[:500])

    async def report(self, ending: Ending, status: Status, turns: int) -> RunReport:
        """How the invocation ended."""
        reasons = await self.writer.call(read_drop_reasons, self.store.connection)
        return report_of(ending, status, reasons, self.name, turns=turns, has_target=_has_target(self.prepared))


@dataclass(frozen=True)
class _Audience:
    """Who looks at an invocation from outside, and who may end it."""

    place: LivePlace | None
    on_progress: Progress | None
    progress_interval_s: float
    on_drain: Callable[[], None] | None
    deadline: Deadline | None
    takes_interrupts: bool


@dataclass(frozen=True)
class _Means:
    """What the calls of an invocation need."""

    known: AnswerLookup
    models: OpenModels
    runtime: InvocationRuntime
    bound: Mapping[int, Generator]


@dataclass(frozen=True)
class _Beginning:
    """What holds when the invocation has signed in."""

    by_hand: HandSettings
    limits: Mapping[str, int]
    memory: Mapping[str, ResourceMemory]
    turn: Turn


async def work(
    store: RunStore,
    writer: StoreWriter,
    prepared: Prepared | None,
    *,
    wall_clock: Callable[[], float],
    environ: Mapping[str, str],
    place: LivePlace | None = None,
    on_progress: Progress | None = None,
    progress_interval_s: float = 0.5,
    on_drain: Callable[[], None] | None = None,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None = None,
    resume: bool = False,
    shard: ShardOrder | None = None,
    open_provider: OpenProvider = open_provider,
    on_dispatcher: Callable[[Dispatcher], None] | None = None,
    deadline: Deadline | None = None,
    takes_interrupts: bool = False,
    executor: ExecutorSettings | None = None,
    open_workers: OpenWorkers | None = None,
) -> RunReport:
    """:func:`run` over an open store, with the given writer and clock (seconds since the epoch).

    ``place``: where readers may ask while it works. ``deadline``: signals are obeyed, and it ends the process after the
    second; ``takes_interrupts``: SIGINT is obeyed, and the process lives on. ``open_provider`` opens the endpoints of
    the spec; ``on_dispatcher`` gets the dispatcher before it starts, to watch it and to steer it.
    """
    fitting = await writer.call(open_run, store, prepared, shard, wall_clock())
    elsewhere = None if open_workers is None else executor_of(fitting, executor)
    shared = _Work(store, writer, prepared, fitting, wall_clock, environ, on_row_group_finished, resume, elsewhere)
    audience = _Audience(place, on_progress, progress_interval_s, on_drain, deadline, takes_interrupts)
    if await shared.is_done():
        await shared.adopt()
        return await shared.report(Ending.COMPLETE, await writer.call(read_status, store.connection), turns=0)
    async with AsyncExitStack() as stack:
        stack.enter_context(collected_rarely())
        means = await _open_means(shared, stack, open_provider)
        beginning = await _sign_in(shared, means)
        workers = await _open_generators(shared, means, beginning.limits, stack, open_workers)
        turns = _Turns(shared, means, beginning.turn, workers)
        dispatcher = _dispatcher(shared, means, beginning, turns, workers)
        if on_dispatcher is not None:
            on_dispatcher(dispatcher)
        until_signed_out = stack.enter_context(ExitStack())
        ending, rests = await _work_to_the_end(shared, audience, dispatcher, turns, until_signed_out)
    return await _conclusion(shared, audience, dispatcher, ending, rests)


async def _open_means(shared: _Work, stack: AsyncExitStack, open_provider: OpenProvider) -> _Means:
    """Opens models and tools, and asks the models whether they answer; nothing is written to the database."""
    prepared, writer, store = shared.prepared, shared.writer, shared.store
    known = AnswerLookup(store, writer, await writer.call(_shared_answers, prepared))
    keys = KeyRing(shared.environ, prepared.directory)
    opening = open_models(prepared.spec, keys, shared.wall_clock, open_provider, known)
    models = await stack.enter_async_context(opening)
    await check_models(prepared, models.by_alias, shared.environ)
    elsewhere = shared.made_elsewhere
    here = [name for number, name in task_columns(prepared.graph).items() if number not in elsewhere]
    tools = await stack.enter_async_context(open_tools(prepared.spec, here, prepared.directory, shared.environ))
    runtime = InvocationRuntime(
        prepared.directory,
        models.by_alias,
        _files_of(store, stack),
        prepared.spec,
        tools,
        await writer.call(store.arrow_types, prepared.graph),
        await writer.call(store.casts_values),
    )
    return _Means(known, models, runtime, bind_generators(prepared, runtime, elsewhere))


async def _sign_in(shared: _Work, means: _Means) -> _Beginning:
    """Has the database take the spec over, and this process work on it."""
    prepared, writer, store = shared.prepared, shared.writer, shared.store
    conditions = skip_conditions(prepared.graph)
    await shared.adopt()
    by_hand = await writer.call(store.hand_settings)
    limits = by_hand.limited(limits_with(shared.elsewhere, prepared))
    _warn_if_paused(shared.name, by_hand)
    memory = await writer.call(store.begin, limits, shared.wall_clock())
    remember(means.models.servers, limits, memory, shared.wall_clock())
    await writer.call(store.say_alive)
    _log.info("Working on %s", shared.name, extra={"run": prepared.spec.name, "pid": os.getpid()})
    announces = shared.on_row_group_finished is not None
    turn = await writer.call(
        store.turn, prepared.spec, prepared.graph, conditions, announces=announces, follows=shared.follows
    )
    return _Beginning(by_hand, limits, memory, turn)


async def _open_generators(
    shared: _Work, means: _Means, limits: Mapping[str, int], stack: AsyncExitStack, open_workers: OpenWorkers | None
) -> Workers | None:
    """Has the generators get ready that work here, and starts the workers that are to make the other calls, if any."""
    try:
        await stack.enter_async_context(open_generators(means.bound.values()))
    except Exception as refusal:  # a plug-in's generator may raise anything
        await shared.sign_out_refused(refusal)
        raise
    prepared, elsewhere = shared.prepared, shared.made_elsewhere
    if shared.elsewhere is None or open_workers is None or not elsewhere:
        return None
    job = Job(
        prepared.spec,
        prepared.directory,
        {number: name for number, name in task_columns(prepared.graph).items() if number in elsewhere},
        takes_several_rows(prepared.graph),
        waits_only(prepared),
        resources_elsewhere(prepared),
        limit_users(prepared),
        shared.environ,
        means.runtime.arrow_types,
        means.runtime.casts_values,
        means.known,
        means.runtime.files,
        shared.wall_clock,
        partial(_note_workers, shared.store, shared.writer),
    )
    try:
        workers = await stack.enter_async_context(open_workers(shared.elsewhere, job))
    except RowmillError as refusal:
        await shared.sign_out_refused(refusal)
        raise
    workers.set_limits(limits_of_workers(means.models.servers, limits))
    return workers


class _Turns:
    """The turns of an invocation, with what comes before and after each."""

    def __init__(self, shared: _Work, means: _Means, turn: Turn, workers: Workers | None) -> None:
        self._shared = shared
        self._workers = workers
        self._known, self._servers = means.known, means.models.servers
        self._hint = BusyHint(shared.prepared, has_workers=workers is not None)
        self.turn = turn
        self.tidying: TaskGroup | None = None
        """Where is tidied up beside the calls; turns are taken while it is open."""

    async def take(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int],
        *,
        alone: bool = False,
    ) -> TurnResult:
        """A turn, in which servers that are away are noted, and after which answers are kept."""
        shared = self._shared
        if self._servers:
            learned = {**learned, **newly_learned(self._servers)}
            await note_servers(self._servers, shared.store, shared.writer, now)
        call = shared.writer.call_alone if alone else shared.writer.call
        taken = await call(self.turn.take, outcomes, free, now, learned, shared.wall_clock)
        self._hint.turned(alone=alone)
        if self._workers is not None and taken.steering is not None:
            self._workers.set_limits(limits_of_workers(self._servers, taken.steering.limits))
        if self._servers:
            taken = obeyed(self._servers, taken)
        await self._known.keep(outcomes)
        if self.turn.is_untidy and self.tidying is not None:
            self.tidying.start_soon(shared.writer.call, self.turn.tidy)
        return taken

    def running_calls(self, dispatcher: Dispatcher) -> Mapping[str, int]:
        """Calls that run now, per resource, and per server of an endpoint that has several. From any thread."""
        found = dispatcher.running_calls()
        for each in self._servers:
            found |= each.running()
        return found


def _dispatcher(
    shared: _Work, means: _Means, beginning: _Beginning, turns: _Turns, workers: Workers | None
) -> Dispatcher:
    prepared, by_hand = shared.prepared, beginning.by_hand
    graph = prepared.graph
    return Dispatcher(
        LocalExecutor(means.bound, takes_several_rows(graph), shared.wall_clock, column_names(graph)),
        turns.take,
        traits_of(prepared),
        starting_limits(prepared, beginning.limits, beginning.memory, workers_of(shared.elsewhere, prepared)),
        dispatch_settings(prepared.spec, by_hand),
        wall_clock=shared.wall_clock,
        loop_clock=loop_clock(),
        idle_clock=idle_clock(),
        on_finished=shared.on_row_group_finished,
        starts_paused=by_hand.paused_at is not None,
        workers=workers,
        elsewhere=shared.made_elsewhere,
    )


async def _work_to_the_end(
    shared: _Work, audience: _Audience, dispatcher: Dispatcher, turns: _Turns, until_signed_out: ExitStack
) -> tuple[Ending, str | None]:
    """Dispatches until it is over, answers whoever asks meanwhile, and signs out. Why it rests, if it does."""
    store, writer = shared.store, shared.writer
    running_calls = partial(turns.running_calls, dispatcher)
    deadline, place, on_drain = audience.deadline, audience.place, audience.on_drain
    reason = "cancelled"
    try:
        async with anyio.create_task_group() as group:
            turns.tidying = group
            if deadline is not None:
                group.start_soon(obey_signals, dispatcher, on_drain, deadline)
            if audience.takes_interrupts:
                group.start_soon(obey_interrupts, dispatcher, on_drain, until_signed_out)
            if place is not None:
                control = turns.turn.control
                wake, clock = dispatcher.nudge, shared.wall_clock
                group.start_soon(answer, store, writer, running_calls, wake, control, place, clock, deadline)
            following = turns.turn.following
            if following is not None:
                group.start_soon(follow, shared.prepared, store, writer, following, dispatcher.nudge, shared.wall_clock)
            if audience.on_progress is not None:
                report = partial(
                    _report_progress, store, writer, running_calls, audience.on_progress, shared.wall_clock
                )
                group.start_soon(report, audience.progress_interval_s)
            ending = await dispatcher.run()
            group.cancel_scope.cancel()
        reason = _reason(ending, dispatcher.stop)
        rests = await writer.call(_rest, store, shared.prepared, ending)
        reason = rests or reason
        return ending, rests
    except BaseExceptionGroup as raised:
        error = _leaf(raised)
        reason = f"failed: {error}"[:500]
        raise error from raised
    finally:
        await shared.sign_out(reason)


async def _conclusion(
    shared: _Work, audience: _Audience, dispatcher: Dispatcher, ending: Ending, rests: str | None
) -> RunReport:
    """What is told when everything is closed. Raises what stopped the run, if that is an error."""
    status = await shared.writer.call(read_status, shared.store.connection)
    if audience.on_progress is not None:
        audience.on_progress(status)
    if ending is Ending.COMPLETE:
        await shared.writer.call(_sweep, shared.store, shared.prepared.spec)
    stop = dispatcher.stop
    if ending is Ending.STOPPED and stop is not None and not isinstance(stop, Interrupted):
        raise stop
    ended = await shared.report(ending, status, dispatcher.statistics().turns)
    if ending is Ending.STOPPED and isinstance(stop, Interrupted):
        ended = replace(ended, message=f"{stopped_message(shared.name, status)} {stop}", stop=stop)
    return ended if rests is None else resting(ended, shared.name, rests)


def _rest(store: RunStore, prepared: Prepared, ending: Ending) -> str | None:
    """Why a shard that has done all it can is not finished; None if that is not so."""
    shard = store.shard()
    if shard is None or ending is not Ending.COMPLETE or store.is_finished():
        return None
    return rest_reason(shard, prepared.graph)


def _has_target(prepared: Prepared) -> bool:
    return prepared.spec.accepted_records is not None


async def _note_workers(store: RunStore, writer: StoreWriter, news: WorkerNews) -> None:
    await writer.call(store.note_workers, news)


def _reason(ending: Ending, stop: BaseException | None) -> str:
    """What is kept of why an invocation ended."""
    if ending is not Ending.STOPPED or stop is None:
        return str(ending)
    return (str(stop) if isinstance(stop, Interrupted) else hidden(f"failed: {stop}"))[:500]


def _warn_if_paused(name: str, by_hand: HandSettings) -> None:
    if by_hand.paused_at is not None:
        since = f"{by_hand.paused_at:%Y-%m-%d %H:%M:%S}"
        _log.warning(
            "%s is paused since %s UTC by %s: nothing starts until 'rowmill resume'.", name, since, by_hand.paused_by
        )


def _shared_answers(prepared: Prepared) -> AnswerDirectory | None:
    """Where answers are shared with other runs, if the spec wants it and a model reuses any."""
    path = prepared.spec.run.answer_cache
    if path is None or not any(model.reuse_answers for model in prepared.spec.models):
        return None
    return AnswerDirectory(prepared.directory / Path(path).expanduser())


def _sweep(store: RunStore, spec: Spec) -> None:
    """Removes what crashes, and rows that were dropped meanwhile, left of the files of pictures."""
    check = check_files(store.connection, spec)
    if check is None or not check.orphans:
        return
    try:
        _log.info("Removed %d files that belonged to no row", sweep_files(check))
    except WriteFailed as error:  # the dataset is complete all the same; `rowmill doctor` tells of them
        _log.warning("%s", error)


def _files_of(store: RunStore, stack: AsyncExitStack) -> FileDirectory:
    """Where files go: beside the run database; for one in memory, as of a preview, where they end with it."""
    file = store.connection.file
    if file is not None:
        return FileDirectory(files_of(file))
    return FileDirectory(Path(stack.enter_context(TemporaryDirectory(prefix="rowmill-"))))


async def _report_progress(
    store: RunStore,
    writer: StoreWriter,
    running_calls: Callable[[], Mapping[str, int]],
    on_progress: Progress,
    wall_clock: Callable[[], float],
    interval_s: float,
) -> None:
    details: Details | None = None
    read_at = 0.0
    while True:
        status = await writer.call(read_status, store.connection)
        status = status.with_living_process(running_calls())
        if details is None or anyio.current_time() - read_at >= _DETAILS_INTERVAL_S:
            details = await writer.call(read_details, store.connection, status, wall_clock())
            read_at = anyio.current_time()
        on_progress(replace(status, details=details))
        await anyio.sleep(interval_s)


def _leaf(raised: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
