"""Blocks that the engine writes in place, kept beside the file: dying in the middle of that loses nothing.

A checkpoint writes what is new where nothing is, and then a header that leads to it; whoever dies before the header has
lost nothing. But the structure of a file (the engine calls it metadata) lies in pieces, 64 to a block, and a block of
which some pieces are free is written anew over the old one, which the header on disk still needs. No piece in use
changes, but a process killed in the middle of that write (it takes a tenth of a millisecond, the power may fail for
longer) leaves a block whose checksum is wrong, and the engine never opens the file again.

So before a checkpoint the blocks that it may write over are copied to ``<name>.undo``, with the headers they belong to,
and synced; after it the copy goes. A file whose headers are still those when it is opened gets its blocks back.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rowmill.errors import WriteFailed

_MARK = b"rowmill kept blocks 1\n\0\0"
_CHECKSUM = struct.Struct("<Q")
"""Of all that follows: the headers, then each block with its place before it."""
_HEADERS = 3 * 4096
"""The engine's file begins with a header that never changes and two that take turns; blocks follow."""
_BLOCK_SIZE = struct.Struct("<Q")
_BLOCK_SIZE_PLACE = 4096 + 40
_BLOCK_SIZES = frozenset(2**power for power in range(14, 19))
_PLACE = struct.Struct("<Q")
_KNOWN_START = b"DUCK" + struct.pack("<Q", 999)
"""The mark of the engine's files and the number of their layout, behind a checksum of 8 bytes: found by looking."""

_log = logging.getLogger("rowmill.run")


@dataclass(frozen=True, slots=True)
class _Copy:
    """Blocks as they were when the file had these headers; no headers if the copy is not whole."""

    headers: bytes
    blocks: dict[int, bytes]
    """By their place in the file, in bytes from its beginning."""

    @classmethod
    def parsed(cls, content: bytes) -> Self:
        """What :meth:`serialized` made."""
        start = len(_MARK) + _CHECKSUM.size
        body = memoryview(content)[start:]
        if not content.startswith(_MARK) or len(body) < _HEADERS:
            return cls(b"", {})
        if content[len(_MARK) : start] != _CHECKSUM.pack(zlib.crc32(body)):
            return cls(b"", {})  # its process died while it wrote this: no checkpoint had begun
        headers = bytes(body[:_HEADERS])
        size = _block_size(headers)
        entries = range(_HEADERS, len(body), _PLACE.size + size)
        return cls(headers, {_PLACE.unpack_from(body, at)[0]: bytes(body[at + _PLACE.size :][:size]) for at in entries})

    def serialized(self) -> bytes:
        """Headers and blocks behind a mark and their checksum."""
        body = b"".join([self.headers, *(_PLACE.pack(place) + block for place, block in self.blocks.items())])
        return _MARK + _CHECKSUM.pack(zlib.crc32(body)) + body


_looked_at: dict[Path, tuple[int, int]] = {}
"""Which copies this process compared with their files. Once is enough, and closing a file lets go of its locks."""


def _block_size(headers: bytes) -> int:
    (size,) = _BLOCK_SIZE.unpack_from(headers, _BLOCK_SIZE_PLACE)
    return int(size)


def is_known_layout(headers: bytes) -> bool:
    """Are these the headers of a file whose blocks lie as they do in all files of DuckDB 2.0?"""
    return (
        len(headers) == _HEADERS
        and headers[8 : 8 + len(_KNOWN_START)] == _KNOWN_START
        and _block_size(headers) in _BLOCK_SIZES
    )


def _identity(undo: Path) -> tuple[int, int] | None:
    try:
        found = undo.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def undo_of(path: Path) -> Path:
    """Where the kept blocks of a database are: beside the file itself, also if ``path`` is a link."""
    file = path.resolve()
    return file.with_name(file.name + ".undo")


class UndoFile:
    """The copy of one database that this process writes to. ``release`` it after the engine has let go of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._users = 1
        self._file: int | None = None
        self._copy = _Copy(b"", {})
        self._has_warned = False

    def share(self) -> UndoFile:
        """The same for another connection to the file, which releases it too."""
        self._users += 1
        return self

    def keep(self, blocks: Iterable[int]) -> None:
        """Keeps these blocks durably, as they are. Raises WriteFailed; then the file is as it was."""
        undo = undo_of(self._path)
        with self._mapped():
            headers = self._read(0, _HEADERS)
            if not is_known_layout(headers):
                self._warn_once()
                return
            size = _block_size(headers)
            # What a checkpoint that failed wrote over is no longer as these headers need it.
            kept = self._copy.blocks if self._copy.headers == headers else {}
            new = {_HEADERS + block * size for block in blocks} - kept.keys()
            if new or (kept and not undo.exists()):
                copy = _Copy(headers, {place: self._read(place, size) for place in new} | kept)
                _write(undo, copy.serialized())
                self._copy = copy

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%s is laid out in a way this version of Rowmill does not know: its checkpoints are not protected "
                "against a power failure in the middle. All else is as ever; a newer Rowmill may know it.",
                self._path,
            )

    def _read(self, place: int, size: int) -> bytes:
        if self._file is None:
            # Not to be closed as long as the engine has the file: that would let go of the engine's lock.
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._file, size, place)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteFailed(
                f"{undo_of(self._path)} cannot be written: {error.strerror or error}. Everything committed before is "
                "safe; make room or repair the disk, then run again."
            ) from error

    def discard(self) -> None:
        """Lets go of the copy: the checkpoint is complete."""
        self._copy = _Copy(b"", {})
        with suppress(OSError):  # it is harmless where it cannot be removed: its headers are those of an older file
            undo_of(self._path).unlink(missing_ok=True)

    def release(self) -> None:
        """Lets go of the file, if nobody else shares it."""
        self._users -= 1
        if not self._users and self._file is not None:
            os.close(self._file)
            self._file = None


def _write(target: Path, content: bytes) -> None:
    is_new = not target.exists()
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    if is_new:
        directory = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # some network file systems cannot
                os.fsync(directory)
        finally:
            os.close(directory)


def put_blocks_back(path: Path) -> bool:
    """Puts kept blocks back into a file whose last process died while it wrote over them; whether it had to.

    To be called before the engine opens the file, never while this process has it open for writing. Does nothing if
    another process has the file open, or this one may not write it. Raises WriteFailed.
    """
    undo = undo_of(path)
    identity = _identity(undo)
    if identity is None or _looked_at.get(undo) == identity:
        return False
    try:
        file = os.open(path.resolve(), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_put_back = _put_back(file, _Copy.parsed(undo.read_bytes()))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOENT}:
            return False
        raise WriteFailed(
            f"{path} was left in the middle of a checkpoint, and {undo.name} cannot be put back: "
            f"{error.strerror or error}. Nothing is lost; make room or repair the disk, then try again."
        ) from error
    finally:
        os.close(file)
    _looked_at[undo] = identity
    return is_put_back


def _put_back(file: int, copy: _Copy) -> bool:
    if copy.headers != os.pread(file, _HEADERS, 0):
        return False  # that checkpoint came to its end, or the copy is not whole, or of another file
    if not is_known_layout(copy.headers):
        return False
    size = _block_size(copy.headers)
    if any(place + size > os.fstat(file).st_size for place in copy.blocks):
        return False  # it was cut off: no checkpoint does that
    torn = {place: block for place, block in copy.blocks.items() if os.pread(file, size, place) != block}
    for place, block in torn.items():
        left = memoryview(block)
        while left:
            written = os.pwrite(file, left, place)
            left, place = left[written:], place + written
    if torn:
        os.fsync(file)
    return bool(torn)
