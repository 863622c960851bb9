"""Arrow types of the generated columns, and the check that a value fits its column (V3).

What Python gives must fit as it is: no number becomes a text, no fraction is cut off. Two kinds of columns take more:
a UUID may come as text, and a JSON column takes JSON text or any value that can be written as JSON.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statement

_TYPES_OF = statement("types_of_columns")
_SHOWN = 80
_MISFIT = (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError)

_EXACT: dict[pa.DataType, frozenset[type]] = {
    pa.string(): frozenset({str, type(None)}),
    pa.int64(): frozenset({int, type(None)}),
    pa.float64(): frozenset({float, int, type(None)}),
    pa.float32(): frozenset({float, int, type(None)}),
    pa.bool_(): frozenset({bool, type(None)}),
    pa.date32(): frozenset({date, type(None)}),
}


class Typing:
    """The types of all generated columns."""

    def __init__(self, connection: Connection, columns: Sequence[tuple[str, str]]) -> None:
        """``columns`` are name and SQL type."""
        self._sql_types = dict(columns)
        self._kinds: dict[str, pa.DataType] = {}
        if columns:
            nulls = ", ".join(f"cast(null as {sql_type}) as {quote(name)}" for name, sql_type in columns)
            schema = connection.arrow(_TYPES_OF.fill(typed_nulls=nulls)).schema
            for (name, sql_type), field in zip(columns, schema, strict=True):
                kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
                self._kinds[name] = pa.string() if sql_type.upper() in _AS_TEXT else kind

    def empty(self, column: str) -> pa.Array:
        """No values of a column's type."""
        return pa.array([], type=self._kinds[column])

    def to_array(self, column: str, values: Sequence[Any]) -> pa.Array | None:
        """The values as the column's Arrow array, or None if any of them does not fit."""
        kind = self._kinds[column]
        try:
            as_text = _AS_TEXT.get(self._sql_types[column].upper())
            if as_text is not None:
                values = [None if value is None else as_text(value) for value in values]
            exact = _EXACT.get(kind)
            if exact is not None and not exact.issuperset(map(type, values)):
                return None
            array = pa.array(values, type=kind)
            return None if pa.types.is_float32(kind) and _overflows(values, array) else array
        except _MISFIT:
            return None

    def checked(self, column: str, values: pa.ChunkedArray) -> pa.Array | None:
        """The same for values that are in Arrow already: as they are if they have the column's type."""
        kind = self._kinds[column]
        if values.type == kind and self._sql_types[column].upper() not in _AS_TEXT:
            return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        return self.to_array(column, values.to_pylist())

    def fits(self, column: str, value: Any) -> bool:
        """True if the value can be kept in the column."""
        return self.to_array(column, [value]) is not None

    def misfit(self, column: str, value: Any) -> str:
        """What to tell about a value that does not fit its column: column, type and the value, shortened."""
        shown = ascii(value)
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        return (
            f"Column {column!r} is {self._sql_types[column]}; the generator returned {shown} ({type(value).__name__}). "
            "Give the column the right dtype, or return what it says."
        )


def _overflows(values: Sequence[Any], array: pa.Array) -> bool:
    return any(
        math.isinf(kept) and not math.isinf(value)
        for value, kept in zip(values, array.to_pylist(), strict=True)
        if kept is not None
    )


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        value = json.loads(value, parse_constant=_refuse_constant)
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _uuid_text(value: Any) -> str:
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))


_AS_TEXT = {"JSON": _json_text, "UUID": _uuid_text}
