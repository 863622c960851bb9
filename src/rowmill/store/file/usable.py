"""Which files can be run databases: their names, their kind, and that they have one name alone.

The engine keeps the log of a database beside the name it was opened by. Work under one of two names of a file is lost
under the other, and what is left then looks like the file of another version.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from rowmill.errors import UsageError
from rowmill.spec.nearest import did_you_mean_file
from rowmill.unfinished_file import CHANGED, COPIED, remove_left_behind

_LONGEST_NAME_BYTES = 235
"""File systems take 255; the engine and we put endings behind the name."""
_TAKEN_BY_ENGINE = "?\\"
"""Signs in a path that the engine reads as parts of an address, wherever they stand."""
EXAMINED = "examined.duckdb"
_DOCTOR = ".doctor-"
_SUFFIXES = {".duckdb", ".db", ".ddb"}
_MAGIC = b"DUCK"
_MAGIC_OFFSET = 8
_PATIENCE_S = 1.0
_BETWEEN_LOOKS_S = 0.02


def doctor_prefix(file: Path) -> str:
    """How the directory begins in which ``rowmill doctor`` gives a file the second name :data:`EXAMINED`."""
    return f".{file.name}{_DOCTOR}"


def check_usable(path: Path) -> None:
    """Raises UsageError if ``path`` cannot be a run database, whether it is there or not. Opens nothing."""
    _check_name(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreachable(error, path) from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is a directory. Name a file for the run database.")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is {_kind(found.st_mode)}, no ordinary file. Name a file for the run database.")


def check_exists(path: Path) -> None:
    """Raises UsageError if there is no file ``path``; it names the one that was probably meant."""
    if not path.exists():
        hint = did_you_mean_file(path, (".duckdb",)) or f" 'rowmill run SPEC {path}' creates it."
        raise UsageError(f"There is no run database '{path}'.{hint}")


def is_run_database(path: Path) -> bool:
    """Tells a run database from a spec: by its content, or by its ending when there is no such file."""
    try:
        # Opening a pipe would wait for somebody to write into it.
        if path.is_file():
            with path.open("rb") as file:
                file.seek(_MAGIC_OFFSET)
                if file.read(len(_MAGIC)) == _MAGIC:
                    return True
    except OSError:
        pass
    return path.suffix.lower() in _SUFFIXES


def check_directory(path: Path) -> None:
    """Raises UsageError if there is no directory for a new ``path``."""
    directory = path.parent
    if not directory.is_dir():
        raise UsageError(f"{path} cannot be made: there is no directory {directory}. Make it, or name another file.")


def several_names(path: Path) -> UsageError | None:
    """The error for a file that has more than one name; None for one that has not, or is not there."""
    if path.name == EXAMINED and _DOCTOR in path.parent.name:
        return None
    deadline = time.monotonic() + _PATIENCE_S
    while (links := _links(path)) > 1 and (links := links - _examined(path)) > 1:
        # A new file, also of a fork or a merge, has two names for a moment, and for longer if its process was killed.
        for ending in (COPIED, CHANGED):
            remove_left_behind(path.resolve(), ending)
        if time.monotonic() > deadline:
            return UsageError(
                f"{path} has {links} names (hard links). The log of a run database belongs to one name: what is done "
                "under it is lost under another. Nothing was changed. Keep the name that has a .wal beside it, or any "
                f"if none has ('find DIRECTORY -samefile {path}' lists them), and remove the others; cp makes a copy."
            )
        time.sleep(_BETWEEN_LOOKS_S)
    return None


def _examined(path: Path) -> int:
    """Names that ``rowmill doctor`` gave the file, to be read under alone."""
    file = path.resolve()
    found = 0
    for other in file.parent.glob(f"{glob.escape(doctor_prefix(file))}*/{EXAMINED}"):
        with suppress(OSError):  # gone meanwhile
            found += other.samefile(file)
    return found


def _links(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except OSError:
        return 0


def _check_name(path: Path) -> None:
    whole = f"{os.path.abspath(path)}{os.path.realpath(path)}"
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{path}: the name, or that of a directory above, is no UTF-8. Name another file.") from None
    taken = next((sign for sign in _TAKEN_BY_ENGINE if sign in whole), None)
    if taken is not None:
        raise UsageError(
            f"{path}: a run database, and the directories above it, cannot have {taken!r} in the name: the engine "
            "takes it for a part of an address. Name another file."
        )
    if path.name.partition(".")[0].lower() == "state":
        # The engine names the database after its file, and then cannot tell it from our schema.
        raise UsageError(f"{path}: a run database cannot be called 'state', as its schema is. Name another file.")
    size = len(os.fsencode(path.name))
    if size > _LONGEST_NAME_BYTES:
        raise UsageError(
            f"{path.name[:40]}… has a name of {size} bytes; a run database may have {_LONGEST_NAME_BYTES}, so that its "
            "log and copies find names beside it. Name another file."
        )


def _unreachable(error: OSError, path: Path) -> UsageError:
    if error.errno == errno.ELOOP:
        return UsageError(f"{path} cannot be opened: it is a link that leads to itself. Name another file.")
    return UsageError(f"{path} cannot be opened: {error.strerror or error}. Name another file.")


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
