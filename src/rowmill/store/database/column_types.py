"""Arrow types of the generated columns, and the check that a value fits its column (V3).

What fits is :mod:`rowmill.value.fitting`'s to say: no number becomes a text, no fraction is cut off. Two kinds of
columns take more: a UUID may come as text, and a JSON column takes JSON text or any value that can be written as JSON.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rowmill.source_line import same_everywhere
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.value.fitting import fitting
from rowmill.value.python_value import python_values

sql = statements_of("layout/expression")
_SHOWN = 80


def arrow_schema(connection: Connection, columns: Sequence[tuple[str, str]]) -> pa.Schema:
    """The Arrow types in which the engine hands over columns of these names and SQL types."""
    if not columns:
        return pa.schema([])
    # A type is asked for once, however many columns have it: of thousands that is a fifth of a second each time.
    sql_types = list(dict.fromkeys(sql_type for _, sql_type in columns))
    nulls = ", ".join(f"cast(null as {sql_type}) as c{number}" for number, sql_type in enumerate(sql_types))
    found = connection.arrow(sql.types_of_columns.fill(typed_nulls=nulls)).schema.types
    known = dict(zip(sql_types, found, strict=True))
    return pa.schema([(name, known[sql_type]) for name, sql_type in columns])


class ColumnTypes:
    """The types of all generated columns."""

    def __init__(self, connection: Connection, columns: Sequence[tuple[str, str]]) -> None:
        """``columns`` are name and SQL type."""
        self._sql_types = dict(columns)
        self._fittings = {field.name: fitting(field.type) for field in arrow_schema(connection, columns)}

    def empty(self, column: str) -> pa.Array:
        """No values of a column's type."""
        return pa.array([], type=self._fittings[column].staged)

    def to_array(self, column: str, values: Sequence[Any]) -> pa.Array | None:
        """The values as an Arrow array the column takes, or None if any of them does not fit."""
        try:
            return self._fittings[column].array(values)
        except MemoryError:  # no fault of the values'
            raise
        except Exception:  # noqa: BLE001  a value may be anything: its own methods are asked what it is
            return None

    def checked(self, column: str, values: pa.ChunkedArray) -> pa.Array | None:
        """The same for values that are in Arrow already: as they are if they have the column's type."""
        fit = self._fittings[column]
        if fit.is_whole and values.type == fit.staged:
            return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        return self.to_array(column, python_values(values))

    def first_misfit(self, column: str, values: pa.ChunkedArray) -> str:
        """What to tell about the first of some values that does not fit its column."""
        return self.misfit(column, next(value for value in python_values(values) if not self.fits(column, value)))

    def fits(self, column: str, value: Any) -> bool:
        """True if the value can be kept in the column."""
        return self.to_array(column, [value]) is not None

    def misfit(self, column: str, value: Any) -> str:
        """What to tell about a value that does not fit its column: column, type and the value, shortened."""
        try:
            shown = ascii(value)
        except Exception:  # noqa: BLE001  a value may be anything: nested too deeply, or with a repr that fails
            shown = ascii(reprlib.repr(value))[1:-1]
        shown = same_everywhere(shown)
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        return (
            f"Column {column!r} is {self._sql_types[column]}; the generator returned {shown} ({type(value).__name__}). "
            "Give the column the right dtype, or return what it says."
        )
