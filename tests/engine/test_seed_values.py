"""Seed values arrive as their source said them; runs made with an earlier reading of the same files go on (V4, V6)."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_run import assert_helps, run_spec, spec_of
from seed_reading import described, rows_of

import rowmill
from rowmill.engine import preparation
from rowmill.errors import Incompatible, SpecError
from rowmill.seeds.source import SeedSource
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.layout import seed_content
from rowmill.store.layout.seed_columns import SeedColumn
from rowmill.store.layout.seed_content import SeedContent, current_seed_content
from rowmill.store.layout.seed_earlier import read_as_earlier
from rowmill.store.layout.seed_reader import SeedFile, SeedRows

SHOWN = [{"name": "shown", "column_type": "expression", "expr": "{{ a }}"}]
CSV = {
    "12E5": "12E5", "11.10": "11.10", "0x1F": "0x1F", "3:16": "3:16", "03/04/2025": "03/04/2025", "yes": "yes",
    "007": "007", "1" * 42: "1" * 42, "inf": "inf", "12": 12, "-3.5": -3.5, "9007199254740993": 9007199254740993,
}  # fmt: skip


@pytest.mark.parametrize("text", CSV, ids=str)
def test_v4_a_text_of_a_csv_file_reaches_templates_and_the_dataset_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_text(f"a\n{text}\n")
    (row,) = run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=1).rows
    assert (row["a"], row["shown"]) == (CSV[text], text)


def test_v4_said_types_reach_sql_and_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("zip,price\n00701,11.10\n")
    columns = [{"name": "twice", "column_type": "expression", "sql": "price * 2", "dtype": "DECIMAL(10, 2)"}]
    seed = {"path": "s.csv", "types": {"zip": "str", "price": "DECIMAL(10, 2)"}}
    (row,) = run_spec(tmp_path, columns, seed_dataset=seed, records=1).rows
    assert (row["zip"], str(row["price"]), str(row["twice"])) == ("00701", "11.10", "22.20")


ODD_TYPES = {
    "a": ("hugeint", str(10**38 - 1)),
    "b": ("uuid", "4b6c7f0e-0000-4000-8000-000000000000"),
    "c": ("json", '{"x": 1}'),
    "d": ("interval", "1 day"),
    "e": ("STRUCT(x int)", '{"x": 1}'),
    "f": ("MAP(str, int)", '{"x": 1}'),
    "g": ("TIME WITH TIME ZONE", "10:00:00+02"),
    "h": ("blob", "ä"),
    "i": ("UBIGINT", str(2**64 - 1)),
    "j": ("timestamptz", "2026-01-31 10:00:00+02:00"),
    "k": ("int[]", "[1, 2]"),
    "l": ("FLOAT", "0.1"),
}


def test_v4_every_type_that_can_be_said_is_that_type_in_the_run_database(tmp_path: Path) -> None:
    fields = ",".join('"' + text.replace('"', '""') + '"' for _, text in ODD_TYPES.values())
    (tmp_path / "s.csv").write_text(",".join(ODD_TYPES) + f"\n{fields}\n")
    seed = {"path": "s.csv", "types": {name: dtype for name, (dtype, _) in ODD_TYPES.items()}}
    columns = [
        {"name": f"{name}_text", "column_type": "expression", "sql": f"{name}::varchar"} for name in ODD_TYPES
    ]  # fmt: skip
    (row,) = run_spec(tmp_path, columns, seed_dataset=seed, records=1).rows
    expected = [
        str(10**38 - 1), "4b6c7f0e-0000-4000-8000-000000000000", '{"x": 1}', "1 day", "{'x': 1}", "{x=1}",
        "10:00:00+02",
        "\\xC3\\xA4", str(2**64 - 1), "2026-01-31 08:00:00+00", "[1, 2]", "0.1",
    ]  # fmt: skip
    assert [row[f"{name}_text"] for name in ODD_TYPES] == expected


def test_v4_mixed_values_of_a_json_file_are_json_in_the_run_database(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"a": 1}\n{"a": "abc"}\n{"a": [1, "x"]}\n')
    columns = [{"name": "kind", "column_type": "expression", "sql": "json_type(a) || ':' || a"}]
    ran = run_spec(tmp_path, columns, seed_dataset={"path": "s.jsonl"}, records=3)
    assert ran.column("kind") == ["UBIGINT:1", 'VARCHAR:"abc"', 'ARRAY:[1, "x"]']


def test_v4_exports_are_read_again_as_what_they_were(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(
        '{"a": 1, "b": "007", "c": 0.5, "d": null, "e": "", "f": true, "g": "x\\ny, \\"z\\""}\n'
        '{"a": 2, "b": "1", "c": 2.25, "d": "x", "e": "y", "f": false, "g": null}\n'
    )
    worded = [{"name": "shown", "column_type": "expression", "expr": "is {{ a }}"}]
    first = run_spec(tmp_path, worded, seed_dataset={"path": "s.jsonl"}, records=2).rows
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        for ending in ("csv", "jsonl", "parquet", "arrow"):
            database.export(tmp_path / f"out.{ending}")
    for ending in ("csv", "jsonl", "parquet", "arrow"):
        rows = rows_of(tmp_path, f"out.{ending}")
        # The export's own row_id is left out: the rows get theirs.
        assert [{name: row[name] for name in first[0] if name != "row_id"} for row in rows] == [
            {name: value for name, value in row.items() if name != "row_id"} for row in first
        ]


# Runs made with an earlier reading ------------------------------------------------------------------


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Seed files are read as an earlier version did, until it is undone."""

    def describe(config: SeedDatasetConfig, source: SeedSource) -> SeedFile:
        types, rows = read_as_earlier(config, source)
        facts = tuple(SeedColumn(name, sql_type, "file") for name, sql_type in types.items())
        return SeedFile(config, source, facts, SeedRows(lambda: rows))

    monkeypatch.setattr(preparation, "describe_source", describe)
    monkeypatch.setattr(seed_content, "describe_source", describe)
    return monkeypatch


READ_OTHERWISE = {
    "numbers": ("s.csv", "a,n\n12E5,1\n11.10,2\n", [1200000.0, 11.1]),
    "a lost header": ("s.csv", "a,n\n1,x,y\n2,z,w\n3,v,u\n", None),
    "JSON dates": ("s.jsonl", '{"a": "2024-01-02", "n": 1}\n', None),
    "JSON big numbers": ("s.jsonl", '{"a": 9007199254740993, "n": 1}\n{"a": 1.5, "n": 2}\n', [9007199254740992.0, 1.5]),
}


@pytest.mark.parametrize("case", READ_OTHERWISE)
@pytest.mark.parametrize("is_touched", [False, True])
def test_v6_a_run_made_with_an_earlier_reading_goes_on_with_its_values(
    tmp_path: Path, earlier: pytest.MonkeyPatch, case: str, is_touched: bool
) -> None:
    name, content, values = READ_OTHERWISE[case]
    (tmp_path / name).write_text(content)
    columns = [{"name": "made", "column_type": "expression", "sql": "1", "dtype": "int"}]
    seed = {"path": name}
    before = run_spec(tmp_path, columns, seed_dataset=seed, records=2).rows
    earlier.undo()
    if is_touched:
        os.utime(tmp_path / name, (1, 1))
    after = run_spec(tmp_path, columns, seed_dataset=seed, records=4).rows
    assert after[:2] == before
    key = next(iter(set(before[0]) - {"row_id", "made"}))
    seen = [row[key] for row in before]
    assert [row[key] for row in after] == (seen * 2 if values is None or len(values) == 2 else seen[:1] * 4)
    if values is not None:
        assert [row["a"] for row in after][: len(values)] == values
    assert rowmill.run(None, tmp_path / "run.duckdb").exit_code == 0


@pytest.mark.slow
def test_v6_an_earlier_run_accepts_changes_of_other_columns_and_keeps_its_seed_values(
    tmp_path: Path, earlier: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.csv").write_text("a,n\n12E5,1\n11.10,2\n")
    run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=2)
    earlier.undo()
    os.utime(tmp_path / "s.csv", (1, 1))
    more = [*SHOWN, {"name": "m", "column_type": "expression", "sql": "a * 2", "dtype": "float"}]
    spec = spec_of(more, seed_dataset={"path": "s.csv"}, records=2)
    rowmill.run(spec, tmp_path / "run.duckdb", directory=tmp_path, accept_changes=True)
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        assert [(row["a"], row["m"]) for row in database.to_arrow().to_pylist()] == [
            (1200000.0, 2400000.0),
            (11.1, 22.2),
        ]


def test_v6_an_earlier_run_whose_file_has_other_rows_now_is_refused(
    tmp_path: Path, earlier: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.csv").write_text("a,n\n12E5,1\n11.10,2\n")
    run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=2)
    earlier.undo()
    (tmp_path / "s.csv").write_text("a,n\n12E5,1\n11.11,2\n")
    with pytest.raises(Incompatible) as caught:
        run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=2)
    assert_helps(caught.value, "s.csv changed")


def test_v6_a_run_from_a_file_that_would_be_refused_today_goes_on(tmp_path: Path, earlier: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.csv").write_text("a,n\n1,x,y\n2,z,w\n3,v,u\n")
    columns = [{"name": "made", "column_type": "expression", "sql": "1", "dtype": "int"}]
    ran = run_spec(tmp_path, columns, seed_dataset={"path": "s.csv"}, records=1)
    earlier.undo()
    with pytest.raises(SpecError, match="expected 2 fields"):
        rowmill.preview(spec_of(columns, seed_dataset={"path": "s.csv"}), directory=tmp_path)
    assert run_spec(tmp_path, columns, seed_dataset={"path": "s.csv"}, records=2).rows[:1] == ran.rows


@pytest.mark.slow
def test_saying_types_of_an_existing_run_is_a_change_of_those_columns_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a,n\n12,1\n")
    run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=1)
    run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv", "types": {"a": "int"}}, records=1)
    with pytest.raises(Incompatible) as caught:
        run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv", "types": {"a": "str"}}, records=1)
    told = str(caught.value)
    assert "a" in told
    assert "'n'" not in told
    spec = spec_of(SHOWN, seed_dataset={"path": "s.csv", "types": {"a": "str"}}, records=1)
    rowmill.run(spec, tmp_path / "run.duckdb", directory=tmp_path, accept_changes=True)
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        assert database.to_arrow().column("a").to_pylist() == ["12"]


def test_files_that_did_not_change_are_not_even_opened_by_a_resume(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "s.csv").write_text("a\n1\n")
    run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=1)

    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("rowmill.store.layout.seed_reader.read_csv_files", refuse)
    assert len(run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.csv"}, records=2).rows) == 2


def test_the_source_of_a_spec_without_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("")
    with pytest.raises(SpecError, match="holds no rows"):
        run_spec(tmp_path, SHOWN, seed_dataset={"path": "s.jsonl"}, records=1)


def test_v2_the_digest_of_data_that_is_read_as_before_is_the_one_of_before(tmp_path: Path) -> None:
    """Written down by the version before types could be said."""
    content = (
        "n,x,t,b,d,ts,e\n"
        "1,1.5,abc,true,2026-01-31,2026-01-31 10:00:00,\n"
        '-2,0.25,"d,""e""",false,1900-01-01,1999-12-31 23:59:59,\n'
    )
    csv = current_seed_content(described(tmp_path, "s.csv", content))
    assert csv == SeedContent(2, "2a081ba714c812ea39ad54865ff761a4c0e4ba4fc705e09208c290ac873d0a6a")
    table = pa.table(
        {
            "n": [1, -2],
            "t": ["abc", None],
            "d": [date(2026, 1, 31), None],
            "l": [[1, 2], []],
            "o": [{"a": 1}, {"a": 2}],
        }
    )
    pq.write_table(table, tmp_path / "s.parquet")
    parquet = current_seed_content(described(tmp_path, "s.parquet"))
    assert parquet == SeedContent(2, "a727f032cdf953b06163f3c681e18b77a7a8551908efdbd95c0556f06376c63f")
