"""Readers of a free file, one after the other without a pause, never keep a run from starting."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine

_READING = """
import sys, time
from pathlib import Path
from rowmill.errors import RowmillError
from rowmill.inspect.opening import open_reader

number = 0
while True:
    with open_reader(Path(sys.argv[1])) as reader:
        reader.status()
        time.sleep(0.2)  # holds the file nearly all the time, as many short looks do
    number += 1
    Path(sys.argv[2]).write_text(str(number))
"""


@pytest.fixture
def readers(rowmill: CommandLine, quick_run: Path) -> Iterator[list[Path]]:
    """Four processes that read ``quick.duckdb`` again and again; each counts its looks in a file."""
    script = rowmill.directory / "reading.py"
    script.write_text(_READING)
    counts = [rowmill.directory / f"looks_{number}" for number in range(4)]
    running = [subprocess.Popen([sys.executable, script, quick_run, count], cwd=rowmill.directory) for count in counts]
    _wait_until(lambda: all(count.exists() and count.read_text() for count in counts))
    try:
        yield counts
        assert all(process.poll() is None for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _wait_until(is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_starts_every_time_beside_four_readers_that_never_pause(
    rowmill: CommandLine, readers: list[Path]
) -> None:
    for _ in range(4):
        done = rowmill("run", "quick.yaml")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_verbs_that_change_a_stopped_run_start_too_and_readers_go_on_afterwards(
    rowmill: CommandLine, readers: list[Path]
) -> None:
    for verb in (["extend", "--records", "25"], ["pause"], ["resume"]):
        done = rowmill(*verb)
        assert done.returncode == 0, done.stderr
    before = [int(count.read_text()) for count in readers]
    _wait_until(lambda: all(int(count.read_text() or 0) > was for count, was in zip(readers, before, strict=True)))
