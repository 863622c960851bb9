"""The one place where DuckDB's exceptions become Rowmill's (the original stays as ``__cause__``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from rowmill.errors import Damaged, Incompatible, InternalError, Locked, RowmillError, UsageError, WriteFailed

_PID = re.compile(r"\(PID (\d+)\)")


def opening_error(error: duckdb.Error, path: Path) -> RowmillError:
    """What a failure to open ``path`` means: locked, not a run database, damaged, or no access.

    DuckDB reports a held lock and an unreadable file as the same exception type, so the parts it adds
    for people (the holder's pid) have to be looked at here, and only here.
    """
    text = str(error)
    if isinstance(error, duckdb.IOException):
        if "lock" in text.lower():
            match = _PID.search(text)
            pid = int(match[1]) if match else None
            holder = f"process {pid}" if pid else "another process"
            return Locked(f"{path} is in use by {holder}. Wait for it to end, or stop it, then try again.", pid)
        if "not a valid DuckDB database file" in text:
            return Incompatible(f"{path} is not a run database. Name another file.")
        if "Permission denied" in text or "No such file" in text or "Is a directory" in text:
            return UsageError(f"{path} cannot be opened: {_first_line(text)}")
        if "version" in text and ("newer" in text or "older" in text or "storage" in text):
            return Incompatible(f"{path} was written by another version of DuckDB: {_first_line(text)}")
    return Damaged(
        f"{path} cannot be opened, its content or its log ({path.name}.wal) is damaged: {_first_line(text)}. "
        "Nothing was changed. Copy both files aside before you try anything."
    )


def turn_error(error: duckdb.Error, doing: str) -> RowmillError:
    """What a failure inside a transaction means: nothing of it was written, all before it is safe."""
    text = _first_line(str(error))
    if isinstance(error, (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException)):
        return WriteFailed(
            f"The run database could not be written while {doing}: {text}. "
            "Everything committed before is safe; make room or repair the disk, then run again."
        )
    if isinstance(error, duckdb.TransactionException):
        return WriteFailed(f"The transaction failed while {doing}: {text}. Run again to go on.")
    return InternalError(f"{type(error).__name__} while {doing}: {text}")


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Whatever the engine raises inside is raised as what it means (:func:`turn_error`)."""
    try:
        yield
    except duckdb.Error as error:
        raise turn_error(error, doing) from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
