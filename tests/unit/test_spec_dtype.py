"""Data types: short names, DuckDB's own types, and what is neither."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.spec.dtype import SHORT_NAMES, sql_type


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int", "BIGINT"),
        ("float", "DOUBLE"),
        ("str", "VARCHAR"),
        ("bool", "BOOLEAN"),
        ("date", "DATE"),
        ("datetime", "TIMESTAMP"),
        ("timestamp", "TIMESTAMP"),
        ("json", "JSON"),
        ("FLOAT", "FLOAT"),
        ("varchar", "VARCHAR"),
        ("Integer", "INTEGER"),
        ("DECIMAL(10,2)", "DECIMAL(10, 2)"),
        ("numeric", "DECIMAL(18, 3)"),
        ("decimal(5)", "DECIMAL(5, 0)"),
        ("VARCHAR[]", "VARCHAR[]"),
        ("int[]", "BIGINT[]"),
        ("FLOAT[384]", "FLOAT[384]"),
        ("INT[3][]", "INTEGER[3][]"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"),
        ("timestamp without time zone", "TIMESTAMP"),
        ('STRUCT(a int, "b c" VARCHAR[])', 'STRUCT("a" BIGINT, "b c" VARCHAR[])'),
        ('struct("q""uote" str)', 'STRUCT("q""uote" VARCHAR)'),
        ("MAP(VARCHAR, STRUCT(x DOUBLE))", 'MAP(VARCHAR, STRUCT("x" DOUBLE))'),
    ],
)
def test_a_dtype_becomes_a_duckdb_type(dtype: str, expected: str) -> None:
    assert sql_type(dtype) == expected
    # DuckDB must know what we write into its statements.
    duckdb.connect().execute(f"select null::{expected}")


@pytest.mark.parametrize("dtype", list(SHORT_NAMES))
def test_every_short_name_is_a_type_duckdb_knows(dtype: str) -> None:
    duckdb.connect().execute(f"select null::{sql_type(dtype)}")


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("integr", "Unknown type 'integr'. Did you mean 'INTEGER'?"),
        ("strr", "Unknown type 'strr'. Did you mean 'str'?"),
        ("", "Use one of int, float, str"),
        ("int; drop table x", "is not a type"),
        ("int)", "is too much"),
        ("int -- comment", "is not a type"),
        ("DECIMAL(50,2)", "a number from 1 to 38"),
        ("DECIMAL(5,9)", "a number from 0 to 5"),
        ("VARCHAR[0]", "a number from 1"),
        ("VARCHAR[", "belongs in the place"),
        ("STRUCT()", "has no name"),
        ("STRUCT(a int, A int)", "appears twice"),
        ("STRUCT(a int", "is missing (in YAML, a type with a comma stands in quotes)"),
        ("DECIMAL(10", "is missing (in YAML, a type with a comma stands in quotes)"),
        ("DECIMAL(10]", "')' is missing. Use one of"),
        ("MAP(int)", "is missing"),
        ("TIMESTAMP WITH ZONE", "WITH TIME ZONE"),
        ("STRUCT(a " * 20 + "int" + ")" * 20, "nested too deeply"),
        ("int" + "[]" * 20, "nested too deeply"),
        ("[" * 10_000, "is not a type"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(dtype: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        sql_type(dtype)
    assert message in str(caught.value)


@given(st.text(alphabet="intVARCHR[](),; '\"-0123/*", max_size=30))
def test_no_text_passes_anything_but_types_into_a_statement(text: str) -> None:
    try:
        found = sql_type(text)
    except ValueError:
        return
    assert ";" not in found.replace('";', "")
    assert "--" not in found
    duckdb.connect().execute(f"select null::{found}")
