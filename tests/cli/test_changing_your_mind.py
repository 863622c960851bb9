"""Changing a prompt, adding and removing a column, second chances: counted at the endpoint, as a user would do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from provider_simulator import RunningSimulator, provider_simulator

ROWS = 60
_SHORT = "Shorten {{ review }}"


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with provider_simulator() as running:
        yield running


def write_spec(directory: Path, url: str, short: str = _SHORT, **more: Any) -> None:
    """A sampler and three columns in a chain that ask the endpoint."""
    columns = [
        {"name": "rating", "column_type": "sampler", "sampler_type": "category", "params": {"values": [1, 2, 3]}},
        {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Rate {{ rating }}"},
        {"name": "short", "column_type": "llm-text", "model_alias": "writer", "prompt": short},
        {"name": "title", "column_type": "llm-text", "model_alias": "writer", "prompt": "Name {{ short }}"},
    ]
    prices = {"input_usd_per_million_tokens": 100.0, "output_usd_per_million_tokens": 100.0}
    model = {
        "alias": "writer",
        "provider": "openai",
        "base_url": url,
        "model": "m",
        "skip_health_check": True,
        **prices,
    }
    data = {"name": "mind", "records": ROWS, "row_group_size": 20, "models": [model], "columns": columns} | more
    (directory / "spec.json").write_text(json.dumps(data))


def dataset(rowmill: CommandLine) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(rowmill.output_of("sql", "mind.duckdb", "from dataset", "--format", "json"))
    return rows


@pytest.mark.slow
def test_one_changed_prompt_costs_its_column_and_its_downstream_counted_at_the_endpoint(
    rowmill: CommandLine, simulator: RunningSimulator
) -> None:
    write_spec(rowmill.directory, simulator.url)
    simulator.reset()
    rowmill.output_of("run", "spec.json")
    assert simulator.statistics()["requests"] == 3 * ROWS
    before = dataset(rowmill)
    database = rowmill.directory / "mind.duckdb"
    digest = sha256(database.read_bytes()).hexdigest()

    write_spec(rowmill.directory, simulator.url, "Say it in one word: {{ review }}")
    refused = rowmill("run", "spec.json")
    assert refused.returncode == 5
    assert "column 'short' changed" in refused.stderr
    assert "'title' needs a column that changes" in refused.stderr
    assert f"about {2 * ROWS} requests and $" in refused.stderr
    assert "--accept-changes" in refused.stderr
    assert sha256(database.read_bytes()).hexdigest() == digest
    assert simulator.statistics()["requests"] == 3 * ROWS

    rowmill.output_of("run", "spec.json", "--accept-changes")
    assert simulator.statistics()["requests"] == 5 * ROWS
    after = dataset(rowmill)
    assert [(row["row_id"], row["rating"], row["review"]) for row in after] == [
        (row["row_id"], row["rating"], row["review"]) for row in before
    ]
    assert rowmill("doctor", "mind.duckdb").returncode == 0
    assert rowmill("run", "spec.json").returncode == 0
    assert simulator.statistics()["requests"] == 5 * ROWS


@pytest.mark.slow
def test_a_mended_function_costs_only_what_it_says_otherwise_counted_at_the_endpoint(
    rowmill: CommandLine, simulator: RunningSimulator
) -> None:
    """Three of forty rows come out otherwise: three requests for each column that follows (V8)."""
    (rowmill.directory / "numbers.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(40)))
    code = "def mood(row) -> str:\n    return {} f'mood {{row[\"number\"] % 5}}'\n"
    columns = [
        {"name": "mood", "column_type": "custom", "generator_function": "moods:mood", "required_columns": ["number"]},
        {"name": "a", "column_type": "llm-text", "model_alias": "writer", "prompt": "Write of {{ mood }} {{ number }}"},
        {"name": "b", "column_type": "llm-text", "model_alias": "writer", "prompt": "Shorten {{ a }}"},
    ]
    seed = {"path": "numbers.csv"}
    write_spec(rowmill.directory, simulator.url, records=40, columns=columns, seed_dataset=seed)
    (rowmill.directory / "moods.py").write_text(code.format("'sad' if row['number'] in (3, 17, 31) else"))
    simulator.reset()
    rowmill.output_of("run", "spec.json")
    assert simulator.statistics()["requests"] == 2 * 40
    (rowmill.directory / "moods.py").write_text(code.format(""))
    refused = rowmill("run", "spec.json")
    assert refused.returncode == 5
    assert "about 80 requests" in refused.stderr
    assert "That is the most" in refused.stderr
    rowmill.output_of("run", "spec.json", "--accept-changes")
    assert simulator.statistics()["requests"] == 2 * 40 + 2 * 3
    assert {row["mood"] for row in dataset(rowmill)} == {f"mood {number}" for number in range(5)}
    status = rowmill.output_of("status", "mind.duckdb")
    assert "74 cells whose inputs are as before (a: 37, b: 37)" in status
    assert rowmill("doctor", "mind.duckdb").returncode == 0


@pytest.mark.slow
def test_a_removed_column_needs_a_yes_and_its_values_can_be_read_until_purged(
    rowmill: CommandLine, simulator: RunningSimulator
) -> None:
    write_spec(rowmill.directory, simulator.url)
    rowmill.output_of("run", "spec.json")
    simulator.reset()
    spec = json.loads((rowmill.directory / "spec.json").read_text())
    spec["columns"].pop()
    (rowmill.directory / "spec.json").write_text(json.dumps(spec))
    asked = rowmill("run", "spec.json", "--accept-changes")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(dataset(rowmill)[0]) == 5
    rowmill.output_of("run", "spec.json", "--accept-changes", "--yes")
    assert len(dataset(rowmill)[0]) == 4
    kept = rowmill.output_of("sql", "mind.duckdb", 'select count(*) as n from retained."title@1"', "--format", "json")
    assert json.loads(kept) == [{"n": ROWS}]
    rowmill.output_of("run", "spec.json", "--purge", "--yes")
    assert rowmill("sql", "mind.duckdb", 'from retained."title@1"').returncode == 2
    assert simulator.statistics()["requests"] == 0


@pytest.mark.slow
def test_chosen_cells_are_made_again_after_a_yes(rowmill: CommandLine, simulator: RunningSimulator) -> None:
    write_spec(rowmill.directory, simulator.url)
    rowmill.output_of("run", "spec.json")
    simulator.reset()
    dry = rowmill("rerun", "mind.duckdb", "--column", "title", "--where", "row_id < 10", "--dry-run")
    assert "title of 10 rows" in dry.stderr
    assert rowmill("rerun", "mind.duckdb", "--column", "title", "--where", "row_id < 10").returncode == 2
    rowmill.output_of("rerun", "mind.duckdb", "--column", "title", "--where", "row_id < 10", "--yes")
    assert len(dataset(rowmill)) == ROWS - 10
    rowmill.output_of("run", "mind.duckdb")
    assert len(dataset(rowmill)) == ROWS
    assert simulator.statistics()["requests"] == 10


@pytest.mark.slow
def test_a_run_extended_inside_the_database_goes_on_from_it(rowmill: CommandLine, simulator: RunningSimulator) -> None:
    write_spec(rowmill.directory, simulator.url, records=5, row_group_size=2)
    rowmill.output_of("run", "spec.json")
    simulator.reset()
    for records in (6, 9):
        rowmill.output_of("extend", "mind.duckdb", "--records", str(records))
        rowmill.output_of("run", "mind.duckdb")
    assert [row["row_id"] for row in dataset(rowmill)] == list(range(9))
    assert simulator.statistics()["requests"] == 3 * 4
    assert "already has 9 records" in rowmill("extend", "mind.duckdb", "--records", "9").stderr
    refused = rowmill("extend", "mind.duckdb", "--records", "8")
    assert refused.returncode == 2
    assert "not cut" in refused.stderr
