"""What readers cost a living run: durable cells per second alone, and with readers that ask in loops.

Each reader is a process of its own that asks for the status and counts the dataset, again and again without a
pause. With --pages, the page of the run is open so many times instead: one process serves it, once a second to all.
Baseline: the same run with nobody looking, before each run with readers.

Readers use CPU in two places. Their own processes take cores, if there is none left for the run. The threads that serve
them take time from the run's process itself: nearly all of a run is Python, which does one thing at a time however
many cores there are. If readers cost a run just this CPU, it would need as long as alone and the time of the serving
threads, or longer if it and the readers want more than all cores together have: (all CPU) / cores. The share of that
expected throughput which the run reaches is what readers cost it beyond the CPU they use: waiting for locks, above all
for the interpreter's, statements that got dearer, and what Flight's own threads do, which nobody can measure. It is to
be 95 % or more. Other load on the machine spoils the figure, and in a short run what every reader may have at once
(a quarter of a second of CPU for all) weighs more than in a long one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.invocation import run

from .engine_run import prepared_spec
from .gauge import Gauge, in_own_process
from .report import Figure, Report, Row, Table

_FIGURES = (
    Figure("readers", "readers"),
    Figure("pages", "pages"),
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
    time.sleep(0.02)
try:
    with rowmill.RunDatabase.open(sys.argv[1]) as database:
        while database.status().state == "running":
            database.sql("select count(*) as n from dataset")
            looks += 1
except RowmillError:
    pass
print(looks, time.process_time() - cpu_before)
"""
_PAGES = """
import sys
import threading
import time
import urllib.request
from pathlib import Path

from rowmill.errors import RowmillError
from rowmill.inspect.place import live_place
from rowmill.ui.server import PageServer

cpu_before = time.process_time()
database = Path(sys.argv[1])
place = live_place(database)
page = PageServer(database)
looks = []
print("ready", flush=True)
give_up_at = time.monotonic() + 30.0
while not place.has_socket() and time.monotonic() < give_up_at:
    time.sleep(0.02)

def look():
    with urllib.request.urlopen(page.url + "news") as news:
        for line in news:
            if line.startswith(b"data: "):
                looks.append(len(line))

for _ in range(int(sys.argv[2])):
    threading.Thread(target=look, daemon=True).start()
while place.has_socket():
    time.sleep(0.05)
print(len(looks), time.process_time() - cpu_before, flush=True)
page.close()
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rows", type=int, default=150_000, help="of the run (default: 150,000)")
    parser.add_argument("--readers", type=int, default=8, help="that look at once (default: 8)")
    parser.add_argument("--pages", type=int, default=0, help="open pages instead of readers (default: none)")
    parser.add_argument("--rounds", type=int, default=1, help="alone and with readers in turn (default: 1)")


def measure(options: argparse.Namespace) -> Report:
    """The run alone, then with readers; each in a process of its own."""
    report = Report("live")
    found: list[Row] = []
    cells = options.rows * _COLUMNS
    readers, pages = (0, options.pages) if options.pages else (options.readers, 0)
    cases = [
        in_own_process(_case, options.rows, *many) for _ in range(options.rounds) for many in ((0, 0), (readers, pages))
    ]
    for place, case in enumerate(cases):
        alone = cases[place - place % 2]
        wanted_s = (alone["cpu_s"] + case["serving_cpu_s"] + case["reader_cpu_s"]) / (os.cpu_count() or 1)
        expected = cells / max(alone["seconds"] + case["serving_cpu_s"], wanted_s)
        case["cells_per_s"] = cells / case["seconds"]
        case |= {"expected_cells_per_s": expected, "share_of_expected": case["cells_per_s"] / expected}
        case["share_of_alone"] = case["cells_per_s"] / (cells / alone["seconds"])
        found.append(case)
    title = f"{_COLUMNS} chained async no-op columns, {options.rows:,} rows"
    report.tables.append(Table("live", title, _FIGURES, found))
    return report


async def no_op(row: dict[str, Any]) -> str:
    """Makes a value at once."""
    return "x"


def _start_reader(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that looks as soon as the run can be asked."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def _serving_cpu() -> Iterator[list[float]]:
    """The CPU seconds of the threads that served, as they counted them, once the run inside has ended."""
    from rowmill.inspect.server import LiveServer

    found: list[float] = []
    close = LiveServer.close

    def closed(server: LiveServer) -> None:
        found.append(server.statistics().cpu_s + server.status_statistics().cpu_s)
        close(server)

    with mock.patch.object(LiveServer, "close", closed):
        yield found


def _case(rows: int, readers: int, pages: int) -> dict[str, Any]:
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
        waiting = [_start_reader(_READER, database) for _ in range(readers)]
        if pages:
            waiting.append(_start_reader(_PAGES, database, pages))
        for reader in waiting:
            assert reader.stdout is not None
            reader.stdout.readline()  # it is ready
        with _serving_cpu() as serving_cpu_s, Gauge() as gauge:
            report = run_on_event_loop(partial(run, prepared, database))
        if report.rows_finished != rows:
            raise RuntimeError(f"The run is not complete: {report.message}")
        looked = [reader.communicate()[0].split() for reader in waiting]
    return {
        "readers": readers,
        "pages": pages,
        "looks": sum(int(words[0]) for words in looked),
        "reader_cpu_s": sum(float(words[1]) for words in looked),
        "serving_cpu_s": sum(serving_cpu_s),
        "cpu_s": gauge.cpu_s,
        "seconds": gauge.seconds,
    }
