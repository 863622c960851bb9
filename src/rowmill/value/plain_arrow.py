"""The engine's Arrow as everybody knows it: for users' functions, the Python API, parquet and Arrow files.

The engine hands its values over with extension types that lose nothing. What leaves Rowmill as Arrow has none of them:
JSON and UUID are text, HUGEINT and UHUGEINT ``decimal128(38, 0)``, BIGNUM, BIT and TIME WITH TIME ZONE their text. A
whole number of more than 38 digits is refused.
"""

from __future__ import annotations

import functools
from typing import Any

import pyarrow as pa

from rowmill.value import opaque
from rowmill.value.kind import is_json, is_truth, opaque_name, truths

_WHOLE = pa.decimal128(38, 0)


class TooWide(ValueError):
    """A whole number that no type of Arrow holds. ``column`` and ``position`` say where, ``value`` what."""

    def __init__(self, value: int) -> None:
        super().__init__(f"{value} has more than 38 digits, which Arrow has no type for. Make it text, or smaller.")
        self.value = value
        self.column = ""
        self.position = 0

    def at(self, column: str, position: int) -> TooWide:
        """The same, with its place."""
        self.column, self.position = column, position
        return self


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema :func:`plain_table` gives to tables of ``schema``."""
    return pa.schema([pa.field(field.name, plain_type(field.type), field.nullable) for field in schema])


def plain_table(table: pa.Table) -> pa.Table:
    """The table without the engine's own types. Raises TooWide."""
    if not any(_differs(field.type) for field in table.schema):
        return table
    columns = [_plain_chunks(name, column) for name, column in zip(table.schema.names, table.columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=plain_schema(table.schema))


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same for a record batch."""
    if not any(_differs(field.type) for field in batch.schema):
        return batch
    columns = [_named(name, column, 0) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=plain_schema(batch.schema))


@functools.lru_cache(maxsize=4096)
def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type everybody knows for one of the engine's."""
    if isinstance(kind, pa.BaseExtensionType):
        if is_json(kind) or isinstance(kind, pa.UuidType):
            return pa.string()
        if is_truth(kind):
            return pa.bool_()
        name = opaque_name(kind)
        if name in {"hugeint", "uhugeint"}:
            return _WHOLE
        return pa.string() if name in opaque.READERS else kind
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field))
    if pa.types.is_union(kind):
        fields = [_plain_field(kind.field(place)) for place in range(kind.num_fields)]
        return pa.sparse_union(fields, kind.type_codes)
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, plain_type(field.type), field.nullable)


@functools.lru_cache(maxsize=4096)
def _differs(kind: pa.DataType) -> bool:
    return bool(plain_type(kind) != kind)


def _plain_chunks(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks, position = [], 0
    for chunk in column.chunks:
        chunks.append(_named(name, chunk, position))
        position += len(chunk)
    return pa.chunked_array(chunks, plain_type(column.type))


def _named(name: str, column: pa.Array, position: int) -> pa.Array:
    try:
        return _plain(column)
    except TooWide as error:
        for place in range(len(column)):
            try:
                _plain(column.slice(place, 1))
            except TooWide:
                raise error.at(name, position + place) from None
        raise


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    if not _differs(kind):
        return column
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(column)
    if types.is_struct(kind):
        fields = [_plain(values) for values in column.flatten()]
        return pa.StructArray.from_arrays(fields, fields=list(plain_type(kind)), mask=column.is_null())
    if types.is_union(kind):
        members = [_plain(column.field(place)) for place in range(kind.num_fields)]
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return pa.UnionArray.from_sparse(column.type_codes, members, names, list(kind.type_codes))
    return _of_lists(column)


def _of_lists(column: pa.Array) -> pa.Array:
    kind, wanted = column.type, plain_type(column.type)
    if pa.types.is_fixed_size_list(kind):
        values = column.values.slice(column.offset * kind.list_size, len(column) * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(_plain(values), type=wanted, mask=column.is_null())
    bounds = column.offsets.to_pylist()
    first, length = bounds[0], bounds[-1] - bounds[0]
    offsets = pa.array([bound - first for bound in bounds], type=pa.int32())
    if pa.types.is_map(kind):
        keys, items = (_plain(part.slice(first, length)) for part in (column.keys, column.items))
        return pa.MapArray.from_arrays(offsets, keys, items, type=wanted, mask=column.is_null())
    values = _plain(column.values.slice(first, length))
    return pa.ListArray.from_arrays(offsets, values, type=wanted, mask=column.is_null())


def _of_extension(column: pa.Array) -> pa.Array:
    kind = column.type
    if is_json(kind):
        return column.storage.cast(pa.string())
    if is_truth(kind):
        return truths(column)
    if isinstance(kind, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], type=pa.string())
    name = opaque_name(kind) or ""
    read = opaque.zoned_time_as_text if name == "time_tz" else opaque.READERS[name]
    values: list[Any] = [None if content is None else read(content) for content in column.storage.to_pylist()]
    if name not in {"hugeint", "uhugeint"}:
        return pa.array([None if value is None else str(value) for value in values], type=pa.string())
    for value in values:
        if value is not None and abs(value) >= 10**38:
            raise TooWide(value)
    return pa.array(values, type=_WHOLE)


__all__ = ["TooWide", "plain_batch", "plain_schema", "plain_table", "plain_type"]
