"""What dropped rows held can be read and chosen by, and a verdict that dropped one is not the last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill.engine.reopening import retry_dropped
from rowmill.inspect.selection import dropped_rows, live_rows
from rowmill.inspect.steering import steer
from rowmill.run_database import RunDatabase


def spec(*columns: dict[str, Any], records: int = 6) -> dict[str, Any]:
    return {
        "name": "verdicts",
        "records": records,
        "row_group_size": 3,
        "models": [{"alias": "writer", "provider": "simulated", "model": "m", "simulation": {"latency_ms": 0}}],
        "columns": [
            {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["tea"]}},
            *columns,
        ],
    }


REVIEW = {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Review {{ kind }}."}


def check(predicate: str, target: str = "review", **fields: Any) -> dict[str, Any]:
    return {
        "name": "check",
        "column_type": "validation",
        "target_columns": [target],
        "validator_type": "sql",
        "validator_params": {"predicate": predicate},
        "on_invalid": "drop",
    } | fields


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A complete run of which a verdict on a model's answer dropped every row."""
    path = tmp_path / "run.duckdb"
    report = rowmill.run(spec(REVIEW, check("length(review) < 0")), path)
    assert (report.rows_dropped, report.rows_lost, report.exit_code) == (6, 0, 0)
    return path


def asked(path: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(path) as opened:
        found: list[dict[str, Any]] = opened.sql(query).to_pylist()
        return found


def test_values_of_dropped_rows_are_typed_as_in_the_dataset(database: Path) -> None:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from dropped_row_value").schema == opened.sql("from dataset").schema
    (row, *_) = asked(database, "from dropped_row_value")
    assert (row["row_id"], row["kind"]) == (0, "tea")
    assert row["review"]


def test_what_was_not_made_of_a_dropped_row_is_null(tmp_path: Path) -> None:
    summary = REVIEW | {"name": "summary", "prompt": "Sum up {{ review }}{{ check }}"}
    path = tmp_path / "run.duckdb"
    rowmill.run(spec(REVIEW, check("false"), summary), path)
    assert {row["summary"] for row in asked(path, "from dropped_row_value")} == {None}


def test_a_verdict_says_the_values_it_judged(database: Path) -> None:
    (row, *_) = asked(database, "select message, review from dropped_row join dropped_row_value using (row_id)")
    assert row["message"].startswith("not true: length(review) < 0 (review is ")
    assert row["review"][:40] in row["message"]


def test_a_verdict_on_a_field_says_the_field_and_not_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    judge = {
        "name": "judge",
        "column_type": "llm-judge",
        "model_alias": "writer",
        "prompt": "Judge {{ kind }}.",
        "scores": [{"name": "politeness", "description": "how polite", "options": {1: "rude", 2: "kind"}}],
    }
    rowmill.run(spec(judge, check("judge.politeness.score > 2", "judge")), path)
    messages = {row["message"] for row in asked(path, "from dropped_row")}
    assert messages <= {f"not true: judge.politeness.score > 2 (judge.politeness.score is {score})" for score in (1, 2)}
    assert len(asked(path, "from dropped_row")) == 6


def test_dropped_rows_are_chosen_by_their_reason_and_their_values(database: Path) -> None:
    assert len(dropped_rows(database, "reason = 'invalid' and kind = 'tea'")) == 6
    assert dropped_rows(database, "kind = 'coffee'") == []
    assert retry_dropped(database, "kind = 'tea' and row_id < 2", 1e9, dry_run=True).rows == 2


def test_a_column_that_is_called_like_one_of_dropped_row_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    message = {"name": "message", "column_type": "expression", "sql": "'hello'"}
    rowmill.run(spec(message, REVIEW, check("false")), path)
    assert len(dropped_rows(path, "message like 'not true%' and message_1 = 'hello'")) == 6


def test_live_rows_are_chosen_by_their_values(database: Path) -> None:
    steer(database, "retry_dropped", {"rows": [(0, 0), (1, 0)]})
    assert live_rows(database, where="kind = 'tea'") == []  # they come back with the next run
    rowmill.run(None, database)
    assert live_rows(database, where="kind = 'tea'") == []


@pytest.mark.parametrize("is_steered", [True, False])
def test_rows_that_were_found_invalid_are_made_again_when_they_are_retried(database: Path, is_steered: bool) -> None:
    requests = "select count(*) as n from attempt where model is not null"
    assert asked(database, requests) == [{"n": 6}]
    if is_steered:
        assert steer(database, "retry_dropped", {"rows": dropped_rows(database, "row_id < 4")}).rows == 4
    else:
        assert retry_dropped(database, "row_id < 4", 1e9).rows == 4
    rowmill.run(None, database)
    assert asked(database, requests) == [{"n": 10}]
    assert asked(database, "from invariant_violation") == []
    assert len(asked(database, "from dropped_row")) == 6


def test_what_was_lost_to_an_error_keeps_its_values_when_it_is_retried(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    failing = {"name": "number", "column_type": "expression", "sql": "cast(review as int)", "dtype": "int"}
    report = rowmill.run(spec(REVIEW, failing) | {"run": {"error_window": 1000}}, path)
    assert (report.rows_lost, report.exit_code) == (6, 3)
    assert retry_dropped(path, None, 1e9).rows == 6
    rowmill.run(None, path)
    assert asked(path, "select count(*) as n from attempt where model is not null") == [{"n": 6}]
