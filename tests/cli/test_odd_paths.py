"""Run databases under odd names, and what looks like one and is none: each works, or is refused with a reason."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from command_line import CommandLine

_SPEC = {"name": "odd", "records": 2, "columns": [{"name": "a", "column_type": "expression", "sql": "1"}]}


@pytest.fixture
def spec(rowmill: CommandLine) -> str:
    (rowmill.directory / "spec.json").write_text(json.dumps(_SPEC))
    return "spec.json"


@pytest.mark.parametrize(
    "name",
    [
        "a#b%20c*d.duckdb",
        'it\'s "quoted"; drop.duckdb',
        "two\nlines.duckdb",
        ":memory:",
        "file:x.duckdb",
        "md:x",
        "./-x.duckdb",
        "a[b]{c,d}.duckdb",
        "~é漢.duckdb",
        "x" * 228 + ".duckdb",
        "temp.duckdb",
    ],
)
def test_a_run_works_under_an_odd_name(rowmill: CommandLine, spec: str, name: str) -> None:
    done = rowmill("run", spec, name)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((rowmill.directory / name).stat().st_mode) == 0o600
    status = json.loads(rowmill.output_of("status", name, "--format", "json"))
    assert status[0]["rows_finished"] == 2
    assert rowmill("doctor", name).returncode == 0
    assert rowmill("run", spec, name).returncode == 0
    left = {path.name for path in rowmill.directory.iterdir()} - {spec, Path(name).name}
    assert left == set()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a?b.duckdb", "cannot have '?'"),
        ("a\\b.duckdb", "cannot have '\\\\'"),
        (os.fsdecode(b"a\xff\xfe.duckdb"), "is no UTF-8"),
        ("x" * 236, "236 bytes"),
        ("é" * 140 + ".duckdb", "287 bytes"),
        ("loop.duckdb", "leads to itself"),
        ("directory.duckdb", "is a directory"),
        ("", "is a directory"),
        ("pipe.duckdb", "is a pipe"),
        ("/dev/null", "is a device"),
        ("missing/x.duckdb", "no directory"),
        ("spec.json/x.duckdb", "Not a directory"),
        ("to_missing.duckdb", "no directory"),
        ("state.duckdb", "cannot be called 'state'"),
    ],
)
def test_what_cannot_be_a_run_database_is_refused_at_once_with_the_reason(
    rowmill: CommandLine, spec: str, name: str, reason: str
) -> None:
    (rowmill.directory / "loop.duckdb").symlink_to("loop.duckdb")
    (rowmill.directory / "to_missing.duckdb").symlink_to("missing/x.duckdb")
    (rowmill.directory / "directory.duckdb").mkdir()
    os.mkfifo(rowmill.directory / "pipe.duckdb")
    before = sorted(rowmill.directory.iterdir())
    done = rowmill("run", spec, name)
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert "Name another" in done.stderr or "Name a file" in done.stderr or "Make it" in done.stderr
    for command in ("status", "doctor"):
        looked = rowmill(command, name)
        assert looked.returncode == 2
        assert looked.stderr.startswith("Error: ")
    assert sorted(rowmill.directory.iterdir()) == before


def test_a_directory_nobody_may_write_to_is_said(rowmill: CommandLine, spec: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (rowmill.directory / "closed").mkdir(mode=0o555)
    done = rowmill("run", spec, "closed/x.duckdb")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


def test_a_link_to_nothing_gets_a_private_file_where_it_leads(rowmill: CommandLine, spec: str) -> None:
    (rowmill.directory / "elsewhere").mkdir()
    (rowmill.directory / "link.duckdb").symlink_to("elsewhere/real.duckdb")
    assert rowmill("run", spec, "link.duckdb").returncode == 0
    assert stat.S_IMODE((rowmill.directory / "elsewhere/real.duckdb").stat().st_mode) == 0o600
    assert (rowmill.directory / "link.duckdb").is_symlink()


def test_a_directory_behind_a_link_works(rowmill: CommandLine, spec: str) -> None:
    (rowmill.directory / "real").mkdir()
    (rowmill.directory / "linked").symlink_to("real")
    assert rowmill("run", spec, "linked/x.duckdb").returncode == 0
    assert rowmill("run", "real/x.duckdb").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["run", "spec.json"], ["run"], ["status"], ["doctor"], ["export"], ["extend", "--records", "4"], ["pause"]],
)
def test_a_file_with_two_names_is_refused_and_not_touched(rowmill: CommandLine, spec: str, command: list[str]) -> None:
    assert rowmill("run", spec, "a.duckdb").returncode == 0
    os.link(rowmill.directory / "a.duckdb", rowmill.directory / "b.duckdb")
    before = (rowmill.directory / "a.duckdb").read_bytes()
    verb, *options = command
    done = (
        rowmill(verb, *options[:1], "b.duckdb") if options[:1] == ["spec.json"] else rowmill(verb, "b.duckdb", *options)
    )
    assert done.returncode == 2, done.stderr
    assert "has 2 names (hard links)" in done.stderr
    assert "samefile" in done.stderr
    assert (rowmill.directory / "a.duckdb").read_bytes() == before
    (rowmill.directory / "b.duckdb").unlink()
    assert rowmill("run", spec, "a.duckdb").returncode == 0


def test_names_that_killed_processes_left_are_no_reason_to_refuse(rowmill: CommandLine, spec: str) -> None:
    """Of a creation that was killed between its two names, and of ``doctor``."""
    assert rowmill("run", spec, "a.duckdb").returncode == 0
    file = rowmill.directory / "a.duckdb"
    examined = rowmill.directory / ".a.duckdb.doctor-x1"
    examined.mkdir()
    os.link(file, rowmill.directory / ".a.duckdb.4194304.new")
    os.link(file, examined / "examined.duckdb")
    assert rowmill("status", "a.duckdb").returncode == 0
    assert rowmill("run", spec, "a.duckdb").returncode == 0
    assert not (rowmill.directory / ".a.duckdb.4194304.new").exists()
