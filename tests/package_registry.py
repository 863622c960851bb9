"""Packages of others that a test compares with: from PyPI, as pip is set up; without it the test is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def skip_without(requirement: str, directory: Path) -> None:
    """Skips the test if PyPI does not give this package; what goes wrong afterwards is a failure."""
    patience = ("--timeout", "15", "--retries", "1")
    command = [*PIP, "download", "--quiet", *patience, "--no-deps", "--dest", str(directory), requirement]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    if found.returncode:
        pytest.skip(f"{requirement} cannot be had from PyPI: {found.stderr.strip().splitlines()[-1]}")


def install(*arguments: str, python: Path = Path(sys.executable)) -> None:
    """Runs ``pip install`` with these arguments, for the environment of that Python."""
    command = [*PIP, "--python", str(python), "install", "--quiet", "--no-compile", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
