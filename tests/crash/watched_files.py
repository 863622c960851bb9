"""A look at every change this process makes to the names of files, before it is made; and all files of a directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Look = Callable[[str], None]

_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.truncate"})
_WRITING = os.O_WRONLY | os.O_RDWR
_looks: list[Look] = []


def _on_audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _looks or (event not in _CHANGES and event != "open"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return
    look = _looks.pop()  # what it does itself is not looked at
    try:
        look(f"before {event} of {arguments[0]!r}")
    finally:
        _looks.append(look)


sys.addaudithook(_on_audit)  # there is no way to take it away again: without a look it does nothing


@contextmanager
def watched_files(look: Look) -> Iterator[None]:
    """Calls ``look`` inside the block before a file is opened for writing, renamed, linked or removed."""
    _looks.append(look)
    try:
        yield
    finally:
        _looks.remove(look)


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, as a process leaves it behind that dies now."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def put_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Makes a directory of what :func:`files_in` found."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
