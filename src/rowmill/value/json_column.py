"""Arrow values of the engine as JSON text, column by column.

What JSON has no type for: timestamps, dates and times are ISO 8601 strings (with an offset only if
the column has a time zone, which is then UTC), decimals are numbers with all their digits, binary is
base64, a map with text keys is an object and any other map a list of ``{"key", "value"}``. NaN and
the infinities are the strings ``NaN``, ``Infinity`` and ``-Infinity``: no value becomes null. JSON is JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from rowmill.value import moment, opaque
from rowmill.value.interval import Interval
from rowmill.value.json_value import export_text, number_text
from rowmill.value.kind import (
    is_binary,
    is_json,
    is_list,
    is_text,
    is_truth,
    list_bounds,
    map_bounds,
    opaque_name,
    truths,
    union_members,
)

_NULL = "null"
_text = json.JSONEncoder(ensure_ascii=False).encode


def json_objects(batch: pa.RecordBatch) -> Iterator[str]:
    """One JSON object per row, without line breaks, keys in column order."""
    keys = [_text(name) + ": " for name in batch.schema.names]
    columns = [json_values(column) for column in batch.columns]
    if not columns:
        yield from ("{}" for _ in range(batch.num_rows))
        return
    for row in zip(*columns, strict=True):
        yield "{" + ", ".join([key + value for key, value in zip(keys, row, strict=True)]) + "}"


def json_values(column: pa.Array) -> list[str]:
    """Each value of an Arrow array as JSON text."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(column)
    if pa.types.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_map(kind):
        return _maps(column)
    if is_list(kind):
        return _lists(column)
    if pa.types.is_union(kind):
        members = [json_values(column.field(place)) for place in range(kind.num_fields)]
        return [members[member][place] for place, member in enumerate(union_members(column))]
    if pa.types.is_timestamp(kind):
        return [_NULL if text is None else f'"{text}"' for text in iso_timestamps(column)]
    if pa.types.is_date(kind):
        return [_NULL if text is None else f'"{text}"' for text in iso_dates(column)]
    if pa.types.is_time(kind):
        return [_NULL if text is None else f'"{text}"' for text in iso_times(column)]
    if pa.types.is_float32(kind):
        return [_NULL if text is None else number_text(float(text)) for text in column.cast(pa.string()).to_pylist()]
    return _each(column, _scalar_encoder(kind))


def iso_timestamps(column: pa.Array) -> list[str | None]:
    """ISO 8601 text of an array of timestamps of any unit; needs no time zone database."""
    unit, zoned = column.type.unit, column.type.tz is not None
    return [
        None if ticks is None else moment.timestamp_text(ticks, unit, zoned=zoned)
        for ticks in column.cast(pa.int64()).to_pylist()
    ]


def iso_dates(column: pa.Array) -> list[str | None]:
    """ISO 8601 text of an array of dates."""
    days = column.cast(pa.date32()).cast(pa.int32())
    return [None if number is None else moment.date_text(number) for number in days.to_pylist()]


def iso_times(column: pa.Array) -> list[str | None]:
    """ISO 8601 text of an array of times of day."""
    ticks = column.cast(pa.int32() if pa.types.is_time32(column.type) else pa.int64())
    return [None if number is None else moment.time_text(number, column.type.unit) for number in ticks.to_pylist()]


def _each(column: pa.Array, encode: Callable[[Any], str]) -> list[str]:
    return [_NULL if value is None else encode(value) for value in column.to_pylist()]


def _of_extension(column: pa.Array) -> list[str]:
    kind = column.type
    if is_json(kind):
        return _each(column.storage, export_text)
    if isinstance(kind, pa.UuidType):
        return _each(column, lambda value: f'"{value}"')
    if is_truth(kind):
        return json_values(truths(column))
    name = opaque_name(kind)
    if name == "time_tz":
        return _each(column.storage, lambda value: f'"{opaque.zoned_time_as_text(value)}"')
    if name in opaque.READERS:
        read = opaque.READERS[name]
        return _each(column.storage, lambda value: f'"{read(value)}"' if name == "bit" else str(read(value)))
    return json_values(column.storage)


def _lists(column: pa.Array) -> list[str]:
    valid = column.is_valid().to_pylist()
    bounds, inner = list_bounds(column)
    values = json_values(inner)
    return ["[" + ", ".join(values[bounds[i] : bounds[i + 1]]) + "]" if valid[i] else _NULL for i in range(len(column))]


def _structs(column: pa.Array) -> list[str]:
    valid = column.is_valid().to_pylist()
    keys = [_text(field.name) + ": " for field in column.type]
    fields = [json_values(values) for values in column.flatten()]
    rows: Sequence[Sequence[str]] = list(zip(*fields, strict=True)) if fields else [()] * len(column)
    return [
        "{" + ", ".join([key + value for key, value in zip(keys, row, strict=True)]) + "}" if is_valid else _NULL
        for row, is_valid in zip(rows, valid, strict=True)
    ]


def _maps(column: pa.Array) -> list[str]:
    valid = column.is_valid().to_pylist()
    bounds, key_column, item_column = map_bounds(column)
    keys, values = json_values(key_column), json_values(item_column)
    has_text_keys = is_text(column.type.key_type)
    form = "{}: {}" if has_text_keys else '{{"key": {}, "value": {}}}'
    open_, close = "{}" if has_text_keys else "[]"
    entries = [form.format(key, value) for key, value in zip(keys, values, strict=True)]
    return [
        open_ + ", ".join(entries[bounds[i] : bounds[i + 1]]) + close if valid[i] else _NULL for i in range(len(column))
    ]


def _scalar_encoder(kind: pa.DataType) -> Callable[[Any], str]:
    types = pa.types
    if types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    if types.is_integer(kind):
        return str
    if types.is_floating(kind):
        return number_text
    if types.is_decimal(kind):
        return lambda value: format(value, "f")
    if is_binary(kind):
        return lambda value: f'"{base64.b64encode(value).decode("ascii")}"'
    if types.is_interval(kind):
        return lambda value: f'"{Interval(*value)}"'
    if types.is_duration(kind):
        return lambda value: repr(value.total_seconds())
    return lambda value: _text(value if isinstance(value, str) else str(value))
