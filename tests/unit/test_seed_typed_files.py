"""Parquet and Arrow files and frames as seed data: a value is kept as its source says it, or refused (V4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from seed_reading import refusal_of, rows_of, types_of, values_of

from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.layout.seed_reader import describe_seed, read_seed

TWICE = pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int32()))
SAME_FIELDS = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "X"])


def arrow_file(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def parquet_file(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def frame(directory: Path, given: Any) -> tuple[list[str], list[Any]]:
    """Types and values of the first column of seed rows that are given from Python."""
    described = describe_seed(SeedDatasetConfig(seed_type="df", df=given), directory)
    return [sql_type for _, sql_type in described.columns], read_seed(described).column(0).to_pylist()


@pytest.mark.parametrize("write", [arrow_file, parquet_file])
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (TWICE, "row 1 has a map with the key 'k' twice"),
        (
            pa.array([None, [{"m": TWICE.to_pylist()[0]}]], pa.list_(pa.struct([("m", TWICE.type)]))),
            "the key 'k' twice",
        ),
        (SAME_FIELDS, "more than one field named 'x', 'X'"),
    ],
    ids=["key twice", "key twice inside", "fields alike"],
)
def test_v4_what_would_lose_a_part_is_refused(
    tmp_path: Path, write: Callable[[Path, pa.Table], None], column: pa.Array, words: str
) -> None:
    name = "s.arrow" if write is arrow_file else "s.parquet"
    write(tmp_path / name, pa.table({"odd": column}))
    message = refusal_of(tmp_path, name)
    assert words in message
    assert "'odd'" in message


def test_v4_durations_of_a_parquet_file_are_refused_unless_their_numbers_are_wanted(tmp_path: Path) -> None:
    parquet_file(tmp_path / "s.parquet", pa.table({"took": pa.array([timedelta(days=1, microseconds=1)])}))
    assert "column 'took' holds durations" in refusal_of(tmp_path, "s.parquet")
    assert rows_of(tmp_path, "s.parquet", types={"took": "int"}) == [{"took": 86_400_000_001}]


def test_a_parquet_column_without_a_name_is_refused(tmp_path: Path) -> None:
    parquet_file(tmp_path / "s.parquet", pa.table({"a": [1], "": [2]}))
    assert "column 2 has no name" in refusal_of(tmp_path, "s.parquet")


def test_v4_old_times_of_a_parquet_file_are_kept_or_refused(tmp_path: Path) -> None:
    far = pa.array([None, 253_402_300_799_000_000, 1_700_000_000_123_456], pa.timestamp("us"))
    fine = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    for name, column in (("far", far), ("list", pa.array([far.to_pylist()])), ("fine", fine)):
        pq.write_table(pa.table({"seen": column}), tmp_path / f"{name}.parquet", use_deprecated_int96_timestamps=True)
    assert values_of(tmp_path, "far.parquet") == far.to_pylist()
    assert values_of(tmp_path, "list.parquet") == [far.to_pylist()]
    assert "column 'seen' holds INT96 times that are finer than microseconds" in refusal_of(tmp_path, "fine.parquet")
    pq.write_table(
        pa.table({"seen": pa.array([[fine[0]]])}), tmp_path / "in.parquet", use_deprecated_int96_timestamps=True
    )
    assert "finer than microseconds" in refusal_of(tmp_path, "in.parquet")


def test_what_is_no_text_in_an_arrow_file_is_refused_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    offsets, content = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    arrow_file(path, pa.table({"good": ["x"], "odd": pa.Array.from_buffers(pa.string(), 1, [None, offsets, content])}))
    assert "column 'odd' is damaged" in refusal_of(tmp_path, "s.arrow")


def test_an_arrow_file_that_points_beyond_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    arrow_file(path, pa.table({"good": [1], "odd": ["x" * 1234]}))
    content = path.read_bytes()
    ends_at = content.rindex((0).to_bytes(4, "little") + (1234).to_bytes(4, "little"))
    path.write_bytes(content[: ends_at + 4] + (2**31 - 1).to_bytes(4, "little") + content[ends_at + 8 :])
    assert "column 'odd' is damaged" in refusal_of(tmp_path, "s.arrow")


def test_an_arrow_column_without_a_name_is_refused(tmp_path: Path) -> None:
    arrow_file(tmp_path / "s.arrow", pa.table({"a": [1], "": [2]}))
    assert "its column 2 has no name" in refusal_of(tmp_path, "s.arrow")


def test_variants_of_a_parquet_file_are_refused(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 1::variant as v) to '{tmp_path / 's.parquet'}'")
    assert "column 'v' is VARIANT. Write it as JSON" in refusal_of(tmp_path, "s.parquet")


def test_v4_dates_in_milliseconds_are_dates_or_refused(tmp_path: Path) -> None:
    arrow_file(tmp_path / "s.arrow", pa.table({"day": pa.array([date(2024, 1, 1)], pa.date64())}))
    assert types_of(tmp_path, "s.arrow") == ["DATE"]
    assert values_of(tmp_path, "s.arrow") == [date(2024, 1, 1)]
    arrow_file(tmp_path / "s.arrow", pa.table({"day": pa.array([1], pa.int64()).view(pa.date64())}))
    assert "'day' of type date64[ms] cannot be kept" in refusal_of(tmp_path, "s.arrow")


def test_a_decimal_of_hundreds_is_a_decimal(tmp_path: Path) -> None:
    arrow_file(tmp_path / "s.arrow", pa.table({"n": pa.array([Decimal("1500")], pa.decimal128(5, -2))}))
    assert types_of(tmp_path, "s.arrow") == ["DECIMAL(7,0)"]
    assert values_of(tmp_path, "s.arrow") == [Decimal(1500)]


@pytest.mark.parametrize(
    ("given", "sql_type", "values"),
    [
        (pl.DataFrame({"a": ["x", None, "y"]}, schema={"a": pl.Categorical}), "VARCHAR", ["x", None, "y"]),
        (pl.DataFrame({"a": ["y", "x"]}, schema={"a": pl.Enum(["x", "y"])}), "VARCHAR", ["y", "x"]),
        (pl.DataFrame({"a": [["x"], []]}, schema={"a": pl.List(pl.Categorical)}), "VARCHAR[]", [["x"], []]),
        (
            pl.DataFrame({"a": [{"b": "x"}]}, schema={"a": pl.Struct({"b": pl.String})}),
            "STRUCT(b VARCHAR)",
            [{"b": "x"}],
        ),
        (pd.DataFrame({"a": pd.Categorical(["x", None])}), "VARCHAR", ["x", None]),
        (pd.DataFrame({"a": pd.Categorical([7, 5])}), "BIGINT", [7, 5]),
        (pd.DataFrame({"a": pd.array([2**53 + 1, None], dtype="Int64")}), "BIGINT", [2**53 + 1, None]),
    ],
    ids=["categories", "enum", "list of categories", "struct", "pandas categories", "numbers", "nullable"],
)
def test_v4_categories_of_a_frame_are_their_values(
    tmp_path: Path, given: Any, sql_type: str, values: list[Any]
) -> None:
    assert frame(tmp_path, given) == ([sql_type], values)


def test_objects_of_a_frame_are_refused_never_their_addresses(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="Column 'a' of the DataFrame holds objects of Python"):
        frame(tmp_path, pl.DataFrame({"a": [object()]}))


@pytest.mark.parametrize("values", [[2**70, 1], [1, "x"], [2**53 + 1, 1.5], [1 + 2j]])
def test_a_frame_whose_values_have_no_type_in_common_is_refused(values: list[Any]) -> None:
    with pytest.raises(ValidationError, match="The DataFrame cannot be handed over as Arrow"):
        SeedDatasetConfig(seed_type="df", df=pd.DataFrame({"a": pd.Series(values, dtype=object)}))


@pytest.mark.parametrize(
    ("text", "sql_type", "value"),
    [
        ("[0.1]", "FLOAT[]", [pytest.approx(0.1)]),
        ("[0.1, 1, -0.0, 1e300]", "DOUBLE[]", [0.1, 1, 0, 1e300]),
        ("[0.12345678901234567890]", "DOUBLE[]", None),
        ("[9007199254740993]", "DOUBLE[]", None),
        ("[0.125]", "DECIMAL(5, 2)[]", None),
        ("[0.12]", "DECIMAL(5, 2)[]", [Decimal("0.12")]),
        ("[true]", "INTEGER[]", None),
        ("[1.4]", "INTEGER[]", None),
        ("[1e99999999999999999999]", "DOUBLE[]", None),
    ],
)
def test_v4_numbers_of_a_list_fit_as_those_of_a_column_do(
    tmp_path: Path, text: str, sql_type: str, value: list[Any] | None
) -> None:
    content = f'a\n"{text}"\n'
    if value is None:
        assert f"does not fit {sql_type.replace(', ', ',')}" in refusal_of(
            tmp_path, "s.csv", content, types={"a": sql_type}
        )
    else:
        assert values_of(tmp_path, "s.csv", content, types={"a": sql_type}) == [value]


def test_half_a_surrogate_pair_in_a_name_is_refused_with_its_line(tmp_path: Path) -> None:
    message = refusal_of(tmp_path, "s.jsonl", '{"a": 1}\n{"a": 2, "\\ud83d": 1}\n')
    assert "line 2: the name '\\ud83d' holds half of a surrogate pair" in message


def test_a_file_in_utf_32_is_named_as_one(tmp_path: Path) -> None:
    assert "the file is UTF-32, not UTF-8" in refusal_of(tmp_path, "s.csv", "a\n1\n".encode("utf-32"))
