"""What is said to the engine, whatever its defaults are and wherever the process runs."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from rowmill.errors import WrongVersion
from rowmill.store.database.connection import Connection
from rowmill.store.file.engine_version import check_engine

_SHOW_HOUR = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from rowmill.store.database.connection import Connection
MOMENT = "timestamptz '2026-01-01 23:00:00+00'"
QUERY = f"select hour(a), a::varchar, strftime(a, '%Z'), current_setting('Calendar') from (select {MOMENT} as a)"
with Connection(Path("times.duckdb")) as connection:
    beside = connection.beside()
    print(connection.execute(QUERY), beside.execute(QUERY))
    beside.close()
with Connection(Path("times.duckdb"), read_only=True) as connection:
    print(connection.execute(QUERY))
with Connection(None, sources={"source": Path("times.duckdb")}) as connection:
    print(connection.execute(QUERY))
"""


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_v5_every_connection_evaluates_in_utc(tmp_path: Path, zone: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SHOW_HOUR],
        cwd=tmp_path,
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    row = "[(23, '2026-01-01 23:00:00+00', 'UTC', 'gregorian')]"
    assert done.stdout.split("\n") == [f"{row} {row}", row, row, ""]


@pytest.mark.parametrize("read_only", [False, True])
def test_no_setting_changes_once_a_connection_is_open(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "settings.duckdb"
    Connection(path).close()
    with Connection(path, read_only=read_only) as connection:
        for setting in ("timezone = 'Asia/Tokyo'", "enable_external_access = true", "integer_division = true"):
            with pytest.raises(duckdb.Error, match="lock"):
                connection.execute(f"set {setting}")


@pytest.mark.parametrize("version", ["2.1.0", "3.0.0", "1.4.0", "20.0.1"])
def test_another_engine_is_refused_by_name_before_a_file_is_opened(version: str) -> None:
    with pytest.raises(WrongVersion, match=rf"made for DuckDB 2\.0\.x, found {version}"):
        check_engine(version)


@pytest.mark.parametrize("version", ["2.0.0", "2.0.1", "2.0.17"])
def test_every_engine_of_the_known_layout_is_accepted(version: str) -> None:
    check_engine(version)


def test_files_can_be_read_by_the_oldest_engine_whichever_made_them(tmp_path: Path) -> None:
    with Connection(tmp_path / "file.duckdb") as connection:
        assert connection.execute("select current_setting('storage_compatibility_version')") == [("v2.0.0",)]


def test_many_threads_may_open_a_file_for_reading_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shared.duckdb"
    Connection(path).close()

    def look(_: int) -> list[tuple[Any, ...]]:
        with Connection(path, read_only=True) as connection:
            return connection.execute(
                "select current_setting('TimeZone'), current_setting('Calendar'), current_setting('lock_configuration')"
            )

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(look, range(64)))
    assert found == [[("UTC", "gregorian", True)]] * 64
