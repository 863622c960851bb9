"""The one place where DuckDB's exceptions become Rowmill's (the original stays as ``__cause__``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from rowmill.errors import Damaged, Incompatible, InternalError, Locked, RowmillError, UsageError, WriteFailed

_PID = re.compile(r"\(PID (\d+)\)")


_NO_ROOM = ("No space left", "File too large", "Disk quota exceeded")
_MORE_MEMORY = "Nothing was changed. Give the process more ('ulimit -v' bounds it), then try again."
_SAFE = "Everything committed before is safe; make room or repair the disk, then run again."


def opening_error(error: duckdb.Error, path: Path) -> RowmillError:
    """What a failure to open ``path`` means: locked, not a run database, damaged, no access, no room.

    DuckDB reports all of these as one exception type, so the words of the operating system and the holder's pid
    have to be looked at here, and only here.
    """
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return WriteFailed(f"{path} cannot be opened, there is not enough memory: {_first_line(text)}. {_MORE_MEMORY}")
    if isinstance(error, duckdb.IOException):
        if any(words in text for words in _NO_ROOM):
            return WriteFailed(f"{path} cannot be written: {_first_line(text)}. {_SAFE}")
        if "lock" in text.lower():
            match = _PID.search(text)
            pid = int(match[1]) if match else None
            holder = f"process {pid}" if pid else "another process"
            stop = f"'kill -INT {pid}' stops it and loses nothing" if pid else "Stop it"
            return Locked(
                f"{path} is in use by {holder}. 'rowmill status {path}' looks at it as it works. Wait for it to end, "
                f"or stop it ({stop}); then try again.",
                pid,
                path,
            )
        if "not a valid DuckDB database file" in text:
            return Incompatible(f"{path} is not a run database. Name another file.")
        if "Permission denied" in text or "No such file" in text or "Is a directory" in text:
            return UsageError(f"{path} cannot be opened: {_first_line(text)}")
        if "replaying WAL" in text:
            return damaged(path, _first_line(text))
        if "version" in text and ("newer" in text or "older" in text or "storage" in text):
            return Incompatible(f"{path} was written by another version of DuckDB: {_first_line(text)}")
    if "in-memory database" in text:  # what the engine makes of a file of rows, as CSV
        return Incompatible(f"{path} is not a run database. Name another file.")
    if "different configuration" in text:
        return in_use_here(path)
    return damaged(path, _first_line(text))


def in_use_here(path: Path) -> Locked:
    """The error for a database that this very process has open already."""
    return Locked(
        f"{path} is open in this process: close its RunDatabase, or wait for its run, then try again.", os.getpid()
    )


def damaged(path: Path, reason: str) -> Damaged:
    """The error for a file whose content, or whose log, cannot be trusted."""
    return Damaged(
        f"{path} cannot be opened, its content or its log ({path.name}.wal) is damaged: {reason}. "
        f"Nothing was changed. 'rowmill doctor {path}' says what can be done."
    )


def turn_error(error: duckdb.Error, doing: str) -> RowmillError:
    """What a failure inside a transaction means: nothing of it was written, all before it is safe."""
    text = _first_line(str(error))
    if is_corruption(error):
        return Damaged(
            f"The run database is damaged, found while {doing}: {text}. 'rowmill doctor FILE' says what can be done."
        )
    unwritable = duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException, duckdb.TransactionException
    if isinstance(error, unwritable):
        return WriteFailed(f"The run database could not be written while {doing}: {text}. {_SAFE}")
    return InternalError(f"{type(error).__name__} while {doing}: {text}")


def is_fault_of_sql(error: duckdb.Error) -> bool:
    """True if a user's SQL is what failed, for the values it met; false if the engine or the file did."""
    return isinstance(error, (duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError))


def is_corruption(error: duckdb.Error) -> bool:
    """DuckDB raises the root of its exceptions, and only then, for a block whose checksum is wrong."""
    return type(error) is duckdb.Error


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Whatever the engine raises inside is raised as what it means (:func:`turn_error`)."""
    try:
        yield
    except duckdb.Error as error:
        raise turn_error(error, doing) from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
