"""Row groups in every place one can be in: a run goes on from there, whichever schema version stopped it (D1)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from every_place import Life, asked_so_far, go_on, never_stopped, places_of, stop_in_every_place

from rowmill.engine.migration import migrate
from rowmill.store.database.connection import Connection

RELEASED = Path(__file__).parents[1] / "released"
VERSIONS = sorted(int(file.name.split("_")[2].partition(".")[0]) for file in RELEASED.glob("every_place_*.duckdb.gz"))
LATER = 1_800_000_100.0
"""Before the endpoint that rests takes requests again."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return never_stopped(tmp_path_factory.mktemp("uninterrupted") / "run.duckdb")


def old_run(version: int, directory: Path) -> Path:
    path = directory / "run.duckdb"
    path.write_bytes(gzip.decompress((RELEASED / f"every_place_{version}.duckdb.gz").read_bytes()))
    return path


@pytest.mark.slow
def test_the_run_stops_with_row_groups_in_every_place(tmp_path: Path) -> None:
    stop_in_every_place(tmp_path / "run.duckdb")
    with Connection(tmp_path / "run.duckdb", read_only=True) as connection:
        assert {state for _, state in places_of(connection)} == {"active", "parked", "resting", "finished"}
        assert connection.execute("select next_row_group from admission") == [(2,)], "it has work to do"
        assert connection.execute("select state from barrier") == [("waiting",)]
        waiting = "select count(*) from deferred_task where not_before > (select updated_at from run_status)"
        assert connection.execute(waiting) == [(4,)]
        assert connection.execute("from invariant_violation") == []


@pytest.mark.slow
def test_it_goes_on_to_what_it_would_have_become_without_a_stop(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    life = stop_in_every_place(tmp_path / "run.duckdb")
    assert go_on(life) == uninterrupted


def test_a_file_of_that_kind_was_kept() -> None:
    assert 11 in VERSIONS


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_an_older_rowmill_stopped_in_every_place_is_migrated_and_goes_on_to_the_same(
    tmp_path: Path, uninterrupted: dict[str, Any], version: int
) -> None:
    path = old_run(version, tmp_path)
    with Connection(path, read_only=True) as connection:
        places, asked = places_of(connection), asked_so_far(connection)
        ((rests_until,),) = connection.execute("select epoch(max(cooling_until)) from resource")
    migrate(path, LATER)
    with Connection(path, read_only=True) as connection:
        assert connection.execute("from invariant_violation") == []
        assert places_of(connection) == places
        assert asked_so_far(connection) == asked
    life = Life(path, LATER, asked)
    life.rests_until = rests_until
    assert go_on(life) == uninterrupted
    asked_again = {cell: times for cell, times in life.asked.items() if cell in asked and times > asked[cell]}
    assert asked_again.keys() == {("draft", 5), ("draft", 10), ("draft", 14), ("review", 6), ("review", 7)}
