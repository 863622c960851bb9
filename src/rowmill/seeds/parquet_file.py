"""What a parquet file says of its columns that the engine would not tell."""

from __future__ import annotations

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location
from rowmill.seeds.text_rows import doubled

_MOST_DIGITS = 38


def check_parquet_columns(location: Location, name: str) -> None:
    """Raises SpecError for names that are there twice and for types whose values the engine would round, OSError."""
    from pyarrow import parquet  # a tenth of a second, which only specs with such files pay

    with location.open(name) as file:
        schema = parquet.read_schema(file)
    if twice := doubled(schema.names):
        message = f"{name} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
        raise SpecError([Problem("seed_dataset.path", message)])
    for column in schema:
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
