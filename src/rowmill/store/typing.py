"""Arrow types of the generated columns, and the check that a value fits its column (V3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rowmill.store.connection import Connection, quote
from rowmill.store.statements import statement

_BIND = statement("bind_expression")
_SHOWN = 80

_EXACT: dict[pa.DataType, frozenset[type]] = {
    pa.string(): frozenset({str, type(None)}),
    pa.int64(): frozenset({int, type(None)}),
    pa.float64(): frozenset({float, int, type(None)}),
    pa.bool_(): frozenset({bool, type(None)}),
}


def arrow_types(connection: Connection, columns: Sequence[tuple[str, str]]) -> dict[str, pa.DataType]:
    """The Arrow type in which values of each column (name, SQL type) are handed to the engine."""
    if not columns:
        return {}
    nulls = ", ".join(f"cast(null as {sql_type}) as {quote(name)}" for name, sql_type in columns)
    schema = connection.arrow(_BIND.fill(expression="empty_row.*", typed_nulls=nulls).replace(" as result", "")).schema
    types = [field.type for field in schema]
    return {
        name: kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        for (name, _), kind in zip(columns, types, strict=True)
    }


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """The values as an Arrow array of that type, or None if any does not fit it exactly."""
    exact = _EXACT.get(kind)
    if exact is not None and not exact.issuperset(map(type, values)):
        return None
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def misfit(column: str, value: Any, sql_type: str) -> str:
    """What to tell about a value that does not fit its column: column, type and the value, shortened."""
    shown = ascii(value)
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    return f"Column {column!r} is {sql_type}; the generator returned {shown} ({type(value).__name__})."


def output_types(types: Mapping[str, pa.DataType], names: Sequence[str]) -> list[pa.DataType]:
    """The types of some columns, in order."""
    return [types[name] for name in names]
