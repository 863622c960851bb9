"""Unfinished files: nothing of them stays, not even what a killed process left behind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rowmill.errors import UsageError, WriteFailed
from rowmill.export.target import whole_file
from rowmill.store.run_store import RunStore
from rowmill.unfinished_file import CHANGED, left_behind, remove_left_behind, unfinished, unfinished_name

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def leave(target: Path, pid: int, ending: str = CHANGED) -> list[Path]:
    """What a killed process leaves: a database, its log, its kept blocks and what it spilled."""
    base = target.with_name(f".{target.name}.{pid}.{ending}")
    spilled = base.with_name(f"{base.name}.tmp")
    spilled.mkdir()
    (spilled / "block").write_bytes(b"spilled")
    files = [base, *(base.with_name(base.name + companion) for companion in (".wal", ".undo"))]
    for file in files:
        file.write_bytes(b"half")
    return [*files, spilled]


def test_what_a_dead_process_left_goes_with_all_that_belongs_to_it(tmp_path: Path, dead_pid: int) -> None:
    target = tmp_path / "run.duckdb"
    left = leave(target, dead_pid)
    others = {".run.duckdb.x.changed", ".other.duckdb.1.changed", f".run.duckdb.{dead_pid}.changed.kept", "run.duckdb"}
    for name in others:
        (tmp_path / name).write_bytes(b"")
    assert sorted(left_behind(target, CHANGED)) == sorted(left)
    assert sorted(remove_left_behind(target, CHANGED)) == sorted(left)
    assert names_in(tmp_path) == others


def test_what_a_living_process_makes_stays(tmp_path: Path) -> None:
    target = tmp_path / "run.duckdb"
    left = leave(target, os.getppid())
    assert remove_left_behind(target, CHANGED) == []
    assert all(path.exists() for path in left)


def test_what_a_process_of_another_container_holds_stays_whatever_its_number_says(
    tmp_path: Path, dead_pid: int
) -> None:
    target = tmp_path / "run.duckdb"
    left = leave(target, dead_pid)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(left[0])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert remove_left_behind(target, CHANGED) == []
        holder.communicate()
    assert sorted(remove_left_behind(target, CHANGED)) == sorted(left)


def test_what_this_process_makes_stays_and_what_another_of_its_number_left_goes(tmp_path: Path) -> None:
    target = tmp_path / "run.duckdb"
    leave(target, os.getpid())
    with unfinished(target, CHANGED) as path:
        assert names_in(tmp_path) == set()
        path.write_bytes(b"new")
        path.with_name(f"{path.name}.wal").write_bytes(b"log")
        assert remove_left_behind(target, CHANGED) == []
        assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == set()


def test_a_link_with_such_a_name_goes_and_what_it_leads_to_stays(tmp_path: Path, dead_pid: int) -> None:
    target, kept = tmp_path / "run.duckdb", tmp_path / "kept"
    kept.write_bytes(b"kept")
    (tmp_path / f".run.duckdb.{dead_pid}.changed").symlink_to(kept)
    assert len(remove_left_behind(target, CHANGED)) == 1
    assert (names_in(tmp_path), kept.read_bytes()) == ({"kept"}, b"kept")


def test_whoever_works_on_a_run_database_removes_what_a_killed_change_of_it_left(tmp_path: Path, dead_pid: int) -> None:
    target = tmp_path / "run.duckdb"
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(target)
    RunStore.open(target).close()
    leave(target, dead_pid)
    RunStore.open(link).close()
    assert names_in(tmp_path) == {"run.duckdb", "elsewhere"}


def test_an_export_removes_what_a_killed_one_of_the_same_file_left(tmp_path: Path, dead_pid: int) -> None:
    target = tmp_path / "rows.jsonl"
    left = tmp_path / f".rows.jsonl.{dead_pid}.part"
    left.write_bytes(b"half")
    other = tmp_path / f".rows.jsonl.{os.getppid()}.part"
    other.write_bytes(b"of a living one")
    with whole_file(target, force=False) as file:
        file.write(b"whole")
        assert unfinished_name(target, "part").exists()
    assert names_in(tmp_path) == {"rows.jsonl", other.name}


def test_an_export_without_room_says_what_there_was_no_room_for_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with whole_file(target, force=False) as file:
            file.write(bytes(200_000))

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, allowed[1]))
    try:
        with pytest.raises(WriteFailed, match=r"no room for '.*rows.jsonl'.*Make room"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert names_in(tmp_path) == set()


def test_two_threads_that_make_the_same_file_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"

    def both() -> None:
        with whole_file(target, force=False) as first:
            first.write(b"fir")
            with whole_file(target, force=False) as second:
                second.write(b"second")
            first.write(b"st")

    with pytest.raises(UsageError, match="exists already"):
        both()
    assert (names_in(tmp_path), target.read_bytes()) == ({"rows.jsonl"}, b"second")
