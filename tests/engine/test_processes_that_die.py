"""Processes that are killed, crash, freeze, hold the interpreter or eat memory: what it costs, and what it does not.

The functions of the spec do it themselves, the first time or each time a row of theirs comes, and note every call.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from processor import waited_for_processor_s

import rowmill
from rowmill import RunDatabase

pytestmark = pytest.mark.slow

FUNCTIONS = """
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).parent

def _note(row):
    with open(HERE / "calls", "a", encoding="ascii") as calls:
        calls.write(f"{row['number']} {os.getpid()}\\n")

def _is_first(row):
    mark = HERE / "died"
    if row["number"] != 17 or mark.exists():
        return False
    mark.write_text(str(time.time()))
    return True

def _wait_for(name, row, first):
    while row["number"] >= first and not (HERE / name).exists():
        time.sleep(0.002)

def killed_once(row) -> int:
    _note(row)
    if _is_first(row):
        os.kill(os.getpid(), signal.SIGKILL)
    _wait_for("back", row, 60)
    return row["number"] * 2

def frozen_once(row) -> int:
    _note(row)
    if _is_first(row):
        os.kill(os.getpid(), signal.SIGSTOP)
    _wait_for("back", row, 60)
    return row["number"] * 2

def disconnected_once(row) -> int:
    _note(row)
    if _is_first(row):
        os.closerange(3, 256)
    _wait_for("back", row, 60)
    return row["number"] * 2

def forked(row) -> int:
    if row["number"] == 17 and os.fork() == 0:
        time.sleep(3600)
    return row["number"] * 2

def spawns(row) -> int:
    _note(row)
    if row["number"] == 17:
        (HERE / "child").write_text(str(subprocess.Popen(["sleep", "3600"]).pid))
    _wait_for("go", row, 17)
    return row["number"] * 2

def segfaults(row) -> int:
    _note(row)
    if row["number"] == 17:
        ctypes.string_at(0)
    return row["number"] * 2

def exits(row) -> int:
    _note(row)
    if row["number"] == 17:
        os._exit(0)
    return row["number"] * 2

def terminates(row) -> int:
    _note(row)
    if row["number"] == 17:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3600)
    return row["number"] * 2

def holds(row) -> int:
    _note(row)
    if row["number"] == 17:
        re.match("(a+)+$", "a" * 64 + "b")
    return row["number"] * 2

async def blocks(row) -> int:
    _note(row)
    if row["number"] == 17:
        time.sleep(3600)
    return row["number"] * 2

def eats(row) -> int:
    _note(row)
    if row["number"] == 17:
        eaten = []
        while True:
            eaten.append(bytearray(1 << 24))
    return row["number"] * 2

def gated(row) -> int:
    _note(row)
    _wait_for("go", row, 30)
    return row["number"] * 2
"""
RECORDS = 80
THREADS = 4
WORKERS = 2
IN_FLIGHT = THREADS * WORKERS
EXPECTED = [{"row_id": number, "number": number, "hurt": number * 2} for number in range(RECORDS)]


def _spec(function: str, rows_per_call: int = 1, **settings: Any) -> dict[str, Any]:
    hurt = {
        "name": "hurt",
        "column_type": "custom",
        "generator_function": f"functions:{function}",
        "required_columns": ["number"],
        "max_rows_per_call": rows_per_call,
    }
    executor = {"kind": "processes", "workers": WORKERS, "silence_s": 2.5, **settings}
    run = {"executor": executor, "max_attempts": 1, "backoff_base_s": 0.01, "max_local_workers": THREADS}
    seed = {"path": "seed.csv", "sampling_strategy": "ordered"}
    return {
        "name": "hurt", "records": RECORDS, "row_group_size": 20, "seed_dataset": seed, "columns": [hurt], "run": run
    }  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    (tmp_path / "seed.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(RECORDS)))
    return tmp_path


def _rows(database: RunDatabase) -> list[dict[str, Any]]:
    assert database.sql("from invariant_violation").num_rows == 0
    rows: list[dict[str, Any]] = database.sql("from dataset order by row_id").to_pylist()
    return rows


def _events(database: RunDatabase, kind: str) -> list[datetime]:
    found = database.sql(f'select "at" from event where kind = \'{kind}\' order by "at"').to_pylist()
    return [row["at"].replace(tzinfo=UTC) for row in found]


def _calls(directory: Path) -> list[tuple[int, int]]:
    """Row and process of each call that was made."""
    lines = (directory / "calls").read_text().split("\n")[:-1]
    return [(int(number), int(pid)) for number, pid in map(str.split, lines)]


def _repeated(directory: Path) -> int:
    return sum(count - 1 for count in Counter(number for number, _ in _calls(directory)).values())


class _Joining(logging.Handler):
    """Makes a file when so many workers have joined."""

    def __init__(self, workers: int, path: Path) -> None:
        super().__init__(logging.INFO)
        self._left = workers
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        self._left -= "joins" in record.getMessage()
        if not self._left:
            self._path.touch()


@contextmanager
def _file_when_joined(workers: int, path: Path) -> Iterator[None]:
    log, handler = logging.getLogger("rowmill.workers"), _Joining(workers, path)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def _eventually(is_so: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("function", "workers", "silence_s", "noticed_s"),
    [
        ("killed_once", 2, 2.5, 0.5),
        ("disconnected_once", 2, 2.5, 2.5 + 1.0),
        ("frozen_once", 2, 6.0, 6.0 + 1.0),
        ("frozen_once", 1, 2.5, 2.5 + 1.0),
    ],
)
def test_w2_a_worker_that_is_lost_is_noticed_and_replaced_and_no_attempt_is_charged(
    directory: Path, function: str, workers: int, silence_s: float, noticed_s: float
) -> None:
    waited = waited_for_processor_s(os.getpid())
    spec = _spec(function, workers=workers, silence_s=silence_s)
    with _file_when_joined(workers + 1, directory / "back"):
        report = rowmill.run(spec, directory / "run.duckdb", directory=directory)
    waited = waited_for_processor_s(os.getpid()) - waited  # what a loaded machine takes is no fault of the run
    died_at = datetime.fromtimestamp(float((directory / "died").read_text()), UTC)
    with RunDatabase.open(directory / "run.duckdb") as database:
        assert (report.exit_code, _rows(database)) == (0, EXPECTED)
        (lost_at,) = _events(database, "worker lost")
        *_, back_at = _events(database, "worker joined")
        attempts = database.sql("from attempt").to_pylist()
    print(
        f"noticed after {(lost_at - died_at).total_seconds():.2f} s, another one worked after "
        f"{(back_at - lost_at).total_seconds():.2f} s more, {_repeated(directory)} calls were made again; "
        f"the run waited {waited:.2f} s for a processor"
    )
    assert attempts == []
    assert (lost_at - died_at).total_seconds() <= noticed_s + waited
    assert 0 < (back_at - lost_at).total_seconds() <= 3.0 + 2 * waited
    assert 0 < _repeated(directory) <= IN_FLIGHT


@pytest.mark.parametrize(
    ("function", "rows_per_call"),
    [("segfaults", 1), ("exits", 1), ("exits", 16), ("terminates", 1), ("holds", 1), ("blocks", 1)],
)
def test_w4_a_row_whose_function_takes_its_worker_along_is_dropped_and_all_others_are_made(
    directory: Path, function: str, rows_per_call: int
) -> None:
    report = rowmill.run(_spec(function, rows_per_call), directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        rows = _rows(database)
        dropped = database.sql("select row_id, column_name, reason, error_type from dropped_row").to_pylist()
        failed = database.sql("select row_id, attempt, error_type from attempt").to_pylist()
        losses = len(_events(database, "worker lost"))
    assert (report.exit_code, report.rows_dropped) == (3, 1)
    assert rows == [row for row in EXPECTED if row["row_id"] != 17]
    assert dropped == [{"row_id": 17, "column_name": "hurt", "reason": "retries_exhausted", "error_type": "WorkerDied"}]
    assert failed == [{"row_id": 17, "attempt": 1, "error_type": "WorkerDied"}]
    assert losses == 3
    assert Counter(number for number, _ in _calls(directory))[17] == 3
    if function != "blocks":  # that one is no thread's
        # Those that were in flight beside it, each time but the last; where one worker alone is there, it has all.
        assert _repeated(directory) <= 2 * IN_FLIGHT * rows_per_call


def test_a_row_whose_function_wants_more_memory_than_there_is_is_dropped_and_all_others_are_made(
    directory: Path,
) -> None:
    report = rowmill.run(_spec("eats", memory_mib=1024), directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        rows = _rows(database)
        dropped = database.sql("select row_id, error_type from dropped_row").to_pylist()
    assert (report.exit_code, rows) == (3, [row for row in EXPECTED if row["row_id"] != 17])
    assert dropped == [{"row_id": 17, "error_type": "MemoryError"}]


def test_a_process_that_a_function_leaves_behind_ends_with_its_worker(directory: Path) -> None:
    report = rowmill.run(_spec("forked"), directory / "run.duckdb", directory=directory)
    with RunDatabase.open(directory / "run.duckdb") as database:
        assert (report.exit_code, _rows(database)) == (0, EXPECTED)
    _eventually(lambda: not _workers_of_this_process(), 5, "a process that a function started outlives the run")


@pytest.mark.parametrize("function", ["gated", "holds"])
def test_w7_workers_end_with_a_driver_that_is_killed_and_the_same_command_goes_on(
    directory: Path, function: str
) -> None:
    (directory / "spec.json").write_text(json.dumps(_spec(function, silence_s=60)))
    environ = {**os.environ, "ROWMILL_SKIP_HEALTH_CHECKS": "1"}
    driver = _start(directory, environ)
    try:
        held = 17 if function == "holds" else 30
        calls = directory / "calls"
        _eventually(
            lambda: calls.exists() and any(number >= held for number, _ in _calls(directory)), 40, "nothing was called"
        )
    finally:
        driver.kill()
        driver.communicate()
    killed_at = time.monotonic()
    workers = {pid for _, pid in _calls(directory)}
    _eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 5, "workers outlive their driver")
    assert time.monotonic() - killed_at < 5
    (directory / "go").touch()
    if function == "holds":
        (directory / "functions.py").write_text(FUNCTIONS.replace('re.match("(a+)+$", "a" * 64 + "b")', "pass"))
    driver = _start(directory, environ, *(["--accept-changes", "--yes"] if function == "holds" else []))
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 0, said
    with RunDatabase.open(directory / "hurt.duckdb") as database:
        assert _rows(database) == EXPECTED
    if function == "gated":
        assert _repeated(directory) <= IN_FLIGHT + 30  # what was in flight, and what the last window held


def test_w7_what_a_function_started_ends_with_a_driver_that_is_killed(directory: Path) -> None:
    (directory / "spec.json").write_text(json.dumps(_spec("spawns")))
    driver = _start(directory, os.environ)
    try:
        told = directory / "child"
        _eventually(lambda: told.exists() and bool(told.read_text()), 40, "nothing was started")
    finally:
        driver.kill()
        driver.communicate()
    _eventually(lambda: _is_gone(int(told.read_text())), 5, "what a function started outlives the run")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _start(directory: Path, environ: Mapping[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rowmill", "run", "spec.json", "-q", *options]
    return subprocess.Popen(
        command, cwd=directory, env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _workers_of_this_process() -> list[int]:
    """Workers that this process started, and what they forked."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal() or int(place.name) == os.getpid():
            continue
        try:
            command = (place / "cmdline").read_bytes()
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended
            continue
        if (
            b"rowmill.remote.processes" in command
            and str(os.getpid()).encode() in command.split(b"\0")
            and state != "Z"
        ):
            found.append(int(place.name))
    return found
