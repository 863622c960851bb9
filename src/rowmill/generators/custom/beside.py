"""What functions of a spec import from beside it, as this process has it.

Python imports a module once a process, and by its name alone. A program that runs specs of two directories, or runs one
again after a helper was edited, would call the code of the other directory, or the code of before, while fingerprints
follow what is in the files (V2). So before functions are imported, what belongs to another directory is let go, and
all that lies beside the spec if any of it changed. Functions that were loaded before keep what they have, and so does a
program that imported such a module itself: what it has is its own matter.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_known: dict[Path, dict[Path, str]] = {}
"""Per directory of a spec the files that were imported from it by their plain names, with the digests they had."""


@contextmanager
def imported_anew(directory: Path) -> Iterator[None]:
    """Around the import of functions of a spec in ``directory``."""
    for other, files in list(_known.items()):
        if other != directory or any(_digest(file) != digest for file, digest in files.items()):
            del _known[other]
            _let_go(other, {_top_level(other, file) for file in files})
    before = set(sys.modules)
    try:
        yield
    finally:
        found = _files_beside(directory, sys.modules.keys() - before)
        if found:
            _known.setdefault(directory, {}).update((file, _digest(file)) for file in found)


def _files_beside(directory: Path, names: Iterable[str]) -> list[Path]:
    """The files of those modules that are found in the directory by their names."""
    found = []
    for name in names:
        top, file = name.partition(".")[0], _told(sys.modules.get(name), "__file__")
        if isinstance(file, str):
            path = Path(file)
            if path == directory / f"{top}.py" or path.is_relative_to(directory / top):
                found.append(path)
    return found


def _let_go(directory: Path, top_levels: Iterable[str]) -> None:
    """Modules of these names from there, and what was loaded from there under names of its own: it refers to them."""
    gone = set(top_levels)
    for name, module in list(sys.modules.items()):
        if ("@" in name or name.partition(".")[0] in gone) and _lies_in(module, directory):
            del sys.modules[name]


def _lies_in(module: object, directory: Path) -> bool:
    file = _told(module, "__file__")
    places = [file] if isinstance(file, str) else list(_told(module, "__path__") or ())
    return any(Path(place).is_relative_to(directory) for place in places)


def _told(module: object, name: str) -> Any:
    """What a module holds itself: one that makes its attributes when it is asked for them is not asked."""
    return getattr(module, "__dict__", {}).get(name)


def _top_level(directory: Path, file: Path) -> str:
    return file.relative_to(directory).parts[0].removesuffix(".py")


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:  # it is gone, or nobody may read it any more
        return ""
