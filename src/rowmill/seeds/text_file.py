"""Opening seed files of text: compressed or not, and where in them a byte is."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Openable

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_MANY_BYTES = 256 * 2**20
"""From here on a compressed file is looked at for how much it grows …"""
_MOST_SWOLLEN = 100
"""… which is three to thirty times for data, and hundreds for one letter again and again."""


def malformed(name: str, line: int | None, what: str) -> SpecError:
    """The problem of a file whose content is not what its format asks for."""
    place = name if line is None else f"{name}, line {line:,}"
    return SpecError([Problem("seed_dataset.path", f"{place}: {what}")])


@contextmanager
def open_text(location: Openable, name: str) -> Iterator[BinaryIO]:
    """The bytes of a file without compression and byte-order mark. Raises SpecError, OSError."""
    with location.open(name) as raw:
        try:
            content = _decompressed(raw, name)
            is_compressed = content is not raw
            start = content.read(4)
            for mark, encoding in _OTHER_ENCODINGS:
                if start.startswith(mark):
                    raise malformed(name, 1, f"the file is {encoding}, not UTF-8. Save it as UTF-8.")
            start = start.removeprefix(BYTE_ORDER_MARK)
            yield cast(
                BinaryIO, io.BufferedReader(_Rest(start, content, raw if is_compressed else None, name), 1 << 20)
            )
        except (EOFError, gzip.BadGzipFile, pa.ArrowException) as error:
            raise malformed(name, None, f"the compressed file cannot be read: {error}") from error


def decoded(data: bytes, name: str, line: int) -> str:
    """Bytes that begin with that line, as text. Raises SpecError for what is not UTF-8, with its line."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        found = data[error.start : error.start + 4].hex(" ")
        raise malformed(name, at, f"not UTF-8 text (bytes {found}). Save the file as UTF-8.") from error


def _decompressed(raw: BinaryIO, name: str) -> BinaryIO:
    ending = name.lower()
    if ending.endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if ending.endswith(".zst"):
        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


class _Rest(io.RawIOBase):
    """A stream whose first bytes were read already, and which does not swell beyond all measure."""

    def __init__(self, start: bytes, rest: BinaryIO, compressed: BinaryIO | None, name: str) -> None:
        super().__init__()
        self._start = start
        self._rest = rest
        self._compressed = compressed
        self._name = name
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        data = self._start[: len(view)] or self._rest.read(len(view))
        self._start = self._start[len(view) :]
        view[: len(data)] = data
        self._bytes += len(data)
        if self._compressed is not None and self._bytes > _MANY_BYTES:
            swollen = self._bytes // max(self._compressed.tell(), 1)
            if swollen > _MOST_SWOLLEN:
                raise malformed(
                    self._name,
                    None,
                    f"unpacked it grows more than {_MOST_SWOLLEN} times, which is not like data: reading stopped after "
                    f"{self._bytes >> 20:,} MiB. If it is what you mean, unpack it and name the file without "
                    "compression.",
                )
        return len(data)
