"""``seed_type: run``: finished rows of another run as seed rows; what is left out of seed files; ``records: all``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import rowmill
from rowmill.cli import main
from rowmill.engine.preparation import prepare, seed_use
from rowmill.errors import Incompatible, SpecError
from rowmill.spec.spec import Spec

MORE = {"name": "more", "column_type": "expression", "sql": "1", "dtype": "int"}
DOUBLED = {"name": "doubled", "column_type": "expression", "sql": "2 * n", "dtype": "int"}
STRUCT = {
    "name": "pair",
    "column_type": "expression",
    "sql": "{'a': n, 'deep': {'word': repeat('x', n)}}",
    "dtype": "STRUCT(a BIGINT, deep STRUCT(word VARCHAR))",
}


def first(directory: Path, rows: int = 6) -> Path:
    seed = pa.table({"n": range(rows), "tags": [["a"] * n for n in range(rows)]})
    spec = {"name": "first", "records": "all", "seed_dataset": {"seed_type": "df"}, "columns": [DOUBLED, STRUCT]}
    path = directory / "first.duckdb"
    assert rowmill.run(spec, path, seed=seed).exit_code == 0
    return path


def second(directory: Path, seed: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    spec = {"name": "second", "records": "all", "seed_dataset": seed, "columns": [MORE], **fields}
    assert rowmill.run(spec, directory / "second.duckdb", directory=directory).exit_code == 0
    with rowmill.RunDatabase.open(directory / "second.duckdb") as database:
        return list(database.to_arrow().to_pylist())


def problem_of(directory: Path, **seed: Any) -> str:
    data = {"name": "second", "records": "all", "seed_dataset": {"seed_type": "run", **seed}, "columns": [MORE]}
    with pytest.raises(SpecError) as caught:
        rowmill.preview(data, 1, directory=directory)
    return str(caught.value)


def test_finished_rows_of_a_run_are_seed_rows_with_their_number_there(tmp_path: Path) -> None:
    first(tmp_path)
    seed = {"seed_type": "run", "path": "first.duckdb", "where": "doubled >= 6 and pair.a < 5", "columns": ["n"]}
    rows = second(tmp_path, seed)
    assert rows == [
        {"row_id": 0, "source_row_id": 3, "n": 3, "more": 1},
        {"row_id": 1, "source_row_id": 4, "n": 4, "more": 1},
    ]


def test_a_list_of_a_run_becomes_rows(tmp_path: Path) -> None:
    first(tmp_path, 3)
    rows = second(tmp_path, {"seed_type": "run", "path": "first.duckdb", "explode": "tags", "columns": ["tags"]})
    assert [row["source_row_id"] for row in rows] == [1, 2, 2]


@pytest.mark.slow
def test_report_and_card_say_which_run_the_seed_rows_are_of(tmp_path: Path) -> None:
    first(tmp_path)
    second(tmp_path, {"seed_type": "run", "path": "first.duckdb"})
    with rowmill.RunDatabase.open(tmp_path / "second.duckdb") as database:
        database.report(tmp_path / "report.html")
        database.export_directory(tmp_path / "hub", layout="huggingface")
    report, card = (tmp_path / "report.html").read_text(), (tmp_path / "hub" / "README.md").read_text()
    assert "finished rows of the run &#39;first&#39;" in report
    assert f"{tmp_path / 'first.duckdb'}, spec version 1" in report
    assert "finished rows of the run 'first' (spec version 1)" in card
    assert str(tmp_path) not in card


def test_fields_of_structs_have_statistics_of_their_own_in_the_report(tmp_path: Path) -> None:
    with rowmill.RunDatabase.open(first(tmp_path)) as database:
        database.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    number = page[page.index("<h3>pair.a</h3>") :]
    number = number[: number.index("</dl>")]
    assert "BIGINT" in number
    assert "<dt>mean</dt><dd>2.5</dd>" in number
    word = page[page.index("<h3>pair.deep.word</h3>") :]
    assert "<dt>length</dt><dd>0 to 5</dd>" in word[: word.index("</dl>")]


@pytest.mark.slow
def test_a_second_run_goes_on_and_refuses_a_first_that_has_other_rows_by_now(tmp_path: Path) -> None:
    first(tmp_path)
    seed = {"seed_type": "run", "path": "first.duckdb"}
    assert len(second(tmp_path, seed)) == len(second(tmp_path, seed)) == 6
    (tmp_path / "first.duckdb").unlink()
    assert len(second(tmp_path, seed)) == 6, "the seed rows are kept"
    first(tmp_path, 7)
    with pytest.raises(Incompatible, match=r"seed data changed, from 6 to 7 rows: .*first\.duckdb changed"):
        second(tmp_path, seed)


KILLED = """
import os, signal
import rowmill
from rowmill.store import run_store

copy = run_store.copy_seed

def copied(*arguments):
    copy(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

run_store.copy_seed = copied
rowmill.run({spec!r}, "second.duckdb")
"""


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_copies_the_rows_of_another_starts_anew(tmp_path: Path) -> None:
    first(tmp_path)
    seed = {"seed_type": "run", "path": "first.duckdb", "explode": "tags", "sampling_strategy": "shuffle"}
    spec = {"name": "second", "records": "all", "seed_dataset": seed, "columns": [MORE]}
    (tmp_path / "killed.py").write_text(KILLED.format(spec=spec))
    killed = subprocess.run([sys.executable, "killed.py"], cwd=tmp_path, capture_output=True, timeout=50, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    rows = second(tmp_path, seed)
    (tmp_path / "second.duckdb").unlink()
    assert rows == second(tmp_path, seed)
    assert len(rows) == 15


def test_what_cannot_be_taken_of_a_run_is_told(tmp_path: Path) -> None:
    path = first(tmp_path)
    assert "Did you mean 'doubled'?" in problem_of(tmp_path, path=str(path), columns=["doubledd"])
    assert "seed_dataset.where" in problem_of(tmp_path, path=str(path), where="doubledd > 1")
    assert "There is no run database" in problem_of(tmp_path, path="nothing.duckdb")
    (tmp_path / "text.duckdb").write_text("no database")
    assert "cannot be read" in problem_of(tmp_path, path="text.duckdb")
    assert "holds no rows" in problem_of(tmp_path, path=str(path), where="false")
    assert "only for run" in problem_of(tmp_path, seed_type="local", path="x.csv", where="true")


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "csv"])
def test_an_own_export_is_seed_data_without_the_numbers_of_its_rows(
    tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with rowmill.RunDatabase.open(first(tmp_path, 3)) as database:
        database.export(tmp_path / f"x.{ending}", columns=["n", "row_id", "doubled"])
    rows = second(tmp_path, {"path": f"x.{ending}"})
    assert rows == [{"row_id": n, "n": n, "doubled": 2 * n, "more": 1} for n in range(3)]
    (tmp_path / "x.yaml").write_text(
        f"records: all\nseed_dataset: {{path: x.{ending}}}\ncolumns: [{{name: m, column_type: expression, sql: '1'}}]\n"
    )
    assert main.execute(["plan", str(tmp_path / "x.yaml")]) == 0
    assert "The column 'row_id' is left out" in capfd.readouterr().out


def test_an_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1, 2]}, index=[7, 9])
    named = frame.set_axis(pandas.Index(["x", "y"], name="who"))
    frame.to_parquet(tmp_path / "x.parquet")
    assert "__index_level_0__" in parquet.read_schema(tmp_path / "x.parquet").names
    for seed in (frame, named):
        spec = {"records": 2, "columns": [MORE]}
        assert rowmill.preview(spec, 2, seed=seed).rows.column_names == ["row_id", "n", "more"]
    assert list(second(tmp_path, {"path": "x.parquet"})[0]) == ["row_id", "n", "more"]


# How often seed rows are used ---------------------------------------------------------------------


def used(records: int | str, **seed: Any) -> str | None:
    data = {"records": records, "seed_dataset": {"seed_type": "df", "df": pa.table({"n": range(5)}), **seed}}
    found = seed_use(prepare(Spec.from_data({**data, "columns": [MORE]})))
    return found.message if found is not None else None


def test_it_is_told_how_often_each_seed_row_is_used() -> None:
    assert used(12) == "Each seed row is used 2.4 times (5 for 12); 'records: all' takes each once."
    assert used(2) == "2 seed rows of 5 are used; 'records: all' takes each once."
    assert used(5) is None
    assert used("all") is None
    assert used("all", selection={"start": 1, "end": 3}) is None
    assert used(4, selection={"start": 1, "end": 2}) == (
        "Each seed row is used 2 times (2 for 4); 'records: all' takes each once."
    )


def test_all_records_need_seed_rows() -> None:
    with pytest.raises(SpecError, match="there is no seed_dataset"):
        prepare(Spec.from_data({"records": "all", "columns": [MORE]}))


def test_partitions_with_one_seed_are_warned_of() -> None:
    sampled = {"name": "s", "column_type": "sampler", "sampler_type": "uuid"}
    cut = {"selection": {"index": 0, "num_partitions": 2}}
    data = {"records": 2, "seed_dataset": {"seed_type": "df", "df": pa.table({"n": range(5)}), **cut}}
    (warning,) = prepare(Spec.from_data({**data, "columns": [sampled]})).warnings
    assert warning.place == "seed_dataset.selection"
    assert "draws the same samples" in warning.message
    assert "shards" in warning.message
    assert prepare(Spec.from_data({**data, "columns": [MORE]})).warnings == ()
