"""``rowmill status``: one screen for people, a contract for programs, in any terminal and none."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import fields
from pathlib import Path

import pytest
from command_line import CommandLine
from help_page import PAGES
from run_state import RunState
from terminal import Terminal
from virtual_run import EPOCH, llm, model, prepared, sampler

from rowmill.store.reading.listing import VIEWS
from rowmill.store.reading.status import Details, Status
from rowmill.store.run_store import RunStore

SLOW = """
name: slow
records: 4000
models:
  - {alias: writer, provider: simulated, model: slow, max_parallel_requests: 2, simulation: {latency_ms: 200}}
columns:
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "Write."}
"""


def _spec(records: int = 20):  # type: ignore[no-untyped-def]
    return prepared(sampler(), llm("note", "Write."), models=[model()], records=records, row_group_size=5)


def _crashed(path: Path) -> Path:
    with RunState(_spec(), path) as state:
        state.take()
        state.write_deferral("note", 0, 1, until_s=60)
        state.write_drop("note", 3)
    return path


def test_the_fields_of_the_json_are_those_of_the_help(rowmill: CommandLine, quick_run: Path) -> None:
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    nested = {field.name for field in fields(Details)}
    assert set(status) == {field.name for field in fields(Status)} - {"details"} | nested
    table = PAGES["looking"].partition("| field | meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
    assert nested | {"columns", "resources"} == {name for name, _ in rows}
    for name, meaning in rows:
        value = status[name]
        if name in nested and isinstance(value, dict):
            assert set(value) <= set(re.findall(r"`(\w+)`", meaning))


def test_the_json_of_a_finished_run_does_not_change_with_time(rowmill: CommandLine, quick_run: Path) -> None:
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    assert status["pace"]["seconds_left"] == 0
    assert status["pace"]["requests"][0]["resource"] == "simulated/quick"
    assert status["admission"]["explanation"] == "The run is complete: every row group is finished."
    assert status["oldest_row_group"] is None


def test_the_resources_of_the_json_are_the_view(rowmill: CommandLine, quick_run: Path) -> None:
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    assert status["resources"] == json.loads(rowmill.output_of("sql", "from resource order by all", "--format", "json"))
    assert all(resource["explanation"] for resource in status["resources"])


def test_a_crashed_run_tells_what_failed_and_how_to_go_on(rowmill: CommandLine) -> None:
    shown = rowmill.output_of("status", _crashed(rowmill.directory / "x.duckdb"))
    assert re.search(r"^state +stopped$", shown, re.MULTILINE)
    assert re.search(r"^dropped +1 × column 'note' \(rejected, ValueError\): no$", shown, re.MULTILINE)
    assert re.search(r"^deferred +1 × column 'note' \(Timeout\): slow$", shown, re.MULTILINE)
    assert "'rowmill run' goes on" in shown
    assert re.search(r"oldest unfinished: 0, active, entered .* UTC$", shown, re.MULTILINE)


def test_a_run_that_has_not_begun_and_one_of_no_rows_have_a_status(rowmill: CommandLine) -> None:
    new = rowmill.directory / "new.duckdb"
    store = RunStore.open(new)
    store.create(_spec().blueprint(), EPOCH)
    store.close()
    assert "the run has not begun" in rowmill.output_of("status", new)
    empty = rowmill.directory / "empty.duckdb"
    with RunState(_spec(records=0), empty) as state:
        state.take()
        state.store.end("complete", EPOCH)
    assert "0 of 0 finished (100 %)" in rowmill.output_of("status", empty)


def test_plain_characters_on_request_and_where_the_stream_has_no_others(rowmill: CommandLine) -> None:
    path = _crashed(rowmill.directory / "x.duckdb")
    assert rowmill.output_of("status", path, "--ascii").isascii()
    plain = CommandLine(rowmill.directory, environment={"PYTHONIOENCODING": "ascii"})
    assert "1 x column 'note'" in plain.output_of("status", path)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_on_a_terminal_it_is_a_panel_of_its_width(rowmill: CommandLine, columns: int) -> None:
    path = _crashed(rowmill.directory / "x.duckdb")
    with Terminal([*rowmill.command, "status", path], rowmill.directory, columns=columns) as terminal:
        shown = terminal.read_to_end()
    assert shown.startswith("╭─ virtual: stopped ─")
    assert {len(line) for line in shown.splitlines()} == {columns}


def test_a_terminal_without_unicode_gets_a_plain_panel(rowmill: CommandLine) -> None:
    path = _crashed(rowmill.directory / "x.duckdb")
    environment = {"PYTHONIOENCODING": "ascii"}
    with Terminal([*rowmill.command, "status", path], rowmill.directory, environment=environment) as terminal:
        shown = terminal.read_to_end()
    assert shown.isascii()
    assert shown.startswith("+- virtual: stopped -")


def test_watching_a_run_that_nobody_works_on_shows_it_once(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("status", "--watch")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d\d:\d\d:\d\d UTC 20/20 rows \(100 %\).*\n", done.stdout)
    with Terminal([*rowmill.command, "status", "--watch"], rowmill.directory) as terminal:
        assert "quick: finished" in terminal.read_to_end()
        assert terminal.process.returncode == 0


@pytest.mark.slow
def test_watching_a_living_run_ends_with_it(rowmill: CommandLine) -> None:
    (rowmill.directory / "slow.yaml").write_text(SLOW)
    run = rowmill.start("run", "slow.yaml")
    assert run.stderr is not None
    run.stderr.readline()  # its first line of progress: it holds the file, and answers
    with Terminal([*rowmill.command, "status", "--watch", "slow.duckdb"], rowmill.directory, columns=100) as terminal:
        terminal.read_until("slow: running")
        run.send_signal(signal.SIGINT)
        shown = terminal.read_to_end()
    assert terminal.process.returncode == 0
    assert rowmill.end_of(run).returncode == 75
    assert "slow: stopped" in shown
    assert "simulated/slow" in shown


@pytest.mark.slow
def test_a_paused_run_says_so_and_how_to_go_on(rowmill: CommandLine) -> None:
    path = _crashed(rowmill.directory / "x.duckdb")
    rowmill.output_of("pause", path)
    assert "it is paused: 'rowmill run --resume' goes on" in rowmill.output_of("status", path)
    for what in VIEWS:
        assert rowmill("show", what, path).returncode == 0


def test_watching_is_not_for_programs(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("status", "--watch", "--format", "json")
    assert done.returncode == 2
    assert "--watch is for people" in done.stderr


@pytest.mark.slow
def test_the_panel_of_a_run_says_the_same_as_that_of_its_status(rowmill: CommandLine, quick_spec: Path) -> None:
    with Terminal([*rowmill.command, "run", quick_spec], rowmill.directory, columns=120) as terminal:
        shown = terminal.read_to_end()
    assert terminal.process.returncode == 0
    assert "20 of 20 finished (100 %)" in shown
    assert "quick: finished" in shown
    assert "Nothing works on this run" not in shown
