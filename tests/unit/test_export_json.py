"""Arrow values as JSON text."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.value.json_column import json_objects, json_values


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (True, pa.bool_(), "true"),
        (2**63 - 1, pa.int64(), "9223372036854775807"),
        (0.1, pa.float64(), "0.1"),
        (Decimal("1.50"), pa.decimal128(10, 2), "1.50"),
        (Decimal("12345678901234567890.12"), pa.decimal128(30, 2), "12345678901234567890.12"),
        ('a "quoted"\nline', pa.string(), '"a \\"quoted\\"\\nline"'),
        ("Pygoscelis adéliae", pa.string(), '"Pygoscelis adéliae"'),
        (b"\x00\xff", pa.binary(), '"AP8="'),
        (date(2024, 2, 29), pa.date32(), '"2024-02-29"'),
        (time(1, 2, 3), pa.time64("us"), '"01:02:03"'),
        (datetime(2024, 2, 29, 12, 30), pa.timestamp("us"), '"2024-02-29T12:30:00"'),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), pa.timestamp("us", "Etc/UTC"), '"2024-02-29T12:30:00+00:00"'),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), pa.timestamp("us", "No/Such_Zone"), '"2024-02-29T12:30:00+00:00"'),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000), pa.timestamp("us"), '"1969-12-31T23:59:59.500000"'),
        (1_709_209_800_123_456_789, pa.timestamp("ns"), '"2024-02-29T12:30:00.123456789"'),
        (2**63 - 1, pa.timestamp("us"), '"infinity"'),
        (timedelta(seconds=90), pa.duration("us"), "90.0"),
        ([1, None, 3], pa.list_(pa.int64()), "[1, null, 3]"),
        ([1, 2], pa.list_(pa.int64(), 2), "[1, 2]"),
        ({"a": 1, "b": ["x"]}, pa.struct({"a": pa.int64(), "b": pa.list_(pa.string())}), '{"a": 1, "b": ["x"]}'),
        ([("a", 1)], pa.map_(pa.string(), pa.int64()), '{"a": 1}'),
        ([(1, 2)], pa.map_(pa.int64(), pa.int64()), '[{"key": 1, "value": 2}]'),
        ("x", pa.dictionary(pa.int8(), pa.string()), '"x"'),
    ],
)
def test_a_value_becomes_json_text_of_its_kind(value: Any, kind: pa.DataType, text: str) -> None:
    assert json_values(pa.array([value, None], type=kind)) == [text, "null"]


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")]
)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_a_float_that_json_cannot_express_becomes_its_name_and_never_null(
    value: float, text: str, kind: pa.DataType
) -> None:
    assert json_values(pa.array([value], kind)) == [f'"{text}"']
    assert json_values(pa.array([[value, 1.0]], pa.list_(kind))) == [f'["{text}", 1.0]']


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                "number": st.none() | st.integers(-(2**63), 2**63 - 1),
                "list": st.none() | st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
                "struct": st.none() | st.fixed_dictionaries({"flag": st.none() | st.booleans()}),
            }
        )
    ),
    st.integers(0, 3),
)
def test_rows_read_back_from_their_json_are_the_same(rows: list[dict[str, Any]], skipped: int) -> None:
    schema = pa.schema(
        {
            "text": pa.string(),
            "number": pa.int64(),
            "list": pa.list_(pa.float64()),
            "struct": pa.struct({"flag": pa.bool_()}),
        }
    )
    batch = pa.RecordBatch.from_pylist(rows, schema=schema).slice(skipped)
    lines = list(json_objects(batch))
    assert not any("\n" in line for line in lines)
    assert [json.loads(line) for line in lines] == rows[skipped:]
