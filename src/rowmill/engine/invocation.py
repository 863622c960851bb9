"""An invocation: one process working on a run database, from open to close."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.settings import Ending
from rowmill.engine.binding import (
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
from rowmill.engine.change import accept_change
from rowmill.engine.elsewhere import Job, OpenWorkers, executor_of, made_elsewhere, waits_only, with_more_threads
from rowmill.engine.ending import RunReport, report_of, resting, stopped_message
from rowmill.engine.execution import LocalExecutor
from rowmill.engine.file_check import check_files, sweep_files
from rowmill.engine.garbage import collected_rarely
from rowmill.engine.health import check_models
from rowmill.engine.interruption import Deadline, obey_signals
from rowmill.engine.known_answers import AnswerLookup
from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.engine.reopening import prepare_inside
from rowmill.engine.server_states import newly_learned, note_servers, obeyed, remember
from rowmill.engine.serving import announce, answer
from rowmill.engine.sharding import check_order, rest_reason, say_budget, shard_of
from rowmill.engine.writer import StoreWriter, WriterThread
from rowmill.errors import Interrupted, RowmillError, Untouched, UsageError, WriteFailed
from rowmill.generators.file_directory import FileDirectory, files_of
from rowmill.generators.prompting.answer_directory import AnswerDirectory
from rowmill.generators.runtime import InvocationRuntime
from rowmill.graph.graph import Graph
from rowmill.graph.shard import ShardOrder
from rowmill.inspect.place import LivePlace
from rowmill.inspect.steering import request_of
from rowmill.inspect.waiting import open_store
from rowmill.metrics.spans import SpanSender
from rowmill.providers.key_ring import KeyRing
from rowmill.providers.opening import open_provider
from rowmill.providers.servers import Servers
from rowmill.secret import hidden
from rowmill.spec.executor import ExecutorSettings
from rowmill.spec.run_settings import OtelSettings
from rowmill.spec.spec import Spec
from rowmill.store.reading.details import read_details
from rowmill.store.reading.requests import number_of_attempts
from rowmill.store.reading.status import Details, Status, read_drop_reasons, read_status
from rowmill.store.run_store import RunStore
from rowmill.store.turn.control import HandSettings
from rowmill.task import FinishedRowGroup, Outcome, TurnResult

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
    on_drain: Callable[[], None] | None = None,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None = None,
    environ: Mapping[str, str] | None = None,
    resume: bool = False,
    shard: ShardOrder | None = None,
    executor: ExecutorSettings | None = None,
    open_workers: OpenWorkers | None = None,
) -> RunReport:
    """Creates, resumes or extends the run database and works until it is complete or told to stop.

    ``prepared`` None goes on with the spec inside the database. ``handle_signals``: the first SIGINT or SIGTERM drains
    and then calls ``on_drain``; the second, like ``cancel``, cuts running calls off and ends the process within 2 s.
    ``resume``: also if the run is paused. ``shard``: only those rows of a new run; one that goes on must be made of
    them. ``executor``: where calls are made, if not where the spec says; without ``open_workers`` always in this
    process. A run that is refused, or whose models do not answer, is not extended, resumed or changed; only what no
    value was made under is taken over first. Raises RowmillError: SpecError, Locked, Incompatible, Damaged,
    WriteFailed, what stopped the run (RunStopping), or what a callback raised.
    """
    work_once = partial(
        _run,
        prepared,
        database,
        on_progress=on_progress,
        progress_interval_s=progress_interval_s,
        handle_signals=handle_signals,
        on_drain=on_drain,
        on_row_group_finished=on_row_group_finished,
        environ=os.environ if environ is None else environ,
        resume=resume,
        shard=shard,
        executor=executor,
        open_workers=open_workers,
    )
    try:
        return await work_once()
    except Untouched as change:
        _log.info("%s The run goes on with it.", change)
        await anyio.to_thread.run_sync(_take_over, prepared, database)
    return await work_once()


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
    on_drain: Callable[[], None] | None,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None,
    environ: Mapping[str, str],
    resume: bool,
    shard: ShardOrder | None,
    executor: ExecutorSettings | None,
    open_workers: OpenWorkers | None,
) -> RunReport:
    deadline = Deadline()
    async with AsyncExitStack() as afterwards, AsyncExitStack() as stack:
        if handle_signals:  # the process is ours to end
            afterwards.enter_context(deadline)
        writer = await stack.enter_async_context(WriterThread())
        store = await writer.call(_open_store, database, prepared, shard, environ)
        sender = await writer.call(_span_sender, store, prepared, database)
        if sender is not None:
            afterwards.push_async_callback(send_the_last, sender, deadline)
        place = announce(database)
        try:
            return await work(
                store,
                writer,
                prepared,
                place=place,
                wall_clock=time.time,
                environ=environ,
                on_progress=on_progress,
                progress_interval_s=progress_interval_s,
                on_drain=on_drain,
                on_row_group_finished=on_row_group_finished,
                resume=resume,
                shard=shard,
                deadline=deadline if handle_signals else None,
                executor=executor,
                open_workers=open_workers,
            )
        finally:
            await writer.call(store.close)
            if place is not None:
                place.withdraw()


def _span_sender(store: RunStore, prepared: Prepared | None, database: Path) -> SpanSender | None:
    """Who sends spans of this invocation, if its spec wants them sent."""
    if prepared is not None:
        settings = prepared.spec.run.otel
    else:
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
    executor: ExecutorSettings | None = None,
    open_workers: OpenWorkers | None = None,
) -> RunReport:
    """:func:`run` over an open store, with the given writer and clock (seconds since the epoch).

    ``place``: where readers may ask while it works. ``deadline``: signals are obeyed, and it ends the process after the
    second. ``open_provider`` opens the endpoints of the spec; ``on_dispatcher`` gets the dispatcher before it starts,
    to watch it and to steer it.
    """
    given = prepared
    prepared = await writer.call(_open_run, store, given, shard, wall_clock())
    adopt = partial(_adopt, store, given, prepared.graph, resume=resume)
    name = str(store.connection.path or "the run")
    if on_row_group_finished is None and await writer.call(_is_all_there, store, given):
        await writer.call(adopt, wall_clock())
        status = await writer.call(read_status, store.connection)
        reasons = await writer.call(read_drop_reasons, store.connection)
        return report_of(Ending.COMPLETE, status, reasons, name, turns=0, has_target=_has_target(prepared))
    settings = None if open_workers is None else executor_of(prepared, executor)
    elsewhere = frozenset() if settings is None else made_elsewhere(prepared)
    async with AsyncExitStack() as stack:
        stack.enter_context(collected_rarely())
        known = AnswerLookup(store, writer, await writer.call(_shared_answers, prepared))
        keys = KeyRing(environ, prepared.directory)
        models = await stack.enter_async_context(open_models(prepared.spec, keys, wall_clock, open_provider, known))
        await check_models(prepared, models.by_alias, environ)
        names = task_columns(prepared.graph)
        here = [name for number, name in names.items() if number not in elsewhere]
        tools = await stack.enter_async_context(open_tools(prepared.spec, here, prepared.directory, environ))
        runtime = InvocationRuntime(
            prepared.directory,
            models.by_alias,
            _files_of(store, stack),
            prepared.spec,
            tools,
            await writer.call(store.arrow_types, prepared.graph),
            await writer.call(store.casts_values),
        )
        bound = bind_generators(prepared, runtime, elsewhere)
        conditions = skip_conditions(prepared.graph)
        await writer.call(adopt, wall_clock())
        by_hand = await writer.call(store.hand_settings)
        limits = by_hand.limited(prepared.limits if settings is None else with_more_threads(prepared.limits, settings))
        _warn_if_paused(name, by_hand)
        memory = await writer.call(store.begin, limits, wall_clock())
        remember(models.servers, limits, memory, wall_clock())
        await writer.call(store.say_alive)
        _log.info("Working on %s", name, extra={"run": prepared.spec.name, "pid": os.getpid()})
        announces = on_row_group_finished is not None
        turn = await writer.call(store.turn, prepared.spec, prepared.graph, conditions, announces=announces)

        workers = None
        try:
            await stack.enter_async_context(open_generators(bound.values()))
        except Exception as refusal:  # a plug-in's generator may raise anything
            await _sign_out(store, writer, hidden(f"failed: {refusal}")[:500], wall_clock)
            raise
        if settings is not None and open_workers is not None and elsewhere:
            job = Job(
                prepared.spec,
                prepared.directory,
                {number: name for number, name in names.items() if number in elsewhere},
                takes_several_rows(prepared.graph),
                waits_only(prepared),
                environ,
                runtime.arrow_types,
                runtime.casts_values,
                known,
                runtime.files,
                wall_clock,
                partial(_note_event, store, writer, wall_clock),
            )
            try:
                workers = await stack.enter_async_context(open_workers(settings, job))
            except RowmillError as refusal:
                await _sign_out(store, writer, hidden(f"failed: {refusal}")[:500], wall_clock)
                raise

        async def take_turn(
            outcomes: Sequence[Outcome], free: Mapping[str, int], now: float, learned: Mapping[str, int]
        ) -> TurnResult:
            if models.servers:
                learned = {**learned, **newly_learned(models.servers)}
                await note_servers(models.servers, store, writer, now)
            taken = await writer.call(turn.take, outcomes, free, now, learned)
            if models.servers:
                taken = obeyed(models.servers, taken)
            await known.keep(outcomes)
            if turn.is_untidy:
                group.start_soon(writer.call, turn.tidy)
            return taken

        dispatcher = Dispatcher(
            LocalExecutor(bound, takes_several_rows(prepared.graph), wall_clock, column_names(prepared.graph)),
            take_turn,
            traits_of(prepared),
            starting_limits(prepared, limits, memory),
            dispatch_settings(prepared.spec, by_hand),
            wall_clock=wall_clock,
            on_finished=on_row_group_finished,
            starts_paused=by_hand.paused_at is not None,
            workers=workers,
            elsewhere=elsewhere,
        )
        running_calls = partial(_running_calls, dispatcher, models.servers)
        if on_dispatcher is not None:
            on_dispatcher(dispatcher)
        reason = "cancelled"
        try:
            async with anyio.create_task_group() as group:
                if deadline is not None:
                    group.start_soon(obey_signals, dispatcher, on_drain, deadline)
                if place is not None:
                    group.start_soon(
                        answer, store, writer, running_calls, dispatcher.nudge, turn.control, place, deadline
                    )
                if on_progress is not None:
                    report = partial(_report_progress, store, writer, running_calls, on_progress, wall_clock)
                    group.start_soon(report, progress_interval_s)
                ending = await dispatcher.run()
                group.cancel_scope.cancel()
            reason = _reason(ending, dispatcher.stop)
            rests = await writer.call(_rest, store, prepared, ending)
            reason = rests or reason
        except BaseExceptionGroup as raised:
            error = _leaf(raised)
            reason = f"failed: {error}"[:500]
            raise error from raised
        finally:
            await _sign_out(store, writer, reason, wall_clock)
    status = await writer.call(read_status, store.connection)
    if on_progress is not None:
        on_progress(status)
    if ending is Ending.COMPLETE:
        await writer.call(_sweep, store, prepared.spec)
    stop = dispatcher.stop
    if ending is Ending.STOPPED and stop is not None and not isinstance(stop, Interrupted):
        raise stop
    reasons = await writer.call(read_drop_reasons, store.connection)
    turns = dispatcher.statistics().turns
    ended = report_of(ending, status, reasons, name, turns=turns, has_target=_has_target(prepared))
    if ending is Ending.STOPPED and isinstance(stop, Interrupted):
        ended = replace(ended, message=f"{stopped_message(name, status)} {stop}", stop=stop)
    return ended if rests is None else resting(ended, name, rests)


def _rest(store: RunStore, prepared: Prepared, ending: Ending) -> str | None:
    """Why a shard that has done all it can is not finished; None if that is not so."""
    shard = store.shard()
    if shard is None or ending is not Ending.COMPLETE or store.is_finished():
        return None
    return rest_reason(shard, prepared.graph)


def _has_target(prepared: Prepared) -> bool:
    return prepared.spec.accepted_records is not None


async def _note_event(
    store: RunStore, writer: StoreWriter, wall_clock: Callable[[], float], kind: str, subject: str, detail: str
) -> None:
    def write() -> None:
        with store.connection.transaction():
            store.note(kind, subject, detail, wall_clock())

    await writer.call(write)


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


def _open_run(store: RunStore, prepared: Prepared | None, order: ShardOrder | None, now: float) -> Prepared:
    """Creates the tables, or checks that spec and database fit, and changes nothing; returns what to work with."""
    if store.is_new:
        if prepared is None:
            raise UsageError(f"{store.connection.path} is empty. Name the spec to create the run database.")
        shard = shard_of(prepared, order)
        store.create(replace(prepared.blueprint(), shard=shard), now)
        say_budget(shard, prepared.spec)
        return prepared
    stored = store.stored_spec()
    store.check_plan()
    store.check_after_crash()
    check_order(store, order, prepared)
    if prepared is None:
        inside = prepare_stored(stored.text, stored.directory, store.seed_columns())
        store.check_code(inside.spec, inside.graph)
        return inside
    store.plan().extended(_wanted_rows(store, prepared.spec), prepared.spec.row_group_size)
    store.check_fits(prepared.spec, prepared.graph, prepared.seed_file)
    return prepared


def _wanted_rows(store: RunStore, spec: Spec) -> int:
    """How many rows the plan is to have under a spec; a shard has those it has."""
    if store.shard() is not None:
        return store.plan().rows
    return spec.planned_records if spec.accepted_records is None else max(spec.planned_records, store.plan().rows)


def _lacks_accepted(store: RunStore, spec: Spec) -> bool:
    """Whether fewer rows were accepted than the spec asks for (P6)."""
    return spec.accepted_records is not None and spec.accepted_records.accepted > store.rows_finished()


def _is_all_there(store: RunStore, given: Prepared | None) -> bool:
    """Whether the run is finished, and the spec that was given asks for nothing more."""
    if not store.is_finished():
        return False
    if given is None:
        return True
    return _wanted_rows(store, given.spec) == store.plan().rows and not _lacks_accepted(store, given.spec)


def _adopt(store: RunStore, given: Prepared | None, graph: Graph, now: float, *, resume: bool) -> None:
    """What the spec that was given, and found to fit, asks for is so from now on: more rows, other settings."""
    store.renew_fingerprints(graph)
    if given is not None:
        store.extend(_wanted_rows(store, given.spec), given.spec.row_group_size, now)
        if _lacks_accepted(store, given.spec):
            store.reopen_for_more(now)
        store.update_spec(given.spec, now)
        if given.seed_file is not None:
            store.keep_seed_marks(given.seed_file)
    if resume:
        store.steer(request_of("resume"), now)


def _running_calls(dispatcher: Dispatcher, servers: Sequence[Servers]) -> Mapping[str, int]:
    """Calls that run now, per resource, and per server where an endpoint has several. May be asked from any thread."""
    found = dispatcher.running_calls()
    for each in servers:
        found |= each.running()
    return found


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


async def _sign_out(store: RunStore, writer: StoreWriter, reason: str, wall_clock: Callable[[], float]) -> None:
    """Signs out if the database still takes it: after a failed write it may not, and the first error tells why."""
    # An error is raised, and whoever gets it says what it says.
    _log.info("The invocation ends: %s", "failed" if reason.startswith("failed") else reason)
    with anyio.CancelScope(shield=True):
        try:
            await writer.call(store.end, reason, wall_clock())
        except RowmillError:
            if not reason.startswith("failed"):
                raise


def _leaf(raised: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
