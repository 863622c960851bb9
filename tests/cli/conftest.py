"""A directory with a command line in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine


@pytest.fixture
def rowmill(tmp_path: Path) -> Iterator[CommandLine]:
    """The command ``rowmill``, run in an empty directory (``rowmill.directory``)."""
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.close()


@pytest.fixture
def executed(rowmill: CommandLine) -> None:
    """Every command of this test is a new interpreter, as a user's is: for what is about how one starts and ends."""
    rowmill.executes = True


QUICK_SPEC = """
name: quick
records: 20
row_group_size: 5
models:
  - {alias: writer, provider: simulated, model: quick, max_parallel_requests: 8, simulation: {latency_ms: 1}}
columns:
  - {name: colour, column_type: sampler, sampler_type: category, params: {values: [red, green, blue]}}
  - {name: size, column_type: sampler, sampler_type: gaussian, params: {mean: 5, stddev: 1}}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "Describe a {{ colour }} thing, size {{ size }}."}
"""


@pytest.fixture
def quick_spec(rowmill: CommandLine) -> Path:
    """A spec of 20 rows that takes no time, as ``quick.yaml`` in the command line's directory."""
    path = rowmill.directory / "quick.yaml"
    path.write_text(QUICK_SPEC)
    return path


@pytest.fixture(scope="session")
def _finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    command_line = CommandLine(tmp_path_factory.mktemp("quick"))
    (command_line.directory / "quick.yaml").write_text(QUICK_SPEC)
    done = command_line("run", "quick.yaml")
    assert done.returncode == 0, done.stderr
    return command_line.directory / "quick.duckdb"


@pytest.fixture
def quick_run(rowmill: CommandLine, quick_spec: Path, _finished_run: Path) -> Path:
    """The complete run of :func:`quick_spec`, as ``quick.duckdb`` beside it."""
    path = rowmill.directory / "quick.duckdb"
    shutil.copy(_finished_run, path)
    return path
