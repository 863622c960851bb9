"""Files of people: read as seed data is, so that every field is what the file says, in the type it says (V4)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from rowmill.errors import SpecError
from rowmill.seeds.csv_file import read_csv_files
from rowmill.seeds.guess import guess_type
from rowmill.seeds.text_rows import doubled

_TEXT_FILE = re.compile(r"(?i).*\.[ct]sv(?:\.gz|\.zst)?")
_MOST_DIGITS = 38


class UnreadablePeople(Exception):
    """What is wrong with a file of people, which was read as ``kind``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _Identity(NamedTuple):
    path: Path
    size: int
    modified_ns: int


def opened_people(path: Path) -> Any:
    """The people of a file as a ``pyarrow.dataset.Dataset``. Raises UnreadablePeople."""
    return _opened(*_identity(path))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return _digest(*_identity(path))


def sql_type_of(kind: pa.DataType) -> str:
    """The DuckDB type of a field: one that holds every value of the Arrow type."""
    types = pa.types
    if _is_list(kind):
        return f"{sql_type_of(kind.value_type)}[]"
    if types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {sql_type_of(field.type)}' for field in kind)})"
    if types.is_map(kind):
        return f"MAP({sql_type_of(kind.key_type)}, {sql_type_of(kind.item_type)})"
    if types.is_dictionary(kind):
        return sql_type_of(kind.value_type)
    if types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})" if kind.precision <= _MOST_DIGITS else "VARCHAR"
    return next((sql_type for is_kind, sql_type in _SQL_TYPES if is_kind(kind)), "VARCHAR")


def kept_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a field in a type as :func:`sql_type_of` says. Raises ArrowException for what that cannot hold."""
    if pa.types.is_decimal(column.type) and column.type.precision > _MOST_DIGITS:
        return pa.chunked_array([_digits(chunk) for chunk in column.chunks], pa.string())
    wanted = _kept_type(column.type)
    return column if column.type.equals(wanted) else column.cast(wanted)


def quoted(name: str) -> str:
    """The name of a field in SQL."""
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=1)
def _opened(path: Path, size: int, modified_ns: int) -> Any:
    from pyarrow import dataset  # a tenth of a second, which only specs with such a column pay

    kind = "csv" if _TEXT_FILE.fullmatch(path.name) else "parquet"
    try:
        if kind == "csv":
            texts = read_csv_files(_ThisFile(), [str(path)]).table
            return dataset.dataset(pa.table({name: guess_type(texts[name]).column for name in texts.column_names}))
        opened = dataset.dataset(path, format="parquet")
    except SpecError as error:
        raise UnreadablePeople("csv", " ".join(problem.message for problem in error.problems)) from error
    except (pa.ArrowException, OSError) as error:
        raise UnreadablePeople(kind, str(error).splitlines()[0]) from error
    if twice := doubled(opened.schema.names):
        raise UnreadablePeople(
            kind, f"more than one column is named {', '.join(map(repr, twice))}. Rename all but one."
        )
    return opened


class _ThisFile:
    """A file of this machine, for readers of seed data."""

    def open(self, name: str) -> BinaryIO:
        """Its content."""
        return Path(name).open("rb")


def _identity(path: Path) -> _Identity:
    status = path.stat()
    return _Identity(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Types -------------------------------------------------------------------------------------------


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_SQL_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (lambda kind: isinstance(kind, pa.JsonType), "JSON"),
    (lambda kind: isinstance(kind, pa.UuidType), "UUID"),
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_uint64, "UBIGINT"),
    (pa.types.is_integer, "BIGINT"),
    (pa.types.is_floating, "DOUBLE"),
    (pa.types.is_date, "DATE"),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, "TIMESTAMP WITH TIME ZONE"),
    (lambda kind: pa.types.is_timestamp(kind) and kind.unit == "ns", "TIMESTAMP_NS"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_duration, "INTERVAL"),
    (pa.types.is_interval, "INTERVAL"),
    (
        lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind),
        "BLOB",
    ),
)
_KEPT = {
    "DATE": pa.date32(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIME": pa.time64("us"),
    "BLOB": pa.binary(),
    "VARCHAR": pa.string(),
}


def _kept_type(kind: pa.DataType) -> pa.DataType:
    """An Arrow type whose values as Python has them are those of the field."""
    types = pa.types
    if _is_list(kind):
        return pa.list_(_kept_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, _kept_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_kept_type(kind.key_type), _kept_type(kind.item_type))
    if types.is_dictionary(kind):
        return _kept_type(kind.value_type)
    if types.is_float16(kind):
        return pa.float32()
    return _KEPT.get(sql_type_of(kind), kind)


def _digits(decimals: pa.Array) -> pa.Array:
    return pa.array([None if value is None else format(value, "f") for value in decimals.to_pylist()], pa.string())
