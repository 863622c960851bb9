"""Seed rows: their columns, and copying them into a run database.

Files are read by a private in-memory connection that may read files and nothing else does; the run
database's own connection has no access to the file system.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import Problem, SpecError
from rowmill.seeds.source import SeedSource, open_source, unreadable
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.database.connection import Connection
from rowmill.store.database.literal import literal
from rowmill.store.database.statements import statement

_DESCRIBE = statement("describe_seed_file")
_READ = statement("read_seed_file")
_COPY_ORDERED = statement("copy_seed_rows_in_order")
_COPY_SHUFFLED = statement("copy_seed_rows_shuffled")
_COUNT = statement("count_seed_rows")

_READERS = {"csv": "read_csv", "jsonl": "read_json", "json": "read_json", "parquet": "read_parquet"}
_OPTIONS = {
    "csv": ", header = true, sample_size = -1, strict_mode = true, null_padding = false",
    "jsonl": ", format = 'newline_delimited', records = true, sample_size = -1",
    "json": ", records = true, sample_size = -1",
    "parquet": "",
}


@dataclass(frozen=True)
class SeedFile:
    """The seed dataset of a spec: where it comes from, and what columns it has."""

    config: SeedDatasetConfig
    source: SeedSource
    columns: tuple[tuple[str, str], ...]
    """Name and SQL type, in file order, after ``explode``."""
    separator: str | None = None
    """What separates the fields of a csv file; None: to be found out."""


def describe_seed(config: SeedDatasetConfig, directory: Path) -> SeedFile:
    """Reads names and types of the seed dataset's columns. Raises SpecError if there are none to be had."""
    source = open_source(config, directory)
    if source.rows is not None:
        columns = _columns_of_arrow(source.rows.schema, source)
        return SeedFile(config, source, _exploded(columns, config))
    separator = _separator(source) if config.file_format == "csv" else None
    with duckdb.connect() as engine:
        try:
            if source.filesystem is not None:
                engine.register_filesystem(source.filesystem)
            rows = engine.execute(_DESCRIBE.fill(reader=_reader(config, source, separator))).fetchall()
        except Exception as error:  # the engine's, or that of somebody else's file system
            raise unreadable(source.title, error) from error
    columns = tuple((str(name), str(sql_type)) for name, sql_type, *_ in rows)
    return SeedFile(config, source, _exploded(columns, config), separator)


def read_seed(seed_file: SeedFile) -> pa.Table:
    """All seed rows of the selection, exploded, in the order of the source, with their number as ``row_id``.

    Raises SpecError if they cannot be read, there are none, or the selection goes beyond them.
    """
    config, source = seed_file.config, seed_file.source
    rows = _rows(seed_file)
    if rows.num_rows == 0:
        place = "seed_dataset.path" if source.names else "seed_dataset.df"
        raise SpecError([Problem(place, f"{source.title} holds no rows.")])
    if config.selection is not None:
        rows = rows.slice(*config.selection.bounds(rows.num_rows))
    if config.explode is not None:
        rows = _explode(rows, config.explode)
        if rows.num_rows == 0:
            message = f"All lists of the seed column '{config.explode}' are empty: no seed row is left."
            raise SpecError([Problem("seed_dataset.explode", message)])
    return rows.append_column("row_id", pa.array(range(rows.num_rows), type=pa.int64()))


def copy_seed(connection: Connection, seed_file: SeedFile, rows: pa.Table, seed: int) -> int:
    """Copies the rows of :func:`read_seed` into ``state.seed_row`` and returns how many there are.

    The order is that of use: the file's, or a permutation fixed by ``seed`` (V1).
    """
    connection.stage("new_seed", rows)
    try:
        if seed_file.config.sampling_strategy == "shuffle":
            connection.execute(_COPY_SHUFFLED.text, {"seed": seed})
        else:
            connection.execute(_COPY_ORDERED.text)
    finally:
        connection.unstage("new_seed")
    return count_seed_rows(connection)


def count_seed_rows(connection: Connection) -> int:
    """How many seed rows the run database holds."""
    return int(connection.execute(_COUNT.text)[0][0])


def _rows(seed_file: SeedFile) -> pa.Table:
    source = seed_file.source
    try:
        if source.rows is not None:
            return source.rows.read()
        with duckdb.connect() as engine:
            if source.filesystem is not None:
                engine.register_filesystem(source.filesystem)
            query = _READ.fill(reader=_reader(seed_file.config, source, seed_file.separator))
            reader = engine.sql(query).to_arrow_reader()
            return pa.Table.from_batches(reader, reader.schema)
    except SpecError:
        raise
    except Exception as error:  # the engine's, Arrow's, or that of somebody else's file system
        raise unreadable(source.title, error) from error


def _columns_of_arrow(schema: pa.Schema, source: SeedSource) -> tuple[tuple[str, str], ...]:
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        message = f"{source.title} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
        raise SpecError([Problem("seed_dataset", message)])
    with duckdb.connect() as engine:
        try:
            engine.register("seed_file", schema.empty_table())
            rows = engine.execute(_DESCRIBE.fill(reader="seed_file")).fetchall()
        except duckdb.Error as error:
            raise unreadable(source.title, error, "seed_dataset") from error
    return tuple((str(name), str(sql_type)) for name, sql_type, *_ in rows)


def _exploded(columns: tuple[tuple[str, str], ...], config: SeedDatasetConfig) -> tuple[tuple[str, str], ...]:
    """The columns with an element's type in place of the list's. Raises SpecError if there is no such list."""
    if config.explode is None:
        return columns
    types = dict(columns)
    sql_type = types.get(config.explode)
    if sql_type is None:
        hint = did_you_mean(config.explode, types) or f" It has: {', '.join(list(types)[:20]) or 'no columns'}."
        message = f"The seed dataset has no column '{config.explode}'.{hint}"
        raise SpecError([Problem("seed_dataset.explode", message)])
    if not sql_type.endswith("]"):
        message = f"The seed column '{config.explode}' is {sql_type}; only a list can become several rows."
        raise SpecError([Problem("seed_dataset.explode", message)])
    element = sql_type[: sql_type.rindex("[")]
    return tuple((name, element if name == config.explode else kind) for name, kind in columns)


def _explode(rows: pa.Table, column: str) -> pa.Table:
    lists = rows[column].combine_chunks()
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    kept = rows.take(pc.list_parent_indices(lists))
    return kept.set_column(rows.schema.get_field_index(column), column, pc.list_flatten(lists))


def _reader(config: SeedDatasetConfig, source: SeedSource, separator: str | None) -> str:
    file_format = config.file_format
    options = _OPTIONS[file_format]
    if separator is not None:
        options += f""", delim = {literal(separator)}, quote = '"', escape = '"'"""
    return f"{_READERS[file_format]}({literal(list(source.names))}{options})"


def _separator(source: SeedSource) -> str | None:
    """What separates the fields of csv files, from their first lines; None for files that are compressed.

    Left to itself, the engine takes a file with a broken row for one with another separator, and renames a second
    column of the same name. Raises SpecError for such a header, and for files without one.
    """
    separator = None
    for name in source.names:
        if not name.lower().endswith((".csv", ".tsv")) or source.location is None:
            continue
        try:
            with io.TextIOWrapper(source.location.open(name), encoding="utf-8-sig", newline="") as lines:
                text = lines.readline()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError([Problem("seed_dataset.path", f"{name} cannot be read as UTF-8 text: {error}")]) from error
        if not text.strip():
            raise SpecError([Problem("seed_dataset.path", f"{name} is empty; its first line must name the columns.")])
        separator = separator or max(",;\t|", key=text.count)
        names = [field.strip().lower() for field in next(csv.reader([text], delimiter=separator))]
        twice = sorted({field for field in names if field and names.count(field) > 1})
        if twice:
            message = f"{name} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
            raise SpecError([Problem("seed_dataset.path", message)])
    return separator
