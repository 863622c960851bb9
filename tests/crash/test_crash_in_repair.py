"""``doctor --repair`` that dies at any statement, and before any change to a file: done again, nothing is lost (D5)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from budget import Budget
from crashing_connection import CrashingConnection
from killed_run import killed_run
from scenario import contradictions, new_world, write_specs, written_results
from watched_engine import watched_engine
from watched_files import files_in, put_files, watched_files

from rowmill.engine.doctor import diagnose, repair
from rowmill.store.file.log import read_log

NOW = 1_800_003_000.0


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("damage", "seconds", "least"),
    [("header", 5, 5), ("last commits", 5, 5)],
)
@pytest.mark.slow
def test_a_repair_that_dies_anywhere_is_done_again_and_ends_as_if_it_had_not(
    tmp_path: Path, damage: str, seconds: float, least: int, budget: Budget
) -> None:
    """Of the states a repair passes through on the disk, as many as there is time for are gone on with."""
    (tmp_path / "specs").mkdir()
    specs = write_specs(tmp_path / "specs")
    (tmp_path / "killed").mkdir()
    killed = killed_run(tmp_path / "killed", specs, new_world(specs))
    log = read_log(killed.database)
    assert log is not None
    content = bytearray(killed.log.read_bytes())
    content[7 if damage == "header" else log.commits[-3] + 30] ^= 0x40
    directory = tmp_path / "repaired"
    damaged = {"run.duckdb": killed.database.read_bytes(), "run.duckdb.wal": bytes(content)}
    directory.mkdir()
    put_files(directory, damaged)
    database = directory / "run.duckdb"
    left_behind: dict[tuple[tuple[str, bytes], ...], str] = {}

    def keep(where: str) -> None:
        left_behind.setdefault(tuple(files_in(directory).items()), where)

    with watched_engine(keep), watched_files(keep):
        done = repair(database, NOW)
    keep("at the end")
    assert done is not None
    expected = _results(database)
    assert (expected == killed.acknowledged) == (damage == "header")
    states = list(left_behind.items())
    assert len(states) > 8
    for number, (files, where) in enumerate(budget.some_of(states, seconds, least=min(least, len(states)))):
        again = tmp_path / f"left_{number}"
        put_files(again, dict(files))
        repaired = repair(again / "run.duckdb", NOW)
        after = repaired.after if repaired is not None else diagnose(again / "run.duckdb")
        assert after.verdict == "healthy", where
        assert _results(again / "run.duckdb") == expected, where
        kept = files_in(again)
        copies = [
            {"run.duckdb": kept.get(f"run.duckdb.{name}"), "run.duckdb.wal": kept.get(f"run.duckdb.{name}.wal")}
            for name in ("damaged", "damaged-2")
        ]
        assert damaged in copies, f"{where}: the damaged files are kept, both"
        shutil.rmtree(again)


def _results(database: Path) -> dict[tuple[str, int], object]:
    with CrashingConnection(database) as connection:
        assert contradictions(connection) == []
        return written_results(connection)
