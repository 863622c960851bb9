"""The README is true: its commands exist and work, its exit codes are those of the errors."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest
from command_line import CommandLine

from rowmill import errors
from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group
from rowmill.spec.loading import parse_spec

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def _shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def _commands() -> list[list[str]]:
    words = [shlex.split(line, comments=True) for line in _shell_lines()]
    return [line[1:] for line in words if line[0] == "rowmill"]


def test_there_are_exactly_two_set_up_commands_and_both_can_be_run() -> None:
    tools = [line.split()[0] for line in _shell_lines() if line.startswith("tools/")]
    assert tools == ["tools/quickstart", "tools/test"]
    for tool in tools:
        assert (REPOSITORY / tool).stat().st_mode & 0o111


@pytest.mark.parametrize("arguments", _commands(), ids=" ".join)
def test_a_command_of_the_readme_is_understood(arguments: list[str]) -> None:
    context = click.Context(group, **group.context_settings)
    command = group.get_command(context, arguments[0])
    assert command is not None
    command.make_context(arguments[0], arguments[1:], parent=context)


def test_the_table_of_commands_is_the_list_of_commands() -> None:
    table = README[README.index("| command | does |") :].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE) == list(COMMANDS)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    table = {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.*?) \|$", README, re.MULTILINE)}
    assert sorted(table) == [0, 1, 2, 3, 4, 5, 6, 75, 130]
    assert errors.RowmillError.exit_code == 1
    assert errors.SpecError.exit_code == errors.UsageError.exit_code == 2
    assert "locked" in table[errors.Locked.exit_code]
    assert "do not fit" in table[errors.Incompatible.exit_code]
    assert "damaged" in table[errors.Damaged.exit_code]
    assert "run again" in table[errors.Interrupted.exit_code]


def test_every_extra_is_named_with_the_installation() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (told,) = (part for part in README.split("\n\n") if "which come as extras:" in part)
    named = set(re.findall(r"`(\w+)`", told))
    assert named == set(project["optional-dependencies"]) - {"test", "check"}


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("executed")
def test_the_tour_works_as_written(rowmill: CommandLine) -> None:
    for arguments in _commands():
        done = rowmill(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        if arguments[0] == "init":
            rowmill.directory = rowmill.directory / arguments[1]
    assert {"penguins.duckdb", "penguins.jsonl", "penguins.parquet"} <= {p.name for p in rowmill.directory.iterdir()}


@pytest.mark.slow
def test_the_python_of_the_readme_works(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "rowmill.run(" in block)
    (rowmill.directory / "readme.py").write_text(code)
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    assert python.output_of("readme.py") == "2000\n"
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
def test_the_notebook_of_the_readme_works(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "preview_async(" in block)
    (rowmill.directory / "cell.py").write_text(code)
    (rowmill.directory / "notebook.py").write_text(NOTEBOOK)
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    assert python.output_of("notebook.py") == "True\nTrue\n"


def test_the_spec_the_readme_builds_in_python_works(rowmill: CommandLine) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (functions,) = (block for block in blocks if block.startswith("# star_functions.py"))
    (code,) = (block for block in blocks if "config.Spec(" in block)
    (rowmill.directory / "star_functions.py").write_text(functions)
    (rowmill.directory / "readme.py").write_text(code)
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    said, _, yaml_text = python.output_of("readme.py").partition("\n")
    assert said.endswith(" OF 3 STARS")
    assert parse_spec(yaml_text).records == 100
    (rowmill.directory / "stars.yaml").write_text(yaml_text)
    assert "is valid" in rowmill.output_of("validate", "stars.yaml")


def test_the_reference_of_the_views_is_that_of_their_comments() -> None:
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        view_reference = importlib.import_module("view_reference")
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))
    assert view_reference.written_reference() == view_reference.reference()
