"""SQL of a spec that takes too long or too much memory: the run stops with the place, the process and its file live."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hostile_run import SIMULATED, assert_helps, run_spec, spec_of

from rowmill.errors import BarrierFailed, QueryStopped, RowmillError, SqlTooCostly, UsageError
from rowmill.inspect.opening import open_reader
from rowmill.run_database import RunDatabase, run
from rowmill.store.database import sql_allowance
from rowmill.store.turn import skipping

_KIND = {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["ab", "ba"]}}
_TEXT = {"name": "text", "column_type": "expression", "expr": "{{ kind }}!"}
# Takes a second at least by itself, so that an engine stops that looks for an interrupt only after a batch of rows:
# DuckDB 2.0.0 does; later ones look inside this function.
_SLOW = "levenshtein(repeat('ab', 9000) || {0}, repeat('ba', 9000)) > 0"
_LARGE = "len(range(4000000000 + len({0}))) > 0"


def _expression(source: str, sql: str) -> list[dict[str, Any]]:
    return [{"name": "out", "column_type": "expression", "sql": sql.format(source), "dtype": "bool"}]


def _skip(source: str, sql: str) -> list[dict[str, Any]]:
    column = {"name": "out", "column_type": "expression", "expr": "{{ kind }}"}
    return [column | {"skip": {"when": sql.format(source)}}]


def _validation(source: str, sql: str) -> list[dict[str, Any]]:
    column = {"name": "out", "column_type": "validation", "validator_type": "sql", "target_columns": [source]}
    return [column | {"validator_params": {"predicate": sql.format(source)}}]


def _condition(source: str, sql: str) -> list[dict[str, Any]]:
    sampler = {"name": "out", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    return [sampler | {"conditional_params": {sql.format(source): {"low": 2, "high": 3}}}]


_PLACES = {"expression": _expression, "skip": _skip, "validation": _validation, "condition": _condition}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_allowance, "LONGEST_S", 0.2)
    monkeypatch.setattr(sql_allowance, "ROW_S", 0)


@pytest.mark.parametrize("sql", [_SLOW, _LARGE], ids=["slow", "large"])
@pytest.mark.parametrize("place", _PLACES)
def test_sql_of_a_row_that_costs_too_much_stops_the_run_with_its_place(tmp_path: Path, place: str, sql: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    source = "kind" if place == "condition" else "text"
    with pytest.raises(SqlTooCostly) as caught:
        run_spec(tmp_path, [_KIND, _TEXT, *_PLACES[place](source, sql)])
    assert_helps(caught.value, "'out'", "columns.2", "memory" if sql is _LARGE else "longer than")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with RunDatabase.open(tmp_path / "run.duckdb") as opened:
        assert opened.sql("from invariant_violation").to_pylist() == []


def test_sql_that_costs_too_much_as_rows_are_admitted_stops_the_run_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SqlTooCostly) as caught:
        run_spec(tmp_path, [_KIND, *_expression("kind", _LARGE)])
    assert_helps(caught.value, "'out'", "columns.1.sql")


@pytest.mark.parametrize("sql", [_SLOW, _LARGE], ids=["slow", "large"])
def test_a_condition_over_the_dataset_that_costs_too_much_stops_the_run(tmp_path: Path, sql: str) -> None:
    with pytest.raises(BarrierFailed) as caught:
        run_spec(tmp_path, [_KIND, {"name": "chosen", "column_type": "select", "sql": sql.format("kind")}])
    assert_helps(caught.value, "'chosen'", "memory" if sql is _LARGE else "longer than")


@pytest.mark.slow
def test_a_run_goes_on_with_mended_sql_and_asks_no_model_again(tmp_path: Path) -> None:
    asked = {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ kind }}"}

    def write(sql: str) -> Path:
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec_of([_KIND, asked, *_expression("text", sql)], models=[SIMULATED])))
        return path

    database = tmp_path / "run.duckdb"
    with pytest.raises(SqlTooCostly):
        run(write(_SLOW), database)
    report = run(write("len({0}) > 0"), database, accept_changes=True)
    assert report.rows_finished == 4
    with RunDatabase.open(database) as opened:
        assert (
            opened.sql("select count(*) as calls from attempt where outcome = 'succeeded'").to_pylist()[0]["calls"] <= 8
        )


def test_rules_that_are_slow_together_are_decided_over_several_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipping, "LONGEST_TURN_S", 0.0)
    asked = {"name": "out", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ kind }}"}
    ran = run_spec(tmp_path, [_KIND, asked | {"skip": {"when": "{{ kind == 'ab' }}", "value": "none"}}], records=12)
    assert [row["out"] == "none" for row in ran.rows] == [row["kind"] == "ab" for row in ran.rows]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The database of a small run that is over."""
    run_spec(tmp_path, [_KIND, _TEXT])
    return tmp_path / "run.duckdb"


@pytest.mark.parametrize("sql", [_SLOW, _LARGE], ids=["slow", "large"])
def test_a_condition_of_an_export_that_costs_too_much_stops_the_export(finished: Path, sql: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    target = finished.with_name("out.jsonl")
    with RunDatabase.open(finished) as opened, pytest.raises(QueryStopped) as caught:
        opened.export(target, where=sql.format("text"))
    assert_helps(caught.value, "memory" if sql is _LARGE else "longer than")
    assert not target.exists()
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_condition_on_the_rows_of_another_run_that_costs_too_much_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for sql in (_SLOW, _LARGE):
        seeds = {"seed_type": "run", "path": str(finished), "where": sql.format("text")}
        with pytest.raises(RowmillError) as caught:
            run_spec(tmp_path / "other", [_TEXT | {"name": "more"}], seed_dataset=seeds)
        assert_helps(caught.value, "memory" if sql is _LARGE else "longer than")


_QUESTIONS = {
    "at once": f"select {_LARGE.format('text')} as is_long from dataset",
    "later": "select len(range(case when range > 40000 then 4000000000 else 1 end)) as length from range(60000)",
}


@pytest.mark.parametrize("question", _QUESTIONS.values(), ids=_QUESTIONS)
def test_a_query_that_needs_too_much_memory_ends_in_an_error(finished: Path, question: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    reader = open_reader(finished)
    with reader, pytest.raises((QueryStopped, UsageError)) as caught, reader.batches(question) as rows:
        rows.read_all()
    assert_helps(caught.value, "emory")
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_what_may_grow_is_told_from_what_may_not() -> None:
    assert not sql_allowance.may_grow(
        ["len(string_split(review, ' ')) + 1", "case when (a in (1, 2)) then upper(b) end"]
    )
    for text in ("range(3)", "[x for x in y]", "list_transform(a, lambda x: x)", "repeat (a, 2)", "a -> a", "new(1)"):
        assert sql_allowance.may_grow([text])
