"""Exporting the finished rows of a run database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.export.format import ExportFormat, format_of
from rowmill.export.target import whole_file
from rowmill.export.writer import open_writer


class DatasetSource(Protocol):
    """What an export reads: the part of ``rowmill.store.reader.Reader`` used here."""

    def dataset_schema(self) -> pa.Schema:
        """The columns of the view ``dataset``."""
        ...

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """The finished rows in the order of ``row_id``."""
        ...


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote. ``path`` is None when it went to a stream."""

    path: Path | None
    format: ExportFormat
    rows: int


def export_dataset(
    source: DatasetSource,
    path: Path,
    file_format: ExportFormat | None = None,
    *,
    force: bool = False,
    database: Path | None = None,
    protected: Sequence[Path] = (),
) -> ExportReport:
    """Writes the finished rows to ``path``, whole or not at all, in bounded memory.

    The format is told by the ending of ``path`` when None. Raises :class:`UsageError` when the file
    exists (without ``force``), cannot be written, is the run ``database`` itself or one of the ``protected`` files.
    """
    chosen = file_format if file_format is not None else format_of(path)
    if database is not None and _is_part_of(path, database):
        raise UsageError(f"'{path}' is the run database itself; choose another --output.")
    if any(os.path.realpath(path) == os.path.realpath(file) for file in protected):
        raise UsageError(f"'{path}' is the seed data of this run; choose another --output.")
    with whole_file(path, force=force) as file:
        rows = write_dataset(source, file, chosen)
    return ExportReport(path, chosen, rows)


def write_dataset(source: DatasetSource, file: BinaryIO, file_format: ExportFormat, *, is_pipe: bool = False) -> int:
    """Writes the finished rows to an open file, which stays open. Returns how many."""
    writer = open_writer(file_format, file, source.dataset_schema(), is_pipe=is_pipe)
    rows = 0
    try:
        for batch in source.dataset_batches():
            if batch.num_rows:
                writer.write(batch)
                rows += batch.num_rows
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    file.flush()
    return rows


def _is_part_of(path: Path, database: Path) -> bool:
    real = os.path.realpath(database)
    return os.path.realpath(path) in {real, real + ".wal"} or (
        path.exists() and database.exists() and os.path.samefile(path, database)
    )
