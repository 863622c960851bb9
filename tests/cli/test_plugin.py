"""A column type of somebody else's, installed as a package of its own: the one the README shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = REPOSITORY / "tests" / "plugin"
SPEC = """
name: plug
records: 3
columns:
  - {name: title, column_type: sampler, sampler_type: category, params: {values: ["Hello, World!"]}}
  - {name: address, column_type: slug, target_column: title, separator: _}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def with_plugin(rowmill: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line where the plug-in is installed."""
    packages = tmp_path_factory.mktemp("packages")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(packages)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PLUGIN)], check=True, timeout=100)
    (rowmill.directory / "plug.yaml").write_text(SPEC)
    return CommandLine(rowmill.directory, environment={"PYTHONPATH": str(packages)})


def test_an_installed_column_type_is_found_checked_run_and_resumed(with_plugin: CommandLine) -> None:
    with_plugin.output_of("run", "plug.yaml")
    rows = json.loads(with_plugin.output_of("sql", "plug.duckdb", "select address from dataset", "--format", "json"))
    assert rows == [{"address": "hello_world"}] * 3
    with_plugin.output_of("extend", "plug.duckdb", "--records", "5")
    with_plugin.output_of("run", "plug.duckdb")
    (with_plugin.directory / "plug.yaml").write_text(SPEC.replace("separator", "seperator"))
    wrong = with_plugin("validate", "plug.yaml")
    assert wrong.returncode == 2
    assert "Unknown field 'seperator'. Did you mean 'separator'? (columns.1.seperator)" in wrong.stderr


def test_without_the_plug_in_its_column_type_is_unknown(rowmill: CommandLine) -> None:
    (rowmill.directory / "plug.yaml").write_text(SPEC)
    refused = rowmill("validate", "plug.yaml")
    assert refused.returncode == 2
    assert "Unknown column type 'slug'." in refused.stderr


def test_the_readme_shows_the_plug_in_as_it_is() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert (PLUGIN / "rowmill_slug" / "__init__.py").read_text() in readme
    assert '[project.entry-points."rowmill.column_types"]\nslug = "rowmill_slug:SlugColumn"' in readme
