"""Files a run makes, in a directory beside its run database: ``<database>.files/<column>/<row_id>.<format>``.

A file is whole or not there: it is written under another name, flushed to the disk and renamed, before the
result that names it is committed. Its name follows from column and row, so that a row made again (after a
crash, or by will) replaces it and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import anyio.to_thread

from rowmill.errors import WriteFailed
from rowmill.unfinished_file import COPIED, unfinished

_PARTIAL = ".partial"
_NAME = re.compile(r"[^\w-]", re.ASCII)
_LONGEST = 100


class FileDirectory:
    """The directory of one run database. Nobody but its owner can read it (0700, files 0600)."""

    def __init__(self, path: Path) -> None:
        """Made when the first file is written."""
        self.path = path
        self._ready: set[str] = set()
        self._preparing = threading.Lock()

    async def write(self, column: str, row_id: int, suffix: str, content: bytes) -> str:
        """Writes the file of a column and row; returns its name relative to this directory.

        Raises :class:`~rowmill.errors.WriteFailed` when the disk does not take it.
        """
        return await anyio.to_thread.run_sync(self._write, column, row_id, suffix, content)

    async def read(self, name: str) -> bytes | None:
        """The content of a file by the name :meth:`write` gave it; None for any other text."""
        if not _GENERATED.fullmatch(name):
            return None
        return await anyio.to_thread.run_sync(self._read, name)

    def _write(self, column: str, row_id: int, suffix: str, content: bytes) -> str:
        folder = folder_of(column)
        directory = self.path / folder
        name = f"{row_id}.{suffix}"
        partial = directory / f"{name}{_PARTIAL}"
        try:
            with self._preparing:  # or one thread would sweep what another just began to write
                if folder not in self._ready:
                    self._prepare(directory)
                    self._ready.add(folder)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, directory / name)
            for other in directory.glob(f"{row_id}.*"):
                if other.name != name:
                    other.unlink(missing_ok=True)
            _flush_directory(directory)
        except OSError as error:
            raise WriteFailed(f"The file {directory / name} cannot be written: {error.strerror or error}.") from error
        return f"{folder}/{name}"

    def _prepare(self, directory: Path) -> None:
        """Makes the directory, and removes what a killed process left half-written."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        for left in directory.glob(f"*{_PARTIAL}"):
            left.unlink(missing_ok=True)
        _flush_directory(self.path)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


def folder_of(column: str) -> str:
    """The directory of a column's files: its name, or if that is no plain one, what can be read of it and a digest."""
    plain = _NAME.sub("_", column)
    if plain == column and len(column) <= _LONGEST:
        return column
    digest = blake2b(column.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{plain[:_LONGEST]}.{digest}"


def is_ours(name: str) -> bool:
    """Is it a name this module gives files, or the half-written one of such a file?"""
    return _GENERATED.fullmatch(name.removesuffix(_PARTIAL)) is not None


def files_of(database: Path) -> Path:
    """Where the files of a run database are."""
    return database.with_name(f"{database.name}.files")


def link_files(sources: Iterable[Path], target: Path) -> None:
    """Gives the run database ``target`` the files of the ``sources``; no file is ever changed in place, so all can
    share one on the disk. Replaces what an earlier attempt left. Of two files for one row the later source's counts.

    Raises :class:`~rowmill.errors.WriteFailed`.
    """
    place = files_of(target)
    origins = [files_of(source) for source in sources if files_of(source).is_dir()]
    if not origins:
        return
    try:
        with unfinished(place, COPIED) as copy:
            for origin in origins:
                shutil.copytree(
                    origin,
                    copy,
                    copy_function=_linked,
                    ignore=shutil.ignore_patterns(f"*{_PARTIAL}"),
                    dirs_exist_ok=True,
                )
            if place.exists():
                shutil.rmtree(place)
            os.replace(copy, place)
            _flush_directory(place.parent)
    except OSError as error:
        raise WriteFailed(
            f"The files of {', '.join(map(str, origins))} cannot be copied to {place}: {error.strerror or error}."
        ) from error


def _linked(source: str, target: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


_GENERATED = re.compile(r"[\w-]{1,100}(\.[0-9a-f]{12})?/\d{1,19}\.[a-z0-9]{1,8}", re.ASCII)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
