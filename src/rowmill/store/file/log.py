"""The engine's write-ahead log as bytes: where its commits end, and whether it is whole.

What DuckDB 2 writes, found by looking: a header (fields 100: 98, a log; 101: 2, its layout; 102: the identifier of the
database; 103: the number of the checkpoint it follows; end), then records of a length and a checksum, 8 bytes each,
and that many bytes. A commit ends with a record that is always the same 21 bytes.

The engine checks the checksums and refuses a log in which one is wrong. But it takes a record that claims to be longer
than the log for one that was never written to its end, and a header it cannot read for no log, and then goes on without
the commits that follow, in silence. That must not happen (D5), so both are looked at here before it opens a database.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_BEGINNING = bytes.fromhex("640062650002")
"""Of the layout known here. A log of another layout is the engine's to judge."""
_IDENTIFIER = bytes.fromhex("660010")
_CHECKPOINT = bytes.fromhex("6700")
_END = bytes.fromhex("ffff")
_LENGTHS = struct.Struct("<QQ")
_COMMIT = bytes.fromhex("640064ffff")
_COMMIT_LENGTH = struct.pack("<Q", len(_COMMIT))
_COMMIT_CHECKSUM = bytes.fromhex("e7fe7d722fed3d5e")
_OTHER_LAYOUTS = range(1, 10)
_LONGEST_HEADER = 56
_DATABASE_HEADERS = (4096, 8192)
_DATABASE_IDENTIFIER = 124
_IDENTIFIER_BYTES = 16


def log_of(path: Path) -> Path:
    """Where the engine keeps the write-ahead log of a database: beside the file itself, also if ``path`` is a link."""
    file = path.resolve()
    return file.with_name(file.name + ".wal")


@dataclass(frozen=True, slots=True)
class Log:
    """What is in a log. Places are bytes from its start."""

    size: int
    header_end: int
    """0 if its header cannot be read."""
    commits: tuple[int, ...]
    """Where each commit ends, as far as record follows record."""
    records_end: int
    """Where the last whole record ends."""
    later_commits: tuple[int, ...]
    """Commits behind the place at which record no longer follows record: their ends."""
    is_known: bool = True
    """False for a layout of the log that is not known here."""
    is_torn_header: bool = False
    """It ends within its header: nothing was ever committed to it."""

    @property
    def damage(self) -> str | None:
        """What is wrong, as far as the order of its records tells; None for a log that a crash may leave behind."""
        if not self.is_known or not self.size:
            return None
        if not self.header_end and not self.is_torn_header:
            return "the log does not start as a log does"
        if self.later_commits:
            return (
                f"record does not follow record at byte {self.records_end} of {self.size}, "
                f"and {len(self.later_commits)} commits lie behind that place"
            )
        return None


def read_log(path: Path, header_end: int | None = None) -> Log | None:
    """Looks at the log of the database ``path``; None if there is none, or none that may be read. O(records).

    ``header_end``: where its records start, for a log whose header cannot be read.
    """
    try:
        with log_of(path).open("rb") as file:
            content = file.read()  # not mapped: a run that shortens it meanwhile would kill us
    except OSError:
        return None
    return _read(content, len(content), header_end) if content else Log(0, 0, (), 0, ())


def _read(content: bytes, size: int, header_end: int | None) -> Log:
    start = content[: len(_BEGINNING)]
    if start[:-1] == _BEGINNING[:-1] and start != _BEGINNING and start[-1] in _OTHER_LAYOUTS:
        return Log(size, 0, (), 0, (), is_known=False)
    place = header_end = _header_end(content, size) if header_end is None else header_end
    is_torn = not header_end and size < _LONGEST_HEADER and start == _BEGINNING[: len(start)]
    commits = []
    while place and place + _LENGTHS.size <= size:
        length, _ = _LENGTHS.unpack_from(content, place)
        end = place + _LENGTHS.size + length
        if not length or end > size:
            break
        if length == len(_COMMIT) and content[end - length : end] == _COMMIT:
            commits.append(end)
        place = end
    return Log(size, header_end, tuple(commits), place, tuple(_commits_behind(content, place)), is_torn_header=is_torn)


def _header_end(content: bytes, size: int) -> int:
    if content[: len(_BEGINNING)] != _BEGINNING:
        return 0
    place = len(_BEGINNING)
    for field, numbers in ((_IDENTIFIER, _IDENTIFIER_BYTES), (_CHECKPOINT, 1)):
        if content[place : place + len(field)] != field:
            return 0
        place += len(field)
        for _ in range(numbers):
            while place < size and content[place] & 0x80:
                place += 1
            place += 1
    return place + len(_END) if content[place : place + len(_END)] == _END else 0


def _commits_behind(content: bytes, place: int) -> list[int]:
    """The ends of what looks like a commit from ``place`` on."""
    found = []
    while (place := content.find(_COMMIT, place)) >= 0:
        length, checksum = content[max(place - 16, 0) : max(place - 8, 0)], content[max(place - 8, 0) : place]
        # One of the two may be what is damaged.
        if length == _COMMIT_LENGTH or checksum == _COMMIT_CHECKSUM:
            found.append(place + len(_COMMIT))
        place += len(_COMMIT)
    return found


def header_for(database: Path) -> bytes | None:
    """The header of the log that belongs to a database as its file is; None if the file is no database."""
    try:
        with database.open("rb") as file:
            content = file.read(max(_DATABASE_HEADERS) + 64)
    except OSError:
        return None
    if content[8:12] != b"DUCK" or len(content) < max(_DATABASE_HEADERS) + 16:
        return None
    identifier = content[_DATABASE_IDENTIFIER : _DATABASE_IDENTIFIER + _IDENTIFIER_BYTES]
    checkpoint = max(struct.unpack_from("<Q", content, place + 8)[0] for place in _DATABASE_HEADERS)
    numbers = b"".join(_variable_length(byte) for byte in identifier)
    return _BEGINNING + _IDENTIFIER + numbers + _CHECKPOINT + _variable_length(checkpoint) + _END


def is_of_this_checkpoint(log: bytes, header_end: int, header: bytes) -> bool:
    """Whether the header of a log, if it can be read, names the checkpoint that ``header`` names."""
    field = header[header.rindex(_CHECKPOINT) :]
    return not header_end or log[header_end - len(field) : header_end] == field


def _variable_length(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])
