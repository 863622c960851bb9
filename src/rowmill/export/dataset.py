"""Exporting the finished rows of a run database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rowmill.errors import UsageError
from rowmill.export.format import Compression, ExportFormat, compression_of, format_of
from rowmill.export.source import DatasetSource
from rowmill.export.target import whole_file
from rowmill.export.writer import open_writer


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
    compression: Compression | None = None,
    force: bool = False,
    database: Path | None = None,
    protected: Sequence[Path] = (),
    mode: int | None = None,
) -> ExportReport:
    """Writes the finished rows to ``path``, whole or not at all, in bounded memory.

    The format is told by the ending of ``path`` when None; ``mode`` as for
    :func:`~rowmill.export.target.whole_file`. Raises :class:`UsageError` when the file
    exists (without ``force``), cannot be written, is the run ``database`` itself or one of the ``protected`` files.
    """
    chosen = file_format if file_format is not None else format_of(path)
    packed = compression_of(path, chosen, compression)
    check_target(path, database, protected)
    with whole_file(path, force=force, mode=mode) as file:
        rows = write_dataset(source, file, chosen, compression=packed)
    return ExportReport(path, chosen, rows)


def check_target(path: Path, database: Path | None, protected: Sequence[Path]) -> None:
    """Raises UsageError if an export to ``path`` would overwrite the run database or its seed data."""
    if database is not None and _is_part_of(path, database):
        raise UsageError(f"'{path}' is the run database itself; choose another --output.")
    if any(os.path.realpath(path) == os.path.realpath(file) for file in protected):
        raise UsageError(f"'{path}' is the seed data of this run; choose another --output.")


def write_dataset(
    source: DatasetSource,
    file: BinaryIO,
    file_format: ExportFormat,
    *,
    is_pipe: bool = False,
    compression: Compression | None = None,
) -> int:
    """Writes the finished rows to an open file, which stays open. Returns how many."""
    writer = open_writer(file_format, file, source.dataset_schema(), is_pipe=is_pipe, compression=compression)
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
    return os.path.realpath(path) in {real, real + ".wal", real + ".undo"} or (
        path.exists() and database.exists() and os.path.samefile(path, database)
    )
