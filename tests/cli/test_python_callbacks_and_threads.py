"""What Python programs hear of finished row groups, and a run database that their threads share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

import rowmill
from rowmill.errors import Locked
from rowmill.inspect.opening import open_reader
from rowmill.task import FinishedRowGroup

SPEC: dict[str, Any] = {
    "name": "told",
    "records": 7,
    "row_group_size": 3,
    "columns": [
        {"name": "n", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}},
        {"name": "kept", "column_type": "expression", "sql": "n >= 0", "dtype": "bool"},
    ],
}
ALL = {FinishedRowGroup(0, 3, 0), FinishedRowGroup(1, 3, 0), FinishedRowGroup(2, 1, 0)}


def test_a_callback_hears_of_every_finished_row_group(tmp_path: Path) -> None:
    heard: list[FinishedRowGroup] = []
    rowmill.run(SPEC, tmp_path / "x.duckdb", on_row_group_finished=heard.append)
    assert set(heard) == ALL
    assert len(heard) == 3


def test_the_async_twin_calls_it_too(tmp_path: Path) -> None:
    heard: list[FinishedRowGroup] = []

    async def work() -> None:
        await rowmill.run_async(SPEC, tmp_path / "x.duckdb", on_row_group_finished=heard.append)

    anyio.run(work)
    assert set(heard) == ALL


def test_a_row_group_without_a_row_left_is_told_too(tmp_path: Path) -> None:
    columns = [*SPEC["columns"], {"name": "none", "column_type": "expression", "sql": "'no' || n", "dtype": "int"}]
    heard: list[FinishedRowGroup] = []
    report = rowmill.run(
        {**SPEC, "columns": columns},
        tmp_path / "x.duckdb",
        on_row_group_finished=heard.append,
    )
    assert report.rows_dropped == 7
    assert set(heard) == {FinishedRowGroup(0, 0, 3), FinishedRowGroup(1, 0, 3), FinishedRowGroup(2, 0, 1)}


def test_a_callback_that_raises_stops_the_run_and_is_called_again_by_the_next(tmp_path: Path) -> None:
    class OwnError(Exception):
        pass

    def refuses(group: FinishedRowGroup) -> None:
        raise OwnError(str(group.row_group))

    path = tmp_path / "x.duckdb"
    with pytest.raises(OwnError):
        rowmill.run(SPEC, path, on_row_group_finished=refuses)
    heard: list[FinishedRowGroup] = []
    assert rowmill.run(SPEC, path, on_row_group_finished=heard.append).rows_finished == 7
    assert set(heard) == ALL


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / "x.duckdb"
    rowmill.run({**SPEC, "records": 3000, "row_group_size": 1000}, path)
    return path


@pytest.mark.slow
def test_threads_share_a_run_database_on_a_free_file(finished: Path) -> None:
    together = threading.Barrier(8)

    def ask(number: int) -> list[int]:
        together.wait(30)
        counts = []
        for turn in range(15):
            table = database.sql(f"select {number} as who, count(*) as n from dataset where row_id >= {turn}")
            assert table["who"].to_pylist() == [number]
            counts.append(table["n"].to_pylist()[0])
            assert database.status().rows_finished == 3000
            assert database.to_arrow().num_rows == 3000
        return counts

    with rowmill.RunDatabase.open(finished) as database, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert answers == [[3000 - turn for turn in range(15)]] * 8


def test_a_query_between_the_pieces_of_another_disturbs_neither(finished: Path) -> None:
    with open_reader(finished) as reader, reader.batches("from dataset order by row_id") as rows:
        first = rows.read_next_batch()
        assert reader.table("select count(*) as n from dataset").to_pylist() == [{"n": 3000}]
        others = rows.read_all()
        assert pa.Table.from_batches([first, *others.to_batches()]).num_rows == 3000


def test_a_closed_reader_lets_the_file_go_though_a_stream_was_left_unread(finished: Path) -> None:
    reader = open_reader(finished)
    rows = reader.batches("from dataset")
    reader.close()
    assert rowmill.run(None, finished).rows_finished == 3000
    del rows


def test_a_run_database_that_is_open_still_keeps_a_run_of_this_process_out(finished: Path) -> None:
    with rowmill.RunDatabase.open(finished) as database:
        database.status()
        with pytest.raises(Locked, match="open in this process"):
            rowmill.run(None, finished)
