"""Help: complete, with examples, and quick, as ``status`` is, because nothing heavy is imported for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import CommandLine

from rowmill.cli.main import COMMANDS, rowmill

_HEAVY = {"aiohttp", "anyio", "asyncio", "duckdb", "jinja2", "numpy", "pyarrow", "pydantic", "rich", "yaml"}


def _imported_by(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}}, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    imported = _imported_by("from rowmill.cli.main import execute; assert execute(['-h']) == 0")
    assert "click" in imported
    assert imported & _HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    imported = _imported_by(f"from rowmill.cli.main import execute; assert execute([{command!r}, '-h']) == 0")
    assert imported & _HEAVY == set()


@pytest.mark.parametrize("output_format", ["table", "json"])
def test_status_imports_nothing_heavy_but_the_engine(quick_run: Path, output_format: str) -> None:
    arguments = ["status", str(quick_run), "--format", output_format]
    imported = _imported_by(f"from rowmill.cli.main import execute; assert execute({arguments!r}) == 0")
    assert imported & _HEAVY == {"duckdb"}


def test_importing_rowmill_imports_nothing_heavy() -> None:
    assert _imported_by("import rowmill") & (_HEAVY | {"click"}) == set()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help_with_an_example(command: str, option: str) -> None:
    shown = CliRunner().invoke(rowmill, [command, option])
    assert shown.exit_code == 0
    assert f"Example:\n    rowmill {command}" in shown.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_writes_a_default_as_it_is_typed(command: str) -> None:
    shown = CliRunner().invoke(rowmill, [command, "-h"], terminal_width=200)
    assert [default for default in re.findall(r"\[default: (\w+)", shown.output) if default.isupper()] == []


def test_help_lists_every_command_with_its_line() -> None:
    shown = CliRunner().invoke(rowmill, ["-h"])
    for command, (_, line) in COMMANDS.items():
        assert any(row.split() == [command, *line.split()] for row in shown.output.splitlines())


def test_every_listed_command_can_be_imported() -> None:
    context = click.Context(rowmill, **rowmill.context_settings)
    for command in COMMANDS:
        assert rowmill.get_command(context, command) is not None


@pytest.mark.usefixtures("executed")
def test_the_version_is_printed(rowmill: CommandLine) -> None:
    from importlib.metadata import version

    assert rowmill.output_of("--version") == f"rowmill {version('rowmill')}\n"


@pytest.mark.usefixtures("executed")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu",), "Did you mean 'run'?"),
        (("frobnicate",), "There is no command 'frobnicate'"),
        (("run",), "Missing argument"),
        (("status", "--format", "xml"), "'xml' is not one of"),
        (("run", "x.yaml", "--nonsense"), "No such option"),
        ((), "Usage: rowmill"),
    ],
)
def test_wrong_usage_ends_with_code_2_and_says_what_is_wrong(
    rowmill: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    done = rowmill(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
