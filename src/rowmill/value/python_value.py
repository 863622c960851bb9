"""Arrow values of the engine as Python values.

=====================================  =================================================================================
engine                                 Python
=====================================  =================================================================================
integers of any size                   ``int``
``FLOAT``, ``DOUBLE``                  ``float``; a FLOAT is the shortest number that is the same FLOAT (0.1, not
                                       0.10000000149011612)
``DECIMAL``                            ``Decimal`` with all its digits
``VARCHAR``, ``ENUM``, ``BIT``         ``str``
``BLOB``                               ``bytes``
``UUID``                               ``uuid.UUID``
``DATE``, ``TIME``, ``TIMESTAMP``      ``date``, ``time``, ``datetime``; zones are UTC; what these cannot hold exactly
(all units, with zone and without)     is :class:`~rowmill.value.moment.Moment`, a text
``INTERVAL``                           :class:`~rowmill.value.interval.Interval`
lists and arrays                       ``list``
``STRUCT``                             ``dict`` by field
``MAP``                                ``dict``; of keys that are nested, a list of ``{"key", "value"}``
``UNION``                              what its member is
``JSON``                               what it holds: see :mod:`rowmill.value.json_value`
``NULL``                               ``None``
=====================================  =================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from rowmill.value import moment, opaque
from rowmill.value.interval import Interval
from rowmill.value.json_value import parsed
from rowmill.value.kind import (
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

_Convert = Callable[[pa.Array], list[Any]]


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of an Arrow array of the engine."""
    convert = _converter(column.type)
    if convert is None:
        return list(column.to_pylist())
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in convert(chunk)]
    return convert(column)


def python_rows(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows as dicts by column."""
    names = table.schema.names
    for row in zip(*map(python_values, table.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def is_plain(kind: pa.DataType) -> bool:
    """Whether the engine's own conversion to Python, which is quicker for few rows, gives the same values."""
    types = pa.types
    if isinstance(kind, pa.UuidType | pa.Bool8Type) or opaque_name(kind) in {"hugeint", "uhugeint"}:
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_list(kind):
        return is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(is_plain(field.type) for field in kind)
    if types.is_map(kind):
        return not types.is_nested(kind.key_type) and is_plain(kind.key_type) and is_plain(kind.item_type)
    return bool(
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_float64(kind)
        or types.is_decimal(kind)
        or is_text(kind)
        or types.is_binary(kind)
        or types.is_null(kind)
        or types.is_dictionary(kind)
    )


@functools.lru_cache(maxsize=4096)
def _converter(kind: pa.DataType) -> _Convert | None:
    """What converts an array of this type, None if Arrow's own conversion is right."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(kind)
    if types.is_float32(kind):
        return _singles
    if types.is_date32(kind):
        return lambda column: _each(column.cast(pa.int32()), moment.date_value)
    if types.is_date64(kind):
        return lambda column: _each(column.cast(pa.date32()).cast(pa.int32()), moment.date_value)
    if types.is_timestamp(kind):
        unit, zoned = kind.unit, kind.tz is not None
        return lambda column: _each(
            column.cast(pa.int64()), lambda ticks: moment.timestamp_value(ticks, unit, zoned=zoned)
        )
    if types.is_time(kind):
        ticks_type = pa.int32() if types.is_time32(kind) else pa.int64()
        return lambda column: _each(column.cast(ticks_type), lambda ticks: moment.time_value(ticks, kind.unit))
    if types.is_interval(kind):
        return lambda column: _each(column, lambda value: Interval(*value))
    if types.is_dictionary(kind):
        return None if _converter(kind.value_type) is None else lambda column: python_values(column.dictionary_decode())
    if is_list(kind):
        return None if _converter(kind.value_type) is None else _lists
    if types.is_struct(kind):
        return _structs if len({field.name for field in kind}) == kind.num_fields else None
    if types.is_map(kind):
        return _pairs if _is_unhashable(kind.key_type) else _maps
    if types.is_union(kind):
        return _unions
    return None


def _of_extension(kind: pa.BaseExtensionType) -> _Convert:
    if is_json(kind):
        return lambda column: _each(column.storage, parsed)
    if isinstance(kind, pa.UuidType):
        return lambda column: list(column.to_pylist())
    if is_truth(kind):
        return lambda column: list(truths(column).to_pylist())
    read = opaque.READERS.get(opaque_name(kind) or "")
    if read is None:
        return lambda column: python_values(column.storage)
    return lambda column: _each(column.storage, read)


def _each(column: pa.Array, convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in column.to_pylist()]


def _singles(column: pa.Array) -> list[Any]:
    return _each(column.cast(pa.string()), float)


def _lists(column: pa.Array) -> list[Any]:
    bounds, inner = list_bounds(column)
    values = python_values(inner)
    valid = column.is_valid().to_pylist()
    return [values[bounds[i] : bounds[i + 1]] if valid[i] else None for i in range(len(column))]


def _structs(column: pa.Array) -> list[Any]:
    names = [field.name for field in column.type]
    fields = [python_values(values) for values in column.flatten()]
    rows = zip(*fields, strict=True) if fields else iter([()] * len(column))
    valid = column.is_valid().to_pylist()
    return [dict(zip(names, row, strict=True)) if is_valid else None for row, is_valid in zip(rows, valid, strict=True)]


def _maps(column: pa.Array) -> list[Any]:
    return [None if pairs is None else dict(pairs) for pairs in _entries(column)]


def _pairs(column: pa.Array) -> list[Any]:
    return [
        None if pairs is None else [{"key": key, "value": value} for key, value in pairs] for pairs in _entries(column)
    ]


def _entries(column: pa.Array) -> list[list[tuple[Any, Any]] | None]:
    bounds, keys, items = map_bounds(column)
    entries = list(zip(python_values(keys), python_values(items), strict=True))
    valid = column.is_valid().to_pylist()
    return [entries[bounds[i] : bounds[i + 1]] if valid[i] else None for i in range(len(column))]


def _unions(column: pa.Array) -> list[Any]:
    members = [python_values(column.field(place)) for place in range(column.type.num_fields)]
    return [members[member][place] for place, member in enumerate(union_members(column))]


def _is_unhashable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or is_json(kind))
