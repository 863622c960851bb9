"""Seed rows from another run: its finished rows, read from its file, or from the run that holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import Problem, RowmillError, SeedMissing, SpecError, UsageError
from rowmill.inspect.opening import open_reader
from rowmill.seeds.source import ArrowRows, SeedSource, open_source, plain_schema
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.layout.provenance import Provenance
from rowmill.store.layout.seed_reader import rows_like
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
    if config.follow:
        mark = Provenance.of_followed(identity.name, identity.spec_version, identity.made_at).as_mark()
    else:
        mark = Provenance(identity.name, identity.spec_version, f"{status.st_size}:{status.st_mtime_ns}").as_mark()
    rows = ArrowRows(schema, lambda: _rows(path, config, columns))
    return SeedSource((str(path),), {str(path): mark}, rows=rows)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a run that is followed has found."""

    rows: pa.Table | None
    """The new finished rows, in the columns of the seed rows."""
    seen: frozenset[int]
    """The numbers of the new rows there, also of those that give no seed row."""
    state: str
    rows_finished: int
    records: int
    mark: str


def look_at_run(
    config: SeedDatasetConfig, directory: Path, columns: tuple[tuple[str, str], ...], taken: frozenset[int]
) -> Look:
    """The finished rows of the run that are not ``taken`` yet. Raises SpecError if its columns are others by now.

    Raises Locked or UsageError if it cannot be read at the moment.
    """
    path = directory / config.paths[0]
    with open_reader(path) as reader:
        status = reader.status()  # before the rows: when it says that all are finished, all are seen
        identity = reader.identity()
        names = _columns(reader, config)
        finished = reader.dataset_row_ids() if config.where is None else reader.row_ids_where(config.where)
        new = finished.filter(pc.invert(pc.is_in(finished, value_set=pa.array(taken, finished.type))))
        mark = Provenance.of_followed(identity.name, identity.spec_version, identity.made_at).as_mark()
        seen = frozenset(new.to_pylist())
        rows = None
        if seen:
            table = pa.Table.from_batches(list(reader.rows_of(new, names)), reader.dataset_schema(names))
            table = table.rename_columns(_named(table.schema).names)
            source = SeedSource(
                (str(path),), {str(path): mark}, rows=ArrowRows(plain_schema(table.schema), lambda: table)
            )
            rows = rows_like(config, source, columns)
        return Look(rows, seen, status.state, status.rows_finished, status.records, mark)


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
