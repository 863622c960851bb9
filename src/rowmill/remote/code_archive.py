"""The code workers need, as one archive: the working directory without what runs leave in it, and further modules.

Rowmill sends it itself, as a message: so it is the same whether Ray was started by us, by a user's program, or by
``ray job submit``, and it never holds run databases, exports or files of keys.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rowmill.errors import UsageError

LARGEST_MIB = 256
"""Of an archive, unpacked: what is larger is data, not code."""
_STAYS = (
    ".env", ".env.*", ".envrc", ".netrc", ".git", ".hg", ".svn", ".ssh", ".venv", "venv", "node_modules", "__pycache__",
    "*.pyc", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".DS_Store", "*.pem", "id_rsa*", "id_ed25519*",
    "*.duckdb", "*.duckdb.*",
)  # fmt: skip
"""Names that never travel: keys, history, environments, run databases and what lies beside them."""
_EXPORT_ENDINGS = (".parquet", ".jsonl", ".csv", ".arrow", ".html")
_EXPORT_MARK = "rowmill-export.json"
_WORK = "work"
_MODULES = "modules"
_PREFIX = "rowmill-code-"
_LOCK = "lock"
_EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class CodeArchive:
    """What is sent. ``content`` is a zip file; ``start`` is the spec's directory in it."""

    content: bytes
    start: str


def packed(directory: Path, working_dir: str, py_modules: Sequence[str], excludes: Sequence[str]) -> CodeArchive:
    """The archive for a spec that lies in ``directory``. Raises UsageError if something is missing, or it is too large.

    A function that is named ``module:function`` is looked for in the spec's directory; if that is not within the
    working directory, in the working directory itself.
    """
    base = (directory / Path(working_dir).expanduser()).resolve()
    if not base.is_dir():
        raise UsageError(f"working_dir {base} is no directory. Name the one whose files the workers need.")
    spec_directory = directory.resolve()
    start = spec_directory.relative_to(base).as_posix() if spec_directory.is_relative_to(base) else "."
    sizes: dict[str, int] = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in _files(base, tuple(excludes)):
            _add(archive, file, f"{_WORK}/{file.relative_to(base).as_posix()}", sizes)
        for module in py_modules:
            place = (directory / Path(module).expanduser()).resolve()
            if not place.is_dir() and place.suffix != ".py":
                raise UsageError(f"py_modules: {place} is neither a directory nor a Python file.")
            if not place.exists():
                raise UsageError(f"py_modules: there is no {place}.")
            for file in [place] if place.is_file() else _files(place, tuple(excludes)):
                _add(archive, file, f"{_MODULES}/{file.relative_to(place.parent).as_posix()}", sizes)
    return CodeArchive(buffer.getvalue(), start)


def _files(base: Path, excludes: tuple[str, ...]) -> Iterator[Path]:
    """Every file to send below a directory, in an order that does not change; links to directories are not followed."""
    for folder, directories, names in os.walk(base):
        here = Path(folder)
        runs = tuple(name.split(".duckdb")[0] for name in (*names, *directories) if ".duckdb" in name)
        directories[:] = sorted(
            name
            for name in directories
            if not _stays(here / name, base, excludes) and not (here / name / _EXPORT_MARK).exists()
        )
        for name in sorted(names):
            is_export = name.endswith(_EXPORT_ENDINGS) and any(
                name.startswith(run) and name[len(run) : len(run) + 1] in {".", "-", "_"} for run in runs if run
            )
            file = here / name
            if not is_export and not _stays(file, base, excludes) and file.is_file():
                yield file


def _stays(path: Path, base: Path, excludes: tuple[str, ...]) -> bool:
    relative = path.relative_to(base).as_posix()
    if any(fnmatch(path.name, pattern) for pattern in _STAYS):
        return True
    return any(
        fnmatch(relative, (wanted := pattern.removeprefix("./").rstrip("/"))) or fnmatch(path.name, wanted)
        for pattern in excludes
    )


def _add(archive: zipfile.ZipFile, file: Path, name: str, sizes: dict[str, int]) -> None:
    """Adds a file, with the same bytes whenever it is added: a zip's own times would make every archive another."""
    try:
        sizes[name] = file.stat().st_size
        if sum(sizes.values()) > LARGEST_MIB << 20:
            raise _too_large(sizes)
        entry = zipfile.ZipInfo(name, _EARLIEST)
        entry.external_attr = (0o755 if os.access(file, os.X_OK) else 0o644) << 16
        archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 1)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read, and would be sent to the workers: {error.strerror}. Name it in 'excludes'."
        ) from error


def _too_large(sizes: dict[str, int]) -> UsageError:
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    named = ", ".join(f"{name.partition('/')[2]} ({sizes[name] >> 20} MiB)" for name in largest)
    return UsageError(
        f"What would be sent to the workers has more than {LARGEST_MIB} MiB; the largest so far: {named}. Name what "
        "they do not need in run.executor.excludes, or the directory they do need in run.executor.working_dir."
    )


def unpacked(archive: bytes, start: str) -> Path:
    """Unpacks into a directory of this process's own, goes there, and returns where the spec's directory is in it.

    The directory is removed by a later worker of this machine: this one may be killed at any moment.
    """
    _remove_left_behind()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    _hold(home)
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        content.extractall(home)
    work, modules = home / _WORK, home / _MODULES
    work.mkdir(exist_ok=True)
    if modules.is_dir():
        sys.path.insert(0, str(modules))
    os.chdir(work)
    return work / start


def _hold(home: Path) -> None:
    """Locks the directory as long as this process lives; its name appears only when it is locked."""
    beginning = home / f"{_LOCK}.new"
    descriptor = os.open(beginning, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    beginning.rename(home / _LOCK)


def _remove_left_behind() -> None:
    """Removes directories of workers that are gone."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another's, held by a living worker, or removed by another worker this moment
            descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home)
            finally:
                os.close(descriptor)
