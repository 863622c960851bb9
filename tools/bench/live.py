"""What readers cost a living run: durable cells per second alone, and with readers that ask in loops.

Each reader is a process of its own that asks for the status and counts the dataset, again and again without a
pause. Baseline: the same run with nobody looking.

Readers use CPU: that of their own processes from the moment they are ready, and that of the run's process beyond what
the same cells cost it alone (the threads that serve). If just this were taken away from the machine, the same run
would need as long as alone, or longer if it and the readers want more than all cores together have: (run's CPU alone +
readers' CPU) / cores. The share of that expected throughput which the run reaches is what readers cost it beyond the
CPU they use: waiting for locks, above all for the interpreter's. Other load on the machine spoils the figure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

from rowmill.engine.invocation import run

from .engine_run import prepared_spec
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Row, Table

_FIGURES = (
    Figure("readers", "readers"),
    Figure("cells_per_s", "cells/s"),
    Figure("share_of_alone", "of alone", percent=True),
    Figure("expected_cells_per_s", "expected"),
    Figure("share_of_expected", "of expected", percent=True),
    Figure("looks", "looks"),
    Figure("reader_cpu_s", "readers' CPU s", 2),
    Figure("serving_cpu_s", "serving CPU s", 2),
    Figure("cpu_s", "run's CPU s", 2),
    Figure("seconds", "seconds", 2),
)
_COLUMNS = 3
_READER = """
import sys
import time
from pathlib import Path

import rowmill
import rowmill.inspect.client
import rowmill.run_database
from rowmill.errors import RowmillError
from rowmill.inspect.place import live_place

looks = 0
cpu_before = time.process_time()
place = live_place(Path(sys.argv[1]))
print("ready", flush=True)
give_up_at = time.monotonic() + 30.0
while not place.has_socket() and time.monotonic() < give_up_at:
    time.sleep(0.002)
try:
    with rowmill.RunDatabase.open(sys.argv[1]) as database:
        while database.status().state == "running":
            database.sql("select count(*) as n from dataset")
            looks += 1
except RowmillError:
    pass
print(looks, time.process_time() - cpu_before)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rows", type=int, default=50_000, help="of the run (default: 50,000)")
    parser.add_argument("--readers", type=int, default=8, help="that look at once (default: 8)")


def measure(options: argparse.Namespace) -> Report:
    """The run alone, then with readers; each in a process of its own."""
    report = Report("live")
    found: list[Row] = []
    cells = options.rows * _COLUMNS
    alone = in_own_process(_case, options.rows, 0)
    for case in (alone, in_own_process(_case, options.rows, options.readers)):
        serving_cpu_s = max(case["cpu_s"] - alone["cpu_s"], 0.0)
        wanted_s = (alone["cpu_s"] + serving_cpu_s + case["reader_cpu_s"]) / (os.cpu_count() or 1)
        expected = cells / max(alone["seconds"], wanted_s)
        case |= {"cells_per_s": cells / case["seconds"], "serving_cpu_s": serving_cpu_s}
        case |= {"expected_cells_per_s": expected, "share_of_expected": case["cells_per_s"] / expected}
        case["share_of_alone"] = case["cells_per_s"] / (cells / alone["seconds"])
        found.append(case)
    title = f"{_COLUMNS} chained async no-op columns, {options.rows:,} rows"
    report.tables.append(Table("live", title, _FIGURES, found))
    return report


async def no_op(row: dict[str, Any]) -> str:
    """Makes a value at once."""
    return "x"


def _start_reader(database: Path) -> subprocess.Popen[str]:
    """A process that looks as soon as the run can be asked."""
    return subprocess.Popen([sys.executable, "-c", _READER, str(database)], stdout=subprocess.PIPE, text=True)


def _case(rows: int, readers: int) -> dict[str, Any]:
    names = [f"column_{number}" for number in range(_COLUMNS)]
    columns = [
        {
            "name": name,
            "column_type": "custom",
            "generator_function": no_op,
            "required_columns": names[place - 1 : place] if place else [],
        }
        for place, name in enumerate(names)
    ]
    prepared = prepared_spec({"name": "live", "records": rows, "columns": columns})
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "live.duckdb"
        waiting = [_start_reader(database) for _ in range(readers)]
        for reader in waiting:
            assert reader.stdout is not None
            reader.stdout.readline()  # it is ready
        with Gauge() as gauge:
            report = anyio.run(run, prepared, database)
        if report.rows_finished != rows:
            raise RuntimeError(f"The run is not complete: {report.message}")
        looked = [reader.communicate()[0].split() for reader in waiting]
    return {
        "readers": readers,
        "looks": sum(int(words[0]) for words in looked),
        "reader_cpu_s": sum(float(words[1]) for words in looked),
        "cpu_s": gauge.cpu_s,
        "seconds": gauge.seconds,
    }
