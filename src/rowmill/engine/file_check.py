"""The files beside a run database and the rows that name them: what belongs to no row, and what is missing.

A picture is on the disk before the value that names it is committed. So a process that dies in between leaves a file
behind if its row is never made again: it was dropped meanwhile, or its column is no longer part of the spec. Values
retained from before a change of the spec keep their files until they are purged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rowmill.errors import WriteFailed
from rowmill.generators.file_directory import files_of, folder_of, is_ours
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.repair import examination

_IMAGE = "image"


@dataclass(frozen=True)
class FileCheck:
    """What was found; names are relative to ``directory``."""

    directory: Path
    kept: int
    """Files that rows name and that are there."""
    orphans: tuple[str, ...]
    """Files that neither a row names nor a value that is retained."""
    missing: tuple[str, ...]
    """Files that rows name and that are not there."""

    @property
    def orphaned_bytes(self) -> int:
        """How much room the orphans take."""
        return sum((self.directory / name).stat().st_size for name in self.orphans)


def check_files(connection: Connection, spec: Spec) -> FileCheck | None:
    """Compares names and files; None for a run that never had a column of pictures. O(rows), and nobody may write."""
    columns = [column.name for column in spec.columns if column.column_type == _IMAGE]
    ever = {*columns, *_earlier_columns(connection)}
    others = {folder_of(column.name) for column in spec.columns} - {folder_of(name) for name in columns}
    folders = {folder_of(name) for name in ever} - others
    if not folders or connection.file is None:
        return None
    named = {name for column in columns for name in examination.file_names(connection, column)}
    directory = files_of(connection.file)
    there = {name for folder in folders for name in _files_in(directory, folder)}
    retained = {name for column in ever for name in examination.retained_file_names(connection, column)}
    orphans, missing = sorted(there - named - retained), sorted(named - there)
    return FileCheck(directory, len(named & there), tuple(orphans), tuple(missing))


def sweep_files(check: FileCheck) -> int:
    """Removes the orphans and returns how many there were. Raises WriteFailed."""
    for name in check.orphans:
        try:
            (check.directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriteFailed(f"{check.directory / name} cannot be removed: {error.strerror or error}.") from error
    return len(check.orphans)


def _earlier_columns(connection: Connection) -> Iterator[str]:
    for text in examination.accepted_specs(connection):
        for column in json.loads(text).get("columns", ()):
            if column.get("column_type") == _IMAGE:
                yield column["name"]


def _files_in(directory: Path, folder: str) -> Iterator[str]:
    for file in (directory / folder).glob("*"):
        name = f"{folder}/{file.name}"
        if is_ours(name) and file.is_file():
            yield name
