"""``on_invalid: regenerate``: what was found invalid is asked again, as often as allowed, and each time differently."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import virtual_run
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.engine.change import accept_change
from rowmill.engine.ending import RunReport
from rowmill.engine.invocation import run
from rowmill.engine.preparation import prepare
from rowmill.engine.reopening import rerun, retry_dropped
from rowmill.errors import SpecError
from rowmill.run_database import RunDatabase
from rowmill.spec.spec import Spec

KIND = {
    "name": "kind",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["tea", "coffee", "milk", "water", "juice"]},
}
REVIEW = {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ kind }} {{ row }}"}
ROW = {"name": "row", "column_type": "sampler", "sampler_type": "uuid", "params": {"short_form": True}}
SUMMARY = {"name": "summary", "column_type": "llm-text", "model_alias": "writer", "prompt": "Sum up: {{ review }}"}
HALF = "md5(review) < '8'"
"""True for about half of all answers, whatever they say."""


def check(predicate: str = HALF, **fields: Any) -> dict[str, Any]:
    return {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["review"],
        "validator_type": "sql",
        "validator_params": {"predicate": predicate},
        "on_invalid": "regenerate",
    } | fields


def called(name: str = "judge", **fields: Any) -> dict[str, Any]:
    """The same verdict, by a function that is called."""
    return (
        check(
            name="check", validator_type="local_callable", validator_params={"validation_function": f"judging:{name}"}
        )
        | fields
    )


JUDGING = """
import hashlib


def judge(rows):
    reviews = rows["review"].to_pylist()
    return [{"is_valid": hashlib.md5(review.encode()).hexdigest() < "8"} for review in reviews]


def never(rows):
    return [{"is_valid": False} for _ in range(len(rows))]


def tell(row, params, models):
    return models["writer"].chat(f"{row['kind']} {row['row']}").text


def shorten(rows, params):
    return {"row_index": rows["row_index"], "short": [text[:10] for text in rows["review"].to_pylist()]}
"""


def spec(simulator: RunningSimulator | None, *columns: dict[str, Any], **changes: Any) -> Spec:
    model: dict[str, Any] = {"alias": "writer", "model": "small", "max_parallel_requests": 8}
    model |= {"provider": "simulated", "simulation": {"latency_ms": 0}} if simulator is None else {}
    model |= {"base_url": simulator.url} if simulator is not None else {}
    model |= {"inference_parameters": {"extra_body": {"seed": 5}}} | changes.pop("model", {})
    data = {"records": 40, "seed": 3, "row_group_size": 7, "models": [model], "columns": [KIND, ROW, *columns]}
    return Spec.from_data(data | changes)


def started(wanted: Spec, database: Path) -> RunReport:
    (database.parent / "judging.py").write_text(JUDGING)

    async def go() -> RunReport:
        return await run(prepare(wanted, database.parent), database)

    return anyio.run(go)


def asked(database: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").to_pylist() == []
        rows: list[dict[str, Any]] = opened.sql(query).to_pylist()
        return rows


@pytest.mark.slow
@pytest.mark.parametrize("validation", [check(), called()], ids=["sql", "called"])
def test_invalid_rows_are_asked_again_until_they_are_valid_or_may_be_no_more(
    tmp_path: Path, validation: dict[str, Any]
) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator() as simulator:
        report = started(spec(simulator, REVIEW, validation, SUMMARY), database)
        statistics = simulator.statistics()
    rows = asked(database, "from dataset order by row_id")
    assert all(row["check"]["is_valid"] for row in rows)
    assert len({row["summary"] for row in rows}) == len(rows)
    again = asked(
        database,
        "select row_id, count(*) as times, max(attempt) as last from attempt where outcome = 'regenerated' "
        "group by all",
    )
    assert all(row["times"] == row["last"] <= 3 for row in again)
    assert {row["times"] for row in again} == {1, 2, 3}
    dropped = asked(database, "from dropped_row order by row_id")
    assert 0 < len(dropped) < 10
    assert {(row["column_name"], row["reason"], row["attempts"]) for row in dropped} == {("check", "invalid", 4)}
    assert all(row["message"].startswith("not valid after 3 regenerations: ") for row in dropped)
    assert len(rows) + len(dropped) == 40 == report.rows_finished + report.rows_dropped
    reviews = asked(database, "select count(*) as n from attempt where generator = 'review'")[0]["n"]
    assert reviews == 40 + sum(row["times"] for row in again)
    requests = asked(database, "select count(*) as n from attempt where model is not null")[0]["n"]
    assert statistics["requests"] == requests == asked(database, "select requests from run_status")[0]["requests"]
    noted = asked(database, "select sum(detail::int) as n from event where kind = 'rows regenerated'")[0]["n"]
    assert noted == sum(row["times"] for row in again)


@pytest.mark.slow
def test_verdicts_of_sql_and_of_a_function_that_agree_give_the_same_dataset(tmp_path: Path) -> None:
    for directory, validation in (("sql", check()), ("called", called())):
        (tmp_path / directory).mkdir()
        started(spec(None, REVIEW, validation), tmp_path / directory / "run.duckdb")
    query = 'select row_id, review, "check".is_valid from dataset order by row_id'
    assert asked(tmp_path / "sql" / "run.duckdb", query) == asked(tmp_path / "called" / "run.duckdb", query)


def test_a_row_that_stays_invalid_is_kept_with_its_verdict_if_the_spec_says_so(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    started(spec(None, REVIEW, check("false", max_regenerations=2, on_still_invalid="keep")), database)
    assert asked(database, 'select "check".is_valid as valid, count(*) as n from dataset group by all') == [
        {"valid": False, "n": 40}
    ]
    assert asked(database, "select outcome, count(*) as n from attempt group by all order by all") == [
        {"outcome": "regenerated", "n": 80},
        {"outcome": "succeeded", "n": 120},
    ]


@pytest.mark.slow
def test_no_answer_is_reused_for_a_regeneration(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    same = REVIEW | {"prompt": "{{ kind }}"}
    with provider_simulator() as simulator:
        wanted = spec(simulator, same, check("false"), model={"reuse_answers": True}, run={"max_in_flight": 1})
        started(wanted, database)
        outcomes = asked(database, "select outcome, count(*) as n from attempt where generator = 'review' group by all")
        requests = simulator.statistics()["requests"]
    # Of the first 40 answers those are reused that were committed when they were asked for: up to 35, of five kinds.
    assert 40 * 3 + 5 <= requests < 40 * 4
    assert {row["outcome"]: row["n"] for row in outcomes} == {"succeeded": requests, "reused": 40 * 4 - requests}
    assert asked(database, "select count(*) as n from dropped_row") == [{"n": 40}]


def test_what_is_drawn_for_a_request_is_drawn_anew(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    drawn = {"temperature": {"distribution_type": "uniform", "params": {"low": 0, "high": 1}}}
    with provider_simulator() as simulator:
        wanted = spec(simulator, REVIEW, check("false"), records=5, model={"inference_parameters": drawn})
        started(wanted, database)
        assert simulator.statistics()["distinct_bodies"] == simulator.statistics()["requests"] == 20


@pytest.mark.slow
def test_a_custom_function_that_asks_a_model_asks_differently_each_time(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    review = {
        "name": "review",
        "column_type": "custom",
        "generator_function": "judging:tell",
        "required_columns": ["kind", "row"],
        "model_aliases": ["writer"],
    }
    started(spec(None, review, check()), database)
    assert len(asked(database, "from dataset")) > 30
    assert asked(database, "select count(distinct row_id) as n from attempt where outcome = 'regenerated'")[0]["n"] > 10


def test_a_batch_column_makes_only_the_rows_again_that_changed(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    short = {
        "name": "short",
        "column_type": "custom",
        "generator_function": "judging:shorten",
        "required_columns": ["review"],
        "generation_strategy": "batch",
    }
    started(spec(None, REVIEW, called(batch_size=1), short), database)
    rows = asked(database, "from dataset")
    assert all(row["short"] == row["review"][:10] and row["check"]["is_valid"] for row in rows)
    assert len(rows) > 30


def test_a_call_under_way_on_an_invalid_value_is_given_up_and_its_result_never_taken(tmp_path: Path) -> None:
    """Summaries take a minute, a verdict takes none: each is under way when its review turns out to be invalid."""
    made: Counter[str] = Counter()
    summed: list[str] = []
    ended: list[str] = []

    async def review(row: dict[str, Any]) -> str:
        made[row["number"]] += 1
        return str(made[row["number"]])

    async def summary(row: dict[str, Any]) -> str:
        summed.append(row["review"])
        await anyio.sleep(60)
        ended.append(row["review"])
        return f"summary of {row['review']}"

    finished = virtual_run.run(
        virtual_run.prepared(
            {"name": "number", "column_type": "sampler", "sampler_type": "uuid"},
            virtual_run.custom("review", review, ["number"]),
            virtual_run.custom("summary", summary, ["review"]),
            check(validator_type="json_schema", validator_params={"json_schema": {"minimum": 3}}),
            records=6,
        )
    )
    with closing(finished.store):
        assert finished.column("review") == ["3"] * 6
        assert finished.column("summary") == ["summary of 3"] * 6
        assert sorted(summed) == ["1"] * 6 + ["2"] * 6 + ["3"] * 6
        assert ended == ["3"] * 6
        assert finished.took_s < 70
        assert finished.violations() == []


def test_a_row_that_was_given_up_may_be_made_again_as_often_when_it_is_retried(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    wanted = spec(None, REVIEW, called("never", max_regenerations=2), records=6)
    started(wanted, database)
    assert asked(database, "select count(*) as n, min(attempts) as tries from dropped_row") == [{"n": 6, "tries": 3}]
    assert retry_dropped(database, None, 1e9).rows == 6
    started(wanted, database)
    assert asked(database, "select count(*) as n, min(attempts) as tries from dropped_row") == [{"n": 6, "tries": 3}]
    assert asked(database, "select count(*) as n from attempt where generator = 'review'") == [{"n": 6 * 6}]


@pytest.mark.slow
def test_rows_made_again_by_hand_and_under_another_spec_are_judged_as_at_first(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    wanted = spec(None, REVIEW, called(on_still_invalid="keep"), records=12)
    started(wanted, database)
    before = asked(database, "from dataset order by row_id")
    rerun(database, "review", None, 1e9)
    started(wanted, database)
    assert asked(database, "from dataset order by row_id") == before
    rerun(database, "kind", None, 1e9)
    longer = spec(None, REVIEW, called(on_still_invalid="keep"), SUMMARY, records=12)

    accept_change(prepare(longer, tmp_path), database, 1e9)
    started(longer, database)
    after = asked(database, "from dataset order by row_id")
    assert [row["review"] for row in after] == [row["review"] for row in before]
    assert all(row["summary"] for row in after)


def test_a_skipped_target_is_not_asked_again(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    review = REVIEW | {"skip": {"when": "kind = 'tea'"}}
    validation = check("review is not null and false", propagate_skip=False)
    started(spec(None, review, validation, records=20), database)
    dropped = asked(database, "select row_id, message, attempts from dropped_row")
    assert len(dropped) == 20
    again = asked(database, "select count(*) as n from attempt where outcome = 'regenerated'")[0]["n"]
    untouched = [row for row in dropped if row["attempts"] == 1]
    assert 0 < len(untouched) < 20
    assert again == 3 * (20 - len(untouched))


REFUSED = [
    ([check(target_columns=["kind"], validator_params={"predicate": "kind = 'tea'"})], "would answer differently"),
    (
        [
            REVIEW,
            {"name": "unique", "column_type": "deduplicate", "columns": ["review"]},
            check("review <> '' and \"unique\""),
        ],
        "looks at all rows at once",
    ),
    ([REVIEW, check(on_invalid="keep", max_regenerations=2)], "belongs to on_invalid: regenerate"),
]


@pytest.mark.parametrize(("columns", "told"), REFUSED, ids=["nothing differs", "barrier", "keep"])
def test_what_cannot_be_made_again_is_refused_with_the_reason(
    tmp_path: Path, columns: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        prepare(spec(None, *columns), tmp_path)
