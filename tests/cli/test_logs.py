"""Logs: what is said at which level, as text and JSON, and never a key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import CommandLine

from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "said", "unsaid"),
    [
        ("-q", [], ["warning:", "info:", "Working on"]),
        ("-v", ["info: Working on logged.duckdb", "info: The invocation ends: complete"], ["debug:", PROMPT]),
        ("-vv", ["debug: Request of column 'note' failed", "debug: Dropped row "], [PROMPT]),
        ("-vvv", [PROMPT, "prompt: note, row 0: "], []),
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


def _records(stderr: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in stderr.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_options(command: str) -> None:
    context = click.Context(group, **group.context_settings)
    found = group.get_command(context, command)
    assert found is not None
    options = [flag for option in found.params for flag in option.opts]
    for flag in ("-v", "-q", "--log-format"):
        assert options.count(flag) == 1


def test_all_that_goes_to_stderr_is_json_if_it_is_to_be(rowmill: CommandLine, quick_run: Path) -> None:
    finished = _records(rowmill("run", quick_run, "--log-format", "json").stderr)
    assert finished[-1]["logger"] == "rowmill.command"
    empty = _records(rowmill("show", "dropped", "-v", "--log-format", "json").stderr)
    assert [(record["logger"], record["level"]) for record in empty] == [
        ("rowmill.reading", "info"),
        ("rowmill.command", "info"),
    ]
    assert empty[1]["message"] == "No row was dropped."
    (wrong,) = _records(rowmill("sql", "from nowhere", "--log-format", "json").stderr)
    assert (wrong["level"], wrong["message"].startswith("Error: The query does not run")) == ("error", True)


@pytest.mark.slow
def test_quiet_leaves_errors_and_data(rowmill: CommandLine, quick_run: Path) -> None:
    assert rowmill("show", "dropped", "-q").stderr == ""
    assert rowmill("export", "--format", "jsonl", "--output", "-", "-q").stderr == ""
    assert rowmill("-q", "show", "rows").stdout == rowmill("show", "rows").stdout
    assert rowmill("sql", "from nowhere", "-q").stderr.startswith("Error: The query does not run")


def test_variables_set_the_options_of_all_commands_and_what_is_typed_wins(
    rowmill: CommandLine, quick_run: Path
) -> None:
    told = {"ROWMILL_LOG_FORMAT": "json", "ROWMILL_VERBOSE": "1"}
    environment = CommandLine(rowmill.directory, environment=told)
    assert [record["logger"] for record in _records(environment("status").stderr)] == ["rowmill.reading"]
    assert "UTC info: Nobody works on" in environment("status", "--log-format", "text").stderr
    quiet = CommandLine(rowmill.directory, environment={"ROWMILL_QUIET": "1"})
    assert quiet("show", "dropped").stderr == ""


def test_importing_and_running_from_python_sets_up_no_logging() -> None:
    program = (
        "import logging, rowmill, rowmill.run_database\n"
        "assert logging.getLogger('rowmill').handlers == [] and logging.getLogger().handlers == []\n"
        "assert logging.getLogger('rowmill').level == logging.NOTSET"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
