"""A migration that dies, fails or finds no room anywhere leaves a file that is the old one or the new one, whole."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import trial_migration
from budget import Budget
from command_line import CommandLine
from crashing_connection import CrashingConnection, CrashPoint, SimulatedCrash
from released_run import finish, released_run
from scenario import Driver, Specs, contradictions, copy_of_database, new_world, outcome_of, write_specs

from rowmill.engine.migration import migrate, migrate_open, prepare_old
from rowmill.errors import WriteFailed
from rowmill.store.database.connection import Connection
from rowmill.store.layout import schema

NOW = 1_800_001_000.0
_HERE = Path(__file__).resolve().parent
_FUTURE_ROWMILL = Path(trial_migration.__file__)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(scope="module")
def future_sql(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_migration.write_future_sql(tmp_path_factory.mktemp("future"))


@pytest.fixture(scope="module")
def today(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the middle, of the newest version there is today."""
    path = released_run(1, tmp_path_factory.mktemp("today"), specs)
    migrate(path, NOW)
    return path


@pytest.fixture
def old(today: Path, tmp_path: Path) -> Path:
    """A copy of it to migrate further."""
    return copy_of_database(today, tmp_path / "run.duckdb")


@pytest.fixture
def future(future_sql: Path) -> Iterator[int]:
    """This process knows one migration more; its number."""
    trial_migration.live_in_the_future(future_sql)
    yield schema.newest_version()
    trial_migration.live_in_the_future(trial_migration.REAL())


@pytest.fixture(scope="module")
def uninterrupted(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("uninterrupted") / "run.duckdb"
    with Driver(path, specs, new_world(specs)) as driver:
        driver.drive()
        return outcome_of(driver.connection)


def _versions(path: Path) -> tuple[int, bool]:
    """The schema version of a file, and whether it has what only the newest has."""
    with Connection(path, read_only=True) as connection:
        has_view = connection.execute("select count(*) from duckdb_views() where view_name = 'trial'")[0][0]
        assert contradictions(connection) == []
        return schema.version_of(connection), bool(has_view)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_crash_at_any_statement_of_a_migration_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, specs: Specs, old: Path, uninterrupted: dict[str, Any], future: int
) -> None:
    seen: dict[tuple[bytes, bytes], tuple[int, bool]] = {}

    def look(where: str) -> None:
        left = copy_of_database(old, tmp_path / "left.duckdb")
        log = left.with_name("left.duckdb.wal")
        content = left.read_bytes(), log.read_bytes() if log.exists() else b""
        if content in seen:
            return
        found = seen[content] = _versions(left)
        assert found in {(future - 1, False), (future, True)}, where
        left = copy_of_database(old, tmp_path / "left.duckdb")
        migrate(left, NOW)
        assert _versions(left) == (future, True)
        assert finish(left, specs)["groups"] == uninterrupted["groups"], where
        for file in tmp_path.glob("left.duckdb*"):
            file.unlink()

    with CrashingConnection(old) as connection:
        connection.observe = look
        version, prepared = prepare_old(connection)
        migrate_open(connection, prepared, version, "nowhere", NOW)
        connection.observe = None
        assert connection.statements > 40
    assert set(seen.values()) == {(future - 1, False), (future, True)}
    assert len(seen) >= 3, "before, committed, checkpointed"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("raised", [None, duckdb.IOException("No space left on device")])
@pytest.mark.slow
def test_a_statement_of_a_migration_that_fails_takes_all_of_it_back(
    old: Path, future: int, raised: duckdb.Error | None
) -> None:
    before = old.read_bytes()
    number = 0
    while True:
        number += 1
        connection = CrashingConnection(old)
        version, prepared = prepare_old(connection)
        connection.crash = CrashPoint(number, raised=raised)
        with pytest.raises(SimulatedCrash if raised is None else WriteFailed):
            migrate_open(connection, prepared, version, "nowhere", NOW)
        where = connection.crashed_at
        connection.crash = None
        connection.close()
        assert where is not None
        if connection.commits:
            break
        assert old.read_bytes() == before, where
    assert number > 40
    assert _versions(old) == (future, True)


# Real processes -----------------------------------------------------------------------------------------------


def _rowmill(directory: Path, future_sql: Path, *limit: str) -> CommandLine:
    command = (sys.executable, *limit, str(_FUTURE_ROWMILL), str(future_sql))
    return CommandLine(directory, command)


def test_the_command_migrates_and_the_old_rowmill_says_it_is_too_old(
    tmp_path: Path, old: Path, future_sql: Path
) -> None:
    before = old.read_bytes()
    future = _rowmill(tmp_path, future_sql)
    refused = future("run", old)
    assert refused.returncode == 5
    assert f"'rowmill migrate {old}'" in refused.stderr
    dry = future("migrate", old, "--dry-run")
    assert dry.returncode == 0
    assert "_trial.sql" in dry.stderr
    assert old.read_bytes() == before
    done = future("migrate")
    assert (done.returncode, done.stdout) == (0, "")
    assert "The old file is kept as run.duckdb.v" in done.stderr
    again = future("migrate")
    assert again.returncode == 0
    assert "is up to date" in again.stderr
    migrated = old.read_bytes()
    today = CommandLine(tmp_path)
    for arguments in (("run", old), ("status",), ("migrate",), ("export",)):
        refused = today(*arguments)
        assert refused.returncode == 5, refused.stderr
        assert "Use the newer Rowmill" in refused.stderr
    assert old.read_bytes() == migrated


@pytest.mark.parametrize("part", ["copy", "log of the migration"])
def test_a_migration_without_room_changes_nothing_and_leaves_no_half_copy(
    tmp_path: Path, old: Path, future_sql: Path, part: str
) -> None:
    if part != "copy":
        # The copy is there already; what has no room is the file that grows.
        (tmp_path / "run.duckdb.v1").unlink(missing_ok=True)
        version = _versions_of_today(old)
        shutil.copyfile(old, tmp_path / f"run.duckdb.v{version}")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    largest = old.stat().st_size // 2 if part == "copy" else 100
    done = _rowmill(tmp_path, future_sql, str(_HERE / "limited_command.py"), str(largest))("migrate", old)
    assert done.returncode == 1, done.stderr
    assert "too large" in done.stderr
    assert "Traceback" not in done.stderr
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(".wal")}
    assert after == before
    assert _versions_of_today(old) < _future_version(future_sql)
    assert _rowmill(tmp_path, future_sql)("migrate", old).returncode == 0


def _versions_of_today(path: Path) -> int:
    with Connection(path, read_only=True) as connection:
        return schema.version_of(connection)


def _future_version(future_sql: Path) -> int:
    return len(list((future_sql / "schema").glob("*.sql")))


def test_a_database_that_another_process_holds_is_not_migrated(tmp_path: Path, old: Path, future_sql: Path) -> None:
    with duckdb.connect(str(old)):
        done = _rowmill(tmp_path, future_sql)("migrate", old)
    assert done.returncode == 4
    assert str(os.getpid()) in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.duckdb"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_migration_that_is_killed_at_any_moment_can_be_done_again(
    tmp_path: Path, specs: Specs, today: Path, future_sql: Path, uninterrupted: dict[str, Any], budget: Budget
) -> None:
    moments = random.Random(budget.seed)
    began = time.monotonic()
    path = copy_of_database(today, tmp_path / "first.duckdb")
    assert _rowmill(tmp_path, future_sql)("migrate", path).returncode == 0
    took_s = time.monotonic() - began
    for kill in budget.rounds(4.0, least=3):
        path = copy_of_database(today, tmp_path / f"killed_{kill}.duckdb")
        command_line = _rowmill(tmp_path, future_sql)
        process = command_line.start("migrate", path)
        time.sleep(moments.uniform(0.3, 1.0) * took_s)  # a moment to kill at, not a wait for something
        command_line.close()
        assert process.returncode in {-9, 0}
        copies = list(tmp_path.glob(f"killed_{kill}.duckdb.v*"))
        assert all(copy.read_bytes() == today.read_bytes() for copy in copies)
        done = _rowmill(tmp_path, future_sql)("migrate", path)
        assert done.returncode == 0, done.stderr
        trial_migration.live_in_the_future(future_sql)
        try:
            assert _versions(path)[1]
            assert finish(path, specs)["groups"] == uninterrupted["groups"]
        finally:
            trial_migration.live_in_the_future(trial_migration.REAL())
