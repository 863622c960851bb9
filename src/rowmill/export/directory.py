"""An export of many files in a directory: partitioned by a column, and appended to as the dataset grows.

Which rows a directory holds is read from its files, never from a list beside them. So an append is exactly-once
whatever happened before: a file is written under another name, synced and renamed, and a crash leaves either all its
rows or none. ``rowmill-export.json`` says of which dataset, and in which shape, the rows are; its list of files is for
people.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.export.exported import exported_files, exported_row_ids
from rowmill.export.format import Compression, ExportFormat
from rowmill.export.partition import PartitionedFiles
from rowmill.export.pictures import PictureFiles
from rowmill.export.source import DatasetSource
from rowmill.export.target import directory_mode, mode_of, needing_room, sync_directory, whole_file
from rowmill.unfinished_file import PART, remove_left_behind, unfinished, unfinished_name

MANIFEST = "rowmill-export.json"
_OLD = "old"
"""The ending of the earlier export while the new one takes its place."""


class GrowingSource(DatasetSource, Protocol):
    """A source that can be asked for some of its rows: ``rowmill.store.reading.reader.Reader``."""

    def dataset_row_ids(self) -> pa.Array:
        """The ``row_id`` of every finished row, in order."""
        ...

    def only(self, row_ids: pa.Array) -> DatasetSource:
        """The same source with only those rows, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Shape:
    """What all files of a directory have in common. An append to another shape is refused."""

    dataset: str
    """The name of the run."""
    made_at: str
    """When it was created (UTC): another run of the same name is another dataset."""
    content: str
    """A digest of all that shapes its values."""
    format: str
    columns: str
    partition_by: str | None
    processor: str | None


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """What an export to a directory wrote."""

    path: Path
    format: ExportFormat
    rows: int
    """New rows."""
    rows_before: int
    files: int
    """New files."""
    parts: Mapping[str, int] | None = None
    """Rows of each part of the split, where each has a file of its own (the layout ``files``)."""


@dataclass(frozen=True, slots=True)
class DirectoryExport:
    """How to write a directory."""

    shape: Shape
    format: ExportFormat
    compression: Compression
    through: Callable[[DatasetSource], DatasetSource]
    """Processors and split, over rows as they are."""
    partition_by: str | None = None
    in_name_by: str | None = None
    """A column whose value begins the names of the files."""
    in_data: bool = False
    """The files lie in ``data/``, as on the Hugging Face hub."""
    mode: int | None = None
    """Of the files; directories can be entered by those who may read. None: 0600, or as the files there are."""
    card: Callable[[Path], str] | None = None
    """What makes README.md of a directory with its files."""
    pictures: PictureFiles | None = None
    """Files that come along."""

    def write(
        self, source: GrowingSource, directory: Path, *, append: bool = False, force: bool = False
    ) -> DirectoryReport:
        """Writes all rows into a new directory, whole or not at all; or only the new ones with ``append``.

        ``force`` replaces an earlier export, and nothing else. Raises UsageError when there is something in the way,
        when the directory holds rows of another dataset or shape, and for a row that a processor cannot render;
        WriteFailed if there is no room.
        """
        target = Path(os.path.realpath(directory))
        if not target.parent.is_dir():
            raise UsageError(f"There is no directory '{target.parent}' to write '{target.name}' into.")
        if target.exists() and not target.is_dir():
            raise UsageError(f"'{directory}' is a file; name a directory, or leave out what needs one.")
        is_new = not target.is_dir() or not any(target.iterdir())
        if not is_new and not (target / MANIFEST).is_file():
            raise UsageError(f"'{directory}' is not empty, and no export of Rowmill; name another --output.")
        if append and not is_new:
            with needing_room(directory), _locked(target):
                return self._append(source, target)
        if not is_new and not force:
            raise UsageError(
                f"'{directory}' holds an export already. Use --append to add new rows, --force to write it anew."
            )
        with needing_room(directory):
            return self._write_anew(source, target)

    def _write_anew(self, source: GrowingSource, target: Path) -> DirectoryReport:
        with unfinished(target, PART) as made:
            made.mkdir(mode=0o700)
            files, rows = self._write_files(source, made)
            self._finish(made)
            mode = self.mode if self.mode is not None else mode_of(target / MANIFEST)
            _let_read(made, mode)
            made.chmod(directory_mode(mode))
            _put_in_place(made, target)
        remove_left_behind(target, _OLD)
        return DirectoryReport(target, self.format, rows, 0, files)

    def _append(self, source: GrowingSource, target: Path) -> DirectoryReport:
        self._check_shape(target)
        for left in target.rglob(".*.part"):  # of a process that crashed: this one holds the lock
            left.unlink()
        there = exported_row_ids(target, self.format)
        wanted = source.dataset_row_ids()
        gone = there.filter(pc.invert(pc.is_in(there, value_set=wanted)))
        if len(gone):
            raise UsageError(
                f"'{target}' holds {plural(len(gone), 'row')} that the dataset no longer has, like row "
                f"{gone[0].as_py()}. "
                "Use --force to write it anew."
            )
        mode = self.mode if self.mode is not None else mode_of(target / MANIFEST)
        missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=there)))
        files = rows = 0
        if len(missing):
            files, rows = self._write_files(source.only(missing), target)
        self._finish(target)
        _let_read(target, mode)
        return DirectoryReport(target, self.format, rows, len(there), files)

    def _write_files(self, given: DatasetSource, directory: Path) -> tuple[int, int]:
        if self.pictures is not None:
            self.pictures.copy(given, directory)  # first: rows never name what is not there
        source = self.through(given)
        files = PartitionedFiles(
            directory / "data" if self.in_data else directory,
            self.format,
            self.compression,
            source.dataset_schema(),
            self.partition_by,
            self.in_name_by,
            "train" if self.in_data else "rows",
        )
        with files:
            for batch in source.dataset_batches():
                files.write(batch)
        return files.files, files.rows

    def _finish(self, directory: Path) -> None:
        """Card and manifest: made of what is there, so it does not matter if a crash comes between."""
        if self.card is not None:
            with whole_file(directory / "README.md", force=True) as file:
                file.write(self.card(directory).encode("utf-8"))
        manifest = {"rowmill_export": 1, "shape": asdict(self.shape), "files": exported_files(directory, self.format)}
        with whole_file(directory / MANIFEST, force=True) as file:
            file.write((json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))

    def _check_shape(self, target: Path) -> None:
        known = _shape_of(target)
        for name, value in asdict(self.shape).items():
            if known.get(name) != value:
                raise UsageError(
                    f"'{target}' was exported with another {_NAMES[name]}"
                    + (f" ({known.get(name)}, not {value})" if name in {"dataset", "format", "partition_by"} else "")
                    + ". Name another --output, or use --force to write it anew."
                )


_NAMES = {
    "dataset": "dataset",
    "made_at": "run of that name",
    "content": "state of the dataset: values were made again since",
    "format": "format",
    "columns": "set of columns",
    "partition_by": "--partition-by",
    "processor": "processor, split or condition",
}


def _shape_of(target: Path) -> Mapping[str, Any]:
    try:
        shape = json.loads((target / MANIFEST).read_text("utf-8"))["shape"]
        if isinstance(shape, dict):
            return shape
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"'{target / MANIFEST}' is damaged. Use --force to write the export anew.")


def _let_read(directory: Path, mode: int) -> None:
    """Gives every file below that mode; hidden ones are somebody's in the making."""
    for path in directory.rglob("*"):
        if path.is_symlink() or path.name.startswith("."):
            continue
        wanted = directory_mode(mode) if path.is_dir() else mode
        if stat.S_IMODE(path.stat().st_mode) != wanted:
            path.chmod(wanted)


def _put_in_place(made: Path, target: Path) -> None:
    """Names a finished directory; an earlier export of that name goes away only then."""
    old = unfinished_name(target, _OLD)
    if target.is_dir() and any(target.iterdir()):
        os.rename(target, old)
    try:
        os.rename(made, target)
    except OSError as error:
        if old.exists():
            os.rename(old, target)
        raise UsageError(f"'{target}' cannot be made: {error.strerror or error}.") from error
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Only one process appends to a directory at a time."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"Another process writes to '{directory}'; wait for its end.") from error
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
