"""Dropped rows get another chance, cells are made again, plans grow: what was paid for stays (P1, P2, F6, R10)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from virtual_run import EPOCH, Finished, Row, custom, expression, llm, model, prepared, sampler

from rowmill.engine.reopening import extend, rerun, retry_dropped
from rowmill.errors import UsageError
from rowmill.store.reshape.rebuild import COPIED_TABLES, REBUILT_TABLES
from rowmill.store.run_store import RunStore

Run = Callable[..., Finished]

ROWS = 40
PATIENT = {"max_error_share": 1.0}


class Check:
    """A check that refuses some ratings, until it is told not to."""

    refused: ClassVar[set[int]] = set()
    calls = 0


async def check(row: Row) -> str:
    Check.calls += 1
    if row["rating"] in Check.refused:
        raise ValueError("refused")
    return f"rating {row['rating']} is fine"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    Check.calls = 0
    return tmp_path / "run.duckdb"


def checked(**fields: Any) -> Any:
    columns = [
        sampler(),
        llm("review", "Rate {{ rating }}"),
        custom("check", check, ["review", "rating"]),
        llm("title", "Name {{ check }}"),
    ]
    return prepared(
        *columns,
        **{"records": ROWS, "row_group_size": 10, "models": [model(limit=8)], "run": PATIENT, **fields},
    )


def requests(finished: Finished, since: int = 0) -> dict[str, int]:
    return dict(
        finished.sql(
            "select generator, count(*) from attempt where invocation > $since and model is not null group by all",
            since=since,
        )
    )


@pytest.mark.slow
def test_dropped_rows_of_finished_row_groups_come_back_with_what_was_paid_for(run: Run, database: Path) -> None:
    Check.refused = {2, 3}
    first = run(checked(), database)
    dropped = [row_id for (row_id,) in first.sql("select row_id from dropped_row order by row_id")]
    assert first.report is not None
    assert first.report.exit_code == 3
    assert 0 < len(dropped) < ROWS
    first.store.close()
    Check.refused = set()
    assert retry_dropped(database, None, EPOCH + 100, dry_run=True).rows == len(dropped)
    assert retry_dropped(database, None, EPOCH + 100).rows == len(dropped)
    assert retry_dropped(database, None, EPOCH + 100).rows == 0
    calls = Check.calls
    second = run(checked(), database, starts_at_s=200)
    assert Check.calls - calls == len(dropped)
    assert requests(second, since=1) == {"title": len(dropped)}
    assert second.dataset() == run(checked()).dataset()
    assert second.sql("select count(*) from dropped_row") == [(0,)]
    assert second.violations() == []


def test_only_rows_that_meet_the_condition_come_back(run: Run, database: Path) -> None:
    Check.refused = {2, 3}
    first = run(checked(), database)
    of_first_half = first.sql("select count(*) from dropped_row where row_id < 20")[0][0]
    total = first.sql("select count(*) from dropped_row")[0][0]
    first.store.close()
    assert retry_dropped(database, "row_id < 20 and column_name = 'check'", EPOCH + 100).rows == of_first_half
    store = RunStore.open(database)
    assert store.connection.execute("select count(*) from dropped_row") == [(total - of_first_half,)]
    assert store.connection.execute("from invariant_violation") == []
    assert store.connection.execute("select distinct state from row_group order by all") == [
        ("finished",),
        ("resting",),
    ]
    assert store.connection.execute("select state, reason from run_status") == [
        ("stopped", "dropped rows were revived")
    ]
    store.close()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("colum_name = 'check'", "no column 'colum_name'. Did you mean 'column_name'"),
        ("row_id in (select 1)", "subquery"),
        ("row_id = 'x' || now()", "same value on every run"),
        ("row_id <", "cannot be parsed"),
        ("true; drop table state.run", "cannot be parsed"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(run: Run, database: Path, where: str, message: str) -> None:
    Check.refused = {2}
    run(checked(), database).store.close()
    with pytest.raises(UsageError, match=message):
        retry_dropped(database, where, EPOCH + 100)


def test_chosen_cells_are_made_again_with_all_that_needs_them(run: Run, database: Path) -> None:
    Check.refused = set()
    run(checked(), database).store.close()
    again = rerun(database, "check", "rating = 2", EPOCH + 100)
    assert again.columns == ("check", "title")
    assert 0 < again.rows < ROWS
    store = RunStore.open(database)
    assert store.connection.execute("select count(*) from dataset") == [(ROWS - again.rows,)]
    assert store.connection.execute("from invariant_violation") == []
    progress = dict(store.connection.execute("select column_name, done from progress"))
    assert progress == {"rating": ROWS, "review": ROWS, "check": ROWS - again.rows, "title": ROWS - again.rows}
    store.close()
    calls = Check.calls
    second = run(checked(), database, starts_at_s=200)
    assert Check.calls - calls == again.rows
    assert requests(second, since=1) == {"title": again.rows}
    assert second.dataset() == run(checked()).dataset()
    assert second.violations() == []


@pytest.mark.slow
def test_a_rerun_in_the_middle_of_a_run_loses_nothing(run: Run, database: Path) -> None:
    Check.refused = {1, 2, 3}
    settings = {"error_window": 8, "max_error_share": 0.5}
    stopped = run(checked(run=settings, records=400), database, expects_error=True)
    assert stopped.error is not None
    reviewed = requests(stopped)["review"]
    made = stopped.sql("select max(done) from progress where column_name = 'check'")[0][0]
    stopped.store.close()
    Check.refused = set()
    again = rerun(database, "check", None, EPOCH + 100)
    assert again.rows == made
    second = run(checked(run=settings, records=400), database, starts_at_s=200)
    assert requests(second)["review"] == 400
    assert requests(second, since=1)["review"] == 400 - reviewed
    assert second.dataset() == run(checked(records=400)).dataset()


def test_an_sql_column_made_again_has_the_value_it_had(run: Run, database: Path) -> None:
    spec = prepared(sampler(), expression("double", "rating * 2"), expression("more", "double + 1"), records=ROWS)
    first = run(spec, database)
    before = first.dataset()
    first.store.close()
    assert rerun(database, "rating", "row_id % 3 = 0", EPOCH + 100).columns == ("rating", "double", "more")
    second = run(spec, database, starts_at_s=200)
    assert second.dataset() == before


def test_a_seed_column_made_again_is_read_from_the_same_seed_row(run: Run, database: Path, tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("product,price\npen,1\nink,2\ncap,3\n")
    spec = prepared(
        expression("double", "price * 2"),
        llm("text", "Sell {{ product }}"),
        records=10,
        models=[model()],
        seed_dataset={"path": "seed.csv", "sampling_strategy": "shuffle"},
        directory=tmp_path,
    )
    first = run(spec, database)
    before = first.dataset()
    first.store.close()
    assert rerun(database, "product", "row_id < 5", EPOCH + 100).columns == ("product", "text")
    second = run(spec, database, starts_at_s=200)
    assert second.dataset() == before
    assert requests(second, since=1) == {"text": 5}


def test_skips_are_counted_right_after_a_rerun(run: Run, database: Path) -> None:
    Check.refused = set()
    spec = prepared(
        sampler(),
        custom("check", check, ["rating"], skip={"when": "rating < 3"}),
        llm("title", "Name {{ check }}"),
        records=ROWS,
        row_group_size=10,
        models=[model()],
    )
    first = run(spec, database)
    skipped = first.sql("select column_name, done, skipped from progress order by all")
    first.store.close()
    rerun(database, "title", "row_id < 15", EPOCH + 100)
    store = RunStore.open(database)
    assert store.connection.execute("from invariant_violation") == []
    ((done, count),) = store.connection.execute("select done, skipped from progress where column_name = 'check'")
    assert ("check", done, count) in skipped
    store.close()
    second = run(spec, database, starts_at_s=200)
    assert second.sql("select column_name, done, skipped from progress order by all") == skipped


def test_an_extension_makes_the_new_rows_and_leaves_the_old_ones(run: Run, database: Path) -> None:
    def spec(records: int) -> Any:
        return prepared(sampler(), llm("review", "Rate {{ rating }}"), records=records, models=[model()])

    run(spec(5), database).store.close()
    assert extend(database, 6, None, EPOCH + 100) == (5, 6)
    run(spec(6), database, starts_at_s=200).store.close()
    assert extend(database, 9, None, EPOCH + 300, dry_run=True) == (6, 9)
    assert extend(database, 9, None, EPOCH + 300) == (6, 9)
    with pytest.raises(UsageError, match="not cut"):
        extend(database, 8, None, EPOCH + 300)
    last = run(spec(9), database, starts_at_s=400)
    assert last.sql("select row_group, first_row, row_count from row_group order by all") == [
        (0, 0, 2),
        (1, 2, 2),
        (2, 4, 1),
        (3, 5, 1),
        (4, 6, 2),
        (5, 8, 1),
    ]
    assert [row["row_id"] for row in last.dataset()] == list(range(9))
    assert requests(last) == {"review": 9}


def test_an_unknown_column_is_named_with_the_nearest(run: Run, database: Path) -> None:
    Check.refused = set()
    run(checked(), database).store.close()
    with pytest.raises(UsageError, match=r"no column 'titel'\. Did you mean 'title'"):
        rerun(database, "titel", None, EPOCH + 100)


def test_a_rebuild_knows_every_table_there_is() -> None:
    store = RunStore.in_memory()
    store.create(checked().blueprint(), EPOCH)
    found = store.connection.execute("select table_name from duckdb_tables() where schema_name = 'state'")
    store.close()
    tables = {name for (name,) in found}
    assert tables <= {*COPIED_TABLES, *REBUILT_TABLES}
    assert not set(COPIED_TABLES) & set(REBUILT_TABLES)
