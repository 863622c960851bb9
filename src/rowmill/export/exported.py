"""What a directory of exported files holds: read from the files themselves."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.export.card import CardFiles
from rowmill.export.format import ExportFormat

_ROW_ID = "row_id"


def data_files(directory: Path, file_format: ExportFormat) -> list[Path]:
    """The files of rows below a directory, by name. What begins with a dot is half made."""
    endings = (f".{file_format}", f".{file_format}.gz")
    return sorted(
        path
        for path in directory.rglob("*")
        if path.name.endswith(endings) and path.is_file() and not any(part.startswith(".") for part in
                                                                        path.relative_to(directory).parts)
    )  # fmt: skip


def exported_row_ids(directory: Path, file_format: ExportFormat) -> pa.Array:
    """The ``row_id`` of every row in the files. Raises UsageError for a file that cannot be read or has none."""
    parts = []
    for path in data_files(directory, file_format):
        try:
            parts.append(pa.array(_row_ids(path, file_format), type=pa.int64()))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            message = f"The row_id of '{path}' cannot be read: {reason}. Use --force to write the export anew."
            raise UsageError(message) from error
    return pa.concat_arrays(parts) if parts else pa.array([], type=pa.int64())


def exported_files(directory: Path, file_format: ExportFormat) -> list[dict[str, Any]]:
    """Name and size of each file, for people."""
    return [
        {"path": path.relative_to(directory).as_posix(), "bytes": path.stat().st_size}
        for path in data_files(directory, file_format)
    ]


def card_files(directory: Path, ending: str) -> CardFiles:
    """Sizes and digest of the finished files of a directory. Reads them all."""
    digest, sizes = hashlib.sha256(), {}
    for path in sorted(directory.glob(f"[!.]*{ending}")):
        sizes[path.name] = path.stat().st_size
        digest.update(f"{path.name}\0{sizes[path.name]}\0".encode())
        with path.open("rb") as file:
            while part := file.read(1024 * 1024):
                digest.update(part)
    return CardFiles(ending, sizes, f"sha256:{digest.hexdigest()}")


def _row_ids(path: Path, file_format: ExportFormat) -> Any:
    if file_format is ExportFormat.PARQUET:
        from pyarrow import parquet

        return parquet.ParquetFile(path).read(columns=[_ROW_ID])[_ROW_ID].combine_chunks()
    if file_format is ExportFormat.ARROW:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()[_ROW_ID].combine_chunks()
    if file_format is ExportFormat.CSV:
        from pyarrow import csv

        return csv.read_csv(
            path,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(include_columns=[_ROW_ID]),
        )[_ROW_ID].combine_chunks()
    return list(_of_lines(path))


def _of_lines(path: Path) -> Iterator[int]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)[_ROW_ID]
