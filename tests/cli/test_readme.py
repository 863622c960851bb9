"""The README is true: its commands exist and work, its links lead somewhere, and it is read in one sitting."""

from __future__ import annotations

import re
import tomllib

import click
import pytest
from command_line import CommandLine
from help_page import README, REPOSITORY, blocks, commands, links, shell_lines

from rowmill.cli.help_page import TOPICS
from rowmill.cli.main import rowmill as group

TEXT = README.read_text(encoding="utf-8")
_TOOLS = ("benchmark", "crash_loop", "simulate", "lock", "provider_simulator.py", "help_pages.py", "report_picture.py")


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) <= 250


def test_there_are_exactly_two_set_up_commands_and_both_can_be_run() -> None:
    tools = [line.split()[0] for line in shell_lines(TEXT) if line.startswith("tools/")]
    assert tools == ["tools/quickstart", "tools/test"]
    for tool in tools:
        assert (REPOSITORY / tool).stat().st_mode & 0o111


@pytest.mark.parametrize("arguments", commands(TEXT), ids=" ".join)
def test_a_command_of_the_readme_is_understood(arguments: list[str]) -> None:
    context = click.Context(group, **group.context_settings)
    command = group.get_command(context, arguments[0])
    assert command is not None
    command.make_context(arguments[0], arguments[1:], parent=context)


def test_every_extra_is_named_with_the_installation() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (told,) = (part for part in TEXT.split("\n\n") if "which come as extras:" in part)
    named = set(re.findall(r"`(\w+)`", told))
    assert named == set(project["optional-dependencies"]) - {"test", "check"}


def test_links_lead_to_files() -> None:
    for target in links(TEXT):
        assert (REPOSITORY / target.partition("#")[0]).exists()


def test_the_readme_lists_every_help_page() -> None:
    assert re.findall(r"^\| \[([\w-]+)\]\(src/rowmill/help/\1\.md\) \|", TEXT, re.MULTILINE) == list(TOPICS)


def test_the_picture_is_one_and_small() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    content = (REPOSITORY / picture).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 300 * 1024


def test_every_place_in_the_house_is_there() -> None:
    house = TEXT.partition("## The house")[2]
    for place in re.findall(r"`((?:sql|src|tests)/[\w/]*)`", house):
        assert (REPOSITORY / place).is_dir(), place
    for tool in _TOOLS:
        assert tool in house
        assert (REPOSITORY / "tools" / tool).is_file()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tour_works_as_written(rowmill: CommandLine) -> None:
    for arguments in commands(TEXT):
        done = rowmill(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        if arguments[0] == "init":
            rowmill.directory = rowmill.directory / arguments[1]
    made = {"penguins.duckdb", "penguins.jsonl", "penguins.parquet", "penguins.html"}
    assert made <= {path.name for path in rowmill.directory.iterdir()}
    (code,) = blocks(TEXT, "python")
    (rowmill.directory / "readme.py").write_text(code)
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    assert "field-notes" in python.output_of("readme.py")
