"""One writer a format: record batches in, bytes into an open binary file out.

Memory is bounded by one batch, for parquet and arrow by one group of rows of the file.
"""

from __future__ import annotations

import gzip
from abc import ABC, abstractmethod
from typing import Any, BinaryIO, cast

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.export.csv_text import csv_batch, csv_schema
from rowmill.export.format import COMPRESSIONS, Compression, ExportFormat
from rowmill.value.json_column import json_objects
from rowmill.value.plain_arrow import TooWide, plain_batch, plain_schema
from rowmill.value.text_column import text_column

_ROWS_PER_GROUP = 122_880
_BYTES_PER_GROUP = 64 * 1024 * 1024


class Writer(ABC):
    """Writes batches of one schema; the file is whole only after :meth:`finish`."""

    gathered_bytes = _BYTES_PER_GROUP
    """How much is gathered before it is written, by formats that gather."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, compression: Compression) -> None:
        self._gzip = self._gzipped(file, compression)
        self._sink = _Sink(self._gzip or file)
        self._schema = schema
        self._compression = compression

    def _gzipped(self, file: BinaryIO, compression: Compression) -> BinaryIO | None:
        """What compresses the whole file, for formats that cannot do it themselves."""
        return None

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Appends the rows of ``batch``."""

    @abstractmethod
    def finish(self) -> None:
        """Writes what is still held back and the end of the format. Does not close the file."""

    def abandon(self) -> None:
        """Ends without writing another byte: pyarrow's writers would end their file when they are collected."""
        self._sink.detach()


class _TextWriter(Writer):
    """A writer of text, which is compressed as a whole."""

    def _gzipped(self, file: BinaryIO, compression: Compression) -> BinaryIO | None:
        if compression is not Compression.GZIP:
            return None
        # Without a time of its own the file follows from the rows alone.
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="wb", mtime=0))

    def finish(self) -> None:
        """Ends the compression."""
        if self._gzip is not None:
            self._gzip.close()

    def abandon(self) -> None:
        """See :meth:`Writer.abandon`."""
        super().abandon()
        if self._gzip is not None:
            self._gzip.fileobj = None  # type: ignore[attr-defined]  # or it would end its file when it is collected


class JsonLinesWriter(_TextWriter):
    """One JSON object a row and line (:mod:`rowmill.value.json_column`), UTF-8."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends one line a row."""
        for start in range(0, batch.num_rows, 4096):
            lines = "\n".join(json_objects(batch.slice(start, 4096)))
            self._sink.write(lines.encode("utf-8") + b"\n")


class CsvWriter(_TextWriter):
    """Comma-separated with a header, quoted as RFC 4180 says (:mod:`rowmill.export.csv_text`), UTF-8."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, compression: Compression) -> None:
        from pyarrow import csv

        super().__init__(file, schema, compression)
        self._writer: Any = csv.CSVWriter(self._sink, csv_schema(schema))

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends one record a row."""
        self._writer.write_batch(csv_batch(batch))

    def finish(self) -> None:
        """Writes the header too if there was no batch."""
        self._writer.close()
        super().finish()


class _GroupingWriter(Writer):
    """Gathers small batches, so that a file has few groups of many rows. It knows no types of the engine's."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, compression: Compression) -> None:
        super().__init__(file, self._known_schema(plain_schema(schema)), compression)
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0
        self._writer: Any = self._open()

    @abstractmethod
    def _open(self) -> Any:
        """The pyarrow writer."""

    def _known_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema in types the format has."""
        return schema

    def _known(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows in types the format has."""
        return batch

    def write(self, batch: pa.RecordBatch) -> None:
        """Holds the rows until a group is full. Raises UsageError for a value that no type of Arrow holds."""
        try:
            batch = self._known(plain_batch(batch))
        except TooWide as error:
            row = f" of row {batch['row_id'][error.position].as_py()}" if "row_id" in batch.schema.names else ""
            raise UsageError(f"Column '{error.column}'{row} cannot be exported as it is: {error}") from error
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        while self._rows >= _ROWS_PER_GROUP or self._bytes >= self.gathered_bytes:
            self._release()

    def _release(self) -> None:
        """Writes a group of what is held. Rows beyond a group stay, so that it does not matter in what batches they came."""
        if self._held:
            table = pa.Table.from_batches(self._held, schema=self._schema)
            self._held = table.slice(_ROWS_PER_GROUP).to_batches()
            self._rows, self._bytes = max(self._rows - _ROWS_PER_GROUP, 0), sum(batch.nbytes for batch in self._held)
            self._writer.write_table(self._in_one(table.slice(0, _ROWS_PER_GROUP)))

    def _in_one(self, table: pa.Table) -> pa.Table:
        """The rows of a group without parts."""
        return table.combine_chunks()

    def finish(self) -> None:
        """Writes the last group and the footer."""
        while self._held:
            self._release()
        self._writer.close()


class ParquetWriter(_GroupingWriter):
    """Parquet, row groups of at most 122,880 rows or about 64 MiB. It has no type for intervals: they are text."""

    def _open(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetWriter(self._sink, self._schema, compression=str(self._compression))

    def _known_schema(self, schema: pa.Schema) -> pa.Schema:
        fields = (field.with_type(pa.string()) if pa.types.is_interval(field.type) else field for field in schema)
        return pa.schema(list(fields))

    def _known(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [text_column(column) if pa.types.is_interval(column.type) else column for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


class ArrowFileWriter(_GroupingWriter):
    """Arrow IPC file format (Feather version 2); uncompressed it can be memory-mapped."""

    def _open(self) -> Any:
        return pa.ipc.new_file(self._sink, self._schema, options=_arrow_options(self._compression))


class ArrowStreamWriter(_GroupingWriter):
    """Arrow IPC streaming format, for pipes: its reader need not seek."""

    def _open(self) -> Any:
        return pa.ipc.new_stream(self._sink, self._schema, options=_arrow_options(self._compression))


def _arrow_options(compression: Compression) -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression=None if compression is Compression.NONE else str(compression))


class _Sink:
    """A file pyarrow may write to but not close: syncing and naming it is the target's work."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | None = file
        self._position = 0

    def detach(self) -> None:
        self._file = None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self._file is not None:
            self._file.write(view)
        self._position += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        self.flush()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def open_writer(
    file_format: ExportFormat,
    file: BinaryIO,
    schema: pa.Schema,
    *,
    is_pipe: bool = False,
    compression: Compression | None = None,
) -> Writer:
    """The writer of a format. ``is_pipe``: the reader cannot seek (arrow then uses its streaming format).

    ``compression`` None: the format's own (parquet zstd, others none).

    Raises :class:`UsageError` when the format cannot hold a column's type.
    """
    kind = _WRITERS[file_format]
    if kind is ArrowFileWriter and is_pipe:
        kind = ArrowStreamWriter
    try:
        return kind(file, schema, compression or COMPRESSIONS[file_format][0])
    except pa.ArrowNotImplementedError as error:
        raise UsageError(
            f"The format {file_format} cannot hold this dataset: {error}. Try another --format."
        ) from error


_WRITERS: dict[ExportFormat, type[Writer]] = {
    ExportFormat.JSONL: JsonLinesWriter,
    ExportFormat.CSV: CsvWriter,
    ExportFormat.PARQUET: ParquetWriter,
    ExportFormat.ARROW: ArrowFileWriter,
}
