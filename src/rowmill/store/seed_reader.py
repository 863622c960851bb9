"""Seed files: their columns, and copying their rows into a run database.

Files are read by a private in-memory connection that may read files and nothing else does; the run
database's own connection has no access to the file system.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.connection import Connection
from rowmill.store.literal import literal
from rowmill.store.statements import statement

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
    """The seed dataset of a spec: its files, and what columns they have."""

    config: SeedDatasetConfig
    files: tuple[Path, ...]
    columns: tuple[tuple[str, str], ...]
    """Name and SQL type, in file order."""
    separator: str | None = None
    """What separates the fields of a csv file; None: to be found out."""


def describe_seed(config: SeedDatasetConfig, directory: Path) -> SeedFile:
    """Reads names and types of the seed dataset's columns. Raises SpecError if there are none to be had."""
    files = config.files(directory)
    separator = _separator(files) if config.file_format == "csv" else None
    with duckdb.connect() as engine:
        try:
            rows = engine.execute(_DESCRIBE.fill(reader=_reader(config, files, separator))).fetchall()
        except (duckdb.Error, OSError) as error:
            raise _unreadable(files, error) from error
    columns = tuple((str(name), str(sql_type)) for name, sql_type, *_ in rows)
    return SeedFile(config, tuple(files), columns, separator)


def copy_seed(connection: Connection, seed_file: SeedFile, seed: int) -> int:
    """Copies the selected seed rows into ``state.seed_row`` and returns how many there are.

    The order is that of use: the file's, or a permutation fixed by ``seed`` (V1). Raises SpecError if the
    files cannot be read or hold no row.
    """
    config = seed_file.config
    with duckdb.connect() as engine:
        try:
            query = _READ.fill(reader=_reader(config, seed_file.files, seed_file.separator))
            reader = engine.sql(query).to_arrow_reader()
            rows = pa.Table.from_batches(reader, reader.schema)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _unreadable(seed_file.files, error) from error
    if rows.num_rows == 0:
        raise SpecError([Problem("seed_dataset.path", f"{_names(seed_file.files)} holds no rows.")])
    first, count = config.selection.bounds(rows.num_rows) if config.selection else (0, rows.num_rows)
    parameters = {"first": first, "last": first + count - 1}
    connection.stage("new_seed", rows.append_column("row_id", pa.array(range(rows.num_rows), type=pa.int64())))
    try:
        if config.sampling_strategy == "shuffle":
            connection.execute(_COPY_SHUFFLED.text, {**parameters, "seed": seed})
        else:
            connection.execute(_COPY_ORDERED.text, parameters)
    finally:
        connection.unstage("new_seed")
    return count_seed_rows(connection)


def count_seed_rows(connection: Connection) -> int:
    """How many seed rows the run database holds."""
    return int(connection.execute(_COUNT.text)[0][0])


def _reader(config: SeedDatasetConfig, files: Sequence[Path], separator: str | None) -> str:
    file_format = config.file_format
    options = _OPTIONS[file_format]
    if separator is not None:
        options += f""", delim = {literal(separator)}, quote = '"', escape = '"'"""
    return f"{_READERS[file_format]}({literal([str(file) for file in files])}{options})"


def _separator(files: Sequence[Path]) -> str | None:
    """What separates the fields of csv files, from their first lines; None for files that are compressed.

    Left to itself, the engine takes a file with a broken row for one with another separator, and renames a second
    column of the same name. Raises SpecError for such a header, and for files without one.
    """
    separator = None
    for file in files:
        if file.suffix.lower() not in (".csv", ".tsv"):
            continue
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                text = lines.readline()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError([Problem("seed_dataset.path", f"{file} cannot be read as UTF-8 text: {error}")]) from error
        if not text.strip():
            raise SpecError([Problem("seed_dataset.path", f"{file} is empty; its first line must name the columns.")])
        separator = separator or max(",;\t|", key=text.count)
        names = [name.strip().lower() for name in next(csv.reader([text], delimiter=separator))]
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            message = f"{file} has more than one column named {', '.join(map(repr, twice))}. Rename all but one."
            raise SpecError([Problem("seed_dataset.path", message)])
    return separator


def _unreadable(files: Sequence[Path], error: Exception) -> SpecError:
    reason = str(error).strip().splitlines()[0]
    return SpecError([Problem("seed_dataset.path", f"{_names(files)} cannot be read: {reason}")])


def _names(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more files"
