"""The turn alone: outcomes in, tasks out, by the number of outcomes and of active rows, for a chain of 8 columns.

Each turn gets the outcomes of the tasks the turn before handed out, and room for as many again, so the number in
flight is the number of outcomes. Values are texts of 64 characters. Row groups finish and are admitted as they
come; since no more are admitted than needed, turns that are not counted bring the active rows back to their number.
The first turns, until the chain is full, are not counted. Baseline: the turn with one outcome on the same rows.

Measured on 2026-11-20, 2 cores, 24 GiB, Python 3.11.7, DuckDB 2.0.0, machine otherwise idle::

    active rows  outcomes  median ms  p95 ms  longest ms  × one outcome  µs/outcome  CPU ms/turn  peak MiB
          1,000         1      12.07   14.01       15.75            1.0    12,068.2        13.25       150
          1,000       100      27.60   35.55       37.16            2.3       276.0        28.99       165
          1,000     1,000      50.76   59.51       64.57            4.2        50.8        48.68       176
          8,000         1      13.54   16.33       16.81            1.0    13,540.6        15.46       158
          8,000       100      29.53   31.10       39.52            2.2       295.3        32.26       172
          8,000     1,000      34.44   44.05       59.42            2.5        34.4        38.57       188
        100,000         1      29.27   34.32       34.91            1.0    29,271.6        43.41       209
        100,000       100      51.24   53.07       60.92            1.8       512.4        69.05       223
        100,000     1,000      57.75   71.35       85.39            2.0        57.7        79.39       228
        100,000    10,000     124.34  148.73      167.35            4.2        12.4       144.53       301

On 2026-11-21, since the results of several generators are written by one statement, in-flight marks and small reads are
remembered, and the pull selects without sorting (before the last two: 22.4 and 28.1 ms at the median)::

          1,000       100      12.33   19.85       21.85            1.0       123.3        12.67       221
         16,384       100      14.46   16.85       26.38            1.0       144.6        14.58       234
         16,384     1,000      24.92   35.38       61.13            1.7        24.9        27.29       251

A turn with one outcome on 1,000 rows is mostly the fixed cost of its statements. By the engine's own profiler, on one
thread: of 9.7 ms the statements take 7.5, of which running the operators 1.0, optimising 2.1, planning 1.8; the
profiler does not say what the remaining 2.6 ms of the statements are (parsing is among them).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rowmill.spec.declaration import LOCAL
from rowmill.store.run_store import RunStore
from rowmill.store.turn.turn import Turn
from rowmill.task import Outcome, OutcomeKind, Request, Task

from .engine_run import prepared_spec
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Row, Table
from .stopwatch import StatementClock

GENERATORS = 8
_OUTCOMES = (1, 100, 1000, 10_000)
_ACTIVE_ROWS = (1000, 8000, 100_000)
_MOST_TURNS = 200
_LEAST_TURNS = 8
_FIGURES = (
    Figure("active_rows", "active rows"),
    Figure("outcomes", "outcomes"),
    Figure("turns", "turns"),
    Figure("median_ms", "median ms", 2),
    Figure("p95_ms", "p95 ms", 2),
    Figure("longest_ms", "longest ms", 2),
    Figure("times_baseline", "× one outcome", 1),
    Figure("us_per_outcome", "µs/outcome", 1),
    Figure("cpu_ms", "CPU ms/turn", 2),
    Figure("peak_mib", "peak MiB"),
)
_PROFILE = (
    Figure("statement", "statement"),
    Figure("ms_per_turn", "ms/turn", 3),
    Figure("calls_per_turn", "calls/turn", 2),
    Figure("share", "share", percent=True),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--outcomes", type=int, action="append", help="per turn; may be repeated")
    parser.add_argument("--active-rows", type=int, action="append", help="may be repeated")
    parser.add_argument("--seconds", type=float, default=2.0, help="per case, about (default: 2)")
    parser.add_argument("--requests", action="store_true", help="every outcome journals a model request")
    parser.add_argument(
        "--profile", metavar="OUTCOMES:ROWS", help="time the statements of this one case instead (1000:8000)"
    )


def measure(options: argparse.Namespace) -> Report:
    """Runs every case in a process of its own."""
    report = Report("turn")
    if options.profile:
        outcomes, _, rows = options.profile.partition(":")
        case = in_own_process(_case, int(outcomes), int(rows), options.seconds, options.requests, True)
        report.tables.append(Table("profile", f"{outcomes} outcomes, {rows} active rows", _PROFILE, case["profile"]))
        return report
    found: list[Row] = []
    for rows in options.active_rows or _ACTIVE_ROWS:
        baseline = None
        for outcomes in options.outcomes or _OUTCOMES:
            if outcomes > rows:
                report.notes.append(f"A chain over {rows} rows never has {outcomes} tasks ready at once.")
                continue
            case = in_own_process(_case, outcomes, rows, options.seconds, options.requests, False)
            baseline = baseline or case["median_ms"]
            found.append({**case, "times_baseline": case["median_ms"] / baseline})
    title = f"The turn, a chain of {GENERATORS} cell generators"
    report.tables.append(Table("turn", title, _FIGURES, found))
    return report


async def no_op(row: dict[str, Any]) -> str:
    """Never called: the benchmark makes the outcomes itself."""
    raise NotImplementedError


def _spec(outcomes: int, active_rows: int) -> dict[str, Any]:
    names = [f"column_{number}" for number in range(GENERATORS)]
    columns = [
        {
            "name": name,
            "column_type": "custom",
            "generator_function": no_op,
            "required_columns": names[place - 1 : place] if place else [],
        }
        for place, name in enumerate(names)
    ]
    return {
        "name": "turn",
        "records": 10**9,
        "row_group_size": min(500, max(1, active_rows // 8)),
        "run": {"max_active_rows": 2 * active_rows, "max_active_row_groups": active_rows, "max_in_flight": outcomes},
        "columns": columns,
    }


class _Mill:
    """Takes turns with a constant number of outcomes over a constant number of active rows."""

    def __init__(self, turn: Turn, outcomes: int, active_rows: int, *, requests: bool) -> None:
        self._turn = turn
        self._count = outcomes
        self._active_rows = active_rows
        self._values = ["x" * 64]
        self._journal = [Request("bench", time.time(), 200.0, 100, 60, None, None, None)] if requests else []
        self._now = time.time()
        self._tasks: list[Task] = []
        self.missing_rows = 0
        """Rows that finished since the last :meth:`fill` and were not replaced."""
        self.fill()

    def fill(self) -> None:
        """Admits rows until there are as many active ones as wanted: asks for a task of each, and gives most back."""
        self._take(self._outcomes(OutcomeKind.RELEASED, self._tasks), self._active_rows)
        if len(self._tasks) < self._count:
            raise RuntimeError(f"{len(self._tasks)} tasks, {self._count} are wanted")
        given_back, self._tasks = self._tasks[self._count :], self._tasks[: self._count]
        self._turn.take(self._outcomes(OutcomeKind.RELEASED, given_back), {}, self._now)
        self.missing_rows = 0

    def turn(self) -> tuple[float, float]:
        """One turn; its seconds and CPU seconds."""
        outcomes = self._outcomes(OutcomeKind.SUCCEEDED, self._tasks)
        started, cpu = time.perf_counter(), time.process_time()
        self._take(outcomes, self._count)
        took = time.perf_counter() - started, time.process_time() - cpu
        if len(self._tasks) != self._count:
            raise RuntimeError(f"{len(self._tasks)} tasks instead of {self._count}")
        return took

    def _take(self, outcomes: list[Outcome], wanted: int) -> None:
        result = self._turn.take(outcomes, {LOCAL: wanted}, self._now)
        self._turn.tidy()
        self._tasks = result.tasks
        self.missing_rows += sum(group.rows_finished for group in result.finished)

    def _outcomes(self, kind: OutcomeKind, tasks: list[Task]) -> list[Outcome]:
        values = self._values if kind is OutcomeKind.SUCCEEDED else None
        journal = self._journal if kind is OutcomeKind.SUCCEEDED else []
        return [Outcome(kind, task, values, None, journal) for task in tasks]


def _case(outcomes: int, active_rows: int, seconds: float, requests: bool, profiled: bool) -> dict[str, Any]:
    prepared = prepared_spec(_spec(outcomes, active_rows))
    clock = StatementClock()
    took: list[float] = []
    cpu_s = 0.0
    with tempfile.TemporaryDirectory() as directory:
        store = RunStore.open(Path(directory) / "turn.duckdb")
        try:
            now = time.time()
            store.create(prepared.blueprint(), now)
            if profiled:
                clock.attach(store.connection)
            store.begin(prepared.limits, now)
            mill = _Mill(store.turn(prepared.spec, prepared.graph), outcomes, active_rows, requests=requests)
            for _ in range(2 * GENERATORS):
                mill.turn()
            mill.fill()
            clock.clear()
            end = time.perf_counter() + seconds
            with Gauge() as gauge:
                while len(took) < _LEAST_TURNS or (len(took) < _MOST_TURNS and time.perf_counter() < end):
                    if mill.missing_rows > active_rows // 10:
                        with clock.paused():
                            mill.fill()
                    turn_s, turn_cpu_s = mill.turn()
                    took.append(turn_s)
                    cpu_s += turn_cpu_s
        finally:
            store.close()
    found: dict[str, Any] = {
        "active_rows": active_rows,
        "outcomes": outcomes,
        "turns": len(took),
        "median_ms": median(took) * 1000,
        "p95_ms": quantiles(took, n=20, method="inclusive")[-1] * 1000,
        "longest_ms": max(took) * 1000,
        "us_per_outcome": median(took) / outcomes * 1e6,
        "cpu_ms": cpu_s / len(took) * 1000,
        "peak_mib": gauge.peak_mib,
    }
    if profiled:
        found["profile"] = _profile(clock, took)
    return found


def _profile(clock: StatementClock, took: list[float]) -> list[Row]:
    turns, whole = len(took), sum(took)
    rows: list[Row] = []
    for name, (seconds, calls) in clock.by_name().items():
        rows.append(
            {
                "statement": name,
                "ms_per_turn": seconds / turns * 1000,
                "calls_per_turn": calls / turns,
                "share": seconds / whole,
            }
        )
    other = whole - sum(clock.seconds.values())
    rows.append({"statement": "(Python)", "ms_per_turn": other / turns * 1000, "share": other / whole})
    rows.append({"statement": "(turn)", "ms_per_turn": whole / turns * 1000, "calls_per_turn": 1, "share": 1.0})
    return rows
