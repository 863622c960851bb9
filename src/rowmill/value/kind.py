"""Which kind of the engine's types an Arrow type is."""

from __future__ import annotations

import pyarrow as pa


def is_json(kind: pa.DataType) -> bool:
    """The engine's JSON: a text that is JSON."""
    return isinstance(kind, pa.JsonType)


def is_truth(kind: pa.DataType) -> bool:
    """A truth value, as Arrow or as the engine has it."""
    return isinstance(kind, pa.Bool8Type) or bool(pa.types.is_boolean(kind))


def truths(column: pa.Array) -> pa.Array:
    """Truth values as Arrow has them."""
    return column.storage.cast(pa.bool_()) if isinstance(column.type, pa.Bool8Type) else column


def opaque_name(kind: pa.DataType) -> str | None:
    """What the engine calls a type that Arrow has no type for (``hugeint``), or None."""
    return str(kind.type_name) if isinstance(kind, pa.OpaqueType) else None


def is_list(kind: pa.DataType) -> bool:
    """A list or array of any sort."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Text of any sort."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Bytes of any sort."""
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def list_bounds(column: pa.Array) -> tuple[list[int], pa.Array]:
    """Where each list of a column begins and the last one ends among the values that come with it."""
    if pa.types.is_fixed_size_list(column.type):
        size, first = column.type.list_size, column.offset
        values = column.values.slice(first * size, len(column) * size)
        return [place * size for place in range(len(column) + 1)], values
    offsets = column.offsets.to_pylist()
    values = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    return [offset - offsets[0] for offset in offsets], values


def map_bounds(column: pa.Array) -> tuple[list[int], pa.Array, pa.Array]:
    """The same for maps: bounds, keys and values."""
    offsets = column.offsets.to_pylist()
    first, length = offsets[0], offsets[-1] - offsets[0]
    return [offset - first for offset in offsets], column.keys.slice(first, length), column.items.slice(first, length)


def union_members(column: pa.Array) -> list[int]:
    """For each value of a union which member it is; all members are as long as the column."""
    places = {code: place for place, code in enumerate(column.type.type_codes)}
    return [places[code] for code in column.type_codes.to_pylist()]
