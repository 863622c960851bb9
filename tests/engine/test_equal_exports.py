"""An export is a function of the rows: the same bytes whenever it is made, and however the run came to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.engine.reopening import extend
from rowmill.export.writer import open_writer
from rowmill.run_database import RunDatabase, run
from rowmill.export.format import ExportFormat

ROWS = 1200
VALUES: dict[str, Any] = {
    "whole": 5,
    "number": 0.5,
    "truth": True,
    "price": Decimal("11.10"),
    "day": date(2026, 1, 31),
    "moment": datetime(2026, 1, 31, 10, tzinfo=UTC),
    "hour": time(10, 30),
    "took": timedelta(hours=1),
    "text": "a text that is longer than twelve bytes",
    "raw": b"\xff\x00",
    "numbers": [1, None, 3],
    "home": {"zip": "007", "floor": None},
    "texts": ["a", None, "", "a text that is longer than twelve bytes"],
}


def seed_table() -> pa.Table:
    """Rows of which every third value, of another column each time, is null."""
    columns = {
        name: pa.array([None if (row + number) % 3 == 0 else value for row in range(60)])
        for number, (name, value) in enumerate(VALUES.items())
    }
    return pa.table(columns)


def spec(records: int, row_group_size: int) -> dict[str, Any]:
    return {
        "name": "equal",
        "records": records,
        "row_group_size": row_group_size,
        "seed_dataset": {"path": "seed.arrow"},
        "columns": [
            {
                "name": "drawn",
                "column_type": "sampler",
                "sampler_type": "uniform",
                "params": {"low": 0, "high": 1},
                "skip": {"when": "coalesce(whole, 0) = 0"},
            }
        ],
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was made at once, and one of the same rows that was cut otherwise and went on twice."""
    directory = tmp_path_factory.mktemp("equal")
    table = seed_table()
    with pa.OSFile(str(directory / "seed.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    at_once, bit_by_bit = directory / "at_once.duckdb", directory / "bit_by_bit.duckdb"
    run(spec(ROWS, 500), at_once, directory=directory)
    run(spec(100, 7), bit_by_bit, directory=directory)
    for records, row_group_size in ((400, 90), (ROWS, 256)):
        extend(bit_by_bit, records, row_group_size, 0.0)
        run(bit_by_bit)
    return at_once, bit_by_bit


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_two_exports_of_the_same_rows_are_the_same_bytes(
    runs: tuple[Path, Path], tmp_path: Path, ending: str
) -> None:
    found = set()
    for number, path in enumerate([*runs, *runs]):
        with RunDatabase.open(path) as database:
            database.export(tmp_path / f"{number}.{ending}")
        found.add((tmp_path / f"{number}.{ending}").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("file_format", [ExportFormat.ARROW, ExportFormat.PARQUET])
@pytest.mark.parametrize("sizes", [(300_000,), (1, 122_879, 1, 177_119), (1000,) * 300])
def test_rows_are_grouped_alike_in_whatever_batches_they_come(
    tmp_path: Path, file_format: ExportFormat, sizes: tuple[int, ...]
) -> None:
    table = pa.table({"a": pa.array(range(300_000), pa.int64())})
    path = tmp_path / f"out.{file_format}"
    with path.open("wb") as file:
        writer = open_writer(file_format, file, table.schema)
        position = 0
        for size in sizes:
            (batch,) = table.slice(position, size).combine_chunks().to_batches()
            writer.write(batch)
            position += size
        writer.finish()
    if file_format is ExportFormat.PARQUET:
        metadata = pq.ParquetFile(path).metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    else:
        with pa.ipc.open_file(path) as reader:
            groups = [reader.get_batch(batch).num_rows for batch in range(reader.num_record_batches)]
    assert groups == [122_880, 122_880, 54_240]


def test_what_stands_where_a_value_is_null_is_not_part_of_an_arrow_file(tmp_path: Path) -> None:
    validity = pa.py_buffer(b"\x01")
    files = set()
    for odd in (0, 77):
        column = pa.Array.from_buffers(pa.int64(), 2, [validity, pa.array([5, odd], pa.int64()).buffers()[1]])
        inner = pa.ListArray.from_arrays(pa.array([0, 2, 2], pa.int32()), column)
        batch = pa.record_batch({"a": column, "b": inner, "c": pa.StructArray.from_arrays([column], names=["x"])})
        path = tmp_path / f"{odd}.arrow"
        with path.open("wb") as file:
            writer = open_writer(ExportFormat.ARROW, file, batch.schema)
            writer.write(batch)
            writer.finish()
        files.add(path.read_bytes())
    assert len(files) == 1
