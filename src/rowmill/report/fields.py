"""Fields of structs in a dataset: what each of them holds, as for a column of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from rowmill.store.database.connection import quote
from rowmill.store.database.literal import literal
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.reader import Reader
from rowmill.value.python_value import python_rows

sql = statements_of("reading/report")

_MOST = 500
"""Fields that are shown, of all columns together."""
_AT_ONCE = 50


class _Field(NamedTuple):
    """A field that is no struct itself."""

    column: str
    name: str
    expression: str
    kind: pa.DataType


def field_statistics(reader: Reader, rows: int) -> list[dict[str, Any]]:
    """What the view column_statistics says of a column, of each field of each struct. O(rows)."""
    fields = [
        field
        for column in reader.dataset_schema()
        for field in _fields(column.name, column.name, quote(column.name), column)
    ]
    found = []
    for first in range(0, min(len(fields), _MOST) if rows else 0, _AT_ONCE):
        found += _measured(reader, fields[first : first + _AT_ONCE], rows)
    return found


def _measured(reader: Reader, fields: list[_Field], rows: int) -> list[dict[str, Any]]:
    spelled = ", ".join(f"typeof({field.expression}) as {quote(field.name)}" for field in fields)
    types = reader.table(sql.report_field_types.fill(columns=spelled)).to_pylist()[0]
    measures = ", ".join(f"state.measure_{_measure(field)}" for field in fields)
    medians = ", ".join(
        f"state.measure_median({literal(field.name)}, {field.expression})" for field in fields if _is_number(field.kind)
    )
    median = {}
    if medians:
        table = reader.table(sql.report_fields.fill(measures=medians))
        median = {row["column_name"]: row["median"] for row in python_rows(table)}
    column = {field.name: field.column for field in fields}
    measured = python_rows(reader.table(sql.report_fields.fill(measures=measures)))
    return [
        {
            **row,
            "of_column": column[row["column_name"]],
            "sql_type": types[row["column_name"]],
            "rows": rows,
            "nulls": rows - row["values"],
            "distinct_values": min(row["distinct_values"], row["values"]),
            "median": median.get(row["column_name"]),
        }
        for row in measured
    ]


def _fields(column_name: str, name: str, expression: str, column: pa.Field) -> Iterator[_Field]:
    if not pa.types.is_struct(column.type):
        return
    for inner in column.type:
        inner_name = f"{name}.{inner.name}"
        inner_expression = f"struct_extract({expression}, {literal(inner.name)})"
        if pa.types.is_struct(inner.type):
            yield from _fields(column_name, inner_name, inner_expression, inner)
        else:
            yield _Field(column_name, inner_name, inner_expression, inner.type)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _measure(field: _Field) -> str:
    """The macro of ``views/07_statistics.sql`` that measures it, after ``state.measure_``."""
    types, kind = pa.types, field.kind
    if types.is_integer(kind):
        which, value = "integer", field.expression
    elif _is_number(kind):
        which, value = "value", field.expression
    elif types.is_date(kind) or types.is_timestamp(kind):
        which, value = "time", field.expression
    elif types.is_string(kind) or types.is_large_string(kind):
        which, value = "length", field.expression
    else:
        which, value = "nothing", f"{field.expression}::varchar"
    return f"{which}({literal(field.name)}, {value})"
