"""Executing calls in this process: a task's inputs go to its generator, what comes back becomes outcomes.

An error in a generator's code is an outcome of its row, sorted by type; an error in Rowmill's own code is raised and
stops the run.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import anyio
import pyarrow as pa
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from rowmill.counted import plural
from rowmill.errors import GeneratorError, RowmillError
from rowmill.generators.protocol import BatchGenerator, Call, CellGenerator, DatasetGenerator, Generator
from rowmill.source_line import source_line
from rowmill.task import Outcome, OutcomeKind, Request, Task, classify
from rowmill.value.plain_arrow import plain_table

_log = logging.getLogger("rowmill.custom")


class _Batch(NamedTuple):
    """What a batch generator returned."""

    table: pa.Table
    state: Any


class LocalExecutor:
    """The :class:`~rowmill.dispatch.protocol.Executor` that calls bound generators directly."""

    def __init__(
        self,
        bound: Mapping[int, Generator],
        several_rows: frozenset[int],
        wall_clock: Callable[[], float],
        names: Mapping[int, str] | None = None,
    ) -> None:
        """``bound`` and ``names`` by generator number; ``several_rows``: those called with several rows."""
        self._ways = {
            number: _way_of(generator, takes_several_rows=number in several_rows) for number, generator in bound.items()
        }
        self._wall_clock = wall_clock
        self._names = names or {}
        self._told: set[tuple[int, type[BaseException], str | None]] = set()
        """Errors of users' code whose traceback is in the log."""

    async def execute(self, tasks: Sequence[Task], journal: list[Request]) -> Sequence[Outcome]:
        """See :class:`~rowmill.dispatch.protocol.Executor`."""
        first = tasks[0]
        row_ids = [task.row_id for task in tasks if task.row_id is not None]
        regenerations = [task.regenerations for task in tasks]
        name = self._names.get(first.generator, "")
        call = Call(first.row_group, row_ids, name, regenerations if any(regenerations) else (), first.deferrals)
        call.requests = journal
        started_at = self._wall_clock()
        try:
            results = await self._ways[first.generator](tasks, call)
        except anyio.get_cancelled_exc_class():
            await checkpoint_if_cancelled()
            # Nobody cancelled this call: the generator's code raised it by itself.
            results = [GeneratorError("The generator's code cancelled itself.", "Cancelled")] * len(tasks)
        except KeyboardInterrupt:
            raise
        except GeneratorExit as error:
            if not _is_on_event_loop():  # the coroutine is closed, after its loop
                raise
            results = [error] * len(tasks)
        except BaseException as error:  # noqa: BLE001  recorded: becomes the outcome of every task of the call
            results = [error] * len(tasks)
        took_ms = max(0.0, self._wall_clock() - started_at) * 1000
        if _log.isEnabledFor(logging.INFO):
            self._tell_of(first.generator, results)
        requests: Sequence[Request] = journal  # those of the call are told with its first task
        outcomes = []
        for task, result in zip(tasks, results, strict=True):
            outcomes.append(_outcome(task, result, requests, started_at, took_ms))
            requests = ()
        return outcomes

    def _tell_of(self, generator: int, results: Sequence[Any]) -> None:
        """Logs the traceback of errors of code that is not ours, once for each place (with ``-v``)."""
        for error in results:
            if not isinstance(error, BaseException) or not _is_of_code(error):
                continue
            key = generator, type(error), source_line(error)
            if key not in self._told:
                self._told.add(key)
                _log.info("Column '%s' failed:", self._names.get(generator, generator), exc_info=error)


def _is_on_event_loop() -> bool:
    try:
        current_token()
    except RuntimeError:
        return False
    return True


_Way = Callable[[Sequence[Task], Call], Awaitable[Sequence[Any]]]
"""How the tasks of one call get their results: one for each of them."""


def _way_of(generator: Generator, *, takes_several_rows: bool) -> _Way:
    if isinstance(generator, DatasetGenerator):
        return partial(_over_dataset, generator)
    if isinstance(generator, BatchGenerator):
        return partial(_over_row_group, generator)
    return partial(_over_rows if takes_several_rows else _over_row, generator)


async def _over_dataset(generator: DatasetGenerator, tasks: Sequence[Task], call: Call) -> Sequence[Any]:
    try:
        return [await generator.generate_dataset(tasks[0].inputs, call)]
    finally:
        tasks[0].inputs.close()


async def _over_row_group(generator: BatchGenerator, tasks: Sequence[Task], call: Call) -> Sequence[Any]:
    rows = plain_table(tasks[0].inputs)
    return [_Batch(*await generator.generate_in_order(rows, tasks[0].state, call))]


async def _over_row(generator: CellGenerator, tasks: Sequence[Task], call: Call) -> Sequence[Any]:
    return [await generator.generate(tasks[0].inputs, call)]


async def _over_rows(generator: CellGenerator, tasks: Sequence[Task], call: Call) -> Sequence[Any]:
    results = await generator.generate_rows([task.inputs for task in tasks], call)
    if len(results) != len(tasks):
        raise GeneratorError(
            f"The generator returned {plural(len(results), 'result')} for {plural(len(tasks), 'row')}."
        )
    return results


def _is_of_code(error: BaseException) -> bool:
    """Whether the error was raised by code that a traceback helps to mend: a user's, or a plug-in's."""
    if isinstance(error, RowmillError):
        return source_line(error) is not None
    return error.__traceback__ is not None


def _outcome(task: Task, result: Any, requests: Sequence[Request], started_at: float, took_ms: float) -> Outcome:
    if isinstance(result, BaseException):
        return Outcome(classify(result), task, None, result, requests, started_at, took_ms)
    if isinstance(result, _Batch):
        return Outcome(OutcomeKind.SUCCEEDED, task, result.table, None, requests, started_at, took_ms, result.state)
    return Outcome(OutcomeKind.SUCCEEDED, task, result, None, requests, started_at, took_ms)
