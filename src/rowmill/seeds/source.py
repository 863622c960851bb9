"""The source of a run's seed rows: which files they come from, and the rows of those the engine cannot read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import Problem, SpecError
from rowmill.seeds.arrow_file import arrow_file_schema, read_arrow_file
from rowmill.seeds.directory import CONTENTS_SCHEMA, LISTING_SCHEMA, file_contents, listing
from rowmill.seeds.location import Location, open_location
from rowmill.seeds.reader import SeedReader
from rowmill.seeds.rollout.reading import ROLLOUT_SCHEMA, read_rollouts
from rowmill.seeds.text_rows import doubled
from rowmill.spec.seed import SeedDatasetConfig

_MOST_DIGITS = 38
"""Of a decimal the engine knows."""


@dataclass(frozen=True)
class ArrowRows:
    """Rows that come as Arrow: their schema before they are read, and how to read them."""

    schema: pa.Schema
    read: Callable[[], pa.Table]


@dataclass(frozen=True)
class SeedSource:
    """Where the seed rows of a spec come from, looked up but not read."""

    names: tuple[str, ...]
    """The files, in the order of their rows: paths or URLs. None for rows given from Python."""
    marks: Mapping[str, str]
    """For each file what is cheap to know of it and differs when its content does, taken before it is read."""
    location: Location | None = None
    rows: ArrowRows | None = None
    """None: the engine reads the files itself."""
    filesystem: Any = field(default=None, compare=False)
    origin: str = "the table given from Python"
    """What to call a source without files."""

    @property
    def title(self) -> str:
        """The source in a message."""
        if not self.names:
            return self.origin
        return (
            self.names[0] if len(self.names) == 1 else f"{self.names[0]} and {plural(len(self.names) - 1, 'more file')}"
        )


def open_source(config: SeedDatasetConfig, directory: Path, environ: Mapping[str, str] | None = None) -> SeedSource:
    """Looks up the files of a seed dataset. Raises SpecError when there are none or they cannot be reached."""
    if config.seed_type == "df":
        if config.df is None:
            raise SpecError(
                [
                    Problem(
                        "seed_dataset.df",
                        "The seed rows of this spec come from Python: rowmill.run(spec, seed=table). "
                        "A run that was started with them goes on without: rowmill run DATABASE.",
                    )
                ]
            )
        table = plain_table(config.df)
        return SeedSource((), {}, rows=ArrowRows(table.schema, lambda: table))
    if isinstance(config.params, SeedReader):
        return _of_reader(config.params, config.seed_type, directory)
    try:
        location = open_location(config, directory, os.environ if environ is None else environ)
        return _of_files(config, location)
    except SpecError:
        raise
    except Exception as error:  # of an operating system, a server, or somebody else's file system
        raise unreadable(", ".join(config.paths), error) from error


def _of_reader(reader: SeedReader, seed_type: str, directory: Path) -> SeedSource:
    origin = f"the seed reader '{seed_type}'"
    try:
        schema = plain_schema(reader.columns(directory))
        files = {str(file): file.stat() for file in reader.files(directory)}
    except Exception as error:  # of somebody else's code
        raise unreadable(origin, error, "seed_dataset.params") from error

    def read() -> pa.Table:
        return plain_table(reader.read(directory)).select(schema.names).cast(schema)

    marks = {name: f"{status.st_size}:{status.st_mtime_ns}" for name, status in files.items()}
    return SeedSource(tuple(files), marks, rows=ArrowRows(schema, read), origin=origin)


def _of_files(config: SeedDatasetConfig, location: Location) -> SeedSource:
    if config.seed_type in {"local", "hf"}:
        names = location.matches()
        rows = None
        if config.file_format == "arrow":
            rows = ArrowRows(plain_schema(arrow_file_schema(location, names[0])), lambda: _arrow_files(location, names))
    else:
        files = location.under()
        names = [name for name, _ in files]
        if config.seed_type == "directory":
            rows = ArrowRows(LISTING_SCHEMA, lambda: listing(files))
        elif config.seed_type == "file_contents":
            rows = ArrowRows(CONTENTS_SCHEMA, lambda: file_contents(location, files, config.encoding))
        else:
            rows = ArrowRows(ROLLOUT_SCHEMA, lambda: read_rollouts(location, files, str(config.format)))
    return SeedSource(tuple(names), {name: location.mark(name) for name in names}, location, rows, location.filesystem)


def _arrow_files(location: Location, names: list[str]) -> pa.Table:
    return plain_table(read_arrow_file(location, names))


def unreadable(title: str, error: Exception, place: str = "seed_dataset.path") -> SpecError:
    """The problem of seed data that cannot be read, in the first line of the error's own words."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0]
    if reason.startswith("Traceback"):
        # The engine hands the error of a file system on as its trace; what happened is the last line of that.
        told = itertools.takewhile(lambda line: not line.startswith("LINE "), lines[1:])
        reason = [line for line in told if line and not line.startswith(" ")][-1]
    return SpecError([Problem(place, f"{title} cannot be read: {reason}")])


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with types the engine has: text for columns that never hold anything, floats for half floats."""
    return pa.schema([pa.field(each.name, _plain_type(each.type)) for each in schema])


def plain_table(table: pa.Table) -> pa.Table:
    """The same rows in :func:`plain_schema`. Raises SpecError for values the engine would round, or has no type for."""
    wanted = plain_schema(table.schema)
    columns = []
    for each, own, given in zip(wanted, table.schema, table.columns, strict=True):
        try:
            _check_field(own)
            column = _cast(given, each.type)
            _check_kept(column)
        except (pa.ArrowException, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            message = f"Column {each.name!r} of type {given.type} cannot be kept: {reason}"
            raise SpecError([Problem("seed_dataset", message)]) from error
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=wanted)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column in that type. Raises ArrowException for a value that has no place in it."""
    if pa.types.is_dictionary(column.type):
        # Arrow itself does not look values up in a dictionary of text views, which is what polars gives.
        chunks = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(chunks, kind)
    if column.type.equals(kind):
        return column
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:  # of types inside of others, such as lists of polars' categories
        return pa.chunked_array([pa.array(chunk.to_pylist(), kind) for chunk in column.chunks], kind)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_null(kind):
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_decimal(kind) and (kind.scale < 0 or types.is_decimal256(kind)):
        digits, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
        return pa.decimal128(min(digits, _MOST_DIGITS), min(scale, _MOST_DIGITS))
    if types.is_date64(kind):
        return pa.date32()
    if types.is_string_view(kind):
        return pa.string()
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return kind
    inner = [kind.field(position).type for position in range(kind.num_fields)]
    if all(_plain_type(each).equals(each) for each in inner) and not types.is_large_list(kind):
        return kind  # also what its parts are called: Arrow cannot rename those of every type
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type), kind.list_size)
    if types.is_map(kind):
        return pa.map_(kind.key_type, _plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(each.name, _plain_type(each.type)) for each in kind])
    return kind


_EXTENSION_NAME = b"ARROW:extension:name"
_GEOMETRY = "geoarrow."
"""Types whose stored values the engine has a type for."""
_KNOWN_EXTENSIONS = frozenset({"arrow.json", "arrow.uuid", "arrow.bool8", "arrow.opaque"})
"""Types of Arrow's own that the engine takes for what they are."""


def foreign_type(kind: pa.DataType) -> str | None:
    """The name of a type of somebody else's in it, whose stored values mean nothing by themselves; None without."""
    if isinstance(kind, pa.BaseExtensionType):
        return None if kind.extension_name in _KNOWN_EXTENSIONS else str(kind.extension_name)
    found = (foreign_type(kind.field(position).type) for position in range(kind.num_fields))
    return next((name for name in found if name is not None), None)


def _check_field(given: pa.Field) -> None:
    """Raises ValueError for a type of somebody else's that Arrow itself does not know, and for names that are no names.

    What is stored for such a type may be anything: polars hands over the addresses of Python's objects.
    """
    name = (given.metadata or {}).get(_EXTENSION_NAME, b"").decode(errors="replace")
    if name and name not in _KNOWN_EXTENSIONS and not name.startswith(_GEOMETRY):
        raise ValueError(_foreign(name))
    kind = given.type
    if isinstance(kind, pa.BaseExtensionType):
        return
    inner = [kind.field(position) for position in range(kind.num_fields)]
    if pa.types.is_struct(kind) and (twice := doubled([each.name for each in inner])):
        raise ValueError(f"it has more than one field named {', '.join(map(repr, twice))}.")
    for each in inner:
        _check_field(each)


def _foreign(name: str) -> str:
    return f"{name} is a type of another library; hand the values over as numbers, texts or times of Arrow."


def _check_kept(column: pa.ChunkedArray) -> None:
    """Raises ArrowInvalid or ValueError for values that have no place in the engine's type of the column."""
    kind = column.type
    foreign = foreign_type(kind)
    if foreign is not None:
        raise ValueError(_foreign(foreign))
    _check_keys(column)
    if pa.types.is_timestamp(kind) and kind.unit in {"s", "ms"}:
        column.cast(pa.timestamp("us", kind.tz))
    elif pa.types.is_interval(kind):
        if any(value.nanoseconds % 1000 for value in column.to_pylist() if value is not None):
            raise ValueError("an interval is finer than microseconds.")
    elif pa.types.is_struct(kind) and not kind.num_fields:
        raise ValueError("structs without fields hold nothing; leave the column out.")
    elif pa.types.is_union(kind):
        raise ValueError("values of a union have no type in common; write them as text or JSON.")


def _check_keys(column: pa.ChunkedArray) -> None:
    """Raises ValueError for a map that has a key twice: one of its values would be lost."""
    if not _has_map(column.type):
        return
    for row, value in enumerate(column.to_pylist()):
        key = _doubled_key(value, column.type)
        if key is not None:
            raise ValueError(f"row {row + 1:,} has a map with the key {key} twice.")


def _has_map(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return False
    return pa.types.is_map(kind) or any(_has_map(kind.field(position).type) for position in range(kind.num_fields))


def _doubled_key(value: Any, kind: pa.DataType) -> str | None:
    """The first key that a map in a value has twice, as a text; None without."""
    if value is None or not _has_map(kind):
        return None
    if pa.types.is_map(kind):
        keys = [repr(key) for key, _ in value]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        found = [_doubled_key(each, kind.item_type) for _, each in value]
        return twice or next(filter(None, found), None)
    if pa.types.is_struct(kind):
        found = [_doubled_key(value[field.name], field.type) for field in kind]
    else:
        found = [_doubled_key(each, kind.value_type) for each in value]
    return next(filter(None, found), None)
