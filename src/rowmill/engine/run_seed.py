"""Seed rows from another run: its finished rows, read from its file, or from the run that holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from rowmill.errors import Problem, RowmillError, SeedMissing, SpecError, UsageError
from rowmill.inspect.opening import open_reader
from rowmill.seeds.source import ArrowRows, SeedSource, open_source, plain_schema
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.reading.provenance import Provenance
from rowmill.store.reading.reader import Reader

SOURCE_ROW_ID = "source_row_id"
"""The seed column that says which row of the other run a seed row was."""
_ROW_ID = "row_id"
_PATH = "seed_dataset.path"
_T = TypeVar("_T")


def open_seed(config: SeedDatasetConfig, directory: Path) -> SeedSource:
    """Looks up where the seed rows come from: another run, or what :func:`.open_source` knows. Raises SpecError."""
    if config.seed_type != "run":
        return open_source(config, directory)
    path = directory / config.paths[0]
    if not path.exists():
        raise SeedMissing([Problem(_PATH, f"There is no run database {path}.")])
    with _reading(path) as reader:
        columns = _guarded(path, lambda: _columns(reader, config))
        schema = plain_schema(_named(reader.dataset_schema(columns)))
        identity = reader.identity()
        status = path.stat()
    mark = Provenance(identity.name, identity.spec_version, f"{status.st_size}:{status.st_mtime_ns}").as_mark()
    rows = ArrowRows(schema, lambda: _rows(path, config, columns))
    return SeedSource((str(path),), {str(path): mark}, rows=rows)


def _reading(path: Path) -> Reader:
    return _guarded(path, lambda: open_reader(path))


def _guarded(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except SpecError:
        raise
    except RowmillError as error:
        raise SpecError([Problem(_PATH, f"{path} cannot be read: {error}")]) from error


def _columns(reader: Reader, config: SeedDatasetConfig) -> list[str]:
    """The columns that are taken, the number of the row first, as the run calls them."""
    known = reader.dataset_columns()
    for position, name in enumerate(config.columns or ()):
        if name not in known:
            hint = did_you_mean(name, known) or f" It has: {', '.join(known)}."
            message = f"The run '{reader.identity().name}' has no column '{name}'.{hint}"
            raise SpecError([Problem(f"seed_dataset.columns.{position}", message)])
    wanted = config.columns if config.columns is not None else known
    return [_ROW_ID, *(name for name in wanted if name not in {_ROW_ID, SOURCE_ROW_ID})]


def _named(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_name(SOURCE_ROW_ID) if field.name == _ROW_ID else field for field in schema])


def _rows(path: Path, config: SeedDatasetConfig, columns: list[str]) -> pa.Table:
    with _reading(path) as reader:
        schema = reader.dataset_schema(columns)
        if config.where is None:
            batches = list(reader.dataset_batches(columns))
        else:
            try:
                row_ids = reader.row_ids_where(config.where)
            except UsageError as error:
                raise SpecError([Problem("seed_dataset.where", str(error))]) from error
            batches = list(reader.rows_of(row_ids, columns))
    table = pa.Table.from_batches(batches, schema)
    return table.rename_columns(_named(schema).names)
