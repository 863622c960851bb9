"""``seed_dataset: {seed_type: run, follow: true}``: rows of another run, taken as they finish there."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

import rowmill
from rowmill.engine import following
from rowmill.engine.ending import RunReport
from rowmill.errors import Incompatible, SpecError, UsageError

FIRST: dict[str, Any] = {
    "name": "first",
    "records": 6,
    "row_group_size": 2,
    "columns": [
        {"name": "n", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}},
        {"name": "words", "column_type": "expression", "sql": "['w' || n, 'v']", "dtype": "VARCHAR[]"},
    ],
}
SEED = {"seed_type": "run", "path": "first.duckdb", "follow": True}
TOLD = {"name": "told", "column_type": "expression", "sql": "source_row_id || ':' || n"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOKS_EVERY_S", 0.05)
    monkeypatch.setattr(following, "PATIENCE_S", 0.1)


def second(**fields: Any) -> dict[str, Any]:
    seed = {**SEED, **fields.pop("seed", {})}
    return {"name": "second", "records": "all", "seed_dataset": seed, "columns": [TOLD], **fields}


def make_first(directory: Path, records: int = 6, **fields: Any) -> None:
    rowmill.run({**FIRST, "records": records, **fields}, directory / "first.duckdb", directory=directory)


def follow(directory: Path, spec: dict[str, Any] | None = None) -> RunReport:
    made = second() if spec is None else spec
    return rowmill.run(made, directory / "second.duckdb", directory=directory)


def rows(directory: Path) -> list[dict[str, Any]]:
    with rowmill.RunDatabase.open(directory / "second.duckdb") as database:
        assert database.sql("from invariant_violation").num_rows == 0
        return list(database.to_arrow().to_pylist())


def test_a_complete_run_is_followed_to_its_end(tmp_path: Path) -> None:
    make_first(tmp_path)
    assert follow(tmp_path).exit_code == 0
    assert [row["source_row_id"] for row in rows(tmp_path)] == list(range(6))


@pytest.mark.slow
def test_rows_of_an_extension_are_appended_and_earlier_ones_stay_what_they_are(tmp_path: Path) -> None:
    make_first(tmp_path)
    follow(tmp_path)
    before = rows(tmp_path)
    assert follow(tmp_path).exit_code == 0, "nothing new"
    make_first(tmp_path, 9)
    assert follow(tmp_path).rows_finished == 9
    assert rows(tmp_path)[:6] == before
    assert rowmill.run(tmp_path / "second.duckdb").rows_finished == 9, "the database alone follows, too"
    make_first(tmp_path, 10)
    assert rowmill.run(tmp_path / "second.duckdb").rows_finished == 10
    with rowmill.RunDatabase.open(tmp_path / "second.duckdb") as database:
        events = database.sql("select detail from event where kind = 'follows' order by \"at\"")["detail"].to_pylist()
        assert events[-1] == "first.duckdb is complete: 10 rows finished"
        assert database.sql("from run_status")["records"].to_pylist() == [10]


@pytest.mark.slow
def test_a_run_that_nobody_works_on_is_waited_for_and_then_the_follower_stops(tmp_path: Path) -> None:
    make_first(tmp_path)
    with rowmill.RunDatabase.open(tmp_path / "first.duckdb") as database:
        database.extend(8)
    report = follow(tmp_path)
    assert (report.exit_code, report.rows_finished) == (75, 6)
    assert "waits for rows of first.duckdb, which is stopped: 6 of 8 rows finished" in report.message
    with rowmill.RunDatabase.open(tmp_path / "second.duckdb") as database:
        details = database.status().details
        assert details is not None
        assert details.follows == "waits for rows of first.duckdb, which is stopped: 6 of 8 rows finished"
    rowmill.run(tmp_path / "first.duckdb")
    assert follow(tmp_path).exit_code == 0
    assert len(rows(tmp_path)) == 8


@pytest.mark.slow
def test_a_run_without_a_finished_row_yet_can_be_followed(tmp_path: Path) -> None:
    make_first(tmp_path, 0)
    with rowmill.RunDatabase.open(tmp_path / "first.duckdb") as database:
        database.extend(3)
    assert follow(tmp_path).exit_code == 75
    rowmill.run(tmp_path / "first.duckdb")
    assert follow(tmp_path).rows_finished == 3


@pytest.mark.slow
def test_lists_become_rows_and_a_condition_chooses_also_of_rows_that_come_later(tmp_path: Path) -> None:
    make_first(tmp_path)
    spec = second(seed={"explode": "words", "where": "n < 0.7", "columns": ["n", "words"]})
    follow(tmp_path, spec)
    make_first(tmp_path, 12)
    follow(tmp_path, spec)
    found = rows(tmp_path)
    taken = [row["source_row_id"] for row in found]
    assert taken == sorted(taken)
    assert {taken.count(each) for each in taken} == {2}
    assert all(row["n"] < 0.7 for row in found)
    with rowmill.RunDatabase.open(tmp_path / "first.duckdb") as database:
        wanted = database.sql("select row_id from dataset where n < 0.7 order by row_id")["row_id"].to_pylist()
    assert sorted(set(taken)) == wanted


@pytest.mark.slow
def test_a_column_over_all_rows_waits_for_the_end_of_the_run_that_is_followed(tmp_path: Path) -> None:
    make_first(tmp_path)
    rank = {"name": "place", "column_type": "rank", "order_by": "n"}
    spec = second(columns=[TOLD, rank])
    follow(tmp_path, spec)
    assert sorted(row["place"] for row in rows(tmp_path)) == [1, 2, 3, 4, 5, 6]
    make_first(tmp_path, 8)
    assert follow(tmp_path, spec).exit_code == 0
    assert sorted(row["place"] for row in rows(tmp_path)) == list(range(1, 9))


@pytest.mark.slow
def test_another_run_in_the_place_of_the_one_that_was_followed_is_refused(tmp_path: Path) -> None:
    make_first(tmp_path)
    follow(tmp_path)
    (tmp_path / "first.duckdb").unlink()
    make_first(tmp_path, seed=5)
    with pytest.raises(Incompatible, match="seed data changed"):
        follow(tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (second(records=3), "records: all"),
        (second(seed={"sampling_strategy": "shuffle"}), "not shuffled"),
        (second(seed={"selection": {"start": 0, "end": 1}}), "say 'where' instead"),
        ({**second(), "seed_dataset": {"path": "x.csv", "follow": True}}, "only for run"),
    ],
)
def test_what_does_not_go_with_following_is_refused(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    make_first(tmp_path)
    with pytest.raises(SpecError, match=message):
        follow(tmp_path, spec)


def test_a_follower_is_neither_extended_by_hand_nor_cut(tmp_path: Path) -> None:
    make_first(tmp_path)
    with pytest.raises(UsageError, match="cannot be cut into shards"):
        rowmill.run(second(), tmp_path / "part.duckdb", directory=tmp_path, shard=(1, 2))
    follow(tmp_path)
    with rowmill.RunDatabase.open(tmp_path / "second.duckdb") as database, pytest.raises(UsageError, match="follows"):
        database.extend(20)


SLOW = """
import sys
from pathlib import Path
import anyio, rowmill

@rowmill.generator(required_columns=["n"])
async def slow(row) -> int:
    await anyio.sleep(0.05)
    return 1

@rowmill.generator(required_columns=["n"])
async def slowly(row) -> int:
    await anyio.sleep(0.02)
    return 1

if __name__ == "__main__":
    from rowmill.engine import following

    following.LOOKS_EVERY_S = 0.05
    sys.exit(rowmill.run({spec!r}, sys.argv[1], directory=Path.cwd()).exit_code)
"""


class Program:
    """A run in a process of its own, started again as often as it was killed."""

    def __init__(self, directory: Path, name: str, spec: dict[str, Any]) -> None:
        self._directory, self._name = directory, name
        (directory / f"{name}.py").write_text(SLOW.format(spec=spec))
        self.start()

    def start(self) -> None:
        command_line = CommandLine(self._directory, (sys.executable, f"{self._name}.py"))
        self.process = command_line.start(f"{self._name}.duckdb")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.start()

    def end(self) -> None:
        _, said = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, said


def wait_for(path: Path) -> None:
    """Until a run has begun there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(rowmill.RowmillError), rowmill.RunDatabase.open(path):
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"no run has begun in {path}")


@pytest.mark.slow
def test_kill_9_of_either_side_loses_no_row_and_takes_none_twice(tmp_path: Path) -> None:
    custom = {"name": "one", "column_type": "custom", "generator_function": "first:slow", "dtype": "int"}
    own = {"name": "two", "column_type": "custom", "generator_function": "second:slowly", "dtype": "int"}
    limits = {"max_in_flight": 4}
    first = Program(tmp_path, "first", {**FIRST, "records": 120, "run": limits, "columns": [*FIRST["columns"], custom]})
    wait_for(tmp_path / "first.duckdb")
    follower = Program(tmp_path, "second", second(columns=[TOLD, own], run=limits))
    for _ in _moments():
        follower.kill()
        first.kill()
    first.end()
    follower.end()
    found = rows(tmp_path)
    assert sorted(row["source_row_id"] for row in found) == list(range(120))
    assert [row["row_id"] for row in found] == list(range(120))


def _moments() -> Iterator[None]:
    for _ in range(3):
        threading.Event().wait(1.0)
        yield


@pytest.mark.slow
def test_rows_come_while_the_first_run_lives(tmp_path: Path) -> None:
    custom = {"name": "one", "column_type": "custom", "generator_function": "first:slow", "dtype": "int"}
    first = Program(
        tmp_path, "first", {**FIRST, "records": 40, "run": {"max_in_flight": 2}, "columns": [*FIRST["columns"], custom]}
    )
    wait_for(tmp_path / "first.duckdb")
    seen: list[int] = []
    report = rowmill.run(
        second(),
        tmp_path / "second.duckdb",
        directory=tmp_path,
        on_progress=lambda status: seen.append(status.records),
        progress_interval_s=0.05,
    )
    first.end()
    assert (report.exit_code, report.rows_finished) == (0, 40)
    assert min(seen) < 40, "it began before they were all there"
