"""Commands that read a run database: status, sql, show, export; and their output formats."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import CommandLine
from pyarrow import parquet


def test_status_as_json_is_a_list_with_one_run(rowmill: CommandLine, quick_run: Path) -> None:
    (status,) = json.loads(rowmill.output_of("status", quick_run, "--format", "json"))
    assert (status["name"], status["state"], status["records"], status["rows_finished"]) == (
        "quick",
        "finished",
        20,
        20,
    )
    assert [column["column_name"] for column in status["columns"]] == ["colour", "size", "note"]
    assert status["started_at"][10] == "T"


def test_status_for_people_tells_rows_requests_and_columns(rowmill: CommandLine, quick_run: Path) -> None:
    shown = rowmill.output_of("status")
    assert "20 of 20 finished (100 %), 0 dropped" in shown
    assert "note" in shown
    assert "\x1b" not in shown


def test_status_as_csv_and_jsonl_agree_with_json(rowmill: CommandLine, quick_run: Path) -> None:
    (as_json,) = json.loads(rowmill.output_of("status", "--format", "json"))
    as_jsonl = json.loads(rowmill.output_of("status", "--format", "jsonl"))
    assert as_jsonl.pop("read_at") > as_json.pop("read_at")
    assert as_jsonl == as_json
    (row,) = csv.DictReader(io.StringIO(rowmill.output_of("status", "--format", "csv")))
    assert row["rows_finished"] == "20"
    assert row["started_at"] == as_json["started_at"]


def test_sql_answers_in_every_format(rowmill: CommandLine, quick_run: Path) -> None:
    query = "select 1 as a, 'x' as b, null as c, timestamp '2026-01-02 03:04:05' as d, [1, 2] as e"
    values = {"a": 1, "b": "x", "c": None, "d": "2026-01-02T03:04:05", "e": [1, 2]}
    assert json.loads(rowmill.output_of("sql", quick_run, query, "--format", "json")) == [values]
    assert json.loads(rowmill.output_of("sql", query, "--format", "jsonl")) == values
    assert rowmill.output_of("sql", query, "--format", "csv") == (
        '"a","b","c","d","e"\n1,"x",,"2026-01-02T03:04:05","[1, 2]"\n'
    )
    assert rowmill.output_of("sql", query).splitlines()[2].split() == ["1", "x", "2026-01-02T03:04:05", "[1,", "2]"]


def test_sql_without_rows_is_an_empty_list(rowmill: CommandLine, quick_run: Path) -> None:
    assert json.loads(rowmill.output_of("sql", "from dropped_row", "--format", "json")) == []
    assert rowmill.output_of("sql", "from dropped_row", "--format", "jsonl") == ""
    done = rowmill("sql", "from dropped_row")
    assert done.stdout.startswith("row_id")
    assert done.stderr == "No rows.\n"


def test_sql_reads_its_query_from_stdin(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("sql", quick_run, "-", "--format", "jsonl", input="select count(*) as n\nfrom dataset")
    assert json.loads(done.stdout) == {"n": 20}


def test_a_table_without_a_terminal_shortens_nothing_and_sends_no_control_codes(
    rowmill: CommandLine, quick_run: Path
) -> None:
    shown = rowmill.output_of("sql", quick_run, r"select repeat('long ', 200) as a, e'\x1b[31mred\n\x07' as b")
    assert "long " * 199 in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[31mred\n\x07" in shown


@pytest.mark.parametrize(
    "query",
    [
        "delete from state.run",
        "create table x as select 1",
        "copy (select 1) to 'x.csv'",
        "select * from read_text('/etc/hostname')",
        "attach 'other.duckdb'",
        "set enable_external_access = true",
        "select * from nowhere",
        "this is not sql",
        "",
    ],
)
def test_sql_can_neither_change_the_run_nor_reach_files(rowmill: CommandLine, quick_run: Path, query: str) -> None:
    done = rowmill("sql", quick_run, query)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in rowmill.directory.iterdir()) == ["quick.duckdb", "quick.yaml"]


@pytest.mark.parametrize(
    "what", ["rows", "groups", "ready", "deferred", "dropped", "attempts", "events", "usage", "resources", "admission"]
)
def test_show_lists_each_kind(rowmill: CommandLine, quick_run: Path, what: str) -> None:
    rows = json.loads(rowmill.output_of("show", what, quick_run, "--format", "json"))
    counts = {
        "rows": 20,
        "groups": 4,
        "ready": 0,
        "deferred": 0,
        "dropped": 0,
        "attempts": 20,
        "usage": 1,
        "admission": 1,
    }
    assert len(rows) == counts.get(what, len(rows))


def test_show_stops_at_its_limit_and_says_so(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("show", "rows", "--limit", "7", "--format", "jsonl")
    assert len(done.stdout.splitlines()) == 7
    assert "--limit 0 shows all" in done.stderr
    done = rowmill("show", "rows", "--limit", "0", "--format", "jsonl")
    assert len(done.stdout.splitlines()) == 20
    assert done.stderr == ""


def test_without_a_database_the_only_one_here_is_meant(rowmill: CommandLine, quick_run: Path) -> None:
    (rowmill.directory / "other.duckdb").write_bytes(quick_run.read_bytes())
    for arguments in (["status"], ["show", "dropped"], ["sql", "from progress"], ["export"]):
        done = rowmill(*arguments)
        assert done.returncode == 2
        assert "other.duckdb, quick.duckdb" in done.stderr
    quick_run.unlink()
    (rowmill.directory / "other.duckdb").unlink()
    done = rowmill("show", "dropped")
    assert done.returncode == 2
    assert "no run database" in done.stderr


def test_export_writes_each_format(rowmill: CommandLine, quick_run: Path) -> None:
    for file_format in ("parquet", "jsonl", "csv", "arrow"):
        done = rowmill("export", "--format", file_format)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert done.stderr == f"Exported 20 of 20 rows to quick.{file_format}.\n"
    directory = rowmill.directory
    table = parquet.read_table(directory / "quick.parquet")
    assert table["row_id"].to_pylist() == list(range(20))
    assert table.column_names == ["row_id", "colour", "size", "note"]
    assert pa.ipc.open_file(directory / "quick.arrow").read_all().equals(table)
    rows = [json.loads(line) for line in (directory / "quick.jsonl").read_text().splitlines()]
    assert rows == table.to_pylist()
    with (directory / "quick.csv").open(newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == table["note"].to_pylist()


def test_export_refuses_to_overwrite_without_force(rowmill: CommandLine, quick_run: Path) -> None:
    (rowmill.directory / "x.csv").write_text("precious")
    done = rowmill("export", "--output", "x.csv")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (rowmill.directory / "x.csv").read_text() == "precious"
    rowmill.output_of("export", "--output", "x.csv", "--force")
    assert (rowmill.directory / "x.csv").read_text() != "precious"


def test_export_streams_to_stdout(rowmill: CommandLine, quick_run: Path) -> None:
    lines = rowmill.output_of("export", "--format", "jsonl", "--output", "-").splitlines()
    assert [json.loads(line)["row_id"] for line in lines] == list(range(20))
    stream = rowmill.bytes_of("export", "--format", "arrow", "--output", "-")
    assert pa.ipc.open_stream(stream).read_all().num_rows == 20


def test_a_reader_that_goes_away_ends_a_listing_quietly(rowmill: CommandLine, quick_run: Path) -> None:
    query = "select * from range(1000000)"
    for arguments in (["sql", query, "--format", "jsonl"], ["sql", query, "--format", "json"], ["sql", query]):
        process = rowmill.start(*arguments)
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141
