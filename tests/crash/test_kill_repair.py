"""``doctor --repair`` that is killed with -9, up to four times in a row, ends as one that was not (D5).

``test_crash_in_repair`` stops it at every statement and file. Here real processes die, so that what only the file
system knows is left behind, too: locks, names of one file that are two, a log beside a file that was renamed.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from command_line import shared_server
from crashing_connection import CrashingConnection
from killed_run import Killed, killed_run
from scenario import contradictions, new_world, write_specs, written_results

from rowmill.engine.doctor import diagnose
from rowmill.store.file.log import read_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

_KILLS = 6
_KILLS_A_FILE = 4
_MOST_FILES = 30
_REPAIR = ["doctor", "run.duckdb", "--repair"]


def _results(database: Path) -> dict[tuple[str, int], object]:
    with CrashingConnection(database) as connection:
        assert contradictions(connection) == []
        return written_results(connection)


def _damaged(directory: Path, killed: Killed) -> Path:
    """A run database whose log is damaged three commits before its end."""
    log = read_log(killed.database)
    assert log is not None
    content = bytearray(killed.log.read_bytes())
    content[log.commits[-3] + 30] ^= 0x40
    directory.mkdir()
    (directory / "run.duckdb").write_bytes(killed.database.read_bytes())
    (directory / "run.duckdb.wal").write_bytes(bytes(content))
    return directory


def test_a_repair_that_is_killed_four_times_in_a_row_is_done_again_and_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "killed").mkdir()
    specs = write_specs(tmp_path / "specs")
    killed = killed_run(tmp_path / "killed", specs, new_world(specs))
    moments = random.Random(34)
    died = 0
    server = shared_server()
    alone = _damaged(tmp_path / "alone", killed)
    assert server.wait(server.start(_REPAIR, alone, alone / "errors.txt"), 60) == 0
    expected = _results(alone / "run.duckdb")
    took_s = 10.0
    for number in range(_MOST_FILES):
        directory = _damaged(tmp_path / f"file-{number}", killed)
        for _ in range(_KILLS_A_FILE):
            began = time.monotonic()
            repairing = server.start(_REPAIR, directory, directory / "errors.txt")
            if server.wait(repairing, moments.uniform(0, took_s)) is not None:
                took_s = min(took_s, time.monotonic() - began)
                break  # it was over: there is nothing left to repair
            died += server.kill(repairing) == -9
        code = server.wait(server.start(_REPAIR, directory, directory / "errors.txt"), 60)
        assert code == 0, (directory / "errors.txt").read_text()
        assert diagnose(directory / "run.duckdb").verdict == "healthy"
        assert _results(directory / "run.duckdb") == expected
        if died >= _KILLS:
            break
    assert died >= _KILLS, "most repairs were over before they were killed"
