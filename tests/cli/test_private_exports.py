"""Exports and reports hold people's data: who may read them, from the command line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from command_line import CommandLine


def _modes(directory: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [directory, *directory.rglob("*")]}


@pytest.mark.parametrize("command", [["export", "--output", "x.csv"], ["report", "--output", "x.csv"]])
def test_a_file_is_private_unless_a_mode_is_said(rowmill: CommandLine, quick_run: Path, command: list[str]) -> None:
    assert rowmill(*command).returncode == 0
    assert stat.S_IMODE((rowmill.directory / "x.csv").stat().st_mode) == 0o600
    assert rowmill(*command, "--force", "--mode", "644").returncode == 0
    assert stat.S_IMODE((rowmill.directory / "x.csv").stat().st_mode) == 0o644
    assert rowmill(*command, "--force").returncode == 0
    assert stat.S_IMODE((rowmill.directory / "x.csv").stat().st_mode) == 0o644


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--partition-by", "colour"], ["--layout", "huggingface"]])
def test_a_directory_is_private_unless_a_mode_is_said(
    rowmill: CommandLine, quick_run: Path, options: list[str]
) -> None:
    assert rowmill("export", *options, "--output", "parts").returncode == 0
    assert _modes(rowmill.directory / "parts") == {(True, 0o700), (False, 0o600)}
    assert rowmill("export", *options, "--output", "parts", "--force", "--mode", "640").returncode == 0
    assert _modes(rowmill.directory / "parts") == {(True, 0o750), (False, 0o640)}
    assert rowmill("extend", "--records", "30").returncode == 0
    assert rowmill("run", "quick.duckdb").returncode == 0
    assert rowmill("export", *options, "--output", "parts", "--append").returncode == 0
    assert _modes(rowmill.directory / "parts") == {(True, 0o750), (False, 0o640)}


@pytest.mark.parametrize("mode", ["9", "1777", "0", "044", "rw", "-1", ""])
def test_what_is_no_mode_is_refused(rowmill: CommandLine, quick_run: Path, mode: str) -> None:
    done = rowmill("export", "--output", "x.csv", "--mode", mode)
    assert done.returncode == 2
    assert "such as 640" in done.stderr
    assert not (rowmill.directory / "x.csv").exists()


def test_csv_safe_is_for_csv_alone(rowmill: CommandLine, quick_run: Path) -> None:
    assert rowmill("export", "--csv-safe").returncode == 2
    assert rowmill("export", "--csv-safe", "--output", "x.csv").returncode == 0
