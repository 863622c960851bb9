"""Rows on their way out: transforms and splits."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from rowmill.errors import UsageError
from rowmill.export.processed import Processed
from rowmill.export.split import Split, WithSplit, shares_of
from rowmill.export.transform import Transformed
from rowmill.value.json_column import json_objects


class Source:
    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def dataset_schema(self) -> pa.Schema:
        return self._table.schema

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=2)


ROWS = pa.table(
    {
        "row_id": [0, 1, 2],
        "q": ["plain", 'say "hi"\nthen \\', None],
        "n": [1, None, 3],
        "tags": [["a"], [], None],
        "at": pa.array([datetime.datetime(2026, 1, 1)] * 3, type=pa.timestamp("us")),
    }
)


def transformed(shape: dict[str, Any]) -> pa.Table:
    source = Transformed(Source(ROWS), "t", shape)
    return pa.Table.from_batches(source.dataset_batches(), source.dataset_schema())


def test_texts_are_rendered_and_escaped_by_nobody() -> None:
    assert transformed({"x": "<{{ q }}|{{ n }}>"})["x"].to_pylist() == [
        "<plain|1>",
        '<say "hi"\nthen \\|None>',
        "<None|3>",
    ]


def test_a_lone_column_keeps_its_type_and_its_null() -> None:
    made = transformed({"number": "{{ n }}", "tags": "{{ tags }}", "when": "{{ at }}"})
    assert made.schema.types == [pa.int64(), pa.list_(pa.string()), pa.timestamp("us")]
    assert made["number"].to_pylist() == [1, None, 3]


def test_nested_shapes_and_plain_values_come_out_as_they_are_written() -> None:
    shape = {"messages": [{"role": "user", "content": "{{ q }}!"}, {"role": "x", "name": "{{ n }}"}], "v": 2, "b": True}
    first = transformed(shape).to_pylist()[0]
    assert first == {
        "messages": [{"role": "user", "content": "plain!", "name": None}, {"role": "x", "content": None, "name": 1}],
        "v": 2,
        "b": True,
    }


def test_a_list_of_unlike_elements_is_refused_with_its_place() -> None:
    with pytest.raises(UsageError, match=r"int64, string\) \(processor t, a\)"):
        transformed({"a": ["{{ n }}", "text"]})


def test_a_row_that_cannot_be_rendered_fails_the_export_and_is_named() -> None:
    with pytest.raises(UsageError, match=r"'t' fails for row 1: .* Nothing was exported"):
        transformed({"a": "{{ 1 + n }}"})


def test_a_split_follows_from_seed_and_row_alone() -> None:
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    parts = [Split(shares, 7).part_of(row) for row in range(10_000)]
    assert parts == [Split(shares, 7).part_of(row) for row in range(10_000)]
    assert parts != [Split(shares, 8).part_of(row) for row in range(10_000)]
    counts = Counter(parts)
    assert 7_840 < counts["train"] < 8_160  # four standard deviations
    assert 880 < counts["test"] < 1_120


def test_every_row_is_in_a_part_whatever_rounding_does() -> None:
    shares = dict.fromkeys("abcdefg", 1 / 7)
    assert {Split(shares, 0).part_of(row) for row in range(2_000)} == set(shares)


def test_the_split_is_one_more_column() -> None:
    source = WithSplit(Source(ROWS), Split({"all": 1.0}, 0), "split")
    table = pa.Table.from_batches(source.dataset_batches(), source.dataset_schema())
    assert table["split"].to_pylist() == ["all"] * 3
    with pytest.raises(UsageError, match="'q' already"):
        WithSplit(Source(ROWS), Split({"all": 1.0}, 0), "q")


def test_shares_are_read_from_a_text() -> None:
    assert shares_of("train=0.8, test=0.2") == {"train": 0.8, "test": 0.2}
    with pytest.raises(UsageError, match="'train' is no share"):
        shares_of("train")


class Renaming:
    """A processor of a plug-in."""

    name = "renaming"

    def process(self, rows: pa.Table) -> pa.Table:
        assert rows["j"].type == rows["other"].type == pa.string()
        return rows.set_column(rows.schema.get_field_index("other"), "was_other", rows["other"])


def test_json_that_a_plug_ins_processor_passes_on_stays_json() -> None:
    rows = pa.table({"row_id": [0, 1], "j": ['{"a": 1}', None], "other": ['"x"', "[]"]})
    kinds = pa.schema({"row_id": pa.int64(), "j": pa.json_(), "other": pa.json_()})
    columns = [rows["row_id"].chunk(0)] + [
        pa.ExtensionArray.from_storage(pa.json_(), rows[name].chunk(0)) for name in ("j", "other")
    ]
    source = Source(pa.Table.from_arrays(columns, schema=kinds))
    made = Processed(source, Renaming(), [])  # type: ignore[arg-type]
    table = pa.Table.from_batches(made.dataset_batches(), made.dataset_schema())
    assert table.schema.types == [pa.int64(), pa.json_(), pa.string()]
    assert [line for batch in table.to_batches() for line in json_objects(batch)] == [
        '{"row_id": 0, "j": {"a": 1}, "was_other": "\\"x\\""}',
        '{"row_id": 1, "j": null, "was_other": "[]"}',
    ]
