"""Calls made elsewhere: chained no-op columns, requests over HTTP, and a function that computes; in the process of the
run, in one and two processes beside it, and by one and two actors of Ray, where that is installed.

*driver alone* is the engine with workers that cost nothing: every call has ended as soon as it was handed over, and
endings come in batches. It is the most that one driver can do. With the work *waiting* such workers take a second for
each call, with 16,384 of them in flight; *of ideal* compares with in flight ÷ 1 s, without ramp and tail.

The time goes from the moment all workers are ready to the end of the run. CPU is that of the driver and of all workers
together, per call. Of HTTP the endpoint's CPU and the bare client stand beside (``tools/benchmark provider`` says what
that is): both share the cores with driver and workers.

The function that computes takes 5 ms of CPU. Two processes need two idle cores to make twice as many calls. Where
others work on the same cores, *busy* and *× local by CPU* say what idle cores would do: how much of the time in which
they had a core the workers (or, of ``local``, the run) computed; and, from that and the CPU that a call takes driver
and workers, how many calls idle cores would make, beside ``local`` in the same way. Time in which a thread was ready to
run and had no core is taken off, as far as the kernel counts it (Linux): of each thread, so that *busy* is the most it
can have been.

Measured on 2026-12-01, 2 cores, Python 3.11.7, machine idle; the row with a star on 2026-11-30, beside other work whose
load was 15. ``× local`` compares with the same run::

    work       executor      calls/s  × local  of bare  of ideal  driver µs  workers µs  endpoint µs  bare client µs
    no-op      local          67,100     1.00                          14.7
    no-op      1 process      42,500     0.63                          21.0        12.4
    no-op      2 processes    40,600     0.61                          20.7        12.9
    no-op      driver alone   68,700     1.02                          14.2
    HTTP       local           4,920     1.00   53.1 %                196.8                     55.0           128.1
    HTTP       1 process       5,620     1.14   60.6 %                 79.8       163.0         50.0           128.1
    HTTP       2 processes     5,920     1.20   63.8 %                 76.9       169.0         56.0           128.1
    HTTP       driver alone   34,900     7.08                          28.3
    waiting *  driver alone   14,400                     95.4 %        27.8
    CPU-bound  local             189     1.00                       5,341
    CPU-bound  1 process         186     0.99                         507       5,221
    CPU-bound  2 processes       361     1.91                         292       5,158

CPU-bound, five runs: 1.85, 1.89, 1.90, 1.91 and 1.91 × by the clock, 1.94 to 1.97 by CPU.

Until 2026-11-30 the calls of *driver alone* made no requests, so that less was written than by the other executors.

A function that keeps the interpreter for 5 ms and takes no CPU, on the same machine: 118 calls/s here, 215 in two
processes.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import textwrap
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

from rowmill.dispatch.protocol import CallEnding, Workers
from rowmill.dispatch.slot import Slot
from rowmill.engine.elsewhere import Job
from rowmill.engine.ending import RunReport
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import WriterThread
from rowmill.remote.opening import open_workers
from rowmill.run_database import RunDatabase
from rowmill.spec.executor import Workers as WorkerSettings
from rowmill.spec.executor import executor_settings
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore
from rowmill.task import Outcome, OutcomeKind, Request, Task, TaskKey

from .gauge import allow_many_files, in_own_process, process_cpu_s, process_waited_s
from .provider import bare_client, steady_rate
from .report import Figure, Report, Row, Table
from .script import bench_script
from .simulator import http_simulator

_MODEL = "bench"
_IN_FLIGHT = {"no-op": 1024, "HTTP": 512, "CPU-bound": 64}
_WAITING = "waiting"
_WAIT_S = 1.0
_WAVES = 6
_LATENCY_MS = 20
_AIMED_AT_PER_S = {"no-op": 20_000, "HTTP": 2_500, "CPU-bound": 300}
_LEAST = {"no-op": 3_000, "HTTP": 2_048, "CPU-bound": 50}
_COLUMNS = {"no-op": 3, "HTTP": 1, "CPU-bound": 1}
_ALONE = "driver alone"
_PATIENCE_S = 120.0
_FUNCTIONS = """
import time

async def no_op(row) -> int:
    return 1

def compute(row) -> int:
    until = time.thread_time() + 0.005
    count = 0
    while time.thread_time() < until:
        count += 1
    return 1
"""
_FIGURES = (
    Figure("work", "work"),
    Figure("executor", "executor"),
    Figure("calls", "calls"),
    Figure("calls_per_s", "calls/s"),
    Figure("times_local", "× local", 2),
    Figure("times_local_by_cpu", "by CPU", 2),
    Figure("busy", "busy", percent=True),
    Figure("share_of_bare", "of bare", percent=True),
    Figure("share_of_ideal", "of ideal", percent=True),
    Figure("driver_us", "driver µs/call", 1),
    Figure("worker_us", "workers µs/call", 1),
    Figure("endpoint_us", "endpoint µs", 1),
    Figure("bare_us", "bare client µs", 1),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=3.0, help="aimed at per case (default: 3)")
    parser.add_argument("--work", choices=[*_IN_FLIGHT, _WAITING], action="append", help="only this work (repeatable)")
    parser.add_argument(
        "--in-flight", type=int, default=16_384, metavar="N", help="calls that wait at once (default: 16384)"
    )
    parser.add_argument("--without-ray", action="store_true", help="leave Ray out, though it is installed")


def measure(options: argparse.Namespace) -> Report:
    """Runs case after case, the driver of each in a process of its own."""
    report = Report("remote")
    executors: dict[str, Mapping[str, Any] | None] = {
        "local": {"kind": "local"},
        "1 process": {"kind": "processes", "workers": 1},
        "2 processes": {"kind": "processes", "workers": 2},
    }
    if find_spec("ray") is None:
        report.notes.append("Ray is not installed here: pip install 'rowmill[ray]'.")
    elif not options.without_ray:
        actors = {"kind": "ray", "address": "local", "num_cpus": 0.5}
        executors |= {"1 Ray actor": {**actors, "workers": 1}, "2 Ray actors": {**actors, "workers": 2}}
    executors[_ALONE] = None
    rows: list[Row] = []
    for kind in options.work or (*_IN_FLIGHT, _WAITING):
        if kind == _WAITING:
            rows.append(_waiting_case(options.in_flight, options.seconds))
            continue
        calls = max(_LEAST[kind], int(_AIMED_AT_PER_S[kind] * options.seconds))
        found = [_case(kind, name, executor, calls) for name, executor in executors.items()]
        _compare(kind, calls, found)
        rows += found
    report.tables.append(Table("remote", "Calls made here and elsewhere", _FIGURES, rows))
    report.notes.append("Time is from the moment all workers are ready to the end of the run.")
    return report


def _case(kind: str, name: str, executor: Mapping[str, Any] | None, calls: int) -> dict[str, Any]:
    found: dict[str, Any] = {"work": kind, "executor": name}
    if kind != "HTTP":
        return found | in_own_process(_run, kind, executor, calls, "")
    with http_simulator(_LATENCY_MS, {_MODEL: {}}) as simulator:
        before = process_cpu_s(simulator.pid)
        found |= in_own_process(_run, kind, executor, calls, simulator.base_url)
        after = process_cpu_s(simulator.pid)
    if before is not None and after is not None and executor is not None:
        found["endpoint_us"] = (after - before) / calls * 1e6
    return found


def _waiting_case(in_flight: int, seconds: float) -> dict[str, Any]:
    calls = max(_WAVES, math.ceil(seconds / _WAIT_S)) * in_flight
    found = in_own_process(_run, _WAITING, None, calls, "http://127.0.0.1:9/v1", in_flight)
    found["share_of_ideal"] = found["steady_per_s"] * _WAIT_S / in_flight
    return {"work": _WAITING, "executor": _ALONE} | found


def _compare(kind: str, calls: int, found: Sequence[dict[str, Any]]) -> None:
    bare: dict[str, Any] = {}
    if kind == "HTTP":
        with http_simulator(_LATENCY_MS, {_MODEL: {}}) as simulator:
            model = {"provider": "openai", "base_url": simulator.base_url}
            bare = in_own_process(bare_client, model, _LATENCY_MS, _IN_FLIGHT[kind], calls)
    for row in found:
        row["times_local"] = row["calls_per_s"] / found[0]["calls_per_s"]
        if kind == "CPU-bound" and row["executor"] != _ALONE:
            row["times_local_by_cpu"] = _on_idle_cores(row) / _on_idle_cores(found[0])
        if bare:
            row["bare_us"] = bare["bare_cpu_us"]
            row["share_of_bare"] = row["calls_per_s"] / bare["bare_per_s"]


def _on_idle_cores(row: Mapping[str, Any]) -> float:
    """Calls a second that cores with nothing else to do would make, of the CPU each takes and how busy all were."""
    workers, worker_us = (row["workers"], row["worker_us"]) if row["worker_us"] else (1, row["driver_us"])
    cores = os.cpu_count() or 1
    in_all_us = row["driver_us"] + (row["worker_us"] or 0.0)
    return float(1e6 * row["busy"] * min(workers / worker_us, cores / in_all_us))


def _spec(kind: str, calls: int, url: str, in_flight: int) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [{"name": "start", "column_type": "sampler", "sampler_type": "uuid"}]
    if url:
        prompt = "Write about {{ start }}."
        columns.append({"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": prompt})
    else:
        function = "functions:no_op" if kind == "no-op" else "functions:compute"
        for number in range(_COLUMNS[kind]):
            columns.append(
                {
                    "name": f"column_{number}",
                    "column_type": "custom",
                    "generator_function": function,
                    "required_columns": [columns[-1]["name"]],
                    **({"max_rows_per_call": 1} if kind == "CPU-bound" else {}),
                }
            )
    rows = calls // _COLUMNS.get(kind, 1)
    model = {"alias": "writer", "model": _MODEL, "base_url": url, "max_parallel_requests": in_flight}
    return {
        "name": "remote",
        "records": rows,
        "row_group_size": min(500, rows),
        "run": {"max_in_flight": in_flight, "max_active_rows": max(8192, 4 * in_flight)},
        **({"models": [model]} if url else {}),
        "columns": columns,
    }


def _run(
    kind: str, executor: Mapping[str, Any] | None, calls: int, url: str, in_flight: int | None = None
) -> dict[str, Any]:
    at_once = _IN_FLIGHT[kind] if in_flight is None else in_flight
    allow_many_files(at_once + 256)
    wait_s = _WAIT_S if kind == _WAITING else 0.0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "functions.py").write_text(textwrap.dedent(_FUNCTIONS), encoding="utf-8")
        prepared = prepare(Spec.from_data(_spec(kind, calls, url, at_once)), directory)
        measured = _Measured()
        file = directory / "remote.duckdb"
        run_on_event_loop(partial(_work, prepared, file, executor, measured, wait_s))
        if kind == _WAITING:
            with RunDatabase.open(file) as database:
                started = database.sql(bench_script("requests")).column("started").to_pylist()
    calls = prepared.spec.planned_records * _COLUMNS.get(kind, 1)
    return {
        **({"steady_per_s": steady_rate(started, at_once)} if kind == _WAITING else {}),
        "calls": calls,
        "calls_per_s": calls / measured.seconds,
        "driver_us": measured.driver_cpu_s / calls * 1e6,
        "worker_us": measured.worker_cpu_s / calls * 1e6 if measured.worker_cpu_s else None,
        "workers": len(measured.pids),
        "busy": measured.busy if kind == "CPU-bound" and executor is not None else None,
    }


class _Measured:
    """What a run cost from the moment its workers were ready."""

    def __init__(self) -> None:
        self.pids: Sequence[int] = ()
        self.seconds = self.driver_cpu_s = self.worker_cpu_s = self.waited_s = 0.0

    @property
    def busy(self) -> float:
        """The share of the time in which they had a core that workers computed; without workers, that of the run."""
        cpu_s = self.worker_cpu_s if self.pids else self.driver_cpu_s
        there_s = self.seconds * max(1, len(self.pids))
        return min(1.0, cpu_s / max(cpu_s, there_s - self.waited_s))

    def begin(self) -> None:
        """The dispatcher starts."""
        self._workers = self._cpu_of_workers()
        self._waited = self._waited_so_far()
        self._driver = time.process_time()
        self._at = time.perf_counter()

    def end(self) -> None:
        """The run is over; its workers are there still."""
        self.seconds = time.perf_counter() - self._at
        self.driver_cpu_s = time.process_time() - self._driver
        self.worker_cpu_s = self._cpu_of_workers() - self._workers
        self.waited_s = self._waited_so_far() - self._waited

    def _waited_so_far(self) -> float:
        return sum(process_waited_s(pid) for pid in self.pids or ("self",))

    def _cpu_of_workers(self) -> float:
        return sum(process_cpu_s(pid) or 0.0 for pid in self.pids)


async def _work(
    prepared: Prepared, database: Path, executor: Mapping[str, Any] | None, measured: _Measured, wait_s: float
) -> None:
    settings = executor_settings(dict(executor) if executor is not None else "processes")
    opened = partial(_opened_alone, wait_s) if executor is None else open_workers

    @asynccontextmanager
    async def all_ready(wanted: WorkerSettings, job: Job) -> AsyncIterator[Workers]:
        async with opened(wanted, job) as workers:
            if executor is not None:
                measured.pids = await _ready(workers, wanted.workers or 1)
            yield workers
            measured.end()

    async with WriterThread() as writer:
        store = await writer.call(RunStore.open, database)
        try:
            report: RunReport = await work(
                store,
                writer,
                prepared,
                wall_clock=time.time,
                environ={},
                executor=settings,
                open_workers=all_ready,
                on_dispatcher=lambda dispatcher: measured.begin(),
            )
        finally:
            await writer.call(store.close)
    if not measured.seconds:  # in the process of the run
        measured.end()
    if report.rows_finished != prepared.spec.planned_records:
        raise RuntimeError(f"The run is not complete: {report.message}")


async def _ready(workers: Any, count: int) -> list[int]:
    """The processes of all workers, when they are ready."""
    with anyio.fail_after(_PATIENCE_S):
        while True:
            pids = [facts.pid for facts in workers.statistics() if facts.state == "ready"]
            if len(pids) == count:
                return pids
            await anyio.sleep(0.01)


@asynccontextmanager
async def _opened_alone(wait_s: float, settings: WorkerSettings, job: Job) -> AsyncIterator[Workers]:
    yield _Nobody(frozenset(number for number, name in job.generators.items() if name == "text"), wait_s)


class _Nobody:
    """Workers that cost nothing: what is submitted ends ``wait_s`` later, when the event loop comes round.

    Each call of a generator that asks a model has made a request, which is journaled.
    """

    suspects: Set[TaskKey] = frozenset()

    def __init__(self, ask_models: Set[int], wait_s: float) -> None:
        self._ask_models = ask_models
        self._wait_s = wait_s
        self._submitted: deque[tuple[float, CallEnding]] = deque()
        """With when each ends, on the event loop's clock."""
        self._news = anyio.Event()

    def submit(self, slots: Sequence[Slot]) -> None:
        """See :class:`rowmill.dispatch.protocol.Workers`."""
        started_at, now = time.time(), anyio.current_time()
        for slot in slots:
            slot.begin(now)
            outcomes = [self._outcome(task, started_at) for task in slot.tasks]
            self._submitted.append((now + self._wait_s, CallEnding(slot.call, outcomes)))
        self._news.set()

    def _outcome(self, task: Task, started_at: float) -> Outcome:
        took_ms = self._wait_s * 1000
        requests: Sequence[Request] = ()
        values: list[Any] = [1]
        if task.generator in self._ask_models:
            requests = (Request(_MODEL, started_at, took_ms, 10, 20, None, None, None),)
            values = ["made"]
        return Outcome(OutcomeKind.SUCCEEDED, task, values, None, requests, started_at, took_ms, None, "nobody")

    def cancel(self, calls: Sequence[int]) -> None:
        """See :class:`rowmill.dispatch.protocol.Workers`: none runs for long enough."""

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """See :class:`rowmill.dispatch.protocol.Workers`: nobody is asked."""

    def can_share(self, resource: str, calls: int) -> bool:
        """See :class:`rowmill.dispatch.protocol.Workers`."""
        return False

    async def endings(self) -> AsyncIterator[Sequence[CallEnding]]:
        """See :class:`rowmill.dispatch.protocol.Workers`."""
        while True:
            while not self._submitted:
                self._news = anyio.Event()
                await self._news.wait()
            await anyio.sleep_until(self._submitted[0][0])
            now = anyio.current_time()
            batch: list[CallEnding] = []
            while self._submitted and self._submitted[0][0] <= now:
                batch.append(self._submitted.popleft()[1])
            yield batch
