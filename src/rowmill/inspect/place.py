"""Where a living run can be asked: a socket in a private directory, its name derived from the database's real path.

Beside the socket lies a note with the pid of the holder, written as soon as it has the file: it tells a socket that is
still to come, or just went, from one that never will be. Both are true of a living process only; what a killed one
leaves behind is recognised and removed by the next.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DIRECTORY_VARIABLE = "ROWMILL_SOCKET_DIRECTORY"
"""Environment variable naming another directory for the sockets; runs and readers must agree on it."""

_LONGEST_PATH = 103
"""Bytes of a socket's path that fit every platform (Linux: 107, macOS: 103)."""
_SWEPT = 200


@dataclass(frozen=True, slots=True)
class LivePlace:
    """The socket and the note of one run database."""

    directory: Path
    key: str

    @property
    def socket(self) -> Path:
        """The Unix socket; mode 0600."""
        return self.directory / f"{self.key}.sock"

    @property
    def note(self) -> Path:
        """Holds the pid of the process that has the file."""
        return self.directory / f"{self.key}.pid"

    @property
    def location(self) -> str:
        """The socket as Arrow Flight names it."""
        return f"grpc+unix://{self.socket}"

    def announce(self) -> None:
        """Writes the note, in a directory of our own. Raises OSError, also when the directory is not private."""
        make_private(self.directory)
        if len(os.fsencode(self.socket)) > _LONGEST_PATH:
            raise OSError(f"The path of a socket in {self.directory} is too long; {DIRECTORY_VARIABLE} names another")
        sweep(self.directory)
        self.socket.unlink(missing_ok=True)
        descriptor = os.open(self.note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as note:
            note.write(str(os.getpid()))

    def withdraw(self) -> None:
        """Removes what :meth:`announce` and the server made."""
        for path in (self.socket, self.note):
            with suppress(OSError):  # swept away, or never made
                path.unlink()

    def waits(self) -> Path | None:
        """Writes a note that this process waits for readers to let the file go; None if there is no place for it."""
        note = self.directory / f"{self.key}-{os.getpid()}.waits"
        try:
            make_private(self.directory)
            note.touch(mode=0o600)
        except OSError:
            return None
        return note

    def is_waited_for(self) -> bool:
        """Whether another process that lives waits for readers to let the file go."""
        if not is_private(self.directory):
            return False
        for note in self.directory.glob(f"{self.key}-*.waits"):
            pid = note.stem.rpartition("-")[2]
            if pid.isdecimal() and int(pid) != os.getpid() and _is_alive(int(pid)):
                return True
        return False

    def announced_pid(self) -> int | None:
        """The process that announced to answer here; None if none did, or it is gone."""
        try:
            pid = int(self.note.read_text())
        except (OSError, ValueError):
            return None
        return pid if _is_alive(pid) else None

    def announced_at(self, pid: int) -> float | None:
        """When this process announced itself, that is, began to work (seconds since the epoch); None if it did not."""
        try:
            return self.note.stat().st_mtime if self.announced_pid() == pid else None
        except OSError:
            return None

    def has_socket(self) -> bool:
        """Is there a socket that only we can have made?"""
        return is_private(self.directory) and is_own_socket(self.socket)


def live_place(database: Path) -> LivePlace:
    """The place of a database, the same whatever link or relative path leads to it."""
    given = os.environ.get(DIRECTORY_VARIABLE)
    # Not TMPDIR or XDG_RUNTIME_DIR: they differ between a service and a login, and the latter goes with the login.
    directory = Path(given) if given else Path(f"/tmp/rowmill-{os.getuid()}")
    real = os.fsencode(os.path.realpath(database))
    return LivePlace(directory, hashlib.sha256(real).hexdigest()[:24])


def make_private(directory: Path) -> None:
    """Makes the directory with mode 0700. Raises OSError if there is one that others own or can enter."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        directory.chmod(0o700)
    if not is_private(directory):
        raise OSError(f"{directory} is not a directory that only we can enter (mode 0700)")


def is_private(directory: Path) -> bool:
    """A real directory of ours that nobody else can enter."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def is_own_socket(path: Path) -> bool:
    """A socket of ours."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()


def sweep(directory: Path) -> None:
    """Removes what killed processes left behind: notes of dead pids, sockets nobody listens on."""
    for path in sorted(directory.glob("*.sock"))[:_SWEPT]:
        if is_own_socket(path) and _refuses(path):
            with suppress(OSError):  # somebody else swept it
                path.unlink()
    for path in sorted(directory.glob("*.waits"))[:_SWEPT]:
        pid = path.stem.rpartition("-")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(OSError):
                path.unlink()
    for path in sorted(directory.glob("*.pid"))[:_SWEPT]:
        if LivePlace(directory, path.stem).announced_pid() is None:
            with suppress(OSError):
                path.unlink()


def _refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
