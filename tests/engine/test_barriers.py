"""Barriers: columns that look at all rows at once (R6), and what rests meanwhile (K1, K2, K4, D1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from help_page import PAGES
from run_state import RunState, rejected, succeeded, transient
from virtual_run import Finished, custom, expression, model, prepared, run, sampler

import rowmill
from rowmill.engine.preparation import Prepared
from rowmill.errors import BarrierFailed, GeneratorError, RateLimited, SpecError, Transient

Column = dict[str, Any]


def deduplicate(name: str, *columns: str, **fields: Any) -> Column:
    return {"name": name, "column_type": "deduplicate", "columns": list(columns), **fields}


def rank(name: str, **fields: Any) -> Column:
    return {"name": name, "column_type": "rank", **fields}


def select(name: str, **fields: Any) -> Column:
    return {"name": name, "column_type": "select", **fields}


def after(column: Column, *barriers: str) -> Column:
    """The column, to be made when these ran."""
    return {**column, "requires": list(barriers)}


class Calls:
    """Model-like functions that count what they are asked, and answer from the row alone."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, object]] = Counter()

    async def draft(self, row: dict[str, Any]) -> str:
        self.asked["draft", row["n"]] += 1
        return f"Draft {row['n'] % 5}"

    async def review(self, row: dict[str, Any]) -> str:
        self.asked["review", row["n"]] += 1
        return f"review of {row['draft']}"

    def times(self, name: str) -> int:
        return sum(times for (asked, _), times in self.asked.items() if asked == name)


@pytest.fixture
def calls() -> Calls:
    return Calls()


def between(calls: Calls, records: int = 23, *further: Column, **fields: Any) -> Prepared:
    """Two paid columns with a deduplication between them: rows n and n + 5 have the same draft."""
    return prepared(
        custom("n", number, generation_strategy="batch", dtype="int"),
        custom("draft", calls.draft, ["n"]),
        deduplicate("unique", "draft"),
        after(custom("review", calls.review, ["n", "draft"]), "unique"),
        *further,
        records=records,
        **{"row_group_size": 4, **fields},
    )


async def number(rows: pa.Table) -> dict[str, Any]:
    return {"row_index": rows["row_index"], "n": rows["row_id"]}


def clean(finished: Finished) -> Finished:
    """A run that ended as it should."""
    assert finished.violations() == []
    return finished


# R6: what waits for what ------------------------------------------------------------------------------


def test_r6_a_barrier_sees_every_row_and_what_needs_it_follows(calls: Calls) -> None:
    finished = clean(run(between(calls)))
    assert [row["row_id"] for row in finished.dataset()] == [0, 1, 2, 3, 4]
    assert finished.column("review") == [f"review of Draft {n}" for n in range(5)]
    assert calls.times("draft") == 23
    assert calls.times("review") == 5, "rows that are dropped at the barrier are not paid for after it"
    assert finished.sql("select * exclude (completed_at) from barrier") == [("unique", "done", 23, 5)]


def test_r6_a_barrier_waits_for_every_row_group_of_its_stage(calls: Calls) -> None:
    spec = between(calls, 8)
    with RunState(spec) as state:
        tasks = state.take().tasks
        for _ in range(2):
            tasks = state.take([succeeded(t, pa_numbers(t)) for t in state.of(tasks, "n")]).tasks or tasks
        drafts = state.of(tasks, "draft")
        assert len(drafts) == 8
        late = drafts.pop()
        assert state.take([succeeded(task, "same") for task in drafts]).tasks == []
        assert state.sql("select row_group, state from row_group order by all") == [(0, "resting"), (1, "active")]
        assert state.sql("select state from barrier") == [("waiting",)]
        assert state.cells("draft") == {4: "done", 5: "done", 6: "done", 7: "ready"}
        state.take([succeeded(late, "same")])
        assert state.sql("select state from barrier") == [("done",)]
        assert state.keys(state.take().tasks) == [("review", 0, 0)]
        assert state.violations() == []


def pa_numbers(task: Any) -> pa.Table:
    return pa.table({"row_index": task.inputs["row_index"], "n": task.inputs["row_id"]})


def test_k4_rows_that_wait_for_a_barrier_are_not_in_the_dataset(calls: Calls) -> None:
    with RunState(between(calls, 8)) as state:
        tasks = state.take().tasks
        tasks = state.take([succeeded(task, pa_numbers(task)) for task in state.of(tasks, "n")]).tasks
        drafts = [task for task in tasks if task.row_group == 0]
        state.take([succeeded(task, "one") for task in drafts])
        assert state.dataset() == []
        assert state.progress("draft")["done"] == 4
        assert state.sql("select row_groups_resting, rows_finished from run_status") == [(1, 0)]
        assert state.violations() == []


def test_admission_says_that_row_groups_wait_for_a_barrier(calls: Calls) -> None:
    def nothing(rows: pa.Table) -> int:  # type: ignore[empty-body]
        """Never called: the test plays the dispatcher."""

    spec = prepared(
        sampler("rating"),
        {**custom("all", nothing, ["rating"]), "generation_strategy": "dataset"},  # type: ignore[arg-type]
    )
    with RunState(spec) as state:
        (task,) = state.take().tasks
        assert (task.row_group, task.row_index) == (-1, None)
        assert state.sql("select admit, reason from admission") == [(False, "row groups wait for a barrier")]
        ((told,),) = state.sql("select explanation from admission")
        assert told.endswith(
            "those whose rows are as far as they can be wait for the others, for a column that looks at all rows."
        )
        assert state.sql("select generator, row_group, row_index from ready_task") == [("all", None, None)]
        assert state.sql("select state from barrier") == [("ready",)]


def test_r6_two_barriers_in_a_row_run_in_their_order(calls: Calls) -> None:
    spec = between(calls, 23, after(rank("place", order_by="n desc"), "unique"), select("best", sql="place <= 2"))
    finished = clean(run(spec))
    assert [(row["row_id"], row["place"]) for row in finished.dataset()] == [(3, 2), (4, 1)]
    assert finished.sql("select column_name, rows_in, rows_out from barrier") == [
        ("unique", 23, 5),
        ("place", 5, 5),
        ("best", 5, 2),
    ]
    assert finished.sql("select reason, count(*) from dropped_row group by all order by all") == [
        ("duplicate", 18),
        ("filtered", 3),
    ]


def test_k1_a_barrier_may_drop_every_row() -> None:
    finished = clean(run(prepared(sampler("rating"), select("none", sql="rating > 5"), records=9)))
    assert finished.dataset() == []
    assert finished.report is not None
    assert finished.report.exit_code == 0
    assert sorted(group.row_group for group in finished.groups) == [0, 1, 2, 3, 4]
    assert {(group.rows_finished, group.rows_dropped) for group in finished.groups} == {(0, 2), (0, 1)}


def test_an_empty_run_with_a_barrier_is_complete() -> None:
    finished = clean(run(prepared(sampler("rating"), deduplicate("unique", "rating"), records=0)))
    assert finished.report is not None
    assert finished.report.exit_code == 0
    assert finished.sql("select state, rows_in from barrier") == [("waiting", None)]


def test_a_run_of_which_no_row_reaches_the_barrier_is_complete(calls: Calls) -> None:
    async def fails(row: dict[str, Any]) -> str:
        raise ValueError("no")

    spec = prepared(custom("draft", fails), deduplicate("unique", "draft"), records=3, run={"max_error_share": 1.0})
    finished = clean(run(spec))
    assert finished.sql("select state, rows_dropped from run_status") == [("finished", 3)]


def test_a_spec_evaluated_in_the_database_alone_has_barriers_too() -> None:
    spec = prepared(
        sampler("rating"),
        rank("place", order_by="rating desc, row_id"),
        expression("twice", "place * 2"),
        records=1000,
        row_group_size=7,
    )
    finished = clean(run(spec))
    ratings = dict(enumerate(finished.column("rating")))
    expected = sorted(ratings, key=lambda row_id: (-ratings[row_id], row_id))
    assert [row["row_id"] for row in sorted(finished.dataset(), key=lambda row: row["place"])] == expected
    assert finished.column("twice") == [2 * place for place in finished.column("place")]


def test_s2_a_barrier_does_not_see_rows_of_which_something_it_needs_was_skipped() -> None:
    spec = prepared(
        sampler("rating"),
        expression("key", "'same'", "str", skip={"when": "rating = 1"}),
        deduplicate("unique", "key"),
        records=20,
    )
    finished = clean(run(spec))
    ratings = finished.column("rating")
    assert sorted(ratings) == [1] * (len(ratings) - 1) + [max(ratings)]
    assert len(ratings) > 2
    skipped = finished.sql("select skipped from progress where column_name = 'unique'")
    assert skipped == [(len(ratings) - 1,)]


# Built-in barriers ------------------------------------------------------------------------------------


TEXTS = ["Hello, World!", "hello world", "HELLO   WORLD", "Héllo world", "other", "Other ", None, None]


@pytest.mark.parametrize(
    ("normalize", "kept"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6]),
        (["case"], [0, 1, 2, 3, 4, 5, 6]),
        (["case", "whitespace"], [0, 1, 3, 4, 6]),
        (["case", "whitespace", "punctuation"], [0, 3, 4, 6]),
        (["case", "whitespace", "punctuation", "accents"], [0, 4, 6]),
    ],
)
def test_a_deduplication_compares_texts_without_what_it_is_told_to_ignore(
    normalize: list[str], kept: list[int], tmp_path: Path
) -> None:
    lines = ["i,text", *(f'{i},"{text}"' if text is not None else f"{i}," for i, text in enumerate(TEXTS))]
    (tmp_path / "texts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = prepared(
        deduplicate("unique", "text", normalize=normalize),
        seed_dataset={"path": "texts.csv"},
        records=len(TEXTS),
        directory=tmp_path,
    )
    finished = clean(run(spec))
    assert [row["row_id"] for row in finished.dataset()] == kept


def test_a_deduplication_keeps_the_first_by_its_order_and_names_the_row_it_kept() -> None:
    spec = prepared(
        sampler("rating", values=[1, 2]), deduplicate("unique", "rating", order_by="row_id desc"), records=9
    )
    finished = clean(run(spec))
    kept = {row["rating"]: row["row_id"] for row in finished.dataset()}
    assert max(kept.values()) == 8
    values = finished.sql("select row_id, rating from state.dropped_row_value")
    messages = dict(finished.sql("select row_id, message from dropped_row"))
    assert messages == {row_id: f"a duplicate of row {kept[rating]}" for row_id, rating in values}
    assert set(finished.sql("select column_name, reason from dropped_row")) == {("unique", "duplicate")}


def test_a_selection_keeps_the_top_of_each_group() -> None:
    spec = prepared(
        sampler("topic", values=["a", "b"]),
        sampler("score", values=list(range(100))),
        select("best", top=2, order_by="score desc", partition_by=["topic"]),
        records=40,
    )
    finished = clean(run(spec))
    every = finished.sql(
        "select topic, score, row_id from state.dataset_row union all"
        " select topic, score, row_id from state.dropped_row_value"
    )
    expected = set()
    for topic in ("a", "b"):
        rows = sorted((-score, row_id) for of, score, row_id in every if of == topic)
        expected |= {row_id for _, row_id in rows[:2]}
    assert {row["row_id"] for row in finished.dataset()} == expected
    assert finished.sql("select distinct message from dropped_row") == [("not among the first 2 of its group",)]


def test_a_rank_may_be_any_expression_over_the_dataset() -> None:
    spec = prepared(
        sampler("score", values=list(range(10))),
        rank("above", sql="score - avg(score) over ()", dtype="float"),
        records=10,
    )
    finished = clean(run(spec))
    scores = finished.column("score")
    assert finished.column("above") == pytest.approx([score - sum(scores) / 10 for score in scores])


@pytest.mark.parametrize(
    ("column", "place", "message"),
    [
        (rank("x", sql="row_number() over (order by rating)"), "columns.1.sql", "Put row_id last"),
        (rank("x", sql="avg(rating)"), "columns.1.sql", "write avg(…) over (…)"),
        (rank("x", sql="random() over ()"), "columns.1.sql", ""),
        (rank("x", order_by="ratng"), "columns.1.order_by", "Did you mean 'rating'?"),
        (rank("x", order_by="rating), (select 1"), "columns.1.order_by", ""),
        (select("x", sql="(select count(*) from run_status) > 0"), "columns.1.sql", "subquery"),
        (select("x", sql="rating || 'x' over"), "columns.1.sql", "cannot be parsed"),
        (deduplicate("x", "ratin"), "columns.1.columns", "Did you mean 'rating'?"),
        (deduplicate("x", "rating", skip={"when": "rating = 1"}), "columns.1.skip.when", "all rows at once"),
        (after(deduplicate("x", "rating"), "y"), "columns.1.requires", "'y' is not defined"),
        (select("x", sql="true", top=1, order_by="rating"), "columns.1", "exactly one of 'sql' and 'top'"),
        (select("x", top=1), "columns.1", "which rows come first?"),
        (rank("x"), "columns.1", "exactly one of 'order_by' and 'sql'"),
    ],
)
def test_a_barrier_that_cannot_work_is_a_problem_of_the_spec(column: Column, place: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        prepared(sampler("rating"), column)
    (problem,) = caught.value.problems
    assert (problem.place, message in problem.message) == (place, True), problem


def test_sql_that_fails_for_the_rows_stops_the_run_and_drops_nothing(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    spec = prepared(
        sampler("word", values=["1", "2", "three"]),
        rank("number", sql="cast(word as int) + 0 * row_number() over (order by row_id)"),
        records=30,
    )
    for _ in range(2):
        failed = run(spec, database, expects_error=True)
        assert isinstance(failed.error, BarrierFailed)
        assert failed.error.exit_code == 1
        assert "'number' looks at all rows at once" in str(failed.error)
        assert "three" in str(failed.error)
        assert clean(failed).sql("select state, rows_dropped from run_status") == [("stopped", 0)]
        assert failed.sql("select count(*) from state.parked_row") == [(30,)]
        failed.store.close()


# Functions over the dataset ---------------------------------------------------------------------------


def over_dataset(function: Callable[..., Any], **fields: Any) -> Column:
    return {
        "name": "made",
        "column_type": "custom",
        "generator_function": function,
        "generation_strategy": "dataset",
        "required_columns": ["rating"],
        "dtype": "int",
        **fields,
    }


async def reversed_ids(rows: pa.Table) -> dict[str, Any]:
    return {"row_id": rows["row_id"].to_pylist()[::-1], "made": rows["rating"].to_pylist()[::-1]}


def test_a_function_gets_all_rows_in_order_and_its_result_belongs_to_rows_by_their_id() -> None:
    seen: list[pa.Table] = []

    async def looks(rows: pa.Table) -> dict[str, Any]:
        seen.append(rows)
        return await reversed_ids(rows)

    finished = clean(run(prepared(sampler("rating"), over_dataset(looks), records=9)))
    assert finished.column("made") == finished.column("rating")
    (rows,) = seen
    assert rows.column_names == ["row_id", "rating"]
    assert rows["row_id"].to_pylist() == list(range(9))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"row_id": [0, 1], "made": [1, 1]}, "2 of 4 rows (row_id 2 is missing)"),
        ({"row_id": [0, 1, 2, 3, 9], "made": [1] * 5}, "row_id 9, which was not among the 4 rows"),
        ({"row_id": [0, 1, 2, 3, 3], "made": [1] * 5}, "row_id 3 more than once"),
        ({"row_id": [0, 1, 2, 3]}, "0 columns 'made'"),
        ({"made": [1] * 4}, "without 'row_id'"),
        ({"row_id": [0, 1, 2, 3], "made": ["a"] * 4}, "not int64"),
        ({"row_id": [None, 1, 2, 3], "made": [1] * 4}, "row_id"),
    ],
)
def test_a_result_that_does_not_fit_stops_the_run_and_drops_nothing(result: dict[str, Any], words: str) -> None:
    async def broken(rows: pa.Table) -> dict[str, Any]:
        return result

    failed = run(prepared(sampler("rating"), over_dataset(broken)), expects_error=True)
    assert isinstance(failed.error, BarrierFailed)
    assert words in str(failed.error)
    assert clean(failed).sql("select rows_dropped from run_status") == [(0,)]
    assert failed.sql("select outcome from attempt") == [("rejected",)]


def test_an_error_of_the_function_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    is_broken = [True]

    async def sometimes(rows: pa.Table) -> dict[str, Any]:
        if is_broken[0]:
            raise ValueError("not today")
        return await reversed_ids(rows)

    spec = prepared(sampler("rating"), over_dataset(sometimes))
    failed = run(spec, database, expects_error=True)
    assert "failed: not today" in str(failed.error)
    clean(failed).store.close()
    is_broken[0] = False
    assert len(clean(run(spec, database)).dataset()) == 4


def test_f2_a_transient_failure_of_a_barrier_is_tried_again_and_at_last_stops_the_run() -> None:
    asked = []

    async def down(rows: pa.Table) -> dict[str, Any]:
        asked.append(rows.num_rows)
        raise Transient("no answer")

    failed = run(prepared(sampler("rating"), over_dataset(down), run={"max_attempts": 3}), expects_error=True)
    assert asked == [4, 4, 4]
    assert "after 3 attempts" in str(failed.error)
    assert clean(failed).sql("select count(*) from deferred_task") == [(0,)]
    assert failed.sql("select rows_dropped from run_status") == [(0,)]


def test_f1_a_rate_limited_barrier_waits_and_never_uses_up_its_attempts() -> None:
    asked = []

    async def busy(rows: pa.Table) -> dict[str, Any]:
        asked.append(rows.num_rows)
        if len(asked) < 10:
            raise RateLimited("slow down", 60.0)
        return await reversed_ids(rows)

    finished = clean(run(prepared(sampler("rating"), over_dataset(busy), run={"max_attempts": 2})))
    assert len(asked) == 10
    assert finished.took_s >= 9 * 60


def test_rows_a_function_leaves_out_are_dropped_if_it_says_so() -> None:
    async def some(rows: pa.Table) -> dict[str, Any]:
        return {"row_id": [1, 2], "made": [1, 2]}

    finished = clean(run(prepared(sampler("rating"), over_dataset(some, may_drop_rows=True))))
    assert [row["row_id"] for row in finished.dataset()] == [1, 2]
    assert finished.sql("select row_id, reason, column_name from dropped_row order by all") == [
        (0, "filtered", "made"),
        (3, "filtered", "made"),
    ]


def streamed(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    total = 0
    for batch in rows:
        total += batch.num_rows
        yield pa.table({"row_id": batch["row_id"], "made": [rating * 2 for rating in batch["rating"].to_pylist()]})


def test_a_function_may_read_a_stream_and_yield_its_result_part_by_part(tmp_path: Path) -> None:
    spec = prepared(sampler("rating"), {**over_dataset(streamed), "generation_strategy": None}, records=9)
    assert spec.graph.generator_of_name("made").strategy == "dataset"
    report = rowmill.run(spec.spec, tmp_path / "run.duckdb")
    assert report.rows_finished == 9
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        rows = database.to_arrow().to_pylist()
    assert [row["made"] for row in rows] == [2 * row["rating"] for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.duckdb"]


@pytest.mark.slow
def test_the_examples_of_the_help_work(tmp_path: Path) -> None:
    section = PAGES["columns"].partition("## Columns over the whole dataset")[2]
    example, functions = (section.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("yaml", "python"))
    (tmp_path / "functions.py").write_text(functions)
    columns = [
        sampler("topic", values=["tides", "tea"]),
        sampler("price", values=[1.0, 2.0, 5.0]),
        *yaml.safe_load(example)["columns"],
        {"name": "share", "column_type": "custom", "generator_function": "functions:share"},
        {"name": "running_total", "column_type": "custom", "generator_function": "functions:running_total"},
    ]
    spec = prepared(*columns, models=[model(simulation={"latency_ms": 0})], records=30, directory=tmp_path)
    report = rowmill.run(spec.spec, tmp_path / "run.duckdb", directory=tmp_path)
    assert report.exit_code in (0, 3)
    with rowmill.RunDatabase.open(tmp_path / "run.duckdb") as database:
        assert database.sql("from invariant_violation").num_rows == 0
        rows = database.sql("select price, running_total, share from state.dataset_row order by row_id").to_pylist()
        assert {row["state"] for row in database.sql("from barrier").to_pylist()} == {"done"}
    assert 2 <= len(rows) <= 30


def test_rows_are_read_slice_by_slice_and_no_longer_than_the_call_lasts() -> None:
    async def unused(rows: pa.Table) -> dict[str, Any]:
        raise AssertionError("the test plays the dispatcher")

    spec = prepared(sampler("rating"), over_dataset(unused), records=25_000, row_group_size=5000)
    with RunState(spec) as state:
        tasks = state.take().tasks
        while not tasks:
            tasks = state.take().tasks
        rows = tasks[0].inputs
        assert rows.row_count == 25_000
        assert [row for batch in rows.batches() for row in batch["row_id"].to_pylist()] == list(range(25_000))
        batches = rows.batches()
        assert next(batches).num_rows <= 10_000
        rows.close()
        with pytest.raises(GeneratorError, match="call is over"):
            list(batches)


# Crash and resume -------------------------------------------------------------------------------------


def test_d1_a_crash_while_a_barrier_runs_loses_nothing(tmp_path: Path) -> None:
    async def unused(rows: pa.Table) -> dict[str, Any]:
        raise AssertionError("the test plays the dispatcher")

    with RunState(prepared(sampler("rating"), over_dataset(unused)), tmp_path / "run.duckdb") as state:
        assert state.keys(state.take().tasks) == [("made", -1, None)]
        state.crash()
        (task,) = state.take().tasks
        rows = task.inputs.table()
        state.crash()
        (task,) = state.take().tasks
        assert task.inputs.table() == rows
        state.take([succeeded(task, pa.table({"row_id": rows["row_id"], "made": rows["rating"]}))])
        state.crash()
        state.take()
        assert [row["made"] for row in state.dataset()] == rows["rating"].to_pylist()
        assert state.violations() == []


def test_a_deferred_barrier_stays_deferred_over_a_crash_and_a_failed_one_starts_anew(tmp_path: Path) -> None:
    async def unused(rows: pa.Table) -> dict[str, Any]:
        raise AssertionError("the test plays the dispatcher")

    spec = prepared(sampler("rating"), over_dataset(unused), run={"max_attempts": 2})
    with RunState(spec, tmp_path / "run.duckdb") as state:
        (task,) = state.take().tasks
        assert state.take([transient(task)]).tasks == []
        deferred = state.sql("select generator, row_group, row_id, attempts from deferred_task")
        assert deferred == [("made", None, None, 1)]
        assert state.violations() == []
        state.crash()
        assert state.take().tasks == []
        (task,) = state.take(after_s=100).tasks
        assert task.attempts == 1
        result = state.take([transient(task)])
        assert isinstance(result.stop, BarrierFailed)
        state.crash()
        (task,) = state.take().tasks
        assert task.attempts == 0
        assert isinstance(state.take([rejected(task)]).stop, BarrierFailed)
        assert state.violations() == []


# Extension --------------------------------------------------------------------------------------------


def test_an_extension_runs_the_barrier_again_over_all_rows_and_repeats_no_paid_call(
    calls: Calls, tmp_path: Path
) -> None:
    database = tmp_path / "run.duckdb"
    clean(run(between(calls, 3), database)).store.close()
    extended = clean(run(between(calls, 23, row_group_size=5), database, starts_at_s=100))
    whole = clean(run(between(Calls(), 23)))
    assert extended.dataset() == whole.dataset()
    assert set(calls.asked.values()) == {1}
    assert (calls.times("draft"), calls.times("review")) == (23, 5)
    assert extended.sql("select rows_in, rows_out from barrier") == [(23, 5)]


def test_after_an_extension_only_rows_of_which_the_barrier_changed_are_made_again(calls: Calls, tmp_path: Path) -> None:
    async def words(row: dict[str, Any]) -> str:
        calls.asked["words", row["place"]] += 1
        return f"place {row['place']}"

    def ranked(records: int) -> Prepared:
        return prepared(
            sampler("score", values=list(range(1000))),
            rank("place", order_by="score desc, row_id"),
            custom("words", words, ["place"]),
            records=records,
            row_group_size=3,
        )

    database = tmp_path / "run.duckdb"
    first = clean(run(ranked(10), database))
    before = {row["row_id"]: row["place"] for row in first.dataset()}
    first.store.close()
    calls.asked.clear()
    extended = clean(run(ranked(14), database, starts_at_s=100))
    places = {row["row_id"]: row["place"] for row in extended.dataset()}
    changed = [row_id for row_id in places if before.get(row_id) != places[row_id]]
    assert 4 < len(changed) < 14, "the seed must move some places and leave some"
    assert calls.times("words") == len(changed)
    assert extended.column("words") == [f"place {places[row_id]}" for row_id in range(14)]
    assert extended.dataset() == clean(run(ranked(14))).dataset()


def test_rows_a_barrier_dropped_come_back_when_it_runs_again_and_keep_what_was_paid_for(
    calls: Calls, tmp_path: Path
) -> None:
    def best(records: int) -> Prepared:
        return prepared(
            sampler("score", values=list(range(1000))),
            custom("draft", draft, ["score"]),
            select("best", sql="score <= avg(score) over ()"),
            records=records,
            seed=2,
        )

    async def draft(row: dict[str, Any]) -> str:
        calls.asked["draft", row["score"]] += 1
        return f"draft {row['score']}"

    database = tmp_path / "run.duckdb"
    first = clean(run(best(6), database))
    dropped = {row_id for (row_id,) in first.sql("select row_id from dropped_row")}
    first.store.close()
    extended = clean(run(best(20), database, starts_at_s=100))
    assert extended.dataset() == clean(run(best(20))).dataset()
    assert {row["row_id"] for row in extended.dataset()} & dropped, "the seed must bring some rows back"
    assert calls.times("draft") == 20 + 20, "each row once in the extended run, and once in the one to compare with"


@pytest.mark.slow
def test_a_row_that_left_the_dataset_is_dropped_and_its_row_group_counts_right(tmp_path: Path) -> None:
    def best(records: int) -> Prepared:
        return prepared(
            sampler("score", values=list(range(1000))),
            select("best", top=3, order_by="score desc"),
            records=records,
            row_group_size=4,
        )

    database = tmp_path / "run.duckdb"
    for records in (5, 9, 30):
        finished = clean(run(best(records), database))
        assert len(finished.dataset()) == 3
        assert finished.dataset() == clean(run(best(records))).dataset()
        assert finished.sql("select state, rows_finished, rows_dropped from run_status") == [
            ("finished", 3, records - 3)
        ]
        finished.store.close()


@pytest.mark.slow
def test_a_barrier_runs_again_when_one_before_it_only_dropped_rows(tmp_path: Path) -> None:
    """No row group waits for it then: every row there is was finished before."""

    def spec(records: int) -> Prepared:
        return prepared(
            sampler("score", values=list(range(1000))),
            select("few", sql="row_id < 9 and row_id <> count(*) over () - 12"),
            after(rank("place", order_by="score desc, row_id"), "few"),
            records=records,
            row_group_size=4,
        )

    database = tmp_path / "run.duckdb"
    clean(run(spec(10), database)).store.close()
    extended = clean(run(spec(15), database))
    assert sorted(extended.column("place")) == list(range(1, 9))
    assert extended.dataset() == clean(run(spec(15))).dataset()


def test_an_extension_before_the_barrier_ran_changes_nothing_but_the_rows(calls: Calls, tmp_path: Path) -> None:
    state = RunState(between(calls, 8), tmp_path / "run.duckdb")
    tasks = state.take().tasks
    tasks = state.take([succeeded(task, pa_numbers(task)) for task in state.of(tasks, "n")]).tasks
    state.take([succeeded(task, "one") for task in tasks if task.row_group == 0])
    state.close()
    finished = clean(run(between(calls, 12), tmp_path / "run.duckdb"))
    assert {row["row_id"] for row in finished.dataset()} == {0, 4, 5, 6, 7, 8}


def test_an_extension_in_the_middle_of_the_stage_after_a_barrier_waits_for_it_again(
    calls: Calls, tmp_path: Path
) -> None:
    state = RunState(between(calls, 8, row_group_size=2), tmp_path / "run.duckdb")
    tasks = state.take().tasks
    tasks = state.take([succeeded(task, pa_numbers(task)) for task in state.of(tasks, "n")]).tasks
    state.take([succeeded(task, f"Draft {task.inputs['n'] % 5}") for task in tasks])
    reviews = state.take().tasks
    assert len(reviews) == 5
    state.take([succeeded(reviews[0], "review of Draft 0"), transient(reviews[1])])
    state.store.extend(12, 2, 1_700_000_100.0)
    assert state.violations() == []
    state.close()
    finished = clean(run(between(calls, 12, row_group_size=2), tmp_path / "run.duckdb"))
    assert finished.dataset() == clean(run(between(Calls(), 12))).dataset()
    assert calls.times("review") == 4, "the review that was committed is not asked for again"


def test_a_row_dropped_after_the_barrier_still_counts_when_it_runs_again(tmp_path: Path) -> None:
    """The duplicates of a row that was given up later stay dropped, as in a run that was never extended."""

    async def review(row: dict[str, Any]) -> str:
        if row["text"] == "a":
            raise ValueError("no review of a")
        return "fine"

    def spec(records: int) -> Prepared:
        return prepared(
            sampler("text", values=["a", "b", "c"]),
            deduplicate("unique", "text"),
            after(custom("review", review, ["text"]), "unique"),
            records=records,
        )

    database = tmp_path / "run.duckdb"
    clean(run(spec(10), database)).store.close()
    extended = clean(run(spec(20), database))
    whole = clean(run(spec(20)))
    assert extended.dataset() == whole.dataset()
    drops = "select row_id, reason, column_name from dropped_row order by all"
    assert extended.sql(drops) == whole.sql(drops)
