"""The help pages are true: made parts are up to date, nothing is missing, links resolve, and examples work."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import click
import pytest
from command_line import CommandLine
from help_page import HELP, PAGES, REPOSITORY, block_with, blocks, commands, links

from rowmill import errors
from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group
from rowmill.spec.loading import parse_spec


def _tool(name: str) -> ModuleType:
    """A program of tools/ as a module."""
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))


help_pages = _tool("help_pages")


def _anchors(text: str) -> set[str]:
    """The anchors a code host gives to headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("topic", PAGES)
def test_the_made_parts_of_a_page_are_up_to_date(topic: str) -> None:
    assert help_pages.made(PAGES[topic]) == PAGES[topic], "run tools/help_pages.py --write"


@pytest.mark.parametrize("topic", PAGES)
def test_every_link_of_a_page_leads_somewhere(topic: str) -> None:
    for target in links(PAGES[topic]):
        file, _, anchor = target.partition("#")
        assert (HELP / file).exists(), target
        if anchor:
            text = (HELP / file).read_text(encoding="utf-8") if file else PAGES[topic]
            assert anchor in _anchors(text), target


@pytest.mark.parametrize("arguments", [each for text in PAGES.values() for each in commands(text)], ids=" ".join)
def test_a_command_of_a_page_is_understood(arguments: list[str]) -> None:
    context = click.Context(group, **group.context_settings)
    command = group.get_command(context, arguments[0])
    assert command is not None
    command.make_context(arguments[0], arguments[1:], parent=context)


def test_the_table_of_commands_is_the_list_of_commands() -> None:
    table = PAGES["commands"].partition("| command | does |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE) == list(COMMANDS)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    table = {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.*?) \|$", PAGES["running"], re.MULTILINE)}
    assert sorted(table) == [0, 1, 2, 3, 4, 5, 6, 75, 130]
    assert errors.RowmillError.exit_code == 1
    assert errors.SpecError.exit_code == errors.UsageError.exit_code == 2
    assert "locked" in table[errors.Locked.exit_code]
    assert "do not fit" in table[errors.Incompatible.exit_code]
    assert "damaged" in table[errors.Damaged.exit_code]
    assert "run again" in table[errors.Interrupted.exit_code]


@pytest.mark.slow
def test_the_python_of_the_page_works(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    (rowmill.directory / "page.py").write_text(block_with(PAGES["python"], "python", "rowmill.run("))
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    assert python.output_of("page.py") == "2000\n"
    assert (rowmill.directory / "penguins.parquet").is_file()


NOTEBOOK = """
import ast, asyncio

code = compile(open("cell.py").read(), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {}
asyncio.run(eval(code, names))
for name in ("preview", "status"):
    print(names[name]._repr_html_().startswith("<div>"))
"""


@pytest.mark.slow
def test_the_notebook_of_the_page_works(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    (rowmill.directory / "cell.py").write_text(block_with(PAGES["python"], "python", "preview_async("))
    (rowmill.directory / "notebook.py").write_text(NOTEBOOK)
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    assert python.output_of("notebook.py") == "True\nTrue\n"


def test_the_spec_the_page_builds_in_python_works(rowmill: CommandLine) -> None:
    (functions,) = (block for block in blocks(PAGES["python"], "python") if block.startswith("# star_functions.py"))
    (rowmill.directory / "star_functions.py").write_text(functions)
    (rowmill.directory / "page.py").write_text(block_with(PAGES["python"], "python", "config.Spec("))
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    said, _, yaml_text = python.output_of("page.py").partition("\n")
    assert said.endswith(" OF 3 STARS")
    assert parse_spec(yaml_text).records == 100
    (rowmill.directory / "stars.yaml").write_text(yaml_text)
    assert "is valid" in rowmill.output_of("validate", "stars.yaml")
