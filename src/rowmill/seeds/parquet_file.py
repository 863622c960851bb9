"""What a parquet file says of its columns that the engine would not tell."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location
from rowmill.seeds.text_rows import doubled
from rowmill.value.kind import is_list

_MOST_DIGITS = 38
_TIME_OF_96_BITS = "INT96"
"""As Spark and Impala write times."""


def check_parquet_columns(location: Location, name: str, said: Container[str]) -> None:
    """Raises SpecError for names that are there twice and for types whose values the engine would change, OSError."""
    from pyarrow import parquet  # a tenth of a second, which only specs with such files pay

    with location.open(name) as file:
        content = parquet.ParquetFile(file)
        schema = content.schema_arrow
        old_times = {
            leaf.path.split(".")[0] for leaf in _leaves(content.schema) if leaf.physical_type == _TIME_OF_96_BITS
        }
    if twice := doubled(schema.names):
        message = f"{name} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
        raise SpecError([Problem("seed_dataset.path", message)])
    if "" in schema.names:
        raise SpecError([Problem("seed_dataset.path", f"{name}: its column {schema.names.index('') + 1} has no name.")])
    for column in sorted(old_times):
        if _has_nanoseconds(location, name, column):
            message = (
                f"{name}: column {column!r} holds INT96 times that are finer than microseconds, which would be lost. "
                "Write it as timestamp[ns], or as text."
            )
            raise SpecError([Problem("seed_dataset.path", message)])
    for column in schema:
        if twice := _doubled_fields(column.type):
            message = (
                f"{name}: structs of column {column.name!r} have more than one field named "
                f"{', '.join(map(repr, twice))}. Rename all but one."
            )
            raise SpecError([Problem("seed_dataset.path", message)])
        if _has_duration(column.type) and column.name not in said:
            message = (
                f"{name}: column {column.name!r} holds durations, of which a parquet file has only the numbers. Write "
                f"it as text or as an Arrow file, or take the numbers: seed_dataset: {{types: {{{column.name}: int}}}}"
            )
            raise SpecError([Problem("seed_dataset.path", message)])
        if (precision := _most_digits(column.type)) > _MOST_DIGITS:
            message = (
                f"{name}: column {column.name!r} holds decimals of up to {precision} digits; at most {_MOST_DIGITS} "
                "can be kept. Write it as text, or with fewer digits."
            )
            raise SpecError([Problem("seed_dataset.path", message)])


def _leaves(schema: Any) -> list[Any]:
    return [schema.column(number) for number in range(len(schema))]


def _has_nanoseconds(location: Location, name: str, column: str) -> bool:
    """Whether times of 96 bits have nanoseconds; the engine reads their microseconds."""
    from pyarrow import parquet

    read = []
    for unit in ("us", "ns"):
        with location.open(name) as file:
            table = parquet.read_table(file, columns=[column], coerce_int96_timestamp_unit=unit)
        read.append(_ticks(table[column].combine_chunks()))
    # Both sides wrap alike where 64 bits do not reach in nanoseconds.
    differ = [pc.any(pc.not_equal(pc.multiply(us, 1000), ns)) for us, ns in zip(*read, strict=True)]
    return any(each.as_py() for each in differ)


def _ticks(values: pa.Array) -> list[pa.Array]:
    """The ticks of all times within values."""
    kind = values.type
    if isinstance(values, pa.ChunkedArray):
        return [ticks for chunk in values.chunks for ticks in _ticks(chunk)]
    if pa.types.is_timestamp(kind):
        return [values.cast(pa.int64())]
    if pa.types.is_map(kind):
        return _ticks(values.keys) + _ticks(values.items)
    if pa.types.is_struct(kind):
        return [ticks for field in values.flatten() for ticks in _ticks(field)]
    return _ticks(values.flatten()) if is_list(kind) else []


def _most_digits(kind: pa.DataType) -> int:
    if pa.types.is_decimal(kind):
        return int(kind.precision)
    return max((_most_digits(kind.field(number).type) for number in range(kind.num_fields)), default=0)


def _doubled_fields(kind: pa.DataType) -> list[str]:
    if isinstance(kind, pa.BaseExtensionType):
        return []
    inner = [kind.field(number) for number in range(kind.num_fields)]
    own = doubled([field.name for field in inner]) if pa.types.is_struct(kind) else []
    return own or next(filter(None, (_doubled_fields(field.type) for field in inner)), [])


def _has_duration(kind: pa.DataType) -> bool:
    return pa.types.is_duration(kind) or any(
        _has_duration(kind.field(number).type) for number in range(kind.num_fields)
    )
