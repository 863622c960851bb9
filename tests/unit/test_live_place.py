"""Where a living run can be asked: found by whoever means the same file, private, and cleaned up after the dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowmill.inspect.place import DIRECTORY_VARIABLE, LivePlace, live_place


@pytest.fixture(autouse=True)
def directory(sockets: Path) -> Path:
    """A directory for the sockets of this test alone."""
    return sockets


@pytest.fixture
def dead_pid() -> int:
    """The pid of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


@pytest.fixture
def listener(directory: Path) -> Iterator[LivePlace]:
    """A place where somebody listens."""
    place = LivePlace(directory, "listener")
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(place.socket))
        server.listen()
        yield place


def test_every_path_to_a_file_leads_to_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.duckdb"
    file.touch()
    (tmp_path / "link.duckdb").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    places = {live_place(path) for path in (file, Path("x.duckdb"), Path("link.duckdb"), Path("./sub/../x.duckdb"))}
    assert len(places) == 1


def test_two_databases_of_one_name_have_two_places(tmp_path: Path) -> None:
    assert live_place(tmp_path / "a" / "x.duckdb") != live_place(tmp_path / "b" / "x.duckdb")


def test_a_very_long_path_has_a_short_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE)
    place = live_place(Path("/", *(["directory-with-a-long-name"] * 30), "x.duckdb"))
    assert len(os.fsencode(place.socket)) <= 103


def test_the_directory_is_private_and_the_note_too(tmp_path: Path, directory: Path) -> None:
    place = live_place(tmp_path / "x.duckdb")
    place.announce()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert place.note.stat().st_mode & 0o777 == 0o600
    assert place.announced_pid() == os.getpid()
    place.withdraw()
    assert list(directory.iterdir()) == []


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path, directory: Path) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    with pytest.raises(OSError, match="only we can enter"):
        live_place(tmp_path / "x.duckdb").announce()
    assert not live_place(tmp_path / "x.duckdb").has_socket()


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="only we can enter"):
        live_place(tmp_path / "x.duckdb").announce()


def test_a_directory_too_deep_for_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(deep))
    with pytest.raises(OSError, match="too long"):
        live_place(tmp_path / "x.duckdb").announce()


def test_what_killed_processes_left_is_swept_and_the_living_stay(
    tmp_path: Path, directory: Path, listener: LivePlace, dead_pid: int
) -> None:
    listener.note.write_text(str(os.getpid()))
    dead = LivePlace(directory, "dead")
    dead.note.write_text(str(dead_pid))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(dead.socket))
    assert dead.has_socket()
    mine = live_place(tmp_path / "x.duckdb")
    mine.announce()
    assert {path.name for path in directory.iterdir()} == {"listener.sock", "listener.pid", mine.note.name}


def test_a_note_of_a_dead_process_announces_nobody(directory: Path, dead_pid: int) -> None:
    place = LivePlace(directory, "dead")
    directory.mkdir(mode=0o700)
    place.note.write_text(str(dead_pid))
    assert place.announced_pid() is None
    place.note.write_text("no number")
    assert place.announced_pid() is None


def test_a_file_in_place_of_the_socket_is_no_socket(tmp_path: Path) -> None:
    place = live_place(tmp_path / "x.duckdb")
    place.announce()
    place.socket.touch()
    assert not place.has_socket()
