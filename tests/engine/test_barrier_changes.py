"""Barriers and changes of mind: rows revived, cells made again, specs changed, plans that grow (R6, V2, P1)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from virtual_run import EPOCH, Finished, Row, custom, expression, llm, model, prepared, sampler
from virtual_run import run as run_in_virtual_time

from rowmill.engine.change import accept_change
from rowmill.engine.preparation import Prepared
from rowmill.engine.reopening import rerun, retry_dropped

Run = Callable[..., Finished]

ROWS = 30
UNIQUE = {"name": "unique", "column_type": "deduplicate", "columns": ["review"]}


class Check:
    """Refuses some ratings, until it is told not to."""

    refused: ClassVar[set[int]] = set()


async def check(row: Row) -> str:
    if row["rating"] in Check.refused:
        raise ValueError("refused")
    return "fine"


def reviews(
    *barriers: dict[str, Any], prompt: str = "Rate {{ rating }}", requires: tuple[str, ...] = ("unique",), **fields: Any
) -> Prepared:
    """Rows of one rating have the same review; a title is made for those that pass the barriers."""
    columns = [
        sampler(values=range(1, 9)),
        custom("check", check, ["rating"]),
        llm("review", prompt) | {"requires": ["check"]},
        *barriers,
        llm("title", "Name {{ review }}") | {"requires": list(requires)},
    ]
    return prepared(
        *columns,
        **{
            "records": ROWS,
            "row_group_size": 7,
            "models": [model(limit=8)],
            "run": {"max_error_share": 1.0},
            **fields,
        },
    )


def requests(finished: Finished, since: int = 1) -> dict[str, int]:
    """Requests per column in the invocations after ``since``."""
    return dict(
        finished.sql(
            "select generator, count(*) from attempt where invocation > $since and model is not null group by all",
            since=since,
        )
    )


def outcome(finished: Finished) -> tuple[list[dict[str, Any]], list[Any]]:
    assert finished.violations() == []
    return finished.dataset(), finished.sql("select row_id, column_name, reason from dropped_row order by all")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    Check.refused = set()
    return tmp_path / "run.duckdb"


@pytest.fixture
def fresh(run: Run) -> tuple[list[dict[str, Any]], list[Any]]:
    """What the spec makes in one go."""
    Check.refused = set()
    return outcome(run(reviews(UNIQUE)))


@pytest.mark.slow
def test_revived_duplicates_are_decided_over_again_and_nothing_is_paid_twice(
    run: Run, database: Path, fresh: Any
) -> None:
    run(reviews(UNIQUE), database).store.close()
    assert retry_dropped(database, "reason = 'duplicate' and row_id > 20", EPOCH + 100).rows > 0
    again = run(reviews(UNIQUE), database, starts_at_s=200)
    assert outcome(again) == fresh
    assert requests(again) == {}


@pytest.mark.slow
def test_rows_revived_before_the_barrier_open_it_again(run: Run, database: Path, fresh: Any) -> None:
    Check.refused = {1, 2, 3}
    first = run(reviews(UNIQUE), database)
    assert len(first.dataset()) == 5
    first.store.close()
    Check.refused = set()
    refused = retry_dropped(database, "reason = 'rejected'", EPOCH + 100).rows
    again = run(reviews(UNIQUE), database, starts_at_s=200)
    assert outcome(again) == fresh
    assert requests(again) == {"review": refused, "title": 3}
    assert again.sql("select rows_in from barrier") == [(ROWS,)]


def test_a_call_that_ends_after_the_last_row_before_an_open_barrier_lets_its_row_group_rest(
    run: Run, database: Path
) -> None:
    Check.refused = {1}
    spec = reviews(UNIQUE, row_group_size=ROWS)
    first = run(spec, database)
    expected = outcome(first)
    first.store.close()
    assert rerun(database, "title", "rating = 2", EPOCH + 100).rows == 1
    assert retry_dropped(database, "reason = 'rejected'", EPOCH + 100).rows > 0
    again = run(spec, database, starts_at_s=200)
    assert outcome(again) == expected
    assert requests(again) == {"title": 1}


@pytest.mark.slow
def test_cells_made_again_after_a_barrier_leave_it_closed(run: Run, database: Path, fresh: Any) -> None:
    first = run(reviews(UNIQUE), database)
    ran = first.sql("select completed_at from barrier")
    first.store.close()
    assert rerun(database, "title", "rating <= 2", EPOCH + 100).rows == 2
    again = run(reviews(UNIQUE), database, starts_at_s=200)
    assert outcome(again) == fresh
    assert requests(again) == {"title": 2}
    assert again.sql("select completed_at from barrier") == ran


@pytest.mark.slow
def test_cells_made_again_before_a_barrier_open_it_again(run: Run, database: Path, fresh: Any) -> None:
    run(reviews(UNIQUE), database).store.close()
    assert rerun(database, "review", "rating = 3", EPOCH + 100).rows == 1
    again = run(reviews(UNIQUE), database, starts_at_s=200)
    assert outcome(again) == fresh
    assert requests(again) == {"review": 1, "title": 1}
    assert again.sql("select rows_in, rows_out from barrier") == [(ROWS, 8)]


@pytest.mark.slow
def test_another_prompt_before_a_barrier_makes_the_rows_it_dropped_again_too(run: Run, database: Path) -> None:
    run(reviews(UNIQUE), database).store.close()
    changed = reviews(UNIQUE, prompt="Rate {{ rating }} in one word")
    accept_change(changed, database, EPOCH + 100)
    again = run(changed, database, starts_at_s=200)
    assert outcome(again) == outcome(run(changed))
    assert requests(again) == {"review": ROWS, "title": 8}


@pytest.mark.slow
def test_a_changed_barrier_decides_over_all_rows_again_and_asks_no_model_before_it(run: Run, database: Path) -> None:
    run(reviews(UNIQUE), database).store.close()
    changed = reviews(UNIQUE | {"order_by": "row_id desc"})
    accept_change(changed, database, EPOCH + 100)
    again = run(changed, database, starts_at_s=200)
    assert outcome(again) == outcome(run(changed))
    assert set(requests(again)) == {"title"}


def test_a_barrier_added_to_a_finished_dataset_costs_no_request(run: Run, database: Path) -> None:
    best = {"name": "best", "column_type": "select", "top": 3, "order_by": "rating desc"}
    run(reviews(UNIQUE), database).store.close()
    changed = reviews(UNIQUE, best)
    accept_change(changed, database, EPOCH + 100)
    again = run(changed, database, starts_at_s=200)
    assert [row["rating"] for row in again.dataset()] != []
    assert sorted(row["rating"] for row in again.dataset()) == [6, 7, 8]
    assert requests(again) == {}
    assert again.violations() == []


# Any way there leads to the same dataset --------------------------------------------------------------


async def draft(row: Row) -> str:
    return f"draft {row['score'] % 13}"


async def comment(row: Row) -> str:
    if row["score"] % 7 == 3:
        raise ValueError("no comment")
    return f"{row['place']}: {row['draft']}"


def grown(records: int, size: int, rows: int) -> Prepared:
    return prepared(
        sampler("score", values=list(range(200))),
        custom("draft", draft, ["score"]),
        {"name": "good", "column_type": "select", "sql": "score <= 1.3 * avg(score) over ()"},
        {"name": "unique", "column_type": "deduplicate", "columns": ["draft"], "order_by": "score"}
        | {"requires": ["good"]},
        {"name": "place", "column_type": "rank", "order_by": "score, row_id", "requires": ["unique"]},
        custom("comment", comment, ["score", "place", "draft"]),
        expression("length", "length(comment)"),
        records=records,
        row_group_size=size,
        run={"max_active_rows": rows, "max_error_share": 1.0},
    )


@pytest.mark.slow
@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@example(steps=[(7, 1), (5, 5), (8, 4)], rows=40)
@example(steps=[(10, 3), (14, 4), (9, 3)], rows=24)  # a row dropped late is a duplicate of one that came later
@given(
    steps=st.lists(st.tuples(st.integers(1, 15), st.integers(1, 6)), min_size=2, max_size=3), rows=st.integers(1, 40)
)
def test_a_dataset_with_barriers_is_the_same_however_often_it_was_extended(
    steps: list[tuple[int, int]], rows: int
) -> None:
    records = 0
    with tempfile.TemporaryDirectory(prefix="rowmill-grown-") as directory:
        database = Path(directory) / "run.duckdb"
        for more, size in steps:
            records += more
            grown_so_far = run_in_virtual_time(grown(records, size, rows), database, starts_at_s=float(records))
            found = outcome(grown_so_far)
            grown_so_far.store.close()
    whole = run_in_virtual_time(grown(records, 5, 1000))
    expected = outcome(whole)
    whole.store.close()
    assert found == expected
