"""The help pages are true: made parts are up to date, nothing is missing, links resolve, and examples work."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from command_line import CommandLine
from help_page import HELP, PAGES, REPOSITORY, block_with, blocks, commands, links

import rowmill as rowmill_module
from rowmill import RunDatabase, errors
from rowmill.cli.help_page import entry_names, find
from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group
from rowmill.spec.loading import parse_spec
from rowmill.spec.registry import COLUMN_TYPES, PROCESSORS, REGISTRIES, SAMPLERS


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


def test_every_field_of_a_spec_is_in_a_table() -> None:
    shown: dict[str, set[str]] = {name: set() for name in help_pages.models()}
    for words in help_pages.parts("fields"):
        name, fields = help_pages.shown_fields(words)
        shown[name].update(fields)
    for name, cls in help_pages.models().items():
        if name.startswith("_"):
            continue  # no part of a spec by itself: its subclasses are
        # What a base shows counts for its subclasses; the field that names a type is the heading of its section.
        there = {field for base in cls.__mro__ for field in shown.get(base.__name__, ())}
        assert set(cls.model_fields) - there <= {"constraint_type", "kind"}, name


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: str(registry.noun))
def test_everything_that_is_chosen_by_name_is_in_its_page(registry: Any) -> None:
    topic = {"column type": "columns", "sampler": "samplers", "seed reader": "seeds", "validator": "columns"}.get(
        registry.noun, f"{registry.noun}s".replace("providers", "models")
    )
    for name in registry.built_in:
        assert f"`{name}`" in PAGES[topic] or f"\n## {name}\n" in PAGES[topic] or f"\n### {name}\n" in PAGES[topic]


@pytest.mark.parametrize("registry", [COLUMN_TYPES, SAMPLERS, PROCESSORS], ids=lambda registry: str(registry.noun))
def test_every_type_has_a_section(registry: Any) -> None:
    topic = {"column type": "columns"}.get(registry.noun, f"{registry.noun}s")
    assert set(registry.built_in) <= set(entry_names(PAGES[topic]))


def test_every_command_has_a_section_with_its_options() -> None:
    context = click.Context(group, **group.context_settings)
    for name in COMMANDS:
        section = find(PAGES["commands"], name)
        command = group.get_command(context, name)
        assert section is not None
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                text = PAGES["commands"] if option.name in {"verbose", "quiet", "log_format"} else section
                assert max(option.opts, key=len) in text or min(option.opts, key=len) in text, option.name


def test_every_view_has_a_section_with_its_columns(quick_run: Path) -> None:
    with RunDatabase.open(quick_run) as database:
        query = "select view_name from duckdb_views() where not internal and schema_name = 'main'"
        views = database.sql(query).column("view_name").to_pylist()
        assert sorted(views) == sorted(entry_names(PAGES["views"]))
        for view in views:
            section = find(PAGES["views"], view)
            assert section is not None
            named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
            columns = database.sql(f"from {view} limit 0").schema.names
            # Of these two, the columns of the spec come behind.
            of_the_spec = {"live_row", "dataset", "dropped_row_value"}
            assert named == (columns[: len(named)] if view in of_the_spec else columns), view


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
    (rowmill.directory / "page.py").write_text(block_with(PAGES["python"], "python", "database.to_arrow()"))
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


RUNNABLE = [topic for topic, text in PAGES.items() if topic not in ("commands", "ui") and commands(text)]
"""Topics whose commands work one after the other on the example's run; those of the page of all commands do not, and
``ui`` serves until it is interrupted."""


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, run with few rows."""
    rowmill = CommandLine(tmp_path_factory.mktemp("penguins"))
    rowmill.output_of("init")
    spec = rowmill.directory / "spec.yaml"
    spec.write_text(
        spec.read_text().replace("records: 2000", "records: 60").replace("row_group_size: 250", "row_group_size: 20")
    )
    assert rowmill("-q", "run", "spec.yaml").returncode in (0, 3)
    return rowmill.directory


@pytest.mark.slow
@pytest.mark.parametrize("topic", RUNNABLE)
def test_the_commands_of_a_page_work_one_after_the_other(topic: str, penguins: Path, rowmill: CommandLine) -> None:
    rowmill.directory = rowmill.directory / "copy"
    shutil.copytree(penguins, rowmill.directory)
    for arguments in commands(PAGES[topic]):
        done = rowmill(*arguments)
        assert done.returncode in (0, 3), (arguments, done.stderr)


def test_the_functions_of_the_page_work(tmp_path: Path) -> None:
    (code,) = (block for block in blocks(PAGES["functions"], "python") if "def words" in block)
    (tmp_path / "functions.py").write_text(code)
    names = re.findall(r"^(?:async )?def (\w+)", code, re.MULTILINE)
    spec = {
        "records": 10,
        "row_group_size": 5,
        "models": [{"alias": "editor", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}],
        "columns": [
            {"name": "note", "column_type": "expression", "expr": "A note on {{ price }}."},
            {
                "name": "price",
                "column_type": "sampler",
                "sampler_type": "category",
                "params": {"values": [1.0, 2.0, 5.0]},
            },
            *(
                {"name": name, "column_type": "custom", "generator_function": f"functions:{name}"}
                | ({"generator_params": {"factor": 2}} if name == "measured" else {})
                for name in names
            ),
        ],
    }
    report = rowmill_module.run(spec, tmp_path / "run.duckdb", directory=tmp_path)
    assert (report.exit_code, report.rows_finished) == (0, 10)
    with RunDatabase.open(tmp_path / "run.duckdb") as database:
        rows = database.to_arrow().to_pylist()
    assert set(names) <= set(rows[0])
    assert [row["words"] for row in rows] == [4] * 10
    assert [row["doubled"] for row in rows] == [2 * row["price"] for row in rows]
    assert rows[-1]["running_sum"] == sum(row["price"] for row in rows)


@pytest.mark.slow
def test_the_callback_of_the_page_is_called(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    (rowmill.directory / "page.py").write_text(block_with(PAGES["python"], "python", "on_row_group_finished"))
    python = CommandLine(rowmill.directory, command=rowmill.command[:1])
    lines = python.output_of("page.py").splitlines()
    assert lines[0].startswith("row group ")
    assert sum(int(re.findall(r"(\d+) rows", line)[0]) for line in lines) == 2000
