"""Preparing and resuming: plans of 10, 10⁶ and 10⁹ row groups of one row, fresh and nearly complete.

Baseline: the smallest plan of the same run. Each step is given as it is the first time in a fresh process, as the
median of five times, and as the median of its CPU time; memory is what the first time added to the process. A
nearly complete run has all row groups but two in ``finished_row_group`` and their rows in the dataset, written by
SQL, since no run would do it in time; for 10⁹ that would be 30 GB, so it is made up to 10⁶. The two left are
active, their tasks in flight, as a process leaves them that is killed; or its log was folded into the file since.

Steps: *prepare* the spec becomes a graph · *create* the tables and the plan · *open* the file · *plan*: spec and
plan are read and checked against the row groups · *sign in* · *first turn* until it has handed out tasks. *resume*:
plan and sign in, after which the run's state is back; other tools scan their files for that. *plan SQL*: only the
statements that write and read the plan, and the look-up of the last row group.

Measured on 2026-11-21, 2 shared cores, 24 GiB, Python 3.11.7, DuckDB 2.0.0, otherwise idle, medians in milliseconds::

                       row groups  prepare  create  open  plan  sign in  first turn  resume  open to tasks  plan SQL
    fresh                      10      0.8   153.5  34.8            8.0        37.9                   80.7       1.5
    fresh                     10⁶      0.9   147.8  33.8            7.9        37.8                   79.4       1.6
    fresh                     10⁹      0.8   157.2  35.0            7.9        40.8                   83.7       1.6
    2 left, killed             10      1.0          17.1   3.7      4.2        25.6     7.9           50.6       0.8
    2 left, killed            10⁶      1.0          17.6   3.9      4.4        26.9     8.4           52.8       0.8
    2 left, stopped           10⁶      0.9          17.5   4.3      5.2        28.2     9.5           55.2       0.9

The first turn of a fresh process takes 160 ms where pandas is installed: pyarrow imports it then.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.store.database.staging import from_epoch
from rowmill.store.run_store import RunStore

from .engine_run import prepared_spec
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Row, Table
from .script import bench_script
from .stopwatch import StatementClock

_ROW_GROUPS = (10, 10**6, 10**9)
_MOST_PRETENDED = 10**6
_TIMES = 5
_LEFT = 2
_STEPS = ("prepare", "create", "open", "plan", "sign_in", "first_turn")
_WORK_STEPS = ("plan", "sign_in", "first_turn")


def _figures(decimals: int) -> tuple[Figure, ...]:
    steps = [Figure(step, step.replace("_", " "), decimals) for step in _STEPS]
    return (Figure("row_groups", "row groups"), Figure("state", "state"), Figure("run", "run"), *steps)


_TIME_FIGURES = (
    *_figures(2),
    Figure("open_to_tasks", "open to tasks", 2),
    Figure("work", "without open", 2),
    Figure("resume", "resume", 2),
    Figure("times_baseline", "× smallest", 2),
    Figure("plan_sql", "plan SQL", 2),
)
_MEMORY_FIGURES = (*_figures(1), Figure("peak_mib", "peak MiB"))
_STATEMENT_FIGURES = (
    Figure("row_groups", "row groups"),
    Figure("statement", "statement"),
    Figure("ms", "ms", 2),
    Figure("calls", "calls"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--row-groups", type=int, action="append", help="may be repeated (default: 10, 10⁶, 10⁹)")
    parser.add_argument("--profile", action="store_true", help="also time the statements of a nearly complete resume")


def measure(options: argparse.Namespace) -> Report:
    """Runs every case in a process of its own."""
    report = Report("plan")
    times: list[Row] = []
    memory: list[Row] = []
    statements: list[Row] = []
    smallest: dict[tuple[str, str], float] = {}
    for row_groups in options.row_groups or _ROW_GROUPS:
        cases = [("fresh", _fresh)]
        if _LEFT < row_groups <= _MOST_PRETENDED:
            cases += [("2 left, killed", _resumed_after_a_kill), ("2 left, stopped", _resumed_after_a_stop)]
        for state, case in cases:
            found = in_own_process(case, row_groups)
            for run in ("first", "median", "CPU"):
                figures = found[run]
                baseline = smallest.setdefault((state, run), figures["work"])
                row = {"row_groups": row_groups, "state": state, "run": run, **figures}
                times.append({**row, "times_baseline": figures["work"] / baseline})
            memory.append({"row_groups": row_groups, "state": state, "run": "first", **found["memory"]})
            statements += [{"row_groups": row_groups, **row} for row in found.get("statements", ())]
    report.tables.append(Table("times", "Milliseconds", _TIME_FIGURES, times))
    report.tables.append(Table("memory", "MiB added by each step", _MEMORY_FIGURES, memory))
    if options.profile:
        title = "Statements of the last nearly complete resume"
        report.tables.append(Table("statements", title, _STATEMENT_FIGURES, statements))
    return report


async def no_op(row: dict[str, Any]) -> int:
    """Never called."""
    raise NotImplementedError


class _Steps:
    """Times and memory of the steps of one preparation or resume."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self.cpu_ms: dict[str, float] = {}
        self.grown_mib: dict[str, float] = {}
        self.peak_mib = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        with Gauge() as gauge:
            yield
        self.ms[name] = gauge.seconds * 1000
        self.cpu_ms[name] = gauge.cpu_s * 1000
        self.grown_mib[name] = gauge.grown_mib
        self.peak_mib = max(self.peak_mib, gauge.peak_mib)


def _prepare(row_groups: int) -> Prepared:
    column = {"name": "made", "column_type": "custom", "generator_function": no_op, "required_columns": []}
    return prepared_spec({"name": "plan", "records": row_groups, "row_group_size": 1, "columns": [column]})


def _fresh(row_groups: int) -> dict[str, Any]:
    runs = []
    for _ in range(_TIMES):
        with tempfile.TemporaryDirectory() as directory:
            steps, clock = _Steps(), StatementClock()
            with steps.step("prepare"):
                prepared = _prepare(row_groups)
            with steps.step("open"):
                store = RunStore.open(Path(directory) / "plan.duckdb")
            clock.attach(store.connection)
            try:
                with steps.step("create"):
                    store.create(prepared.blueprint(), time.time())
                _to_first_tasks(store, prepared, steps)
                _look_up(store, steps, clock)
            finally:
                store.close()
            runs.append(steps)
    return _result(runs)


def _resumed_after_a_kill(row_groups: int) -> dict[str, Any]:
    return _nearly_complete(row_groups, is_killed=True)


def _resumed_after_a_stop(row_groups: int) -> dict[str, Any]:
    return _nearly_complete(row_groups, is_killed=False)


def _nearly_complete(row_groups: int, *, is_killed: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as directory:
        in_own_process(_make_nearly_complete, row_groups, Path(made), is_killed)
        file = Path(directory) / "plan.duckdb"
        runs = []
        clock = StatementClock()
        for _ in range(_TIMES):
            for each in Path(made).glob("plan.duckdb*"):
                shutil.copy(each, directory)
            steps, clock = _Steps(), StatementClock()
            with steps.step("open"):
                store = RunStore.open(file)
            clock.attach(store.connection)
            try:
                with steps.step("plan"):
                    stored = store.stored_spec()
                    store.check_plan()
                with steps.step("prepare"):
                    prepared = prepare_stored(stored.text, stored.directory, ())
                assert store.plan().row_groups == row_groups
                _to_first_tasks(store, prepared, steps)
                _look_up(store, steps, clock)
            finally:
                store.close()
            runs.append(steps)
    statements = [
        {"statement": name, "ms": seconds * 1000, "calls": calls} for name, (seconds, calls) in clock.by_name().items()
    ]
    return {**_result(runs), "statements": statements}


def _make_nearly_complete(row_groups: int, directory: Path, is_killed: bool) -> None:
    """All row groups finished but the last two, which are active; the process ends without signing out.

    What a killed process leaves is what is there before the file is closed: file, log and kept blocks.
    """
    prepared = _prepare(row_groups)
    file = directory / "plan.duckdb"
    store = RunStore.open(file)
    now = time.time()
    store.create(prepared.blueprint(), now)
    store.begin(prepared.limits, now)
    finished = row_groups - _LEFT
    with store.connection.transaction():
        store.connection.execute(
            bench_script("pretend_finished_row_groups"), {"row_groups": finished, "now": from_epoch(now)}
        )
        store.connection.execute(bench_script("pretend_finished_rows"), {"row_groups": finished})
        store.connection.execute(bench_script("pretend_cursor"), {"row_groups": finished})
    store.turn(prepared.spec, prepared.graph).take([], prepared.limits, now)
    killed = directory / "killed"
    killed.mkdir()
    for each in directory.glob("plan.duckdb*"):
        shutil.copy(each, killed)
    store.close()
    if is_killed:
        for each in killed.iterdir():
            each.replace(directory / each.name)


def _to_first_tasks(store: RunStore, prepared: Prepared, steps: _Steps) -> None:
    now = time.time()
    with steps.step("sign_in"):
        store.begin(prepared.limits, now)
    with steps.step("first_turn"):
        turn = store.turn(prepared.spec, prepared.graph)
        tasks = turn.take([], prepared.limits, now).tasks
    if len(tasks) < _LEFT:
        raise RuntimeError(f"{len(tasks)} tasks, at least {_LEFT} were expected")


def _look_up(store: RunStore, steps: _Steps, clock: StatementClock) -> None:
    """The plan's own statements, and what they are for: where the last row group starts, and its size."""
    with Gauge() as gauge:
        plan = store.plan()
        last = plan.row_groups - 1
        if plan.offset_of(last) + plan.size_of(last) != plan.rows:
            raise RuntimeError("the last row group does not end where the plan does")
    written = clock.by_name().get("insert_plan_segment", (0.0, 0))[0]
    steps.ms["plan_sql"] = (written + gauge.seconds) * 1000


def _result(runs: list[_Steps]) -> dict[str, Any]:
    first = runs[0]
    return {
        "first": _with_sums(first.ms),
        "median": _with_sums({name: median(run.ms[name] for run in runs) for name in first.ms}),
        "CPU": _with_sums({name: median(run.cpu_ms[name] for run in runs) for name in first.cpu_ms}),
        "memory": {**first.grown_mib, "peak_mib": first.peak_mib},
    }


def _with_sums(ms: dict[str, float]) -> dict[str, float]:
    work = sum(ms.get(step, 0.0) for step in _WORK_STEPS)
    sums = {"work": work, "open_to_tasks": ms["open"] + work}
    if "plan" in ms:
        sums["resume"] = ms["plan"] + ms["sign_in"]
    return {**ms, **sums}
