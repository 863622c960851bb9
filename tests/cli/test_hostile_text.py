"""Text of strangers on a terminal, end to end: nothing of it arrives as a character that steers or hides."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml
from command_line import CommandLine
from loopback_server import LoopbackHandler, LoopbackServer, serving
from terminal import Terminal

HOSTILE = "\x1b]0;owned\x07\x9b31m\x9d8\u202egnp\u2066\u200b\u2028\ue000\ufeff\U000e0041\x85end"
_SEEN_RAW = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def _raw(text: str) -> list[str]:
    return [f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in _SEEN_RAW and c != "\n"]


def _spec(**fields: object) -> str:
    columns = [{"name": "a", "column_type": "expression", "sql": "1"}]
    return json.dumps({"name": "hostile", "records": 2, "columns": columns, **fields})


class _RefusingHandler(LoopbackHandler):
    """Refuses every request in a stranger's words."""

    def respond(self, body: bytes) -> None:
        self.answer_json({"error": {"message": f"no {HOSTILE}\nError: all is paid", "type": HOSTILE}}, 422)


@pytest.mark.parametrize("command", ["validate", "plan", "run", "preview"])
def test_a_hostile_name_in_a_spec_reaches_stderr_as_escapes(rowmill: CommandLine, command: str) -> None:
    column = {"name": f"x{HOSTILE}", "column_type": HOSTILE, HOSTILE: 1, "sql": f"select '{HOSTILE}'"}
    (rowmill.directory / "spec.json").write_text(_spec(**{HOSTILE: HOSTILE, "columns": [column]}))
    done = rowmill(command, "spec.json")
    assert done.returncode == 2
    assert _raw(done.stdout + done.stderr) == []
    assert r"\x9b31m" in done.stderr


def test_hostile_values_and_column_names_of_a_query_are_escaped_for_people_and_exact_for_programs(
    rowmill: CommandLine, quick_run: Path
) -> None:
    query = f"select '{HOSTILE}' as \"b{HOSTILE}\""
    table = rowmill("sql", quick_run, query)
    assert _raw(table.stdout + table.stderr) == []
    assert r"\u202egnp" in table.stdout
    assert json.loads(rowmill.output_of("sql", quick_run, query, "--format", "json")) == [{f"b{HOSTILE}": HOSTILE}]
    assert HOSTILE in rowmill.output_of("sql", quick_run, query, "--format", "csv")


def test_the_message_of_a_hostile_server_is_escaped_wherever_it_is_shown(rowmill: CommandLine) -> None:
    with serving(LoopbackServer(_RefusingHandler)) as server:
        model = {"alias": "m", "provider": "openai", "base_url": f"{server.url}/v1", "model": "x"}
        column = {"name": "t", "column_type": "llm-text", "model_alias": "m", "prompt": "Say."}
        (rowmill.directory / "spec.json").write_text(_spec(models=[model], columns=[column], records=3))
        done = rowmill("run", "spec.json", "-vv")
    shown = [done.stdout + done.stderr]
    assert r"\x9b31m" in done.stderr or r"\u202e" in done.stderr
    for command in (["status"], ["show", "attempts"], ["show", "dropped"], ["show", "events"], ["doctor"]):
        found = rowmill(*command)
        shown.append(found.stdout + found.stderr)
    assert _raw("".join(shown)) == []
    assert not any(line.startswith("Error: all is paid") for line in done.stderr.splitlines())


@pytest.mark.slow
def test_a_hostile_path_is_escaped_in_answers_errors_and_usage(rowmill: CommandLine) -> None:
    name = f"s{HOSTILE}\nError.json"
    (rowmill.directory / name).write_text(_spec())
    shown = []
    for arguments in (
        ["validate", name],
        ["run", name, f"{HOSTILE}.duckdb"],
        ["status", f"{HOSTILE}.duckdb"],
        ["export", f"{HOSTILE}.duckdb", "--output", f"{HOSTILE}.csv"],
        ["report", f"{HOSTILE}.duckdb", "--output", f"{HOSTILE}.html"],
        ["status", f"missing{HOSTILE}.duckdb"],
        ["run", f"missing{HOSTILE}"],
        [HOSTILE],
        ["status", f"--{HOSTILE}"],
        ["show", HOSTILE],
        ["help", HOSTILE],
    ):
        done = rowmill(*arguments)
        shown.append(done.stdout + done.stderr)
    assert _raw("".join(shown)) == []
    assert "".join(shown).count(r"\x9b31m") >= 10


def test_a_hostile_spec_drawn_or_spelt_on_a_terminal_is_escaped_there_alone(rowmill: CommandLine) -> None:
    sql = f"'{HOSTILE}'"
    column = {"name": "a", "column_type": "expression", "sql": sql}
    (rowmill.directory / "spec.json").write_text(_spec(columns=[column]))
    assert rowmill("run", "spec.json").returncode == 0
    assert yaml.safe_load(rowmill.output_of("show", "spec"))["columns"][0]["sql"] == sql
    with Terminal([sys.executable, "-m", "rowmill", "show", "spec"], rowmill.directory) as terminal:
        shown = terminal.read_to_end()
    assert _raw(shown.replace("\r\n", "\n")) == []
    assert r"\u202e" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("executed")
def test_a_users_function_that_fails_in_a_thread_prints_no_control_character(rowmill: CommandLine) -> None:
    (rowmill.directory / "own.py").write_text(
        "import threading, warnings, logging\n"
        f"HOSTILE = {HOSTILE!r}\n"
        "def fail():\n    raise ValueError(HOSTILE)\n"
        "def make(row: dict) -> str:\n"
        "    warnings.warn(HOSTILE)\n"
        "    logging.getLogger('other').warning(HOSTILE)\n"
        "    thread = threading.Thread(target=fail)\n"
        "    thread.start()\n    thread.join()\n    return 'x'\n"
    )
    column = {"name": "b", "column_type": "custom", "generator_function": "own:make", "required_columns": []}
    (rowmill.directory / "spec.json").write_text(_spec(columns=[column], records=1))
    done = rowmill("run", "spec.json", "-v")
    assert _raw(done.stderr) == []
    assert done.stderr.count(r"\x9b31m") >= 3


def test_a_name_of_bytes_that_are_no_text_is_shown(rowmill: CommandLine) -> None:
    path = Path(os.fsdecode(os.fsencode(rowmill.directory) + b"/\xff\xfe.json"))
    path.write_text(_spec())
    done = rowmill("validate", path)
    assert done.returncode == 0
    assert r"\udcff\udcfe.json" in done.stdout
