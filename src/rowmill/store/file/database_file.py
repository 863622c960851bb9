"""The file of a run database, around the time the engine has it open: claimed by one, checked, created as one piece."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import duckdb

from rowmill.store.file import engine_errors
from rowmill.store.file.log import read_log
from rowmill.store.file.undo_file import put_blocks_back
from rowmill.store.file.usable import check_directory
from rowmill.unfinished_file import COPIED, unfinished

_BETWEEN_LOOKS_S = 0.1
_creating = threading.Lock()
_claimed: set[Path] = set()
"""Databases this process writes to: the engine's lock on the file keeps out other processes only."""


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to, or None if it leads to none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_unclaimed(path: Path) -> None:
    """Raises Locked if this process writes to the database ``path`` (resolved)."""
    if path in _claimed:
        raise engine_errors.in_use_here(path)


def claim(path: Path) -> None:
    """Says that this process writes to the database ``path`` (resolved) from now on. Raises Locked if it does."""
    with _creating:
        if path in _claimed:
            raise engine_errors.in_use_here(path)
        _claimed.add(path)


def release(path: Path) -> None:
    """Takes :func:`claim` back."""
    _claimed.discard(path)


def undo_torn_checkpoint(path: Path) -> None:
    """Puts back what a process wrote over that died in the middle of a checkpoint. Raises WriteFailed."""
    with _creating:
        # The file this process writes to is in no need of it, and would lose its lock.
        if path.resolve() not in _claimed:
            put_blocks_back(path)


def check_log(path: Path) -> None:
    """Raises Damaged if there is a write-ahead log of which the engine would pass over a part in silence.

    A log that another process writes to at this moment can look like one that is damaged. It does not stay as it is,
    and whoever writes to it holds the file, which the engine says. So what looks damaged is looked at twice.
    """
    log = read_log(path)
    if log is None or log.damage is None:
        return
    time.sleep(_BETWEEN_LOOKS_S)
    if read_log(path) == log:
        raise engine_errors.damaged(path, log.damage)


def create_private_file(path: Path) -> None:
    """Makes an empty database at ``path``, with mode 0600 from its first moment, or nothing at all.

    It is made under another name in the same directory and then given its own, so that a crash never leaves half a
    file. A database that somebody else made meanwhile is left alone; an empty file is replaced. Raises UsageError if
    the directory is missing or not writable, WriteFailed if there is no room.
    """
    check_directory(path)
    with unfinished(path, COPIED) as empty:
        _create(empty, path)
        _give_name(empty, path)


def create_unfinished_file(path: Path) -> None:
    """The same at the name of an unfinished file, where half a file is as good as none. Nothing may be there."""
    check_directory(path)
    _create(path, path)


def _create(empty: Path, path: Path) -> None:
    with _creating:
        mask = os.umask(0o177)
        try:
            duckdb.connect(str(empty)).close()
        except duckdb.Error as error:
            raise engine_errors.opening_error(error, path) from error
        finally:
            os.umask(mask)


def _give_name(empty: Path, path: Path) -> None:
    """Never takes the place of a file with content: another run may work on it already.

    On a file system without hard links, one that gets its content in this very moment is not seen.
    """
    if path.exists():
        if path.stat().st_size == 0:
            os.replace(empty, path)
        return
    try:
        os.link(empty, path)
    except FileExistsError:
        return
    except OSError:  # a file system that knows no links
        os.replace(empty, path)
