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
    found = _ENDINGS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(ExportFormat)
        raise UsageError(f"The ending of '{path}' tells no format; add --format with one of {known}.")
    return found
