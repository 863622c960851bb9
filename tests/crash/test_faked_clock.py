"""F4 on real processes whose clock is set: a deferral neither waits for days nor is lost (needs libfaketime)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine

_LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    Path("/usr/local/lib/faketime/libfaketimeMT.so.1"),
]
_LIBRARY = next((path for path in _LIBRARIES if path.exists()), None)

_FUNCTIONS = """
import os, signal
from pathlib import Path
import rowmill
from rowmill.errors import RateLimited

calls = 0

@rowmill.generator(required_columns=["n"])
def late(row):
    global calls
    calls += 1
    if Path("healed").exists():
        return row["n"] + 1
    if calls == 4:
        os.kill(os.getpid(), signal.SIGTERM)
    raise RateLimited("later", 1.0)
"""
_SPEC = """
name: clock
records: 4
columns:
  - {name: n, column_type: sampler, sampler_type: uniform, params: {low: 1, high: 9}, convert_to: int}
  - {name: late, column_type: custom, generator_function: "functions:late", required_columns: [n], dtype: int}
"""


@pytest.mark.slow
@pytest.mark.skipif(_LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize(("first", "second"), [("+3d", "+0d"), ("-3d", "+0d")], ids=["back", "forward"])
def test_f4_tasks_that_wait_are_made_soon_although_the_clock_was_set_by_days(
    first: str, second: str, tmp_path: Path
) -> None:
    (tmp_path / "functions.py").write_text(_FUNCTIONS)
    (tmp_path / "spec.yaml").write_text(_SPEC)

    def at(time: str) -> CommandLine:
        faked = {"LD_PRELOAD": str(_LIBRARY), "FAKETIME": time, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        return CommandLine(tmp_path, environment=faked, executes=True)

    stopped = at(first)("run", "spec.yaml")
    assert stopped.returncode == 75, stopped.stderr
    waiting = at(second)("sql", "--format", "json", "clock.duckdb", "select count(*) as n from deferred_task")
    assert json.loads(waiting.stdout)[0]["n"] > 0
    (tmp_path / "healed").touch()
    done = at(second)("run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    rows = at(second)("sql", "--format", "json", "clock.duckdb", "select late - n as one from dataset")
    assert [row["one"] for row in json.loads(rows.stdout)] == [1] * 4
