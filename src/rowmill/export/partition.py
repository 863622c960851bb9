"""Rows on their way into files, one for each value of a column; all files are named at the end.

Directories are called ``column=value`` as Hive does it: a null is ``__HIVE_DEFAULT_PARTITION__``, what a path cannot
hold is percent-encoded. The column itself is left out of the files, since the path says it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import UsageError
from rowmill.export.format import Compression, ExportFormat, ending_of
from rowmill.export.target import PRIVATE, sync_directory
from rowmill.export.writer import Writer, open_writer
from rowmill.value.python_value import python_values

MAX_PARTITIONS = 200
_HELD_BYTES = 8 * 1024 * 1024
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass
class _File:
    temporary: Path
    directory: Path
    stem: str
    file: BinaryIO
    writer: Writer
    first: int
    last: int


class PartitionedFiles:
    """Open files by the value of a column. As a context manager: named if the block ends well, gone otherwise."""

    def __init__(
        self,
        directory: Path,
        file_format: ExportFormat,
        compression: Compression,
        schema: pa.Schema,
        partition_by: str | None,
        in_name_by: str | None,
        stem: str,
    ) -> None:
        """``stem`` begins the names of files that no column names. Raises UsageError without that column."""
        self._directory = directory
        self._format = file_format
        self._compression = compression
        self._by = partition_by if partition_by is not None else in_name_by
        self._in_path = partition_by is not None
        for name in filter(None, ["row_id", self._by]):
            if name not in schema.names:
                raise UsageError(
                    f"The rows have no column '{name}', which files in a directory need. They have: "
                    f"{', '.join(schema.names)}."
                )
        if self._by == "row_id":
            raise UsageError("Rows cannot be partitioned by row_id: every row would be a file.")
        self._kept = [name for name in schema.names if name != self._by]
        self._schema = pa.schema([schema.field(name) for name in self._kept])
        self._open: dict[str | None, _File] = {}
        self._stem = stem
        self.rows = 0
        self.files = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Sends each row into its file."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        if self._by is None:
            self._write_into(None, batch)
            return
        codes = _comparable(batch[self._by]).dictionary_encode(null_encoding="encode").indices
        for code in pc.unique(codes):
            same = batch.filter(pc.equal(codes, code))
            (value,) = python_values(same[self._by].slice(0, 1))
            self._write_into(None if value is None else str(value), same)

    def _write_into(self, value: str | None, batch: pa.RecordBatch) -> None:
        opened = self._open.get(value)
        row_ids = batch["row_id"]
        if opened is None:
            opened = self._open[value] = self._opened(value, row_ids[0].as_py())
        opened.writer.write(batch.select(self._kept))
        opened.last = row_ids[-1].as_py()

    def _opened(self, value: str | None, first: int) -> _File:
        if len(self._open) >= MAX_PARTITIONS:
            raise UsageError(f"Column '{self._by}' has more than {MAX_PARTITIONS} values; partition by one with fewer.")
        directory, stem = self._directory, self._stem
        if self._in_path:
            directory = directory / f"{quote(str(self._by), safe=' ')}={_path_part(value)}"
        elif self._by is not None:
            stem = _path_part(value)
        _make_private(directory)
        temporary = directory / f".{stem}-{os.getpid()}.part"
        try:
            file = open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, PRIVATE))  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"Cannot write to '{directory}': {error.strerror or error}.") from error
        writer = open_writer(self._format, file, self._schema, compression=self._compression)
        if self._by is not None:
            writer.gathered_bytes = _HELD_BYTES
        return _File(temporary, directory, stem, file, writer, first, first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._name_all()
        finally:
            self._clear()

    def _name_all(self) -> None:
        for opened in self._open.values():
            opened.writer.finish()
            opened.file.flush()
            os.fsync(opened.file.fileno())
            opened.file.close()
        ending = ending_of(self._format, self._compression)
        for opened in self._open.values():
            name = f"{opened.stem}-{opened.first:012}-{opened.last:012}{ending}"
            os.replace(opened.temporary, opened.directory / name)
            self.files += 1
        for directory in {opened.directory for opened in self._open.values()}:
            sync_directory(directory)
            sync_directory(directory.parent)

    def _clear(self) -> None:
        for opened in self._open.values():
            if not opened.file.closed:
                opened.writer.abandon()
                with contextlib.suppress(OSError):
                    opened.file.close()
            opened.temporary.unlink(missing_ok=True)


def _make_private(directory: Path) -> None:
    """Makes the directories that are missing, to be entered by nobody else until the export says otherwise."""
    if not directory.is_dir():
        _make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _comparable(values: pa.Array) -> pa.Array:
    """The values, or the texts they have, in a type whose values Arrow can tell apart."""
    if isinstance(values.type, pa.BaseExtensionType) or pa.types.is_nested(values.type):
        return pa.array([None if value is None else str(value) for value in python_values(values)], type=pa.string())
    return values


def _path_part(value: str | None) -> str:
    return _NULL if value is None else quote(value, safe=" ") or "%00"
