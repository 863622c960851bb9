"""Blocks that the engine writes in place, kept beside the file: dying in the middle of that loses nothing.

A checkpoint writes what is new where nothing is, and then a header that leads to it; whoever dies before the header has
lost nothing. But the structure of a file (the engine calls it metadata) lies in pieces, 64 to a block, and a block of
which some pieces are free is written anew over the old one, which the header on disk still needs. No piece in use
changes, but a process killed in the middle of that write (it takes a tenth of a millisecond, the power may fail for
longer) leaves a block whose checksum is wrong, and the engine never opens the file again.

So before a commit, which may set off a checkpoint, the blocks that the next checkpoint may write over are copied to
``<name>.undo``, with the headers they belong to. A file whose headers are still those when it is opened gets them back.
The copy is made once per checkpoint, synced, and is gone when a process that wrote has folded its log into the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rowmill.errors import WriteFailed

_MARK = b"rowmill kept blocks 1\n\0\0"
_CHECKSUM = struct.Struct("<Q")
"""Of all that follows: the headers, then each block with its place before it."""
_HEADERS = 3 * 4096
"""The engine's file begins with a header that never changes and two that take turns; blocks follow."""
_BLOCK_SIZE = struct.Struct("<Q")
_BLOCK_SIZE_PLACE = 4096 + 40
_PLACE = struct.Struct("<Q")

_looked_at: dict[Path, tuple[int, int]] = {}
"""Which copies this process compared with their files. Once is enough, and closing a file lets go of its locks."""


def undo_of(path: Path) -> Path:
    """Where the kept blocks of a database are: beside the file itself, also if ``path`` is a link."""
    file = path.resolve()
    return file.with_name(file.name + ".undo")


class KeptBlocks:
    """The copy of one database that this process writes to. ``release`` it after the engine has let go of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._users = 1
        self._file: int | None = None
        self._headers = b""

    def share(self) -> KeptBlocks:
        """The same for another connection to the file, which releases it too."""
        self._users += 1
        return self

    def is_current(self) -> bool:
        """Whether there was no checkpoint since the blocks were kept. Takes microseconds. Raises WriteFailed."""
        with self._mapped():
            return self._read(0, _HEADERS) == self._headers

    def keep(self, blocks: Iterable[int]) -> None:
        """Keeps these blocks durably, as they are now. Raises WriteFailed; then the file is as it was."""
        undo = undo_of(self._path)
        with self._mapped():
            headers = self._read(0, _HEADERS)
            (size,) = _BLOCK_SIZE.unpack_from(headers, _BLOCK_SIZE_PLACE)
            places = [_HEADERS + block * size for block in blocks]
            content = b"".join([headers, *(_PLACE.pack(place) + self._read(place, size) for place in places)])
            if places or undo.exists():
                _write(undo, _MARK + _CHECKSUM.pack(zlib.crc32(content)) + content)
        self._headers = headers

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
        """Lets go of the copy: a checkpoint is complete, and nothing was written since."""
        self._headers = b""
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
    try:
        found = undo.stat()
    except OSError:
        return False
    if _looked_at.get(undo) == (found.st_ino, found.st_mtime_ns):
        return False
    try:
        file = os.open(path.resolve(), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_put_back = _put_back(file, undo.read_bytes())
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOENT}:
            return False
        raise WriteFailed(
            f"{path} was left in the middle of a checkpoint, and {undo.name} cannot be put back: "
            f"{error.strerror or error}. Nothing is lost; make room or repair the disk, then try again."
        ) from error
    finally:
        os.close(file)
    _looked_at[undo] = (found.st_ino, found.st_mtime_ns)
    return is_put_back


def _put_back(file: int, copy: bytes) -> bool:
    start = len(_MARK) + _CHECKSUM.size
    content = memoryview(copy)[start:]
    if not copy.startswith(_MARK) or len(content) < _HEADERS:
        return False
    if copy[len(_MARK) : start] != _CHECKSUM.pack(zlib.crc32(content)):
        return False  # its process died while it wrote this: no checkpoint had begun
    if content[:_HEADERS] != os.pread(file, _HEADERS, 0):
        return False  # that checkpoint came to its end, or this is another file
    (size,) = _BLOCK_SIZE.unpack_from(content, _BLOCK_SIZE_PLACE)
    entries = range(_HEADERS, len(content), _PLACE.size + size)
    blocks = [(*_PLACE.unpack_from(content, at), content[at + _PLACE.size :][:size]) for at in entries]
    if any(place + size > os.fstat(file).st_size for place, _ in blocks):
        return False  # it was cut off: no checkpoint does that
    torn = [(place, block) for place, block in blocks if os.pread(file, size, place) != block]
    for place, block in torn:
        while block:
            written = os.pwrite(file, block, place)
            block, place = block[written:], place + written
    if torn:
        os.fsync(file)
    return bool(torn)
