"""Tests that may take long begin first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
MODULES = {
    "test_a_short": "def test_1(): pass\ndef test_2(): pass",
    "test_b_long": "@pytest.mark.timeout(300)\ndef test_1(): pass\ndef test_2(): pass",
    "test_c_short": "def test_1(): pass",
    "test_c_waiting": "def test_1(): pass\n@pytest.fixture\ndef cluster(): pass\ndef test_2(cluster): pass",
    "test_d_longest": "def test_1(): pass\n@pytest.mark.timeout(900)\ndef test_2(): pass",
}


def collected(directory: Path, *options: str) -> list[str]:
    """The tests pytest would run, in their order, with our conftest and these options."""
    (directory / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(directory), *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_modules_come_whole_those_that_share_a_cluster_first_then_by_the_longest_time_out_they_ask_for(
    tmp_path: Path,
) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(f"import pytest\n{text}\n")
    assert collected(tmp_path) == [
        "test_c_waiting.py::test_1",
        "test_c_waiting.py::test_2",
        "test_d_longest.py::test_1",
        "test_d_longest.py::test_2",
        "test_b_long.py::test_1",
        "test_b_long.py::test_2",
        "test_a_short.py::test_1",
        "test_a_short.py::test_2",
        "test_c_short.py::test_1",
    ]


def test_where_only_slow_tests_are_wanted_modules_without_any_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "test_quick.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "test_slow.py").write_text("import pytest\n@pytest.mark.slow\ndef test_1(): pass\ndef test_2(): pass\n")
    assert collected(tmp_path, "-m", "slow") == ["test_slow.py::test_1"]
