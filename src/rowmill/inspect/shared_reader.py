"""A reader that threads share, and that lets its file go while the file is written to by the same program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowmill.errors import UsageError
from rowmill.inspect.opening import open_reader
from rowmill.store.reading.reader import Reader


class SharedReader:
    """Any number of threads read at the same time; who changes the file waits for them, and new ones wait for him."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises as :func:`.open_reader` does."""
        self._path = path
        self._reader: Reader | None = open_reader(path)
        self._is_closed = False
        self._readers = 0
        self._is_changing = False
        self._turns = threading.Condition()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """The reader, opened again if the file was let go. Raises UsageError once it is closed."""
        with self._turns:
            self._turns.wait_for(lambda: not self._is_changing)
            self._check_open()
            if self._reader is None:
                self._reader = open_reader(self._path)
            reader = self._reader
            self._readers += 1
        try:
            yield reader
        finally:
            with self._turns:
                self._readers -= 1
                self._turns.notify_all()

    @contextmanager
    def let_go(self) -> Iterator[Path]:
        """The file while nobody here reads it."""
        with self._turns:
            self._turns.wait_for(lambda: not self._is_changing and not self._readers)
            self._check_open()
            self._is_changing = True
            reader, self._reader = self._reader, None
        try:
            if reader is not None:
                reader.close()
            yield self._path
        finally:
            with self._turns:
                self._is_changing = False
                self._turns.notify_all()

    def close(self) -> None:
        """Lets the file go for good; queries of other threads end first. Safe to call twice."""
        with self._turns:
            self._is_closed = True
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"{self._path} is closed here: RunDatabase.open(…) opens it again.")
