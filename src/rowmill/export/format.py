"""Which file formats the dataset can be exported to, and how a file's ending tells one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from rowmill.errors import UsageError


class ExportFormat(StrEnum):
    """A file format of ``rowmill export``; the value is also the file's ending."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"
    ARROW = "arrow"


class Compression(StrEnum):
    """How an export is compressed. Not every format can be compressed in every way."""

    NONE = "none"
    ZSTD = "zstd"
    SNAPPY = "snappy"
    GZIP = "gzip"
    LZ4 = "lz4"


COMPRESSIONS: dict[ExportFormat, tuple[Compression, ...]] = {
    ExportFormat.PARQUET: (
        Compression.ZSTD,
        Compression.SNAPPY,
        Compression.GZIP,
        Compression.LZ4,
        Compression.NONE,
    ),
    ExportFormat.JSONL: (Compression.NONE, Compression.GZIP),
    ExportFormat.CSV: (Compression.NONE, Compression.GZIP),
    ExportFormat.ARROW: (Compression.NONE, Compression.ZSTD, Compression.LZ4),
}
"""What each format can be compressed with, the default first."""

_ENDINGS = {
    ".parquet": ExportFormat.PARQUET,
    ".pq": ExportFormat.PARQUET,
    ".jsonl": ExportFormat.JSONL,
    ".ndjson": ExportFormat.JSONL,
    ".csv": ExportFormat.CSV,
    ".arrow": ExportFormat.ARROW,
    ".feather": ExportFormat.ARROW,
    ".ipc": ExportFormat.ARROW,
}


def format_of(path: Path) -> ExportFormat:
    """The format the ending of ``path`` tells. Raises :class:`UsageError` when it tells none."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    found = _ENDINGS.get(name.suffix.lower())
    if found is None:
        known = ", ".join(ExportFormat)
        raise UsageError(f"The ending of '{path}' tells no format; add --format with one of {known}.")
    return found


def compression_of(path: Path | None, file_format: ExportFormat, given: Compression | None) -> Compression:
    """The compression that is given, or told by an ending ``.gz``, or the format's own.

    Raises :class:`UsageError` for one the format cannot have.
    """
    known = COMPRESSIONS[file_format]
    is_gz = path is not None and path.suffix.lower() == ".gz"
    chosen = given if given is not None else Compression.GZIP if is_gz else known[0]
    if chosen not in known:
        raise UsageError(f"The format {file_format} cannot be compressed with {chosen}, only with {', '.join(known)}.")
    return chosen


def ending_of(file_format: ExportFormat, compression: Compression) -> str:
    """The ending of a file: ``.parquet``, ``.jsonl.gz``."""
    is_gz = compression is Compression.GZIP and file_format in {ExportFormat.JSONL, ExportFormat.CSV}
    return f".{file_format}.gz" if is_gz else f".{file_format}"
