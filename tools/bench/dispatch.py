"""Dispatching: three chained async columns that do nothing, every cell durable.

Baseline of the same run: the same calls through the same dispatcher and executor, with turns taken in memory
by a few lines of Python instead of the store. That is the most the event loop can do. ``--peer`` lets NVIDIA
DataDesigner do the same; it is installed once, into an environment of its own in the user's cache directory.

Measured on 2026-11-20, 2 cores, 24 GiB, Python 3.11.7, DuckDB 2.0.0, machine otherwise idle::

       rows                                       cells/s  of limit     s  CPU µs/cell  MiB  turns  median  longest ms
     20,000  Rowmill, durable                      31,207    31.7 %  1.92         32.5  186     19      57          87
     20,000  dispatcher without a store (limit)    98,348            0.61         10.2  115     17
     20,000  DataDesigner 0.9.6, in memory          5,451     5.5 % 11.01        183.3  273
    100,000  Rowmill, durable                      39,907    40.0 %  7.52         25.6  201     69      69         114
    100,000  dispatcher without a store (limit)    99,815            3.01         10.0  115     64

So 5.7 times as many cells as DataDesigner in the same run, every one of them on disk. On 2026-12-01, with DuckDB 2.0.1,
two runs::

       rows                                        cells/s     of limit  CPU µs/cell   × peer
     20,000  Rowmill, durable               45,100, 46,400   45 and 45 %           22  6.8, 7.0
     20,000  DataDesigner 0.9.7, in memory    6,650, 6,670                        152
    100,000  Rowmill, durable               66,500, 63,800   52 and 56 %           15  9.5, 9.1
    100,000  DataDesigner 0.9.7, in memory    7,030, 6,980                        143

The shorter run is a third slower as its time includes creating the run database.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.pool import ResourceLimit
from rowmill.dispatch.protocol import Traits
from rowmill.dispatch.settings import DispatchSettings
from rowmill.engine.binding import bind_generators
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.execution import LocalExecutor
from rowmill.engine.loop_clock import loop_clock
from rowmill.engine.preparation import Prepared
from rowmill.generators.runtime import InvocationRuntime
from rowmill.spec.declaration import LOCAL
from rowmill.task import Outcome, OutcomeKind, Task, TurnResult

from . import peer
from .engine_run import EngineRun, prepared_spec, run_engine
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Row, Table

COLUMNS = 3
_FIGURES = (
    Figure("rows", "rows"),
    Figure("what", "what"),
    Figure("cells_per_s", "cells/s"),
    Figure("share_of_limit", "of limit", percent=True),
    Figure("times_peer", "× peer", 1),
    Figure("seconds", "s", 2),
    Figure("cpu_us_per_cell", "CPU µs/cell", 1),
    Figure("peak_mib", "peak MiB"),
    Figure("turns", "turns"),
    Figure("median_turn_ms", "median turn ms", 1),
    Figure("longest_turn_ms", "longest ms", 1),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rows", type=int, action="append", help="may be repeated (default: 20000 and 100000)")
    parser.add_argument("--peer", action="store_true", help="let DataDesigner do the same in this run")
    parser.add_argument("--in-flight", type=int, default=1024, help="max_in_flight (default: 1024)")


def measure(options: argparse.Namespace) -> Report:
    """Runs every case in a process of its own."""
    report = Report("dispatch")
    rows: list[Row] = []
    for count in options.rows or [20_000, 100_000]:
        found: list[dict[str, Any]] = [
            in_own_process(_engine, count, options.in_flight),
            in_own_process(_without_store, count, options.in_flight),
            in_own_process(_engine, count, options.in_flight, traces=True),
        ]
        if options.peer:
            found.append(_peer(count, report))
        limit = found[1]["cells_per_s"]
        for figures in found:
            if figures["cells_per_s"]:
                figures["share_of_limit"] = figures["cells_per_s"] / limit
        if options.peer and found[-1]["cells_per_s"]:
            found[0]["times_peer"] = found[0]["cells_per_s"] / found[-1]["cells_per_s"]
        rows += found
    report.tables.append(Table("dispatch", f"{COLUMNS} chained async no-op columns", _FIGURES, rows))
    report.notes.append("Time is from creating the file to closing it. A cell is one call of a function.")
    return report


async def no_op(row: Mapping[str, Any]) -> int:
    """The work of every cell."""
    return 1


def spec(rows: int, in_flight: int, *, traces: bool = False) -> dict[str, Any]:
    """A sampler, then three columns, each of which needs the one before. ``traces``: a line for every task."""
    names = ["start", *(f"column_{number}" for number in range(COLUMNS))]
    return {
        "name": "dispatch",
        "records": rows,
        "row_group_size": min(1000, rows),
        "run": {"max_in_flight": in_flight, "trace": traces},
        "columns": [
            {
                "name": names[0],
                "column_type": "sampler",
                "sampler_type": "uniform",
                "params": {"low": 0, "high": 1},
            },
            *(
                {"name": name, "column_type": "custom", "generator_function": no_op, "required_columns": [needed]}
                for needed, name in pairwise(names)
            ),
        ],
    }


def _engine(rows: int, in_flight: int, *, traces: bool = False) -> dict[str, Any]:
    prepared = prepared_spec(spec(rows, in_flight, traces=traces))
    with tempfile.TemporaryDirectory() as directory:
        run: EngineRun = run_engine(prepared, Path(directory) / "dispatch.duckdb")
    return {
        "rows": rows,
        "what": "Rowmill, durable, with task_trace" if traces else "Rowmill, durable",
        **_rates(rows, run.seconds, run.cpu_s),
        "peak_mib": run.peak_mib,
        "turns": run.turns,
        "median_turn_ms": run.median_turn_ms,
        "longest_turn_ms": run.longest_turn_ms,
    }


def _without_store(rows: int, in_flight: int) -> dict[str, Any]:
    prepared = prepared_spec(spec(rows, in_flight))
    store = MemoryStore(prepared, rows)
    with Gauge() as gauge:
        run_on_event_loop(partial(_dispatch, prepared, store))
    return {
        "rows": rows,
        "what": "dispatcher without a store (limit)",
        **_rates(rows, gauge.seconds, gauge.cpu_s),
        "peak_mib": gauge.peak_mib,
        "turns": store.turns,
    }


def _peer(rows: int, report: Report) -> dict[str, Any]:
    try:
        found = peer.chained_no_ops(rows)
    except peer.Unavailable as reason:
        report.notes.append(f"DataDesigner did not run: {reason}")
        return {"rows": rows, "what": "DataDesigner: see below", "cells_per_s": None}
    return {
        "rows": rows,
        "what": f"DataDesigner {found['version']}, in memory",
        **_rates(rows, found["seconds"], found["cpu_s"]),
        "peak_mib": found["peak_mib"],
    }


def _rates(rows: int, seconds: float, cpu_s: float) -> dict[str, float]:
    cells = rows * COLUMNS
    return {"cells_per_s": cells / seconds, "seconds": seconds, "cpu_us_per_cell": cpu_s / cells * 1e6}


class MemoryStore:
    """Takes turns with a queue in place of the database: what finished becomes the next column's task."""

    def __init__(self, prepared: Prepared, rows: int) -> None:
        nodes = [node for node in prepared.graph.generators if node.declaration.resource is not None]
        self._next = {node.number: follower.number for node, follower in pairwise(nodes)}
        self._inputs = {node.number: node.inputs for node in nodes}
        size = prepared.spec.row_group_size
        first = nodes[0].number
        self._fresh = (self._task(first, row // size, row % size, row) for row in range(rows))
        self._ready: deque[Task] = deque()
        self._unfinished = rows
        self.turns = 0

    def _task(self, generator: int, row_group: int, row_index: int | None, row_id: int | None) -> Task:
        return Task(generator, row_group, row_index, row_id, 0, dict.fromkeys(self._inputs[generator], 1))

    async def take_turn(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int],
        *,
        alone: bool = False,
    ) -> TurnResult:
        """See :class:`rowmill.dispatch.protocol.TakeTurn`."""
        self.turns += 1
        for outcome in outcomes:
            task = outcome.task
            following = self._next.get(task.generator)
            if outcome.kind is not OutcomeKind.SUCCEEDED:
                raise RuntimeError(f"a no-op failed: {outcome.error}")
            if following is None:
                self._unfinished -= 1
            else:
                self._ready.append(self._task(following, task.row_group, task.row_index, task.row_id))
        tasks: list[Task] = []
        wanted = free.get(LOCAL, 0)
        while len(tasks) < wanted:
            found = self._ready.popleft() if self._ready else next(self._fresh, None)
            if found is None:
                break
            tasks.append(found)
        return TurnResult(tasks, [], None, again=False, complete=not self._unfinished)


async def _dispatch(prepared: Prepared, store: MemoryStore) -> None:
    bound = bind_generators(prepared, InvocationRuntime(prepared.directory, {}))
    traits = [
        Traits(node.declaration.resource, node.declaration.max_rows_per_call, node.declaration.timeout_s)
        if node.declaration.resource is not None
        else None
        for node in prepared.graph.generators
    ]
    dispatcher = Dispatcher(
        LocalExecutor(bound, frozenset(), time.time),
        store.take_turn,
        traits,
        {name: ResourceLimit(limit, limit) for name, limit in prepared.limits.items()},
        DispatchSettings(max_in_flight=prepared.spec.run.max_in_flight),
        wall_clock=time.time,
        loop_clock=loop_clock(),
    )
    await dispatcher.run()
