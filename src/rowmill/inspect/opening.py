"""Opening a run database for reading, whoever has it: the file when it is free, the run that holds it otherwise."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rowmill.errors import Locked, RowmillError
from rowmill.inspect.free_file import FreeFile
from rowmill.inspect.message import DEFAULT_TIME_LIMIT_S, HolderGone
from rowmill.inspect.place import live_place
from rowmill.store.reading.readable import Readable
from rowmill.store.reading.reader import Reader, open_file

if TYPE_CHECKING:
    import pyarrow as pa

    from rowmill.store.reading.status import Status

T = TypeVar("T")

_log = logging.getLogger("rowmill.reading")

_POLL_S = 0.05
_SILENT_PATIENCE_S = 3.0
"""How long a holder that has not announced itself may take to let the file go, or to announce itself."""
_ANNOUNCED_PATIENCE_S = 20.0
"""How long one that has may take to make its socket, or to end."""


def open_reader(path: Path, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> Reader:
    """Opens ``path`` for reading: its file, or a connection to the run that holds it.

    ``time_limit_s`` bounds each query, but only beside a living run, and of a reader that once asked one. Raises
    UsageError (no such file), Locked (held by a process that does not answer; names its pid), Damaged or Incompatible.
    """
    attached = _Attached(path, time_limit_s)
    return Reader(attached, attached.version)


class Reattaching:
    """Waits while a file is locked and nobody answers for it: its holder begins or ends, or will never answer."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._began = time.monotonic()

    def wait(self, locked: Locked) -> None:
        """Waits a little. Raises Locked once that has been long enough."""
        announced = live_place(self._database).announced_pid()
        is_announced = announced is not None and announced == (locked.pid or os.getpid())
        patience_s = _ANNOUNCED_PATIENCE_S if is_announced else _SILENT_PATIENCE_S
        if time.monotonic() - self._began > patience_s:
            raise _silent(locked, self._database) from None
        time.sleep(_POLL_S)


class _Attached:
    """A :class:`.Readable` that stays connected when the run that answered ends."""

    def __init__(self, path: Path, time_limit_s: float) -> None:
        self.path = path
        self.version: int | None = None
        """The schema version of the file; of one that a run works on, it is ours."""
        self._time_limit_s = time_limit_s
        self._has_asked_a_run = False
        self._changing = threading.Lock()
        self._connection: Readable = self._attach()

    def _attach(self) -> Readable:
        """The file or its holder; between the two there are moments with neither, which pass."""
        patience = Reattaching(self.path)
        place = live_place(self.path)
        give_way_until = time.monotonic() + _ANNOUNCED_PATIENCE_S
        while True:
            if place.is_waited_for() and time.monotonic() < give_way_until:
                time.sleep(_POLL_S)
                continue
            try:
                connection, self.version = open_file(self.path)
                _log.info("Nobody works on %s: its file is read", self.path)
                # Whoever counted on a limit must not keep the next run from starting for ever.
                return FreeFile(connection, self._time_limit_s if self._has_asked_a_run else None)
            except Locked as locked:
                from rowmill.inspect.client import LiveConnection  # Flight is imported only if there is a need

                try:
                    living = LiveConnection(self.path, self._time_limit_s)
                    _log.info("Process %s works on %s: it is asked", locked.pid or "?", self.path)
                    self._has_asked_a_run = True
                    return living
                except HolderGone:
                    patience.wait(locked)

    @property
    def is_living(self) -> bool:
        """See :class:`.Readable`."""
        return self._connection.is_living

    def _asked(self, ask: Callable[[Readable], T]) -> T:
        while True:
            connection = self._connection
            try:
                return ask(connection)
            except HolderGone:
                with self._changing:
                    if self._connection is connection:  # no other thread has seen it before
                        connection.close()
                        self._connection = self._attach()

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """See :class:`.Readable`."""
        return self._asked(lambda connection: connection.execute(sql, parameters))

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """See :class:`.Readable`."""
        return self._asked(lambda connection: connection.arrow(sql, parameters, is_question=is_question))

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """See :class:`.Readable`."""
        return self._asked(lambda connection: connection.batches(sql, parameters, is_question=is_question))

    def known_status(self) -> Status | None:
        """See :class:`.Readable`."""
        return self._asked(lambda connection: connection.known_status())

    def interrupt(self) -> None:
        """See :class:`.Readable`."""
        self._connection.interrupt()

    def close(self) -> None:
        """See :class:`.Readable`."""
        self._connection.close()


def in_words(locked: Locked) -> str:
    """Why a file cannot be written to now: who works on it, since when, and what to do instead."""
    since = live_place(locked.path).announced_at(locked.pid) if locked.path and locked.pid else None
    if since is None:
        return _read_by(locked, locked.path) or str(locked)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since))
    return (
        f"{locked.path} is in use by process {locked.pid}, which works on it since {when}. "
        f"'rowmill status {locked.path}' shows how far it is. Wait for its end, or stop it with "
        f"'rowmill drain {locked.path}', which loses nothing; then try again."
    )


@contextmanager
def said_in_words() -> Iterator[None]:
    """A Locked that is raised inside says all that :func:`in_words` does."""
    try:
        yield
    except Locked as locked:
        raise Locked(in_words(locked), locked.pid, locked.path) from locked


def _silent(error: Locked, path: Path) -> Locked:
    said = _read_by(error, path) or (
        f"{path} is in use by {_holder(error)}, which does not answer: it is no run of this version of Rowmill, or "
        "belongs to another user or machine. Wait for it to end, or stop it; then try again."
    )
    return Locked(said, error.pid)


def _read_by(error: Locked, path: Path | None) -> str | None:
    """What keeps a file from being written to if its holder only reads it: others may read it too, then."""
    if path is None or error.pid == os.getpid():
        return None
    try:
        open_file(path)[0].close()
    except RowmillError:
        return None
    stop = f" ('kill -INT {error.pid}')" if error.pid else ""
    return (
        f"{path} is in use by {_holder(error)}, which reads it: a query of 'rowmill sql', another command, or a "
        f"program that has it open. Wait for it to end, or stop it{stop}, which does the run no harm; then try again."
    )


def _holder(error: Locked) -> str:
    return "this process" if error.pid == os.getpid() else f"process {error.pid}" if error.pid else "another process"
