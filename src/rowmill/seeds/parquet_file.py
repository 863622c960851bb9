"""What a parquet file says of its columns that the engine would not tell."""

from __future__ import annotations

from collections.abc import Container

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location
from rowmill.seeds.text_rows import doubled

_MOST_DIGITS = 38


def check_parquet_columns(location: Location, name: str, said: Container[str]) -> None:
    """Raises SpecError for names that are there twice and for types whose values the engine would change, OSError."""
    from pyarrow import parquet  # a tenth of a second, which only specs with such files pay

    with location.open(name) as file:
        schema = parquet.read_schema(file)
    if twice := doubled(schema.names):
        message = f"{name} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
        raise SpecError([Problem("seed_dataset.path", message)])
    if "" in schema.names:
        raise SpecError([Problem("seed_dataset.path", f"{name}: its column {schema.names.index('') + 1} has no name.")])
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
