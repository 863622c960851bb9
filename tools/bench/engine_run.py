"""A whole run through the engine, from an empty file to a finished dataset, with its turns timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rowmill.engine.ending import RunReport
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import WriterThread
from rowmill.remote.opening import open_workers
from rowmill.spec.executor import ExecutorSettings
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

from .gauge import Gauge
from .stopwatch import TurnClock


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What a run cost. Time goes from opening the new file until it is closed, everything in it."""

    seconds: float
    cpu_s: float
    peak_mib: float
    turns: int
    median_turn_ms: float
    longest_turn_ms: float
    median_lag_ms: float
    """From a result to its commit (D2)."""
    long_lag_ms: float
    """Of 99 in 100 results, at most."""
    file_mib: float


def prepared_spec(data: Mapping[str, Any]) -> Prepared:
    """A spec given as plain data, ready to run."""
    return prepare(Spec.from_data(data), Path.cwd())


def run_engine(prepared: Prepared, database: Path, executor: ExecutorSettings | None = None) -> EngineRun:
    """Runs ``prepared`` to its end in the new file ``database``. Raises RuntimeError unless every row is there.

    ``executor``: where calls are made, if not in this process. CPU and memory are those of this process alone.
    """
    clock = TurnClock()
    with Gauge() as gauge:
        report = run_on_event_loop(partial(_run, prepared, database, clock, executor))
    if report.rows_finished != prepared.spec.records:
        raise RuntimeError(f"The run is not complete: {report.message}")
    return EngineRun(
        gauge.seconds,
        gauge.cpu_s,
        gauge.peak_mib,
        len(clock.turns),
        clock.median_ms,
        clock.longest_ms,
        clock.lag_ms(0.5),
        clock.lag_ms(0.99),
        database.stat().st_size / 2**20,
    )


async def _run(prepared: Prepared, database: Path, clock: TurnClock, executor: ExecutorSettings | None) -> RunReport:
    opened = None if executor is None else open_workers
    async with WriterThread() as writer:
        store = await writer.call(RunStore.open, database)
        clock.attach(store)
        try:
            return await work(
                store, writer, prepared, wall_clock=time.time, environ={}, executor=executor, open_workers=opened
            )
        finally:
            await writer.call(store.close)
