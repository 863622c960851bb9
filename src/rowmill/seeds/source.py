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
    for each, given in zip(wanted, table.columns, strict=True):
        try:
            column = given if given.type.equals(each.type) else given.cast(each.type)
            _check_kept(column)
        except (pa.ArrowException, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            message = f"Column {each.name!r} of type {given.type} cannot be kept: {reason}"
            raise SpecError([Problem("seed_dataset", message)]) from error
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=wanted)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_null(kind):
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_decimal256(kind):
        return pa.decimal128(min(kind.precision, _MOST_DIGITS), min(kind.scale, _MOST_DIGITS))
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


_KNOWN_EXTENSIONS = frozenset({"arrow.json", "arrow.uuid", "arrow.bool8", "arrow.opaque"})
"""Types of Arrow's own that the engine takes for what they are."""


def foreign_type(kind: pa.DataType) -> str | None:
    """The name of a type of somebody else's in it, whose stored values mean nothing by themselves; None without."""
    if isinstance(kind, pa.BaseExtensionType):
        return None if kind.extension_name in _KNOWN_EXTENSIONS else str(kind.extension_name)
    found = (foreign_type(kind.field(position).type) for position in range(kind.num_fields))
    return next((name for name in found if name is not None), None)


def _check_kept(column: pa.ChunkedArray) -> None:
    """Raises ArrowInvalid or ValueError for values that have no place in the engine's type of the column."""
    kind = column.type
    foreign = foreign_type(kind)
    if foreign is not None:
        raise ValueError(
            f"{foreign} is a type of another library; hand the values over as numbers, texts or times of Arrow."
        )
    if pa.types.is_timestamp(kind) and kind.unit in {"s", "ms"}:
        column.cast(pa.timestamp("us", kind.tz))
    elif pa.types.is_interval(kind):
        if any(value.nanoseconds % 1000 for value in column.to_pylist() if value is not None):
            raise ValueError("an interval is finer than microseconds.")
    elif pa.types.is_struct(kind) and not kind.num_fields:
        raise ValueError("structs without fields hold nothing; leave the column out.")
    elif pa.types.is_union(kind):
        raise ValueError("values of a union have no type in common; write them as text or JSON.")
