"""``rowmill help``: topics and entries are found by name, wrong names find their nearest, a terminal gets a pager."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import CommandLine
from help_page import HELP, PAGES
from terminal import Terminal

from rowmill.cli.help_page import TOPICS, entry_names, find, folded, readable
from rowmill.cli.main import execute, rowmill


def _shown(*arguments: str) -> str:
    result = CliRunner().invoke(rowmill, ["help", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_without_a_topic_every_topic_has_a_line() -> None:
    lines = _shown().splitlines()
    assert [line.split(maxsplit=1) for line in lines[: len(TOPICS)]] == [list(item) for item in TOPICS.items()]


def test_every_page_is_a_topic_and_every_topic_a_page() -> None:
    assert sorted(TOPICS) == sorted(path.stem for path in HELP.iterdir() if path.suffix == ".md")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_shows_its_page(topic: str) -> None:
    assert _shown(topic) == readable(PAGES[topic])
    assert PAGES[topic].startswith("# ")


def test_an_entry_is_a_section() -> None:
    shown = _shown("columns", "llm-judge")
    assert shown.startswith("## llm-")
    assert "scores" in shown
    assert "## embedding" not in shown


def test_an_entry_is_a_field_with_its_table() -> None:
    lines = _shown("models", "api_key").splitlines()
    assert lines[0] == "# Models"
    assert sum(line.startswith("| `") for line in lines) == 1
    assert lines[-1].startswith("| `api_key` |")


@pytest.mark.parametrize("name", [("API-KEY",), ("api", "key"), ("`api_key`",)])
def test_case_and_hyphens_of_an_entry_do_not_matter(name: tuple[str, ...]) -> None:
    assert _shown("models", *name) == _shown("models", "api_key")


@pytest.mark.parametrize("topic", ["plug-ins", "PLUGINS", "Plug_Ins"])
def test_case_and_hyphens_of_a_topic_do_not_matter(topic: str) -> None:
    assert _shown(topic) == _shown("plugins")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_section_is_found_by_its_name(topic: str) -> None:
    for name in entry_names(PAGES[topic]):
        found = find(PAGES[topic], name)
        assert found is not None
        assert folded(name) in folded(found.splitlines()[0])


def test_a_heading_in_a_block_of_code_is_no_entry() -> None:
    page = "# Page\n\n```sh\n# no heading\n## none either\n```\n\n## Real\n\ntext\n"
    assert entry_names(page) == ["Real"]
    assert find(page, "no heading") is None


def test_a_section_holds_its_lower_sections_and_ends_at_the_next() -> None:
    page = "# Page\n\n## A\n\none\n\n### A1\n\ntwo\n\n## B\n\nthree\n"
    assert find(page, "a") == "## A\n\none\n\n### A1\n\ntwo\n"
    assert find(page, "a1") == "### A1\n\ntwo\n"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    page = "# Page\n\n| field | meaning |\n|---|---|\n| `a\\|b` | one |\n| `second` | two |\n"
    assert find(page, "second") == "# Page\n\n| field | meaning |\n|---|---|\n| `second` | two |\n"


def test_links_are_shown_as_what_to_type() -> None:
    text = "See [samplers](samplers.md#constraints), [below](#x), [a file](../example/spec.yaml).\n<!-- mark -->\n"
    assert readable(text) == "See samplers (`rowmill help samplers`), below, a file.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("colums",), "There is no help topic 'colums'. Did you mean 'rowmill help columns'? Topics: spec, models,"),
        (("attempt",), "Did you mean 'rowmill help views attempt'?"),
        (("zzz",), "There is no help topic 'zzz'. Topics: spec,"),
        (("columns", "llm-juge"), "no entry 'llm-juge'. Did you mean 'llm-judge'? It has: Every column,"),
        (("models", "apikey"), "Did you mean 'api_key'?"),
        (("views", "zzz"), "The page 'views' has no entry 'zzz'. It has: run_status,"),
    ],
)
def test_a_wrong_name_finds_its_nearest_and_lists_what_there_is(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["help", *arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_help_imports_neither_the_engine_nor_rich_where_there_is_no_terminal() -> None:
    code = (
        "import sys; from rowmill.cli.main import execute; assert execute(['help', 'views']) == 0;"
        "heavy = {'duckdb', 'pydantic', 'rich', 'pyarrow'}; names = {name.partition('.')[0] for name in sys.modules};"
        "print(*heavy & names, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr.strip() == ""


def test_a_terminal_gets_a_long_page_through_the_pager(rowmill: CommandLine, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho through the pager\ncat\n")
    pager.chmod(0o755)
    environment = {"PAGER": str(pager)}
    with Terminal([*rowmill.command, "help", "views"], tmp_path, lines=20, environment=environment) as terminal:
        terminal.read_to_end()
    assert "through the pager" in terminal.text
    assert "| column |" not in terminal.text


def test_a_terminal_gets_a_short_entry_at_once(rowmill: CommandLine, tmp_path: Path) -> None:
    environment = {"PAGER": "false"}
    with Terminal([*rowmill.command, "help", "models", "alias"], tmp_path, environment=environment) as terminal:
        terminal.read_to_end()
    assert "The name columns use" in terminal.text


def test_a_terminal_that_knows_ascii_alone_gets_the_page_all_the_same(rowmill: CommandLine) -> None:
    rowmill.environment = {"PYTHONIOENCODING": "ascii"}
    rowmill.executes = True
    assert "The learned limit: " in rowmill.output_of("help", "rules", "C2")
    assert json.loads(rowmill.output_of("schema"))


@pytest.mark.parametrize("name", ["", " ", "../spec", "x" * 5000, "\x1b[31m"])
def test_a_name_that_is_none_is_a_clear_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["help", name], ["help", "columns", name]):
        assert execute(arguments) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("Error: ")
        assert len(shown.err) < 2000


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("rowmill help co", {"columns", "commands"}),
        ("rowmill help columns llm-j", {"llm-judge"}),
        ("rowmill help rules F2", {"F2", "F2a"}),
    ],
)
def test_a_shell_completes_topics_and_entries(rowmill: CommandLine, typed: str, completed: set[str]) -> None:
    words = typed.split()
    rowmill.environment = {
        "_ROWMILL_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    rowmill.executes = True
    rowmill.command = (sys.executable, "-c", "from rowmill.cli.main import rowmill; rowmill(prog_name='rowmill')")
    assert {line.partition(",")[2] for line in rowmill.output_of().splitlines()} == completed
