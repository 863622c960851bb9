"""The worker: generators bound from the spec, calls in, endings out. It knows no transport, and has no database."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from rowmill.engine.binding import bind_columns, open_generators, open_models, open_tools
from rowmill.engine.execution import LocalExecutor
from rowmill.engine.garbage import collected_rarely
from rowmill.errors import GeneratorError, RowmillError
from rowmill.generators.custom.function import FunctionProblem
from rowmill.generators.file_directory import FileDirectory
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.key_ring import KeyRing
from rowmill.providers.opening import open_provider
from rowmill.providers.servers import Servers
from rowmill.remote.code_digest import code_digests
from rowmill.remote.lane import Lane, Seat
from rowmill.remote.messages import (
    BEAT_S,
    PROTOCOL,
    Answer,
    CallData,
    Drain,
    EndingData,
    Failed,
    FromWorker,
    Hello,
    Open,
    Question,
    Ready,
    Results,
    Work,
    decode,
    encode,
)
from rowmill.remote.plain import ending_data, error_data, error_of, tasks_of
from rowmill.secret import hidden
from rowmill.source_line import said_by
from rowmill.spec.declaration import THREADS
from rowmill.spec.spec import Spec
from rowmill.task import Outcome, OutcomeKind, Request
from rowmill.version import VERSION

_LINGER_PER_CALL_S = 0.00003
_LONGEST_LINGER_S = 0.005
_FEW_CALLS = 16
"""Endings wait for others, as a frame costs more than an ending in it: the longer the more calls are under way. Of few
calls each is told at once: the next one comes for it, and functions that hold the interpreter delay each step."""
_LONGEST_WAIT_S = 1.0
"""Calls that wait while none begins for so long are given back: they have a deadline, and waiting is no fault."""
_MOST_LOGS = 1000
"""Records of a log kept for one frame."""


def python_version() -> str:
    """Implementation and minor version of this interpreter."""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"


class Host:
    """A worker's whole work, for one driver. See :class:`~rowmill.remote.link.WorkerEnd`."""

    def __init__(self, send: Callable[[bytes], None], node: str = "") -> None:
        """``send`` takes frames for the driver and must not wait. ``node``: where in a cluster this is."""
        self._send_frame = send
        self._node = node
        self._open: Open | None = None
        self._is_opened = anyio.Event()
        self._is_drained = anyio.Event()
        self._executor: LocalExecutor | None = None
        self._lanes: dict[str, Lane] = {}
        """By resource."""
        self._lane_of: dict[int, Lane] = {}
        """By generator."""
        self._servers: Sequence[Servers] = ()
        self._running: dict[int, Seat] = {}
        self._endings: list[EndingData] = []
        self._questions: list[Question] = []
        self._asked: dict[int, _Asked] = {}
        self._next_question = 0
        self._logs: list[tuple[str, int, str, Mapping[str, Any]]] = []
        self._has_news = anyio.Event()
        self._group: anyio.abc.TaskGroup | None = None

    def take(self, frame: bytes) -> None:
        """See :class:`~rowmill.remote.link.WorkerEnd`."""
        message = decode(frame)
        if isinstance(message, Open):
            self._open = message
            self._is_opened.set()
        elif isinstance(message, Drain):
            self._is_opened.set()
            self._is_drained.set()
        elif isinstance(message, Work):
            for answer in message.answers:
                self._answered(answer)
            for name, calls in message.limits.items():
                self._set_limit(name, calls)
            self._cancel(message.cancels)
            self._start(message.calls)

    async def serve(self) -> None:
        """See :class:`~rowmill.remote.link.WorkerEnd`."""
        hello = Hello(PROTOCOL, VERSION, python_version(), os.getpid(), platform.node() or socket.gethostname())
        self._send(hello._replace(node=self._node))
        await self._is_opened.wait()
        if self._open is None:
            return
        async with AsyncExitStack() as stack:
            try:
                await self._make_ready(self._open, stack)
            except (Exception, SystemExit) as error:  # noqa: BLE001  told to the driver, whose matter it is
                trace = hidden("".join(traceback.format_exception(error)))
                kind = error if isinstance(error, RowmillError) else _could_not_open(error)
                self._send(Failed("open", error_data(kind), trace))
                return
            try:
                async with anyio.create_task_group() as group:
                    self._group = group
                    group.start_soon(self._report)
                    for lane in self._lanes.values():
                        self._begin_calls(lane)
                    await self._is_drained.wait()
                    group.cancel_scope.cancel()
            except Exception as error:  # noqa: BLE001  Rowmill's own: the run stops
                trace = hidden("".join(traceback.format_exception(error)))
                self._send(Failed("internal", error_data(_leaf(error)), trace))

    async def _make_ready(self, told: Open, stack: AsyncExitStack) -> None:
        os.environ.update(told.environ)
        _listen(self._logs, told.log_level, stack)
        stack.enter_context(collected_rarely())
        spec = _with_functions(Spec.from_json(told.spec), told.functions)
        threads = spec.run.max_local_workers
        for resource in told.resources.values():
            self._lanes[resource] = Lane(threads, keeps=True) if resource == THREADS else Lane()
        self._lane_of = {number: self._lanes[resource] for number, resource in told.resources.items()}
        directory = Path(told.directory)
        environ = dict(os.environ)
        keys = KeyRing(environ, directory)
        models = await stack.enter_async_context(open_models(spec, keys, time.time, open_provider, _Answers(self)))
        self._servers = models.servers
        tools = await stack.enter_async_context(open_tools(spec, told.generators.values(), directory, environ))
        runtime = InvocationRuntime(
            directory, models.by_alias, _Files(self), spec, tools, told.arrow_types, told.casts_values
        )
        bound = bind_columns(spec, told.generators, runtime)
        stack.push_async_callback(self._tell_of_closing)
        await stack.enter_async_context(open_generators(bound.values()))
        self._send(Ready(code_digests(spec, told.generators.values(), directory)))
        self._executor = LocalExecutor(bound, told.several_rows, time.time, told.generators)

    async def _tell_of_closing(self) -> None:
        """Sends what was logged while generators were closed: nobody reports any more."""
        if self._logs:
            self._send(Results([], [], 0, time.time(), list(self._logs)))
            self._logs.clear()

    # Calls -------------------------------------------------------------------------------------------

    def _start(self, calls: Sequence[CallData]) -> None:
        for data in calls:
            self._lane_of[data.generator].add(data)
        for lane in {id(lane): lane for lane in (self._lane_of[data.generator] for data in calls)}.values():
            self._begin_calls(lane)

    def _begin_calls(self, lane: Lane) -> None:
        """Has as many of the calls that wait begin as may."""
        if self._group is None:
            return
        while (data := lane.next_call()) is not None:
            if lane.idle:
                seat = lane.idle.pop()
                seat.call(data)
            else:
                seat = Seat(data)
                self._group.start_soon(self._work, lane, seat)
            self._running[data.call] = seat

    async def _work(self, lane: Lane, seat: Seat) -> None:
        """Makes one call after another, until one of them is cut off."""
        assert self._executor is not None, "calls start when the worker is ready"
        execute = self._executor.execute
        with seat.scope:
            while True:
                data = seat.data
                seat.journal = []
                outcomes = await execute(tasks_of(data), seat.journal)
                del self._running[data.call]
                lane.running -= 1
                self._endings.append(ending_data(data.call, outcomes))
                self._has_news.set()
                if seat.scope.cancel_called:
                    break
                following = lane.next_call()
                if following is not None:
                    seat.data = following
                    self._running[following.call] = seat
                else:
                    lane.idle.append(seat)
                    await seat.wait()
        if self._running.pop(seat.data.call, None) is not None:
            lane.running -= 1
            self._tell_cut_off(seat.data, seat.journal)
        self._begin_calls(lane)

    def _cancel(self, calls: Sequence[int]) -> None:
        if not calls:
            return
        gone = set(calls)
        for lane in self._lanes.values():
            self._give_back(lane.withdraw(gone))
        for call in calls:
            seat = self._running.get(call)
            if seat is not None:
                seat.scope.cancel()

    def _set_limit(self, name: str, calls: int) -> None:
        """Keeps to a limit of a resource, or of a server of a model."""
        lane = self._lanes.get(name)
        if lane is None:
            any(servers.set_limit(name, calls) for servers in self._servers)
            return
        self._give_back(lane.set_limit(calls))
        self._begin_calls(lane)

    def _give_back(self, calls: Sequence[CallData]) -> None:
        """Ends calls that did not begin."""
        for data in calls:
            self._tell_cut_off(data, [])

    def _tell_cut_off(self, data: CallData, journal: list[Request]) -> None:
        """Ends a call that nobody waits for, with the requests it made: they cost."""
        outcomes = [
            Outcome(OutcomeKind.RELEASED, task, requests=journal if place == 0 else ())
            for place, task in enumerate(tasks_of(data))
        ]
        self._endings.append(ending_data(data.call, outcomes))
        self._has_news.set()

    # What is told --------------------------------------------------------------------------------------

    async def _report(self) -> None:
        """Sends what is new, a little later than it came; and at least a sign of life."""
        while True:
            with anyio.move_on_after(BEAT_S):
                await self._has_news.wait()
                await anyio.sleep(self._linger_s())
            self._has_news = anyio.Event()
            for lane in self._lanes.values():
                self._give_back(lane.stuck(_LONGEST_WAIT_S))
            endings, self._endings = self._endings, []
            questions, self._questions = self._questions, []
            logs = list(self._logs)
            self._logs.clear()
            running = len(self._running) + sum(map(len, self._lanes.values()))
            self._send_results(Results(endings, questions, running, time.time(), logs))

    def _linger_s(self) -> float:
        running = len(self._running)
        return min(_LONGEST_LINGER_S, running * _LINGER_PER_CALL_S) if running > _FEW_CALLS else 0.0

    def _send_results(self, results: Results) -> None:
        """Sends what ended. What pickle refuses fails its row, and no other."""
        try:
            frame = encode(results)
        except Exception:  # noqa: BLE001  a value may be anything: which it is, is looked for one by one
            frame = encode(results._replace(endings=[_travelling(ending) for ending in results.endings]))
        self._send_frame(frame)

    def _send(self, message: FromWorker) -> None:
        self._send_frame(encode(message))

    # What is asked -------------------------------------------------------------------------------------

    async def ask(self, kind: Any, *arguments: Any) -> Any:
        """Asks the driver and waits for its answer. Raises what it raised."""
        self._next_question += 1
        number = self._next_question
        asked = self._asked[number] = _Asked()
        self._questions.append(Question(number, kind, arguments))
        self._has_news.set()
        try:
            await asked.event.wait()
        finally:
            self._asked.pop(number, None)
        answer = asked.answer
        assert answer is not None, "the event is set with an answer"
        if answer.error is not None:
            raise error_of(answer.error)
        return answer.value

    def _answered(self, answer: Answer) -> None:
        asked = self._asked.get(answer.question)
        if asked is not None:
            asked.answer = answer
            asked.event.set()


class _Asked:
    __slots__ = ("answer", "event")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.event = anyio.Event()


class _Answers:
    """The kept answers, which the driver has."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def find(self, keys: Sequence[int]) -> dict[int, str]:
        """See :class:`~rowmill.generators.prompting.answer_reuse.KnownAnswers`."""
        found: dict[int, str] = await self._host.ask("find_answers", list(keys))
        return found


class _Files(FileDirectory):
    """The directory of files, which is beside the run database: the driver writes and reads."""

    def __init__(self, host: Host) -> None:
        super().__init__(Path("rowmill.files"))
        self._host = host

    async def write(self, column: str, row_id: int, suffix: str, content: bytes) -> str:
        """See :class:`~rowmill.generators.file_directory.FileDirectory`."""
        name: str = await self._host.ask("write_file", column, row_id, suffix, content)
        return name

    async def read(self, name: str) -> bytes | None:
        """See :class:`~rowmill.generators.file_directory.FileDirectory`."""
        content: bytes | None = await self._host.ask("read_file", name)
        return content


class _Records(logging.Handler):
    """Keeps records of the log for the driver, whose log they belong into."""

    def __init__(self, records: list[tuple[str, int, str, Mapping[str, Any]]], level: int) -> None:
        super().__init__(level)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one; so many in a moment that nobody reads them are left out."""
        if len(self._records) < _MOST_LOGS:
            self._records.append((record.name, record.levelno, hidden(record.getMessage()), {}))


def _listen(records: list[tuple[str, int, str, Mapping[str, Any]]], level: int, stack: AsyncExitStack) -> None:
    logger = logging.getLogger("rowmill")
    handler = _Records(records, level)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    stack.callback(logger.removeHandler, handler)


def _with_functions(spec: Spec, functions: Mapping[str, bytes]) -> Spec:
    """The spec with functions that came along in place of their names."""
    columns = [
        column.model_copy(update={"generator_function": pickle.loads(functions[column.name])})
        if column.name in functions
        else column
        for column in spec.columns
    ]
    return spec.model_copy(update={"columns": tuple(columns)}) if functions else spec


def _travelling(ending: EndingData) -> EndingData:
    """An ending that is certain to travel: what does not fails its row."""
    if _error_of(ending) is None:
        return ending
    of_state = _error_of(ending.state)
    results = []
    for result in ending.results:
        refusal = of_state or _error_of(result)
        if refusal is None:
            results.append(result)
            continue
        what = "A value" if of_state is None else "The returned state"
        message = f"{what} cannot be sent to the driver: {refusal}. Return plain Python values."
        results.append((OutcomeKind.REJECTED.value, None, error_data(GeneratorError(message, "ValueError"))))
    return ending._replace(results=results, state=ending.state if of_state is None else None)


def _error_of(value: Any) -> str | None:
    """What kind of error pickle has with a value; None if it has none."""
    try:
        pickle.dumps(value, 5)
    except Exception as error:  # noqa: BLE001  that is the question
        return type(error).__name__
    return None


def _could_not_open(error: BaseException) -> GeneratorError:
    kind = type(error).__name__
    said = said_by(error) if isinstance(error, FunctionProblem) else f"{kind}: {said_by(error)}"
    return GeneratorError(f"A worker could not be made ready: {said}", kind)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
