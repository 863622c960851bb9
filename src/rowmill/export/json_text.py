"""Arrow values as JSON text, column by column.

What JSON has no type for: timestamps, dates and times are ISO 8601 strings (with an offset only if
the column has a time zone, which is then UTC), decimals are numbers with all their digits, binary is
base64, a map with text keys is an object and any other map a list of ``{"key", "value"}``. NaN and
the infinities, which JSON cannot express, become null.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

_NULL = "null"
_text = json.JSONEncoder(ensure_ascii=False).encode
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


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
        return json_values(column.storage)
    if pa.types.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_map(kind):
        return _maps(column)
    if _is_list(kind):
        return _lists(column)
    if pa.types.is_timestamp(kind):
        return [_NULL if text is None else f'"{text}"' for text in iso_timestamps(column)]
    if pa.types.is_date32(kind):
        return [_NULL if days is None else f'"{iso_date(days)}"' for days in column.cast(pa.int32()).to_pylist()]
    encode = _scalar_encoder(kind)
    return [_NULL if value is None else encode(value) for value in column.to_pylist()]


def iso_timestamps(column: pa.Array) -> list[str | None]:
    """ISO 8601 text of an array of timestamps of any unit; needs no time zone database."""
    unit = column.type.unit
    epoch = _EPOCH if column.type.tz is None else _EPOCH_UTC
    return [
        None if ticks is None else _iso_timestamp(ticks, _TICKS_PER_SECOND[unit], epoch)
        for ticks in column.cast(pa.int64()).to_pylist()
    ]


def _iso_timestamp(ticks: int, per_second: int, epoch: datetime) -> str:
    seconds, fraction = divmod(ticks, per_second)
    try:
        moment = epoch + timedelta(seconds=seconds)
    except OverflowError:
        # DuckDB's infinity and -infinity are the ends of the range; what else lies beyond year 9999 is no date of ours.
        return "infinity" if ticks > 0 else "-infinity"
    text = moment.isoformat()
    if fraction == 0:
        return text
    digits = f"{fraction:0{len(str(per_second)) - 1}d}"
    return f"{text[:19]}.{digits}{text[19:]}"


def iso_date(days: int) -> str:
    """ISO 8601 text of days since 1970-01-01."""
    try:
        return (_EPOCH + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return "infinity" if days > 0 else "-infinity"


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _lists(column: pa.Array) -> list[str]:
    # `flatten` would drop what lies behind nulls; the offsets of a sliced array start anywhere.
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    valid = column.is_valid().to_pylist()
    offsets = column.offsets.to_pylist()
    values = json_values(column.values.slice(offsets[0], offsets[-1] - offsets[0]))
    return [
        "[" + ", ".join(values[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]) + "]" if valid[i] else _NULL
        for i in range(len(column))
    ]


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
    offsets = column.offsets.to_pylist()
    first, length = offsets[0], offsets[-1] - offsets[0]
    keys = json_values(column.keys.slice(first, length))
    values = json_values(column.items.slice(first, length))
    has_text_keys = pa.types.is_string(column.type.key_type) or pa.types.is_large_string(column.type.key_type)
    form = "{}: {}" if has_text_keys else '{{"key": {}, "value": {}}}'
    open_, close = "{}" if has_text_keys else "[]"
    entries = [form.format(key, value) for key, value in zip(keys, values, strict=True)]
    return [
        open_ + ", ".join(entries[offsets[i] - first : offsets[i + 1] - first]) + close if valid[i] else _NULL
        for i in range(len(column))
    ]


def _scalar_encoder(kind: pa.DataType) -> Callable[[Any], str]:
    types = pa.types
    if types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    if types.is_integer(kind):
        return str
    if types.is_floating(kind):
        return lambda value: repr(float(value)) if math.isfinite(value) else _NULL
    if types.is_decimal(kind):
        return lambda value: format(value, "f")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: f'"{base64.b64encode(value).decode("ascii")}"'
    if types.is_date(kind) or types.is_time(kind):
        return lambda value: f'"{value.isoformat()}"'
    if types.is_interval(kind):
        return lambda value: f'"P{value.months}M{value.days}DT{value.nanoseconds / 1e9:.9g}S"'
    if types.is_duration(kind):
        return lambda value: repr(value.total_seconds())
    return lambda value: _text(value if isinstance(value, str) else str(value))
