"""Comfort: the SQL prompt, completion of shells, options from the environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import CommandLine
from terminal import Terminal

from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group


def _prompt(rowmill: CommandLine, *arguments: str | Path) -> Terminal:
    environment = {"XDG_STATE_HOME": str(rowmill.directory / "kept")}
    return Terminal([*rowmill.command, "sql", *arguments], rowmill.directory, columns=100, environment=environment)


def test_sql_without_a_query_is_a_prompt_that_survives_mistakes(rowmill: CommandLine, quick_run: Path) -> None:
    with _prompt(rowmill) as terminal:
        terminal.read_until("rowmill> ")
        terminal.enter("select count(*) + 22 as answer")
        terminal.read_until("...> ")
        terminal.enter("from dataset;")
        terminal.read_until("42")
        terminal.enter("select nonsense from nowhere;")
        terminal.read_until("Error: The query does not run")
        terminal.enter("delete from state.run;")
        terminal.read_until("only reads")
        terminal.enter(".views")
        terminal.read_until("dropped_row: row_id, row_group")
        terminal.enter(".quit")
        terminal.read_to_end()
        assert terminal.process.returncode == 0


def test_the_prompt_remembers_what_was_asked_in_a_private_file(rowmill: CommandLine, quick_run: Path) -> None:
    with _prompt(rowmill, quick_run) as terminal:
        terminal.read_until("rowmill> ")
        terminal.enter("select 'find me again' as words;")
        terminal.read_until("find me again \n")
        terminal.enter(".quit")
        terminal.read_to_end()
    history = rowmill.directory / "kept" / "rowmill" / "sql_history"
    assert "find me again" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with _prompt(rowmill, quick_run) as terminal:
        terminal.read_until("rowmill> ")
        terminal.enter("\x1b[A\x1b[A")  # the last line was .quit
        terminal.read_until("find me again")


def test_the_prompt_holds_the_database_only_while_a_statement_runs(rowmill: CommandLine, quick_run: Path) -> None:
    with _prompt(rowmill, quick_run) as terminal:
        terminal.read_until("rowmill> ")
        terminal.enter("from run_status;")
        terminal.read_until("finished")
        assert rowmill("run", quick_run).returncode == 0


def test_an_interrupt_gives_up_what_was_typed_and_the_end_of_input_leaves(
    rowmill: CommandLine, quick_run: Path
) -> None:
    with _prompt(rowmill, quick_run) as terminal:
        terminal.read_until("rowmill> ")
        terminal.enter("select 1 as")
        terminal.read_until("...> ")
        terminal.wait_until_it_waits()
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("...> \nrowmill> ")
        terminal.enter("select 17 + 4 as sum;")
        terminal.read_until("21")
        terminal.read_until_it_ends_with("\nrowmill> ")
        terminal.press("\x04")
        terminal.read_to_end()
        assert terminal.process.returncode == 0


def test_without_a_terminal_a_missing_query_is_wrong_usage(rowmill: CommandLine, quick_run: Path) -> None:
    for arguments in ([], [quick_run]):
        done = rowmill("sql", *arguments, input="select 1")
        assert done.returncode == 2
        assert "A query is missing" in done.stderr


# Completion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_every_shell_asks_rowmill(rowmill: CommandLine, shell: str) -> None:
    script = rowmill.output_of("completion", shell)
    assert f"_ROWMILL_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=30)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["st"], {"status"}),
        (["show", "dro"], {"dropped"}),
        (["status", "--wa"], {"--watch"}),
        (["export", "--format", "pa"], {"parquet"}),
    ],
)
def test_bash_offers_commands_options_and_values(rowmill: CommandLine, typed: list[str], offered: set[str]) -> None:
    words = ["rowmill", *typed]
    program = (
        f"{rowmill.output_of('completion', 'bash')}\n"
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(typed)}; _rowmill_completion rowmill\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True, text=True, check=True, timeout=45, env={**os.environ, "PATH": binaries},
    )  # fmt: skip
    assert set(done.stdout.split()) == offered


# The environment ------------------------------------------------------------------------------------


def test_every_option_has_its_variable_but_those_that_confirm() -> None:
    context = click.Context(group, **group.context_settings)
    seen: set[str] = set()
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option):
                confirms = {"--yes", "--force"} & set(option.opts)
                assert (option.envvar is None) == bool(confirms), (name, option.opts)
                seen |= set(option.envvar or ())
    assert {"ROWMILL_STATUS_FORMAT", "ROWMILL_SQL_TIME_LIMIT", "ROWMILL_RUN_QUIET", "ROWMILL_LOG_FORMAT"} <= seen


def test_a_variable_sets_an_option_and_what_is_typed_wins(rowmill: CommandLine, quick_run: Path) -> None:
    told = CommandLine(rowmill.directory, environment={"ROWMILL_STATUS_FORMAT": "jsonl"})
    assert json.loads(told.output_of("status"))["name"] == "quick"
    assert told.output_of("status", "--format", "csv").startswith('"name"')
    wrong = CommandLine(rowmill.directory, environment={"ROWMILL_STATUS_FORMAT": "xml"})
    assert wrong("status").returncode == 2


def test_a_variable_names_the_database(rowmill: CommandLine, quick_run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = CommandLine(elsewhere, environment={"ROWMILL_DATABASE": str(quick_run)})
    assert "20 of 20 finished" in told.output_of("status")
    missing = CommandLine(elsewhere, environment={"ROWMILL_DATABASE": "nowhere.duckdb"})
    assert "There is no run database 'nowhere.duckdb'" in missing("status").stderr
