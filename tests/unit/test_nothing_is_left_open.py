"""A test that leaves something open fails itself, and not whichever test runs when the garbage is collected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

TESTS_THAT_LEAK = """
import importlib
import json
import socket
import sys

import pytest

class Holder:
    def __init__(self):
        self.itself = self
        self.socket = socket.socket()

@pytest.fixture(scope="module")
def held_by_the_module():
    holder = []
    yield holder
    holder.clear()

def test_1_innocent():
    pass

def test_2_leaks():
    Holder()

def test_3_innocent():
    pass

def test_4_imports_much(tmp_path, monkeypatch, held_by_the_module):
    held_by_the_module.append(Holder())
    monkeypatch.syspath_prepend(tmp_path)
    for number in range(40):
        (tmp_path / f"module_{number}.py").write_text("things = [[] for _ in range(10)]")
        importlib.import_module(f"module_{number}")

def test_5_leaks():
    Holder()

def test_6_innocent():
    pass

def test_7_lets_go_of_what_was_there_when_much_was_imported(tmp_path, monkeypatch, held_by_the_module):
    held_by_the_module.clear()
    monkeypatch.syspath_prepend(tmp_path)
    for number in range(40, 80):
        (tmp_path / f"module_{number}.py").write_text("")
        importlib.import_module(f"module_{number}")

def test_8_innocent():
    pass
"""


def test_a_test_that_leaves_something_open_is_the_one_that_fails(tmp_path: Path) -> None:
    """Also after another test imported much, and for what was there then."""
    (tmp_path / "test_leaks.py").write_text(TESTS_THAT_LEAK)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error", "-rE"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("ERROR test")]
    assert failed == [
        "ERROR test_leaks.py::test_2_leaks",
        "ERROR test_leaks.py::test_5_leaks",
        "ERROR test_leaks.py::test_7_lets_go_of_what_was_there_when_much_was_imported",
    ], done.stdout
    assert "8 passed, 3 errors" in done.stdout
