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


def test_modules_come_whole_those_that_share_a_cluster_first_then_by_the_longest_time_out_they_ask_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(f"import pytest\n{text}\n")
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
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
