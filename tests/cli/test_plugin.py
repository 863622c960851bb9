"""A package of somebody else's that brings one of everything; its column type is the one the help shows.

``test_kill_options`` kills a run that uses all six.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from help_page import PAGES
from provider_simulator import provider_simulator

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = REPOSITORY / "tests" / "plugin"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-in is installed."""
    directory = tmp_path_factory.mktemp("packages")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(directory)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PLUGIN)], check=True, timeout=100)
    return directory


@pytest.fixture
def with_plugin(packages: Path, tmp_path: Path) -> CommandLine:
    """The command line where the plug-in is installed."""
    (tmp_path / "lines.txt").write_text("Hello, World!\nBye, World!\n")
    return CommandLine(tmp_path, environment={"PYTHONPATH": str(packages)})


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with provider_simulator(latency_ms=0) as simulator:
        yield simulator.url


def spec(directory: Path, model_url: str = "http://127.0.0.1:1/v1", **changes: Any) -> str:
    """Writes a spec with one of everything the plug-in brings, and returns the file's name."""
    written = {
        "name": "plug",
        "records": 4,
        "models": [{"alias": "polite", "provider": "polite", "base_url": model_url, "model": "small"}],
        "seed_dataset": {"seed_type": "text_lines", "params": {"file": "lines.txt"}},
        "columns": [
            {"name": "thrown", "column_type": "sampler", "sampler_type": "dice", "params": {"sides": 3}},
            {"name": "address", "column_type": "slug", "target_column": "line", "separator": "_"},
            {"name": "answer", "column_type": "llm-text", "model_alias": "polite", "prompt": "{{ address }}"},
            {
                "name": "check",
                "column_type": "validation",
                "target_columns": ["address"],
                "validator_type": "shortness",
                "validator_params": {"most": 10},
            },
        ],
        "processors": [{"name": "loud", "processor_type": "upper_names", "prefix": "X_"}],
        **changes,
    }
    (directory / "plug.json").write_text(json.dumps(written))
    return "plug.json"


def test_one_of_everything_is_found_run_extended_and_exported(with_plugin: CommandLine, model_url: str) -> None:
    with_plugin.output_of("run", spec(with_plugin.directory, model_url))
    with_plugin.output_of("extend", "plug.duckdb", "--records", "6")
    with_plugin.output_of("run", "plug.duckdb")
    with_plugin.output_of("export", "--processor", "loud", "--format", "jsonl", "--output", "loud.jsonl")
    rows = [json.loads(line) for line in (with_plugin.directory / "loud.jsonl").read_text().splitlines()]
    assert [row["X_LINE"] for row in rows] == ["Hello, World!", "Bye, World!"] * 3
    assert {row["X_THROWN"] for row in rows} <= {1, 2, 3}
    assert [row["X_ADDRESS"] for row in rows] == ["hello_world", "bye_world"] * 3
    assert all(row["X_ANSWER"] for row in rows)
    verdicts = [{"is_valid": False, "details": '{"length": 11}'}, {"is_valid": True, "details": '{"length": 9}'}]
    assert [row["X_CHECK"] for row in rows] == verdicts * 3


def test_an_export_that_grows_keeps_the_columns_it_needs(with_plugin: CommandLine, model_url: str) -> None:
    with_plugin.output_of("run", spec(with_plugin.directory, model_url))
    into = ["--output", "out", "--layout", "directory", "--append"]
    grow = ["export", "--processor", "loud", "--format", "jsonl", *into]
    with_plugin.output_of(*grow)
    with_plugin.output_of("extend", "plug.duckdb", "--records", "6")
    with_plugin.output_of("run", "plug.duckdb")
    with_plugin.output_of(*grow)
    texts = [file.read_text() for file in sorted((with_plugin.directory / "out").glob("*.jsonl"))]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(texts) == 2
    assert [row["row_id"] for row in rows] == list(range(6))
    assert "X_LINE" in rows[0]


def test_seed_rows_of_a_reader_that_differ_by_now_are_refused(with_plugin: CommandLine, model_url: str) -> None:
    file = spec(with_plugin.directory, model_url)
    with_plugin.output_of("run", file)
    (with_plugin.directory / "lines.txt").write_text("Good morning!\n")
    refused = with_plugin("run", file)
    assert refused.returncode == 5
    assert "the seed data changed, from 2 to 1 row" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": [{"name": "a", "column_type": "slug", "target_column": "line", "seperator": "_"}]},
            "Unknown field 'seperator'. Did you mean 'separator'? (columns.0.seperator)",
        ),
        (
            {"columns": [{"name": "a", "column_type": "slugg"}]},
            "Unknown column type 'slugg'. Did you mean 'slug'? (columns.0.column_type)",
        ),
        (
            {"columns": [{"name": "a", "column_type": "sampler", "sampler_type": "dise"}]},
            "Unknown sampler 'dise'. Did you mean 'dice'? (columns.0.sampler_type)",
        ),
        (
            {"columns": [{"name": "a", "column_type": "sampler", "sampler_type": "dice", "params": {"side": 2}}]},
            "Unknown field 'side'. Did you mean 'sides'? (columns.0.params.side)",
        ),
        (
            {"seed_dataset": {"seed_type": "text_line", "params": {"file": "lines.txt"}}},
            "Unknown seed reader 'text_line'. Did you mean 'text_lines'? (seed_dataset.seed_type)",
        ),
        (
            {"seed_dataset": {"seed_type": "text_lines", "params": {"fil": "lines.txt"}}},
            "Unknown field 'fil'. Did you mean 'file'? (seed_dataset.params.fil)",
        ),
        (
            {"seed_dataset": {"seed_type": "text_lines", "params": {"file": "nowhere.txt"}}},
            "the seed reader 'text_lines' cannot be read: [Errno 2] No such file or directory",
        ),
        (
            {"seed_dataset": {"seed_type": "broken"}},
            "Seed reader 'broken' cannot be loaded from rowmill_slug.not_there:Nothing (package rowmill-slug 1.0): "
            "ModuleNotFoundError: No module named 'rowmill_slug.not_there'. (seed_dataset.seed_type)",
        ),
        (
            {"processors": [{"name": "p", "processor_type": "upper_name"}]},
            "Unknown processor 'upper_name'. Did you mean 'upper_names'? (processors.0.processor_type)",
        ),
        (
            {"processors": [{"name": "p", "processor_type": "upper_names", "prefx": "a"}]},
            "Unknown field 'prefx'. Did you mean 'prefix'? (processors.0.prefx)",
        ),
        (
            {"models": [{"alias": "polite", "provider": "polit", "model": "small"}]},
            "Unknown provider 'polit'. Did you mean 'polite'? (models.0.provider)",
        ),
        (
            {
                "columns": [
                    {
                        "name": "a",
                        "column_type": "validation",
                        "target_columns": ["line"],
                        "validator_type": "shortnes",
                        "validator_params": {},
                    }
                ]
            },
            "Unknown validator 'shortnes'. Did you mean 'shortness'? (columns.0.validator_type)",
        ),
    ],
)
def test_what_is_wrong_is_said_as_of_the_built_in_kinds(
    with_plugin: CommandLine, changes: dict[str, Any], message: str
) -> None:
    wrong = with_plugin("validate", spec(with_plugin.directory, **changes))
    assert wrong.returncode == 2
    assert message in wrong.stderr


@pytest.mark.parametrize(
    ("kind", "entry_point", "changed"),
    [
        ("samplers", "dice = rowmill_slug.dice:DiceParameters\n", "thrown"),
        ("validators", "shortness = rowmill_slug.shortness:ShortnessParameters\n", "check"),
        ("providers", "polite = rowmill_slug.polite:PoliteProvider\n", "answer"),
    ],
)
def test_another_version_of_a_package_is_a_change_of_its_columns(
    with_plugin: CommandLine, packages: Path, model_url: str, kind: str, entry_point: str, changed: str
) -> None:
    file = spec(with_plugin.directory, model_url)
    with_plugin.output_of("run", file)
    newer = with_plugin.directory / "newer"
    information = newer / "rowmill_newer-2.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: rowmill-newer\nVersion: 2.0\n")
    (information / "entry_points.txt").write_text(f"[rowmill.{kind}]\n{entry_point}")
    older = next(packages.glob("rowmill_slug-*.dist-info")) / "entry_points.txt"
    with_both = CommandLine(with_plugin.directory, environment={"PYTHONPATH": f"{newer}:{packages}"})
    before = older.read_text()
    assert entry_point in before
    try:
        older.write_text(before.replace(entry_point, ""))
        refused = with_both("run", file)
    finally:
        older.write_text(before)
    assert refused.returncode == 5
    assert changed in refused.stderr
    claimed = with_both("validate", file)
    assert claimed.returncode == 2
    assert "is claimed by two packages: " in claimed.stderr
    assert "rowmill-newer" in claimed.stderr


def test_without_the_plug_in_its_names_are_unknown(rowmill: CommandLine) -> None:
    refused = rowmill("validate", spec(rowmill.directory))
    assert refused.returncode == 2
    for words in ("column type 'slug'", "sampler 'dice'", "validator 'shortness'", "processor 'upper_names'"):
        assert f"Unknown {words}." in refused.stderr
    assert "Unknown seed reader 'text_lines'." in refused.stderr
    assert "Unknown provider 'polite'." in refused.stderr


def test_the_help_shows_the_plug_in_as_it_is() -> None:
    page = PAGES["plugins"]
    module = (PLUGIN / "rowmill_slug" / "__init__.py").read_text()
    assert module in page
    assert len(module.splitlines()) < 150
    assert '[project.entry-points."rowmill.column_types"]\nslug = "rowmill_slug:SlugColumn"' in page
