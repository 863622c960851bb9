"""Exporting a dataset: every format, whole or not at all, never over something by accident."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from rowmill.errors import UsageError
from rowmill.export.dataset import export_dataset, write_dataset
from rowmill.export.format import ExportFormat, format_of


class Source:
    """A dataset of batches, which may fail in the middle."""

    def __init__(self, table: pa.Table, batch_size: int = 2, fails_after: int | None = None) -> None:
        self._table = table
        self._batch_size = batch_size
        self._fails_after = fails_after

    def dataset_schema(self) -> pa.Schema:
        return self._table.schema

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(self._table.to_batches(max_chunksize=self._batch_size)):
            if number == self._fails_after:
                raise RuntimeError("the database went away")
            yield batch


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "row_id": pa.array(range(5), type=pa.int64()),
            "note": ["plain", 'with "quotes",\nand lines', None, "", "ü"],
            "mass": [1.5, None, float("nan"), float("inf"), -0.25],
            "tags": [["a"], [], None, ["b", None], ["c"]],
            "at": pa.array([datetime(2026, 1, 1)] * 4 + [None], type=pa.timestamp("us")),
        }
    )


def test_parquet_reads_back_as_the_same_table(table: pa.Table, tmp_path: Path) -> None:
    report = export_dataset(Source(table.drop("mass")), tmp_path / "x.parquet")
    assert report.rows == 5
    assert parquet.read_table(tmp_path / "x.parquet").equals(table.drop("mass"))


def test_small_batches_become_one_row_group_of_parquet(table: pa.Table, tmp_path: Path) -> None:
    export_dataset(Source(table, batch_size=1), tmp_path / "x.parquet")
    assert parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups == 1


def test_arrow_reads_back_as_the_same_table_from_a_file_and_from_a_pipe(table: pa.Table, tmp_path: Path) -> None:
    source = Source(table.drop("mass"))
    export_dataset(source, tmp_path / "x.arrow")
    assert pa.ipc.open_file(tmp_path / "x.arrow").read_all().equals(table.drop("mass"))
    pipe = io.BytesIO()
    write_dataset(source, pipe, ExportFormat.ARROW, is_pipe=True)
    assert pa.ipc.open_stream(pipe.getvalue()).read_all().equals(table.drop("mass"))


def test_jsonl_has_an_object_a_line_with_text_for_what_json_cannot_say(table: pa.Table, tmp_path: Path) -> None:
    export_dataset(Source(table), tmp_path / "x.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().split("\n")[:-1]]
    assert [row["note"] for row in rows] == table["note"].to_pylist()
    assert [row["mass"] for row in rows] == [1.5, None, "NaN", "Infinity", -0.25]
    assert rows[3]["tags"] == ["b", None]
    assert rows[0]["at"] == "2026-01-01T00:00:00"


def test_csv_leaves_null_empty_and_writes_nested_values_as_json(table: pa.Table, tmp_path: Path) -> None:
    export_dataset(Source(table), tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text()
    lines = text.split("\n")
    assert lines[0] == '"row_id","note","mass","tags","at"'
    assert lines[1] == '0,"plain",1.5,"[""a""]","2026-01-01T00:00:00"'
    assert '2,,nan,,"2026-01-01T00:00:00"' in lines
    assert '3,"",inf,"[""b"", null]","2026-01-01T00:00:00"' in lines
    options = csv.ParseOptions(newlines_in_values=True)
    assert csv.read_csv(tmp_path / "x.csv", parse_options=options)["note"][1].as_py() == 'with "quotes",\nand lines'


@pytest.mark.parametrize("file_format", list(ExportFormat))
def test_a_dataset_without_rows_is_a_valid_file(file_format: ExportFormat, table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / f"x.{file_format}"
    assert export_dataset(Source(table.schema.empty_table()), path).rows == 0
    if file_format is ExportFormat.PARQUET:
        assert parquet.read_table(path).num_rows == 0
    elif file_format is ExportFormat.ARROW:
        assert pa.ipc.open_file(path).read_all().num_rows == 0
    else:
        assert len(path.read_text().splitlines()) == (file_format is ExportFormat.CSV)


@pytest.mark.parametrize("file_format", list(ExportFormat))
def test_a_failed_export_leaves_no_file_and_no_trace(
    file_format: ExportFormat, table: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="went away"):
        export_dataset(Source(table, fails_after=1), tmp_path / f"x.{file_format}")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file_as_it_was(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("precious")
    with pytest.raises(RuntimeError, match="went away"):
        export_dataset(Source(table, fails_after=1), path, force=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_only_with_force(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        export_dataset(Source(table), path)
    assert path.read_text() == "precious"
    export_dataset(Source(table), path, force=True)
    assert path.read_text().startswith('"row_id"')


def test_a_file_that_appears_during_the_export_is_not_overwritten(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"

    class Slow(Source):
        def dataset_batches(self) -> Iterator[pa.RecordBatch]:
            path.write_text("from somebody else")
            yield from super().dataset_batches()

    with pytest.raises(UsageError, match="exists already"):
        export_dataset(Slow(table), path)
    assert path.read_text() == "from somebody else"
    assert list(tmp_path.iterdir()) == [path]


def test_the_run_database_is_never_the_target_of_an_export(table: pa.Table, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    database.write_text("all state")
    (tmp_path / "alias").symlink_to(database)
    os.link(database, tmp_path / "other name")
    for path in (database, tmp_path / "alias", tmp_path / "other name", tmp_path / "run.duckdb.wal"):
        with pytest.raises(UsageError, match="run database itself"):
            export_dataset(Source(table), path, ExportFormat.CSV, force=True, database=database)
    assert database.read_text() == "all state"


def test_a_symbolic_link_is_followed(table: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "data" / "x.csv")
    export_dataset(Source(table), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "data" / "x.csv").is_file()


@pytest.mark.parametrize("name", ["missing/x.csv", "file/x.csv", "directory"])
def test_a_place_that_cannot_be_written_is_named(name: str, table: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(UsageError, match=name.partition("/")[0]):
        export_dataset(Source(table), tmp_path / name, ExportFormat.CSV)


def test_a_device_is_written_as_it_is(table: pa.Table) -> None:
    assert export_dataset(Source(table), Path(os.devnull), ExportFormat.CSV).rows == 5


def test_the_ending_tells_the_format() -> None:
    assert format_of(Path("x.NDJSON")) is ExportFormat.JSONL
    with pytest.raises(UsageError, match="--format"):
        format_of(Path("x.xlsx"))


def test_a_type_the_format_cannot_hold_is_a_clear_error(tmp_path: Path) -> None:
    table = pa.table({"wait": pa.array([[pa.MonthDayNano([1, 2, 3])]])})
    with pytest.raises(UsageError, match="parquet cannot hold"):
        export_dataset(Source(table), tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
    export_dataset(Source(table), tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text() == '{"wait": ["1 month 2 days 00:00:00.000000003"]}\n'
