"""A run database as a file, held against every other process without being opened as a database, and copies of it.

The engine locks its file with a POSIX record lock, which the kernel takes from a process as soon as the process
closes *any* descriptor of that file. So nothing here opens the file a second time, and a database that is opened
while the file is held takes the lock with it when it closes: close it last.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rowmill.errors import Locked, RowmillError, UsageError, WriteFailed
from rowmill.store.database.connection import Connection
from rowmill.store.file.database_file import check_unclaimed
from rowmill.store.file.log import log_of
from rowmill.store.file.usable import check_usable, several_names
from rowmill.unfinished_file import COPIED, unfinished

_CHUNK_BYTES = 1 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
"""What the system says when a disk, a quota or a file is full."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file nobody else can open as a database meanwhile."""

    path: Path
    _descriptor: int

    @property
    def log(self) -> Path:
        """Where its write-ahead log is, if there is one."""
        return log_of(self.path)

    def copy_aside(self, ending: str) -> Path:
        """Copies file and log beside themselves, durably, as ``<name>.<ending>`` (and its log); returns the copy.

        A copy that is there already is used if it is the same, never overwritten: then a number is added. Raises
        WriteFailed if there is no room; nothing but whole copies is left behind.
        """
        number = 1
        while True:
            suffix = ending if number == 1 else f"{ending}-{number}"
            target = self.path.with_name(f"{self.path.name}.{suffix}")
            if self._is_copied(target) or self._copy(target):
                return target
            number += 1

    def _is_copied(self, target: Path) -> bool:
        return (
            target.is_file()
            and log_of(target).is_file() == self.log.is_file()
            and _same_content(self._descriptor, target)
            and (not self.log.is_file() or self.log.read_bytes() == log_of(target).read_bytes())
        )

    def _copy(self, target: Path) -> bool:
        """Copies file and log; False if something has one of the names."""
        if target.is_symlink() or target.exists() or log_of(target).exists():
            return False
        try:
            # The log first: a copy of the file is never without it.
            if self.log.is_file():
                log = os.open(self.log, os.O_RDONLY)
                try:
                    copy_durably(log, log_of(target))
                finally:
                    os.close(log)
            copy_durably(self._descriptor, target)
        except OSError as error:
            log_of(target).unlink(missing_ok=True)
            if error.errno == errno.EEXIST:
                return False
            raise copy_error(error, target) from error
        return True


def copy_error(error: OSError, target: Path) -> RowmillError:
    """What it means that a copy could not be written."""
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return WriteFailed(
            f"There is no room for the copy {target}: {reason}. Nothing was changed. Make room, then try again."
        )
    return UsageError(f"The copy {target} cannot be written: {reason}. Nothing was changed.")


def is_only_read(path: Path) -> bool:
    """Whether nobody holds the file but those who read it. Not for a file that this process has open: it lets go."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def holding(path: Path, *, writable: bool = True) -> Iterator[HeldFile]:
    """Holds a file against every other process while inside.

    Raises Locked (another process has it open; names its pid) or UsageError (no such file, no right to open it).
    """
    check_usable(path)
    linked = several_names(path)
    if linked is not None:
        raise linked
    resolved = path.resolve()
    check_unclaimed(resolved)
    try:
        descriptor = os.open(resolved, os.O_RDWR if writable else os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{path} cannot be opened: {error.strerror}. Nothing was changed.") from error
    try:
        try:
            fcntl.lockf(descriptor, (fcntl.LOCK_EX if writable else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _holder(resolved) from None
        yield HeldFile(resolved if path.is_symlink() else path, descriptor)
    finally:
        os.close(descriptor)


def _holder(path: Path) -> RowmillError:
    try:
        # The engine names the process.
        Connection(path, read_only=True).close()
    except RowmillError as error:
        return error
    return Locked(f"{path} was in use by another process just now. Try again.")


def copy_durably(source: int, target: Path) -> None:
    """Writes what is behind a descriptor to a new file, whole and synced, or not at all. Raises OSError.

    FileExistsError if ``target`` exists. The copy has the rights of its source.
    """
    with unfinished(target, COPIED) as copy:
        copied = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            place = 0
            while chunk := os.pread(source, _CHUNK_BYTES, place):
                _write(copied, chunk)
                place += len(chunk)
            os.fchmod(copied, os.fstat(source).st_mode & 0o777)
            os.fsync(copied)
        finally:
            os.close(copied)
        # Unlike a rename, a link never takes the place of a file.
        os.link(copy, target)
    sync_directory(target.parent)


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_file(file: Path) -> None:
    """Makes the content of a file durable."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Makes names in a directory durable, where the file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot, and there is nothing else to do
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_content(descriptor: int, path: Path) -> bool:
    if os.fstat(descriptor).st_size != path.stat().st_size:
        return False
    place = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if os.pread(descriptor, len(chunk), place) != chunk:
                return False
            place += len(chunk)
    return True
