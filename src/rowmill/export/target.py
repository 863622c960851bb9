"""A file that appears whole or not at all: temporary file beside it, fsync, rename, fsync of the directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rowmill.errors import UsageError, WriteFailed
from rowmill.store.database.held_file import NO_ROOM
from rowmill.unfinished_file import PART, unfinished

PRIVATE = 0o600
"""The mode of a file of which nobody said who may read it."""


@contextmanager
def whole_file(path: Path, *, force: bool, mode: int | None = None) -> Iterator[BinaryIO]:
    """An open binary file that becomes ``path`` when the block ends well, and vanishes when it does not.

    An existing file stays as it was until then, and for good unless ``force``. It gets ``mode``; None: that of the
    file it replaces, and 0600 for a new one, since rows are people's data. A symbolic link is followed; a pipe or a
    device is written as it is. Raises :class:`UsageError` when ``path`` exists (without ``force``) or cannot be a file,
    and WriteFailed if there is no room for it.
    """
    target = Path(os.path.realpath(path))
    _check(path, target, force=force)
    if target.exists() and not target.is_file():
        with needing_room(path), target.open("wb") as stream:
            yield stream
        return
    with needing_room(path), unfinished(target, PART) as temporary:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        except OSError as error:
            raise UsageError(f"Cannot write to '{target.parent}': {error.strerror or error}.") from error
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fchmod(descriptor, mode if mode is not None else mode_of(target))
            os.fsync(file.fileno())
        _name(temporary, target, path, force=force)
    sync_directory(target.parent)


def directory_mode(mode: int) -> int:
    """Who may read files may enter their directory."""
    return mode | (mode & 0o444) >> 2


@contextmanager
def made_directory(path: Path, mode: int | None) -> Iterator[None]:
    """A directory for files of that mode, made if it is not there, and gone again if the block fails.

    Raises UsageError.
    """
    try:
        path.mkdir(mode=0o700)
        is_new = True
    except FileExistsError:
        is_new = False
        if not path.is_dir():
            raise UsageError(f"'{path}' is a file; name a directory to write files into.") from None
    except OSError as error:
        raise UsageError(f"The directory '{path}' cannot be made: {error.strerror or error}.") from error
    try:
        yield
        if is_new and mode is not None:
            path.chmod(directory_mode(mode))
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # somebody has put something there meanwhile
                path.rmdir()
        raise


def mode_of(path: Path) -> int:
    """The mode of a file that is there; else :data:`PRIVATE`."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return PRIVATE


@contextmanager
def needing_room(path: Path) -> Iterator[None]:
    """Tells for what there was no room. Raises WriteFailed then."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise WriteFailed(
            f"There is no room for '{path}': {error.strerror or error}. Make room, or name another --output."
        ) from error


def _check(path: Path, target: Path, *, force: bool) -> None:
    try:
        kind = target.stat().st_mode
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise UsageError(f"There is no directory '{target.parent}' to write '{target.name}' into.") from None
        return
    except OSError as error:
        raise UsageError(f"Cannot write '{path}': {error.strerror or error}.") from error
    if stat.S_ISDIR(kind):
        raise UsageError(f"'{path}' is a directory; name a file in it.")
    if stat.S_ISREG(kind) and not force:
        raise _exists(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"'{path}' exists already. Use --force to replace it, or another --output.")


def _name(temporary: Path, target: Path, path: Path, *, force: bool) -> None:
    if force:
        os.replace(temporary, target)
        return
    # A rename would replace a file that appeared meanwhile; a hard link does not.
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # This file system has no hard links.
        os.replace(temporary, target)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
