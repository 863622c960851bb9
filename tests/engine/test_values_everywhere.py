"""A run with a column of every type: what functions, templates, validators, processors, exports and commands see."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import virtual_run
from command_line import CommandLine
from pyarrow import parquet
from value_table import ENTRIES, Entry
from virtual_run import Finished, Row, custom, expression, prepared

from rowmill import RunDatabase, notebook
from rowmill import run as run_spec
from rowmill.errors import UsageError
from rowmill.value.json_value import JsonObject
from rowmill.value.python_value import python_values

Run = Callable[..., Finished]
TYPED = [(f"c{place}", entry) for place, entry in enumerate(ENTRIES) if entry.dtype is not None]
NAMES = [name for name, _ in TYPED]
SHAPE = {"row_id": "{{ row_id }}", "all": {name: f"{{{{ {name} }}}}" for name in NAMES}, "text": "<{{ c0 }}>"}


def same(found: Any, entry: Entry) -> bool:
    return repr(found) == repr(entry.python) or found == entry.python


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run with all of it; what its functions saw, and the path of its database."""
    seen: dict[str, Any] = {}

    async def row(row: Row) -> str:
        seen["row"] = row
        return "x"

    async def batch(rows: pa.Table) -> pa.Table:
        seen["batch"] = rows
        return pa.table({"row_index": rows["row_index"], "batch": ["x"] * rows.num_rows})

    async def over_dataset(rows: pa.Table) -> pa.Table:
        seen["dataset"] = rows
        return pa.table({"row_id": rows["row_id"], "over": ["x"] * rows.num_rows})

    def giving_back(name: str) -> Callable[[Row], Any]:
        async def same_value(row: Row) -> Any:
            return {f"back_{name}": row[name]}

        return same_value

    async def judging(rows: pa.Table) -> dict[str, Any]:
        seen["validator"] = rows
        return {"is_valid": [True] * rows.num_rows}

    spec = prepared(
        *(expression(name, entry.sql, str(entry.dtype)) for name, entry in TYPED),
        *(
            {"name": f"prompt_{name}", "column_type": "expression", "expr": f"{{{{ {name} }}}}{{{{ '' }}}}"}
            for name in NAMES
        ),
        custom("row", row, NAMES),
        custom("batch", batch, NAMES, generation_strategy="batch"),
        custom("over", over_dataset, NAMES, generation_strategy="dataset"),
        *(custom(f"back_{name}", giving_back(name), [name], dtype=str(entry.dtype)) for name, entry in TYPED),
        {
            "name": "verdict",
            "column_type": "validation",
            "target_columns": NAMES,
            "validator_type": "local_callable",
            "validator_params": {"validation_function": judging},
        },
        records=1,
        processors=[{"name": "shape", "processor_type": "schema_transform", "template": SHAPE}],
    )
    path = tmp_path_factory.mktemp("values") / "run.duckdb"
    done = virtual_run.run(spec, path)
    assert done.sql("select column_name, message from dropped_row") == []
    seen["prompts"] = done.dataset()[0]
    seen["changed"] = [
        entry.name
        for name, entry in TYPED
        if not done.sql(f"select {name} is not distinct from back_{name} from dataset")[0][0]
    ]
    done.store.close()
    return {**seen, "path": path}


@pytest.mark.slow
def test_a_function_of_a_row_gets_every_type_as_its_own(made: dict[str, Any]) -> None:
    assert [entry.name for name, entry in TYPED if not same(made["row"][name], entry)] == []


def test_a_template_shows_every_type(made: dict[str, Any]) -> None:
    shown = {entry.name: made["prompts"][f"prompt_{name}"] for name, entry in TYPED}
    assert shown == {entry.name: entry.prompt for _, entry in TYPED}


def test_what_a_function_gives_back_is_the_value_it_got(made: dict[str, Any]) -> None:
    assert made["changed"] == ["JSON null"], "None is SQL's null"


@pytest.mark.parametrize("who", ["batch", "dataset", "validator"])
def test_functions_of_tables_get_the_arrow_everybody_knows(made: dict[str, Any], who: str) -> None:
    with RunDatabase.open(made["path"]) as opened:
        expected = opened.to_arrow()
    for name, entry in TYPED:
        if entry.name == "JSON null":
            continue  # a validator gets values of Python, where it is None as SQL's null is
        assert made[who][name].type == expected[name].type, entry.name
        assert repr(python_values(made[who][name])) == repr(python_values(expected[name])), entry.name


def test_every_export_has_every_type(made: dict[str, Any], tmp_path: Path) -> None:
    with RunDatabase.open(made["path"]) as opened:
        for ending in ("jsonl", "csv", "parquet", "arrow"):
            opened.export(tmp_path / f"x.{ending}")
        plain = opened.to_arrow()
        asked = opened.sql("from dataset")
    line = (tmp_path / "x.jsonl").read_text()
    for name, entry in TYPED:
        assert f'"{name}": {entry.json}' in line, entry.name
    with (tmp_path / "x.csv").open(newline="") as file:
        (record,) = csv.DictReader(file)
    assert {entry.name: record[name] for name, entry in TYPED} == {entry.name: entry.csv for _, entry in TYPED}
    arrow = pa.ipc.open_file(tmp_path / "x.arrow").read_all()
    assert arrow.schema == plain.schema == asked.schema
    stored = parquet.read_table(tmp_path / "x.parquet")
    for name, entry in TYPED:
        if entry.arrow == entry.in_parquet:
            assert stored[name].type == plain[name].type, entry.name


def test_a_processor_passes_every_type_on(made: dict[str, Any], tmp_path: Path) -> None:
    with RunDatabase.open(made["path"]) as opened:
        opened.export(tmp_path / "x.jsonl", processor="shape")
    line = (tmp_path / "x.jsonl").read_text()
    for name, entry in TYPED:
        assert f'"{name}": {entry.json}' in line, entry.name
    assert json.loads(line)["text"] == "<-128>"


def test_training_files_and_chosen_rows_have_every_type(made: dict[str, Any], tmp_path: Path) -> None:
    with RunDatabase.open(made["path"]) as opened:
        plain = opened.to_arrow().select(NAMES)
        opened.export(tmp_path / "chosen.arrow", columns=NAMES, where="row_id = 0")
        opened.export_directory(
            tmp_path / "files", "arrow", split="train=1", layout="files", columns=NAMES, where="row_id = 0"
        )
        opened.export_directory(tmp_path / "files", split="train=1", layout="files")
    for file in (tmp_path / "chosen.arrow", tmp_path / "files" / "train.arrow"):
        found = pa.ipc.open_file(file).read_all()
        assert found.schema == plain.schema
        for name, entry in TYPED:
            assert repr(python_values(found[name])) == repr(python_values(plain[name])), entry.name
    line = (tmp_path / "files" / "train.jsonl").read_text()
    for name, entry in TYPED:
        assert f'"{name}": {entry.json}' in line, entry.name


def _again(directory: Path, seed: dict[str, Any]) -> Path:
    """A run that does nothing but take seed rows."""
    spec = {"name": "again", "records": "all", "seed_dataset": seed, "columns": [expression("more", "1", "int")]}
    assert run_spec(spec, directory / "again.duckdb").exit_code == 0
    return directory / "again.duckdb"


def test_seed_rows_of_another_run_have_every_type(made: dict[str, Any], tmp_path: Path) -> None:
    seed = {"seed_type": "run", "path": str(made["path"]), "columns": NAMES, "where": "row_id = 0"}
    with RunDatabase.open(made["path"]) as first, RunDatabase.open(_again(tmp_path, seed)) as second:
        columns = ", ".join(f"typeof({name}) as {name}" for name in NAMES)
        types = first.sql(f"select {columns} from dataset").to_pylist()
        assert second.sql(f"select {columns} from dataset").to_pylist() == types
        before, after = first.to_arrow(), second.to_arrow()
    assert after.column_names == ["row_id", "source_row_id", *NAMES, "more"]
    for name, entry in TYPED:
        assert repr(python_values(after[name])) == repr(python_values(before[name])), entry.name


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_an_export_as_seed_rows_has_every_type_the_file_has(made: dict[str, Any], tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"x.{ending}"
    with RunDatabase.open(made["path"]) as first:
        first.export(file, columns=["row_id", *NAMES])
    exported = parquet.read_table(file) if ending == "parquet" else pa.ipc.open_file(file).read_all()
    with RunDatabase.open(_again(tmp_path, {"path": str(file)})) as second:
        after = second.to_arrow()
    assert after.column_names == ["row_id", *NAMES, "more"]
    for name, entry in TYPED:
        assert repr(python_values(after[name])) == repr(python_values(exported[name])), entry.name


@pytest.mark.parametrize("output_format", ["json", "jsonl", "csv", "table"])
@pytest.mark.parametrize("command", [["sql"], ["show", "rows"]])
def test_a_listing_shows_every_type(made: dict[str, Any], output_format: str, command: list[str]) -> None:
    line = CommandLine(made["path"].parent)
    query = [f"select {', '.join(NAMES)} from dataset"] if command == ["sql"] else []
    found = line.output_of(*command, made["path"], *query, "--format", output_format)
    for name, entry in TYPED:
        if output_format in {"json", "jsonl"}:
            assert f'"{name}": {entry.json}' in found, entry.name
        elif output_format == "csv":
            (record,) = csv.DictReader(found.splitlines(keepends=True))
            assert record[name] == entry.csv, entry.name
        elif "\n" not in entry.csv and "\0" not in entry.csv:
            shown = "-0.0" if entry.name == "negative zero" else entry.csv
            assert shown in found, entry.name
    line.close()


def test_a_report_and_a_notebook_show_every_type(made: dict[str, Any], tmp_path: Path) -> None:
    with RunDatabase.open(made["path"]) as opened:
        opened.report(tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text()
    assert "20000-01-01" in content
    assert "1 year 2 months 3 days 04:00:00.5" in content
    cells = notebook.table(NAMES, [[made["row"][name] for name in NAMES]])
    assert "20000-01-01" in cells
    assert "datetime" not in cells


def test_a_condition_for_skipping_sees_maps_and_json(run: Run) -> None:
    async def never(row: Row) -> str:
        raise AssertionError("it was to be skipped")

    async def whole(rows: pa.Table) -> pa.Table:
        raise AssertionError("it was to be skipped")

    done = run(
        prepared(
            expression("m", "map {'a': 1}", "MAP(VARCHAR, BIGINT)"),
            expression("j", '\'{"deep": {"flag": true}}\'::json', "json"),
            expression("at", "'2024-01-02 03:04:05+00'::timestamptz", "timestamptz"),
            custom("one", never, ["m", "at"], skip={"when": "{{ m.a == 1 }}", "value": "skipped"}),
            custom("two", never, ["j"], skip={"when": "{{ j.deep.flag }}", "value": "skipped"}),
            custom(
                "three",
                whole,
                ["m", "j", "at"],
                generation_strategy="batch",
                skip={"when": "{{ m.a == 1 and j.deep.flag and at.year == 2024 }}", "value": "skipped"},
            ),
            records=2,
        )
    )
    assert [(row["one"], row["two"], row["three"]) for row in done.dataset()] == [("skipped",) * 3] * 2


def test_json_is_an_object_in_templates_and_functions_and_goes_back_as_it_came(run: Run) -> None:
    got: list[Any] = []

    async def changed(row: Row) -> Any:
        got.append(row["j"])
        return {"again": {**row["j"], "new": 1}}

    async def same_object(row: Row) -> Any:
        return row["j"]

    done = run(
        prepared(
            expression("j", """'{"price": 1.10, "tags": ["x", null], "n": 12345678901234567890}'::json""", "json"),
            {
                "name": "text",
                "column_type": "expression",
                "expr": "{{ j.price }} {{ j.tags }} {{ j.tags[0] }} {{ j.n }}",
            },
            custom("again", changed, ["j"], dtype="json"),
            custom("same", same_object, ["j"], dtype="json"),
            records=1,
        )
    )
    (row,) = done.dataset()
    assert isinstance(got[0], JsonObject)
    assert row["text"] == '1.10 ["x", null] x 12345678901234567890'
    assert row["same"] == row["j"]
    assert row["again"] == '{"price": 1.10, "tags": ["x", null], "n": 12345678901234567890, "new": 1}'


def test_null_of_sql_and_of_json_are_none_in_python_and_stay_apart_in_the_dataset(run: Run) -> None:
    got: list[Any] = []

    async def seeing(row: Row) -> str:
        got.append((row["a"], row["b"]))
        return "x"

    columns = [expression("a", "null::json", "json"), expression("b", "'null'::json", "json")]
    done = run(prepared(*columns, custom("seen", seeing, ["a", "b"]), records=1))
    assert got == [(None, None)]
    assert [(row["a"], row["b"]) for row in done.dataset()] == [(None, "null")]


def test_a_text_from_json_goes_back_as_that_text(run: Run) -> None:
    async def same_text(row: Row) -> Any:
        return row["j"]

    done = run(
        prepared(
            expression("j", """'"123"'::json""", "json"),
            custom("json_again", same_text, ["j"], dtype="json"),
            custom("text", same_text, ["j"]),
            records=1,
        )
    )
    assert [(row["json_again"], row["text"]) for row in done.dataset()] == [('"123"', "123")]


def test_a_whole_number_no_arrow_type_holds_is_refused_with_its_column_and_row(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    wide = expression("wide", "(170141183460469231731687303715884105720::hugeint + row_number_of)", "HUGEINT")
    done = run(prepared(expression("row_number_of", "3", "HUGEINT"), wide, records=2), path)
    assert done.column("wide") == [170141183460469231731687303715884105723] * 2
    done.store.close()
    with RunDatabase.open(path) as opened:
        with pytest.raises(UsageError, match=r"Column 'wide' of row 0 .* has more than 38 digits"):
            opened.export(tmp_path / "x.parquet")
        with pytest.raises(UsageError, match="Column 'wide'"):
            opened.to_arrow()
        opened.export(tmp_path / "x.jsonl")
    assert '"wide": 170141183460469231731687303715884105723' in (tmp_path / "x.jsonl").read_text()
