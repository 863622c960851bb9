"""Writing to files what can still be read of a damaged run database: its dataset, and the records of the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from rowmill.errors import Damaged, UsageError
from rowmill.export.format import ExportFormat
from rowmill.export.target import PRIVATE
from rowmill.export.writer import open_writer
from rowmill.store.repair.salvage import Salvage, salvaging

_VIEWS = ("dropped_row", "attempt", "event", "invocation", "row_group")


@dataclass
class SalvageReport:
    """What was saved, and what was not."""

    directory: Path
    rows: dict[str, int] = field(default_factory=dict)
    """Rows written, per file."""
    lost: list[str] = field(default_factory=list)
    """What could not be read."""


def salvage(path: Path, directory: Path) -> SalvageReport:
    """Writes what can be read of ``path`` into a new directory, as parquet files and ``spec.json``. Reads only.

    Raises UsageError (the directory is there already, or cannot be made), Locked, and Damaged if nothing can be read.
    """
    with salvaging(path) as source:
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(f"{directory} exists already. Name a new directory.") from None
        except OSError as error:
            raise UsageError(f"{directory} cannot be made: {error.strerror}.") from error
        report = SalvageReport(directory)
        if source.log_problem is not None:
            report.lost.append(source.log_problem)
        spec = source.spec()
        if spec is None:
            report.lost.append("the spec")
        else:
            (directory / "spec.json").write_text(spec, encoding="utf-8")
        _write(report, "dataset", source, source.dataset(report.lost))
        for view in _VIEWS:
            _write(report, view, source, source.view(view, report.lost))
    if not report.rows and spec is None:
        raise Damaged(f"Nothing of {path} can be read: all of it is lost, unless there is a copy.")
    return report


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def _write(report: SalvageReport, name: str, source: Salvage, batches: Iterator[pa.RecordBatch]) -> None:
    schema = source.schema(name)
    if schema is None:
        return
    with open(report.directory / f"{name}.parquet", "xb", opener=_private) as file:
        writer = open_writer(ExportFormat.PARQUET, file, schema)
        rows = 0
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
        writer.finish()
    report.rows[name] = rows
