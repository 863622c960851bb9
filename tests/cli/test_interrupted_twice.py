"""The second interrupt ends a run within two seconds, whatever it is doing; what is committed stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import CommandLine

_LONGEST_S = 2.0
_SLACK_S = 3.0
"""For a machine that is busy: between the second signal and the moment the test sees the end."""

_FUNCTIONS = """
import ctypes, os, time, pathlib
import rowmill

def _once(row):
    if row["number"] < 8:
        return "done"
    pathlib.Path("busy").touch()
    return None

@rowmill.generator(required_columns=["number"])
def sleeps_in_c(row) -> str:
    if _once(row) is None:
        ctypes.CDLL(None).sleep(600)
    return "done"

@rowmill.generator(required_columns=["number"])
def never_lets_go(row) -> str:
    if _once(row) is None:
        ctypes.PyDLL(None).sleep(600)
    return "done"

@rowmill.generator(required_columns=["number"])
def loops(row) -> str:
    if _once(row) is None:
        while True:
            pass
    return "done"

@rowmill.generator(required_columns=["number"])
async def blocks_the_loop(row) -> str:
    if _once(row) is None:
        while True:
            time.sleep(0.01)
    return "done"

@rowmill.generator(required_columns=["number"])
async def swallows_cancellation(row) -> str:
    import anyio
    while _once(row) is None:
        try:
            await anyio.sleep(600)
        except BaseException:
            pass
    return "done"
"""


_FUNCTION_NAMES = ("sleeps_in_c", "never_lets_go", "loops", "blocks_the_loop", "swallows_cancellation")

_SUM = "list_sum(list_transform(range(1000000), lambda x: len(range(x + number))))"
_ENDLESS = f"case when number < 8 then 1 else {_SUM} end"
_STATEMENT = {"column_type": "expression", "name": "heavy", "dtype": "float", "sql": _ENDLESS}


def _start(rowmill: CommandLine, *columns: dict[str, str]) -> subprocess.Popen[str]:
    """Starts a run of which two row groups are finished; the third keeps it busy."""
    directory = rowmill.directory
    (directory / "own.py").write_text(_FUNCTIONS)
    (directory / "rows.csv").write_text("number\n" + "\n".join(map(str, range(12))) + "\n")
    spec = {
        "name": "twice",
        "records": 8,
        "row_group_size": 4,
        "seed_dataset": {"path": "rows.csv", "sampling_strategy": "ordered"},
        "columns": columns,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    assert rowmill("run", "spec.json", "twice.duckdb").returncode == 0
    (directory / "spec.json").write_text(json.dumps({**spec, "records": 12}))
    return rowmill.start("run", "spec.json", "twice.duckdb")


def _function(name: str) -> dict[str, str]:
    return {"column_type": "custom", "name": "slow", "generator_function": f"own:{name}"}


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _committed(rowmill: CommandLine) -> int:
    rows = json.loads(rowmill.output_of("status", "twice.duckdb", "--format", "json"))[0]["rows_finished"]
    assert isinstance(rows, int)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generator", "number"),
    [
        *((name, signal.SIGINT) for name in _FUNCTION_NAMES),
        ("never_lets_go", signal.SIGTERM),
        ("blocks_the_loop", signal.SIGTERM),
    ],
)
def test_a_second_signal_ends_the_process_whatever_a_function_does(
    rowmill: CommandLine, generator: str, number: signal.Signals
) -> None:
    run = _start(rowmill, _function(generator))
    try:
        _wait_until((rowmill.directory / "busy").exists)
        run.send_signal(number)
        # A signal of the same number that has not been delivered yet would be one with this.
        _wait_until(lambda: _is_delivered(run.pid, number))
        run.send_signal(number)
        began = time.monotonic()
        _, errors = run.communicate(timeout=30)
        took_s = time.monotonic() - began
    finally:
        run.kill()
    assert took_s < _LONGEST_S + _SLACK_S
    assert run.returncode == (-signal.SIGKILL if generator == "never_lets_go" else 130), errors
    assert "the same command goes on" in errors or "Run again to go on" in errors
    assert _committed(rowmill) == 8
    assert rowmill("doctor", "twice.duckdb").returncode == 0


@pytest.mark.slow
def test_a_second_signal_ends_the_process_in_the_middle_of_a_statement(rowmill: CommandLine) -> None:
    run = _start(rowmill, _STATEMENT)
    try:
        _wait_until(lambda: bool(_children(run.pid)))
        _wait_until(lambda: _seconds_of_work(run.pid) > 0.5)
        run.send_signal(signal.SIGINT)
        _wait_until(lambda: _is_delivered(run.pid, signal.SIGINT))
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, errors = run.communicate(timeout=30)
        took_s = time.monotonic() - began
    finally:
        run.kill()
    assert took_s < _LONGEST_S + _SLACK_S
    assert run.returncode == 130, errors
    assert _committed(rowmill) == 8


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["sleeps_in_c", "loops", "blocks_the_loop"])
def test_cancel_ends_the_process_whatever_a_function_does(rowmill: CommandLine, generator: str) -> None:
    run = _start(rowmill, _function(generator))
    try:
        _wait_until((rowmill.directory / "busy").exists)
        done = rowmill("cancel", "twice.duckdb")
        run.communicate(timeout=30)
    finally:
        run.kill()
    assert done.returncode == 0, done.stderr
    assert run.returncode == 130
    assert _committed(rowmill) == 8


def test_the_last_resort_is_gone_when_the_run_is(rowmill: CommandLine) -> None:
    run = _start(rowmill, _function("sleeps_in_c"))
    _wait_until((rowmill.directory / "busy").exists)
    watching = [pid for pid in _children(run.pid) if b"last_resort" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    run.kill()
    run.communicate(timeout=30)
    assert len(watching) == 1
    _wait_until(lambda: not _lives(watching[0]))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _is_delivered(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return not any(mask >> (number - 1) & 1 for mask in pending)


def _seconds_of_work(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
