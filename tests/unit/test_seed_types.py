"""``seed_dataset.types``: values as the type that was said, for every format, or refused with the place."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seed_reading import described, refusal_of, types_of, values_of

from rowmill.errors import SpecError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.spec import Spec
from rowmill.store.layout.seed_reader import describe_seed, read_seed

UTC = dt.UTC
FITS: list[tuple[str, str, Any]] = [
    ("str", "007", "007"),
    ("int", "007", 7),
    ("int", "+1", 1),
    ("int", " 12 ", 12),
    ("int", "1.0", 1),
    ("UTINYINT", "255", 255),
    ("hugeint", str(2**127 - 1), str(2**127 - 1)),
    ("float", "12E5", 1200000.0),
    ("float", "11.10", 11.1),
    ("float", "inf", float("inf")),
    ("float", "0.10000000000000001", 0.1),
    ("FLOAT", "0.1", 0.10000000149011612),
    ("DECIMAL(10, 2)", "11.10", Decimal("11.10")),
    ("DECIMAL(10, 2)", "-0", Decimal("0.00")),
    ("DECIMAL(10, 2)", "1e2", Decimal("100.00")),
    ("DECIMAL(38, 10)", "9" * 28 + ".0123456789", Decimal("9" * 28 + ".0123456789")),
    ("bool", "Yes", True),
    ("bool", "0", False),
    ("date", "2026-1-2", dt.date(2026, 1, 2)),
    ("date", "0001-01-01", dt.date(1, 1, 1)),
    ("time", "3:16", dt.time(3, 16)),
    ("timestamp", "2026-01-31T10:00", dt.datetime(2026, 1, 31, 10)),
    ("timestamp", "1969-12-31 23:59:59.9", dt.datetime(1969, 12, 31, 23, 59, 59, 900_000)),
    ("timestamptz", "2026-01-31 10:00:00+02:30", dt.datetime(2026, 1, 31, 7, 30, tzinfo=UTC)),
    ("timestamptz", "2026-01-31T10:00:00Z", dt.datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ("TIME WITH TIME ZONE", "10:00:00+02", "10:00:00+02"),
    ("uuid", "4B6C7F0E-0000-4000-8000-000000000000", "4b6c7f0e-0000-4000-8000-000000000000"),
    ("json", '{"a":  1.10}', '{"a":  1.10}'),
    ("blob", "ä", "ä".encode()),
    ("int[]", "[1, null]", [1, None]),
    ("STRUCT(a int, b str)", '{"b": "x", "a": 1}', {"a": 1, "b": "x"}),
    ("MAP(str, int)", '{"x": 1}', [("x", 1)]),
]
MISFITS = [
    ("int", "1.5", "no whole number"),
    ("int", "abc", "no whole number"),
    ("int", "0x1F", "no whole number"),
    ("int", "1_000", "no whole number"),
    ("int", "٣", "no whole number"),
    ("int", "9223372036854775808", "not from"),
    ("UTINYINT", "-1", "not from 0 to 255"),
    ("float", "9007199254740993", "no float is exactly this number"),
    ("float", "1e400", "no float"),
    ("float", "1e-400", "no float"),
    ("float", "1,5", "no number"),
    ("FLOAT", "16777217", "no float"),
    ("DECIMAL(10, 2)", "1.005", "more than 2 digits after the point"),
    ("DECIMAL(4, 2)", "100", "more than 2 digits before the point"),
    ("DECIMAL(10, 2)", "1e999999", "before the point"),
    ("DECIMAL(10, 2)", "inf", "no number"),
    ("bool", "ja", "none of true"),
    ("bool", "2", "none of true"),
    ("date", "03/04/2025", "no date"),
    ("date", "2026-02-30", "no such date"),
    ("date", "2026-01-31 10:00:00", "no date"),
    ("date", "infinity", "no date"),
    ("time", "25:00", "no such time"),
    ("time", "10:00:00.1234567", "finer than microseconds"),
    ("timestamp", "2026-01-31 10:00:00+02:00", "it says a time zone"),
    ("timestamp", "2026-01-31 10:00:00.1234567", "finer"),
    ("timestamptz", "2026-01-31 10:00:00", "it says no time zone"),
    ("timestamptz", "0001-01-01 00:00:00+02", "outside"),
    ("uuid", "4b6c7f0e", "no UUID"),
    ("json", "[1,]", "no JSON"),
    ("json", "NaN", "no JSON"),
    ("interval", "soon", "INTERVAL"),
    ("int[]", "[1.5]", "another one"),
    ("int[]", "[true]", "another one"),
    ("int[]", "1, 2", "no such value"),
    ("STRUCT(a int)", '{"a": 1, "b": 2}', "another one"),
]


def written(directory: Path, file_format: str, text: str) -> str:
    """A file of one column and three rows, the second of which holds the text."""
    name = f"s.{file_format}"
    if file_format == "csv":
        quoted = text.replace('"', '""')
        (directory / name).write_text(f'a,b\n,x\n"{quoted}",y\n,z\n')
    elif file_format == "jsonl":
        (directory / name).write_text(f'{{"a": null}}\n{{"a": {json.dumps(text)}}}\n{{"a": null}}\n')
    else:
        pq.write_table(pa.table({"a": pa.array([None, text, None], pa.string())}), directory / name)
    return name


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_text_that_fits_is_that_value(tmp_path: Path, file_format: str) -> None:
    for dtype, text, value in FITS:
        name = written(tmp_path, file_format, text)
        assert values_of(tmp_path, name, types={"a": dtype}) == [None, value, None], (dtype, text)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_text_that_does_not_fit_is_refused_with_file_line_column_and_value(tmp_path: Path, file_format: str) -> None:
    place = {"csv": "line 3", "jsonl": "line 2", "parquet": "row 2"}[file_format]
    for dtype, text, words in MISFITS:
        name = written(tmp_path, file_format, text)
        told = refusal_of(tmp_path, name, types={"a": dtype})
        for word in (f"{name}, {place}, column 'a': {text!r} does not fit", words, "seed_dataset.types.a"):
            assert word in told, (dtype, text)


def test_the_line_is_right_below_fields_of_several_lines_and_in_the_second_file(tmp_path: Path) -> None:
    (tmp_path / "p1.csv").write_text('a,b\n1,"x\ny\nz"\n2,x\n')
    (tmp_path / "p2.csv").write_text('b,a\n\n"x\ny",3\nz,four\n')
    told = refusal_of(tmp_path, "p*.csv", types={"a": "int"})
    assert "p2.csv, line 5, column 'a': 'four' does not fit BIGINT" in told


def test_one_type_for_all_and_one_for_the_rest(tmp_path: Path) -> None:
    content = "zip,price,n\n007,11.10,1\n"
    assert types_of(tmp_path, "s.csv", content, types="str") == ["VARCHAR"] * 3
    types = {"*": "str", "price": "DECIMAL(10, 2)"}
    assert types_of(tmp_path, "s.csv", content, types=types) == ["VARCHAR", "DECIMAL(10,2)", "VARCHAR"]


def test_a_number_of_a_json_file_said_to_be_text_keeps_its_spelling(tmp_path: Path) -> None:
    content = '{"a": 1.10}\n{"a": 12E5}\n{"a": true}\n{"a": [1,  2.50]}\n{"a": "x"}\n{"a": 1' + "0" * 50 + "}\n"
    expected = ["1.10", "12E5", "true", "[1, 2.50]", "x", "1" + "0" * 50]
    assert values_of(tmp_path, "s.jsonl", content, types={"a": "str"}) == expected


def test_what_the_guess_refuses_can_be_kept_by_saying_a_type(tmp_path: Path) -> None:
    content = '{"a": 9007199254740993}\n{"a": 1.5}\n'
    assert values_of(tmp_path, "s.jsonl", content, types={"a": "DECIMAL(18, 1)"}) == [
        Decimal("9007199254740993.0"),
        Decimal("1.5"),
    ]


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"zpi": "str"}, "no column 'zpi'. Did you mean 'zip'?"),
        ({"Zip": "str"}, "no column 'Zip'"),
    ],
)
def test_a_type_of_a_column_there_is_not_is_refused(tmp_path: Path, types: dict[str, str], words: str) -> None:
    for name, content in (("s.csv", "zip\n1\n"), ("s.jsonl", '{"zip": 1}\n')):
        assert words in refusal_of(tmp_path, name, content, types=types)
    pq.write_table(pa.table({"zip": [1]}), tmp_path / "s.parquet")
    assert words in refusal_of(tmp_path, "s.parquet", types=types)


def test_an_unknown_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"Did you mean 'str'\? \(seed_dataset.types.a\)"):
        Spec.from_data({"records": 1, "seed_dataset": {"path": "s.csv", "types": {"a": "strr"}}})


TYPED: list[tuple[pa.Array, str, Any]] = [
    (pa.array([7]), "str", "7"),
    (pa.array([7]), "float", 7.0),
    (pa.array([5.5]), "DECIMAL(4, 1)", Decimal("5.5")),
    (pa.array([5.0]), "int", 5),
    (pa.array([0.1]), "str", "0.1"),
    (pa.array([dt.datetime(2026, 1, 31)]), "date", dt.date(2026, 1, 31)),
    (pa.array([dt.datetime(2026, 1, 31, 12)], pa.timestamp("us", "America/New_York")), "str", "2026-01-31 12:00:00+00"),
    (pa.array([[1, 2]]), "str", "[1,2]"),
    (pa.array([{"a": 1}]), "json", '{"a":1}'),
    (pa.array([Decimal("1.50")]), "str", "1.50"),
    (pa.array(["007"]), "int", 7),
    (pa.array(["ä".encode()]), "str", "ä"),
    (pa.array(["a"]).dictionary_encode(), "str", "a"),
]
LOST: list[tuple[pa.Array, str]] = [
    (pa.array([5.5]), "int"),
    (pa.array([2**53 + 1]), "float"),
    (pa.array([300]), "UTINYINT"),
    (pa.array([1.005]), "DECIMAL(10, 2)"),
    (pa.array([dt.datetime(2026, 1, 31, 12)]), "date"),
    (pa.array([Decimal("1.234567890123456789012345")]), "float"),
    (pa.array([[1.5]]), "int[]"),
    (pa.array(["x"]), "int"),
    (pa.array([b"\xff"]), "str"),
]


@pytest.mark.slow
def test_typed_columns_take_another_type_only_if_nothing_is_lost(tmp_path: Path) -> None:
    for array, dtype, value in TYPED:
        table = pa.table({"a": array})
        pq.write_table(table, tmp_path / "s.parquet")
        assert values_of(tmp_path, "s.parquet", types={"a": dtype}) == [value], dtype
        given = describe_seed(SeedDatasetConfig(seed_type="df", df=table, types={"a": dtype}), tmp_path)
        assert read_seed(given)["a"].to_pylist() == [value], dtype
    for array, dtype in LOST:
        pq.write_table(pa.table({"a": array}), tmp_path / "s.parquet")
        told = refusal_of(tmp_path, "s.parquet", types={"a": dtype})
        assert "s.parquet, row 1, column 'a'" in told
        assert "does not fit" in told


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("second", "words"),
    [
        (pa.table({"a": [5.5], "b": [1]}), "column 'a' is"),
        (pa.table({"a": [1]}), "it lacks 'b'"),
        (pa.table({"a": [1], "b": [1], "c": [1]}), "has no 'c'"),
        (pa.table({"a": pa.array([1], pa.int32()), "b": [1]}), "column 'a' is"),
    ],
)
def test_typed_files_agree_or_are_refused(tmp_path: Path, file_format: str, second: pa.Table, words: str) -> None:
    _write(pa.table({"a": [1], "b": [2]}), tmp_path / f"p1.{file_format}")
    _write(second, tmp_path / f"p2.{file_format}")
    told = refusal_of(tmp_path, f"p*.{file_format}")
    assert words in told
    assert f"p2.{file_format}" in told


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_typed_files_may_have_another_order_of_columns(tmp_path: Path, file_format: str) -> None:
    _write(pa.table({"a": [1], "b": ["x"]}), tmp_path / f"p1.{file_format}")
    _write(pa.table({"b": ["y"], "a": [2]}), tmp_path / f"p2.{file_format}")
    assert values_of(tmp_path, f"p*.{file_format}") == [1, 2]


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def test_names_that_are_there_twice_are_refused_in_every_format(tmp_path: Path) -> None:
    table = pa.table([[1], [2]], names=["a", "A"])
    for name in ("s.parquet", "s.arrow"):
        _write(table, tmp_path / name)
        assert "'a', 'A'" in refusal_of(tmp_path, name)
    with pytest.raises(SpecError, match="'a', 'A'"):
        describe_seed(SeedDatasetConfig(seed_type="df", df=table), tmp_path)


KEPT: list[tuple[pa.Array, str]] = [
    (pa.array([1.5], pa.float16()), "FLOAT"),
    (pa.array([2**64 - 1], pa.uint64()), "UBIGINT"),
    (pa.array([Decimal("9" * 38)], pa.decimal128(38, 0)), "DECIMAL(38,0)"),
    (pa.array([Decimal("1.5")], pa.decimal256(60, 1)), "DECIMAL(38,1)"),
    (pa.array([1], pa.time64("ns")), "TIME_NS"),
    (pa.array([1], pa.timestamp("ns")), "TIMESTAMP_NS"),
    (pa.array([dt.date(1, 1, 1)]), "DATE"),
    (pa.array([dt.date(1969, 12, 31)], pa.date64()), "DATE"),
    (pa.array([1000], pa.duration("ns")), "INTERVAL"),
    (pa.nulls(1), "VARCHAR"),
    (pa.array([[None]]), "VARCHAR[]"),
    (pa.array([{"a": None}]), "STRUCT(a VARCHAR)"),
    (pa.array(["a"]).dictionary_encode(), "VARCHAR"),
    (pa.array([b"\xff"], pa.binary(1)), "BLOB"),
]


@pytest.mark.parametrize(("array", "sql_type"), KEPT, ids=lambda value: value if isinstance(value, str) else "of")
def test_arrow_types_are_kept_as_what_they_are(tmp_path: Path, array: pa.Array, sql_type: str) -> None:
    found = describe_seed(SeedDatasetConfig(seed_type="df", df=pa.table({"a": array})), tmp_path)
    assert found.columns == (("a", sql_type),)
    assert read_seed(found)["a"].to_pylist() == array.to_pylist()


@pytest.mark.parametrize(
    "array",
    [
        pa.array([Decimal("1" * 45)], pa.decimal256(50, 0)),
        pa.array([1001], pa.duration("ns")),
        pa.array([pa.MonthDayNano([1, 2, 1001])]),
        pa.array([2**60], pa.timestamp("ms")),
        pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["x"])]
        ),
    ],
    ids=["45 digits", "nanoseconds", "interval of nanoseconds", "far future", "union"],
)
def test_what_the_engine_has_no_place_for_is_refused_with_its_column(tmp_path: Path, array: pa.Array) -> None:
    with pytest.raises(SpecError, match=r"Column 'a' of type .* cannot be kept"):
        read_seed(describe_seed(SeedDatasetConfig(seed_type="df", df=pa.table({"a": array})), tmp_path))


def test_decimals_of_more_digits_than_can_be_kept_are_refused_in_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([Decimal("1" * 45)], pa.decimal256(50, 0))}), tmp_path / "s.parquet")
    assert "column 'a' holds decimals of up to 50 digits" in refusal_of(tmp_path, "s.parquet")


def test_the_rows_are_read_once_and_again_only_when_asked_again(tmp_path: Path) -> None:
    found = described(tmp_path, "s.csv", "a\n1\n")
    (tmp_path / "s.csv").write_text("a\n2\n")
    assert read_seed(found)["a"].to_pylist() == [1]
    assert read_seed(found)["a"].to_pylist() == [2]
    (tmp_path / "s.csv").write_text("a\nx\n")
    with pytest.raises(SpecError, match="changed while it was read"):
        read_seed(found)
