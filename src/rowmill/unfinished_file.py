"""Unfinished files: what shall become a file is written beside its place, as ``.NAME.PID.ENDING``, until it is whole.

A process that is killed leaves such a file behind, and it can be as large as a run database. Whoever makes the same
again, or works on the database next, removes what nobody uses any more: the process of that number is gone (or is this
one, and knows nothing of it), and nobody holds a lock on it, in whatever process namespace.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHANGED = "changed"
"""The ending of a run database under another spec, and of a fork."""
COPIED = "new"
"""That of a copy, and of a new database."""
PART = "part"
"""That of an export."""

_LONGEST_NAME_BYTES = 200
_COMPANIONS = (".wal", ".undo", ".tmp")
"""What the engine, and we, put beside a database: its log, the blocks a checkpoint overwrites, what did not fit into
memory."""

_in_use: set[Path] = set()
_taking = threading.Lock()


@contextmanager
def unfinished(target: Path, ending: str) -> Iterator[Path]:
    """The name under which ``target`` is made; nothing is there at first, and nothing when this is left.

    Also removes what processes that are gone left behind when they made the same. Whoever uses it links or renames the
    file, or the directory, when it is whole. Raises OSError if something has the name and cannot be removed.
    """
    remove_left_behind(target, ending)
    path = _taken(target, ending)
    try:
        _remove(path)
        yield path
    finally:
        try:
            _remove(path)
        finally:
            _in_use.discard(path)


def unfinished_name(target: Path, ending: str, number: int = 0) -> Path:
    """The name alone, beside ``target``. ``number`` tells threads of this process apart."""
    owner = f"{os.getpid()}-{number}" if number else f"{os.getpid()}"
    return Path(os.path.realpath(target.parent)) / f".{_beginning(target.name)}.{owner}.{ending}"


def _beginning(name: str) -> str:
    """As much of a name as leaves room for the rest, in whole characters."""
    return os.fsencode(name)[:_LONGEST_NAME_BYTES].decode("utf-8", "ignore")


def _taken(target: Path, ending: str) -> Path:
    """A name that no other thread uses, which is ours from now on."""
    with _taking:
        number = 0
        while (path := unfinished_name(target, ending, number)) in _in_use:
            number += 1
        _in_use.add(path)
        return path


def left_behind(target: Path, ending: str) -> list[Path]:
    """Unfinished files and directories for ``target`` that nobody uses any more, with what belongs to them."""
    directory = Path(os.path.realpath(target.parent))
    name = re.escape(_beginning(target.name))
    companions = "|".join(map(re.escape, _COMPANIONS))
    pattern = re.compile(rf"(\.{name}\.(\d{{1,10}})(?:-\d+)?\.{re.escape(ending)})({companions})?", re.DOTALL)
    found = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    for each in names:
        match = pattern.fullmatch(each)
        if match and not _is_used(directory / match[1], int(match[2])):
            found.append(directory / each)
    return found


def remove_left_behind(target: Path, ending: str) -> list[Path]:
    """Removes :func:`left_behind`; returns what is gone. What others own stays."""
    removed = []
    for path in left_behind(target, ending):
        with suppress(OSError):
            _remove_one(path)
            removed.append(path)
    return removed


def _is_used(path: Path, pid: int) -> bool:
    if path in _in_use:
        return True
    return (pid != os.getpid() and _lives(pid)) or _is_locked(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_locked(path: Path) -> bool:
    """Whether another process holds the engine's lock: of another container, its number says nothing here."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # a directory, or gone, or of somebody else
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    for each in (path, *(path.with_name(path.name + companion) for companion in _COMPANIONS)):
        with suppress(FileNotFoundError):
            _remove_one(each)


def _remove_one(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
