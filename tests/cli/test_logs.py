"""Logs: what is said at which level, as text and JSON, and never a key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine
from provider_simulator import provider_simulator

SPEC = """
name: logged
records: 12
row_group_size: 4
run: {{error_window: 1000}}
models:
  - {{alias: writer, provider: {provider}, model: small{more}}}
columns:
  - {{name: n, column_type: sampler, sampler_type: uuid, params: {{prefix: "secret subject "}}}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ n }}}}."}}
"""
PROMPT = "About secret subject"
KEY = "sk-never-to-be-seen-4711"


def _spec(directory: Path, provider: str = "simulated", more: str = ", simulation: {latency_ms: 1}") -> Path:
    path = directory / "logged.yaml"
    path.write_text(SPEC.format(provider=provider, more=more))
    return path


def _failing(directory: Path) -> Path:
    return _spec(directory, more=", simulation: {latency_ms: 1, rejected: 0.5, seed: 3}")


def test_without_being_asked_only_warnings_are_logged(rowmill: CommandLine) -> None:
    done = rowmill("run", _failing(rowmill.directory))
    lines = [line for line in done.stderr.splitlines() if " UTC warning: " in line]
    assert lines
    assert all(re.search(r"Dropped \d+ × column 'note' \(rejected, \w+", line) for line in lines)
    assert "UTC info" not in done.stderr
    assert PROMPT not in done.stderr


@pytest.mark.parametrize(
    ("option", "said", "unsaid"),
    [
        ("-q", [], ["warning:", "info:", "Working on"]),
        ("-v", ["info: Working on logged.duckdb", "info: The invocation ends: complete"], ["debug:", PROMPT]),
        ("-vv", ["debug: Request of column 'note' failed", "debug: Dropped row "], [PROMPT]),
        ("-vvv", [PROMPT, "prompt: note: "], []),
    ],
)
def test_each_level_says_more(rowmill: CommandLine, option: str, said: list[str], unsaid: list[str]) -> None:
    done = rowmill("run", _failing(rowmill.directory), option)
    assert done.returncode == 3
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr
    for text in unsaid:
        assert text not in done.stderr


def test_json_lines_are_json_progress_included(rowmill: CommandLine) -> None:
    done = rowmill("run", _failing(rowmill.directory), "-v", "--log-format", "json")
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {record["logger"] for record in records} >= {"rowmill.run", "rowmill.rows", "rowmill.progress"}
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", record["time"])
        assert record["level"] in {"info", "warning"}
    last = [record for record in records if record["logger"] == "rowmill.progress"][-1]
    assert (last["state"], last["rows_finished"] + last["rows_dropped"]) == ("finished", 12)
    (dropped, *_) = [record for record in records if record["logger"] == "rowmill.rows"]
    assert (dropped["column"], dropped["reason"]) == ("note", "rejected")


def test_a_key_is_in_no_log_at_any_level_and_in_no_file(rowmill: CommandLine) -> None:
    with provider_simulator(rejected=0.3, transient=0.2, latency_ms=1) as simulator:
        more = f', base_url: "{simulator.url}", api_key: "${{LOGGED_KEY}}"'
        spec = _spec(rowmill.directory, "openai", more)
        keyed = CommandLine(rowmill.directory, environment={"LOGGED_KEY": KEY})
        done = keyed("run", spec, "-vvv", "--log-format", "json")
        assert done.returncode in {0, 3}, done.stderr
    assert PROMPT in done.stderr
    assert KEY not in done.stderr + done.stdout
    for file in rowmill.directory.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_importing_and_running_from_python_sets_up_no_logging() -> None:
    program = (
        "import logging, rowmill, rowmill.run_database\n"
        "assert logging.getLogger('rowmill').handlers == [] and logging.getLogger().handlers == []\n"
        "assert logging.getLogger('rowmill').level == logging.NOTSET"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
