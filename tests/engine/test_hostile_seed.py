"""Seed files that are broken, odd or meant to break something: the right rows or a clear error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_run import Ran, assert_helps, run_spec

from rowmill.errors import SpecError
from rowmill.seeds import text_file
from rowmill.store.layout import seed_reader


def _run(directory: Path, path: str = "seed.csv", column: str = "a", **seed: Any) -> Ran:
    columns = [{"name": "made", "column_type": "sampler", "sampler_type": "uuid"}]
    return run_spec(directory, columns, seed_dataset={"path": path, **seed})


def _refused(directory: Path, path: str = "seed.csv") -> SpecError:
    with pytest.raises(SpecError) as caught:
        _run(directory, path)
    assert "seed" in str(caught.value)
    assert not (directory / "run.duckdb").exists() or (directory / "run.duckdb").stat().st_size < 100_000
    return caught.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["seed.csv", "empty"]),
        (b"\n\n", ["seed.csv", "empty"]),
        (b"a,b\n", ["seed.csv", "no rows"]),
        (b"a,b,a\n1,2,3\n", ["seed.csv", "'a'"]),
        (b"a,b,A\n1,2,3\n", ["seed.csv", "'a'"]),
        (b"a,b\n1,2\n3\n5,6\n", ["seed.csv"]),
        (b"a,b\n1,2\n3,4,5\n", ["seed.csv"]),
        (b'a,b\n1,"2\n3,4\n', ["seed.csv"]),
        (b"a,b\n1,caf\xe9\n", ["seed.csv"]),
        (b"\xff\xfea\x00,\x00b\x00\n\x001\x00,\x002\x00\n\x00", ["seed.csv"]),
        (b"ROW_GROUP,b\n1,2\n", ["ROW_GROUP"]),
        (b"done_0,b\n1,2\n", ["done_0"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, ["seed.csv"]),
    ],
    ids=[
        "empty", "blank lines", "only a header", "the same column twice", "twice but for case", "a row too short",
        "a row too long", "an open quote", "latin-1", "utf-16", "row group", "bit set word",
        "a picture",
    ],
)  # fmt: skip
def test_a_csv_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    (tmp_path / "seed.csv").write_bytes(content)
    assert_helps(_refused(tmp_path), *words)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"[]\n",
        b"3\n4\n",
        b'{"a": 1}\n{"a": \n',
        b'{"a": "\\ud800"}\n',
        b'{"a": "\xed\xa0\x80"}\n',
        b'{"a": 1, "a": 2}\n',
        b'{"": 1}\n',
        b"not json\n",
    ],
    ids=["empty", "blank", "a list", "numbers", "cut off", "half a surrogate", "half a surrogate in UTF-8",
         "a field twice", "no name", "text"],
)  # fmt: skip
def test_a_jsonl_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seed.jsonl").write_bytes(content)
    assert_helps(_refused(tmp_path, "seed.jsonl"), "seed.jsonl")


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("a,\n1,2\n")
    first = _run(tmp_path).rows[0]
    assert first["a"] == 1
    assert 2 in first.values()


def test_a_file_without_a_header_gives_its_first_row_as_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("1,Bergen\n2,Oslo\n")
    assert set(_run(tmp_path).rows[0]) == {"row_id", "1", "Bergen", "made"}


@pytest.mark.parametrize("fields", ["b\n7", "a,c\n7,8", "b,a\nx,y"], ids=["one less", "another", "another order"])
def test_files_of_a_glob_whose_columns_differ_never_mix_them_up(tmp_path: Path, fields: str) -> None:
    (tmp_path / "part-1.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "part-2.csv").write_text(fields + "\n")
    try:
        ran = _run(tmp_path, "part-*.csv")
    except SpecError as error:
        assert_helps(error, "part-")
        return
    assert [(str(row["a"]), str(row["b"])) for row in ran.rows] == [("1", "2"), ("3", "4"), ("y", "x"), ("1", "2")]


def test_parquet_files_of_a_glob_whose_columns_differ_are_refused_or_matched_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "part-1.parquet")
    pq.write_table(pa.table({"a": [3]}), tmp_path / "part-2.parquet")
    with pytest.raises(SpecError) as caught:
        _run(tmp_path, "part-*.parquet")
    assert_helps(caught.value, "part-")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "seed.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert_helps(_refused(tmp_path, "seed.parquet"), "seed.parquet")


def test_a_nul_in_a_text_is_kept_or_refused(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_bytes(b"a,b\none\x00two,2\n")
    try:
        ran = _run(tmp_path)
    except SpecError as error:
        assert_helps(error, "seed.csv")
    else:
        assert ran.column("a") == ["one\0two"] * 4


def test_an_escaped_nul_in_a_json_text_is_kept_or_refused(tmp_path: Path) -> None:
    (tmp_path / "seed.jsonl").write_text('{"a": "one\\u0000two"}\n')
    try:
        ran = _run(tmp_path, "seed.jsonl")
    except SpecError as error:
        assert_helps(error, "seed.jsonl")
    else:
        assert ran.column("a") == ["one\0two"] * 4


def test_odd_column_names_are_ordinary_columns(tmp_path: Path) -> None:
    names = ("position", "order", "select", 'say "hi"', "two words", "größe_µ", "名前", "a.b", "{{ x }}", "v")
    columns = {name: [f"{number}x", f"{number}y"] for number, name in enumerate(names)}
    pq.write_table(pa.table({**columns, "made_0": [1, 2]}), tmp_path / "seed.parquet")
    ran = _run(tmp_path, "seed.parquet")
    for name, values in columns.items():
        assert ran.column(name) == values * 2, name


def test_odd_column_names_can_be_used_in_templates_and_sql(tmp_path: Path) -> None:
    pq.write_table(pa.table({'say "hi"': ["x", "y"], "größe": [1, 2]}), tmp_path / "seed.parquet")
    columns = [
        {"name": "it's", "column_type": "expression", "sql": '"say ""hi""" || größe'},
        {"name": "und größer", "column_type": "expression", "expr": "{{ größe + 1 }}", "dtype": "int"},
    ]
    ran = run_spec(tmp_path, columns, seed_dataset={"path": "seed.parquet"})
    assert ran.column("it's") == ["x1", "y2", "x1", "y2"]
    assert ran.column("und größer") == [2, 3, 2, 3]


def test_a_ten_megabyte_cell_comes_through(tmp_path: Path) -> None:
    text = "0123456789" * 1_000_000
    pq.write_table(pa.table({"a": [text, "short"]}), tmp_path / "seed.parquet")
    assert _run(tmp_path, "seed.parquet").column("a") == [text, "short", text, "short"]


def test_a_ten_megabyte_cell_of_a_csv_file_comes_through_or_is_refused(tmp_path: Path) -> None:
    text = "0123456789" * 1_000_000
    (tmp_path / "seed.csv").write_text(f"a\n{text}\nshort\n")
    try:
        ran = _run(tmp_path)
    except SpecError as error:
        assert_helps(error, "seed.csv")
    else:
        assert ran.column("a") == [text, "short", text, "short"]


def test_a_file_name_with_quotes_and_a_glob_sign_is_only_a_name(tmp_path: Path) -> None:
    name = "it's [1] 'x'); drop table y; --.csv"
    (tmp_path / name).write_text("a\n1\n")
    assert _run(tmp_path, name).column("a") == [1] * 4


def test_values_that_look_like_code_stay_text(tmp_path: Path) -> None:
    hostile = ["{{ 7 * 7 }}", "'); drop table state.run; --", "=cmd|' /C calc'!A0", "\u202egnp.exe"]
    pq.write_table(pa.table({"a": hostile}), tmp_path / "seed.parquet")
    columns: list[dict[str, Any]] = [
        {"name": "copied", "column_type": "expression", "expr": "{{ a }}"},
        {
            "name": "asked",
            "column_type": "llm-text",
            "model_alias": "writer",
            "prompt": "{{ copied }}",
            "with_trace": True,
        },
    ]
    ran = run_spec(tmp_path, columns, seed_dataset={"path": "seed.parquet"})
    assert ran.column("copied") == hostile
    assert len(ran.rows) == 4


def test_a_seed_file_that_swells_beyond_all_measure_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "_MANY_BYTES", 2**20)
    (tmp_path / "seed.csv.gz").write_bytes(gzip.compress(b"a\n" + b"x" * (16 * 2**20)))
    assert_helps(_refused(tmp_path, "seed.csv.gz"), "seed.csv.gz", "unpack it")


def test_a_compressed_seed_file_of_data_is_read_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "_MANY_BYTES", 2**10)
    rows = "".join(f"{number}\n" for number in range(10_000))
    (tmp_path / "seed.csv.gz").write_bytes(gzip.compress(f"a\n{rows}".encode()))
    assert len(_run(tmp_path, "seed.csv.gz").rows) == 4


@pytest.mark.parametrize("name", ["seed.csv", "seed.jsonl", "seed.parquet"])
def test_a_seed_value_longer_than_any_text_may_be_is_refused_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(seed_reader, "MAX_TEXT", 1000)
    table = pa.table({"a": ["short", "x" * 1001]})
    if name == "seed.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        lines = ["a", *table["a"].to_pylist()] if name == "seed.csv" else map(json.dumps, table.to_pylist())
        (tmp_path / name).write_text("\n".join(lines))
    assert_helps(_refused(tmp_path, name), name, "'a'", "1,001 bytes in row 2")
