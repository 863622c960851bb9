"""S1 to S5: which cells are skipped, what they hold, and what follows. By single turns, and end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from run_state import RunState, rejected, succeeded, transient
from virtual_run import Finished, Row, custom, expression, llm, model, prepared, sampler

from rowmill.errors import SpecError

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]

CONDITIONS = ["rating < 3", "{{ rating < 3 }}"]
"""The same condition as SQL, decided inside the turn, and as Jinja, decided before a task is handed out."""


class Seen:
    """An async function that notes the rows it was called for."""

    def __init__(self, answer: object = "made") -> None:
        self.rows: list[Row] = []
        self.answer = answer

    async def __call__(self, row: Row) -> object:
        self.rows.append(row)
        return self.answer


@pytest.mark.parametrize("when", CONDITIONS)
def test_s1_a_skipped_cell_is_never_called_for_and_holds_null(run: Run, when: str) -> None:
    seen = Seen()
    done = run(
        prepared(sampler("rating"), custom("text", seen, ["rating"], skip={"when": when}), records=50, row_group_size=8)
    )
    assert [row["text"] for row in done.dataset()] == [None if row["rating"] < 3 else "made" for row in done.dataset()]
    assert min(row["rating"] for row in seen.rows) == 3
    assert len(done.dataset()) == 50


@pytest.mark.parametrize("when", CONDITIONS)
def test_s1_a_skipped_cell_holds_skip_value_and_its_side_effects_null(run: Run, when: str) -> None:
    seen = Seen({"text": "made", "effect": 5})
    column = custom(
        "text", seen, ["rating"], side_effect_columns={"effect": "int"}, skip={"when": when, "value": "too low"}
    )
    done = run(prepared(sampler("rating"), column, records=40, row_group_size=8))
    assert {(row["rating"] < 3, row["text"], row["effect"]) for row in done.dataset()} == {
        (True, "too low", None),
        (False, "made", 5),
    }


def test_s1_a_null_condition_does_not_skip(run: Run) -> None:
    async def nothing(row: Row) -> None:
        return None

    seen = Seen()
    done = run(
        prepared(custom("maybe", nothing, dtype="int"), custom("text", seen, ["maybe"], skip={"when": "maybe > 3"}))
    )
    assert done.column("text") == ["made"] * 4


def test_s1_the_condition_is_decided_before_a_task_is_handed_out(state_of: StateOf) -> None:
    seen = Seen()
    state = state_of(
        sampler("rating", values=[1]),
        custom("text", seen, ["rating"], skip={"when": "{{ rating == 1 }}"}),
        records=3,
        row_group_size=3,
    )
    first = state.take()
    assert (first.tasks, first.again) == ([], True)
    assert state.take().complete
    assert state.progress("text")["skipped"] == 3


@pytest.mark.parametrize("when", ["true", "{{ true }}"])
@pytest.mark.parametrize("records", [4, 500])
def test_s1_a_run_of_which_every_task_is_skipped_is_complete(run: Run, when: str, records: int) -> None:
    seen = Seen()
    done = run(prepared(sampler("rating"), custom("text", seen, ["rating"], skip={"when": when}), records=records))
    assert done.report is not None
    assert (done.report.state, done.report.rows_finished, seen.rows) == ("finished", records, [])


def test_s1_a_sql_column_is_skipped_too(run: Run) -> None:
    done = run(
        prepared(
            sampler("rating"),
            expression("inverse", "100 // (rating - 1)", skip={"when": "rating = 1", "value": -1}),
            records=50,
        )
    )
    assert [row["inverse"] for row in done.dataset()] == [
        -1 if row["rating"] == 1 else 100 // (row["rating"] - 1) for row in done.dataset()
    ]


def test_s1_a_skip_value_that_does_not_fit_its_column_is_a_problem_of_the_spec() -> None:
    seen = Seen(1)
    with pytest.raises(SpecError, match=r"skip"):
        prepared(
            sampler("rating"), custom("text", seen, ["rating"], dtype="int", skip={"when": "true", "value": "none"})
        )


@pytest.mark.parametrize("when", CONDITIONS)
def test_s2_a_skip_propagates_to_columns_that_need_the_skipped_one(run: Run, when: str) -> None:
    second, third = Seen(), Seen()
    done = run(
        prepared(
            sampler("rating"),
            custom("first", Seen(), ["rating"], skip={"when": when}),
            custom("second", second, ["first"]),
            custom("third", third, ["second"]),
            records=40,
            row_group_size=8,
        )
    )
    high = sum(row["rating"] >= 3 for row in done.dataset())
    assert {(row["rating"] < 3, row["second"], row["third"]) for row in done.dataset()} == {
        (True, None, None),
        (False, "made", "made"),
    }
    assert (len(second.rows), len(third.rows)) == (high, high)


def test_s2_a_skip_propagates_through_side_effects(run: Run) -> None:
    first, after = Seen({"first": "a", "effect": "b"}), Seen()
    done = run(
        prepared(
            custom("first", first, side_effect_columns={"effect": "str"}, skip={"when": "true"}),
            custom("after", after, ["effect"]),
        )
    )
    assert done.column("after") == [None] * 4
    assert after.rows == []


def test_s2_a_skip_propagates_to_sql_columns_and_batches(run: Run) -> None:
    async def whole(rows: pa.Table) -> pa.Table:
        return pa.table({"row_index": rows.column("row_index"), "whole": ["made"] * rows.num_rows})

    done = run(
        prepared(
            sampler("rating", values=[1, 5]),
            custom("text", Seen(), ["rating"], skip={"when": "rating = 1"}),
            expression("length", "coalesce(len(text), -1)"),
            custom("whole", whole, ["text"], generation_strategy="batch"),
            records=40,
            row_group_size=8,
        )
    )
    assert {(row["rating"], row["length"], row["whole"]) for row in done.dataset()} == {(1, None, None), (5, 4, "made")}


def test_s2_propagation_stops_at_a_column_that_asks_for_it(run: Run) -> None:
    after = Seen()
    done = run(
        prepared(
            custom("first", Seen(), skip={"when": "true"}),
            custom("after", after, ["first"], propagate_skip=False),
            custom("last", Seen(), ["after"]),
        )
    )
    assert (done.column("after"), done.column("last")) == (["made"] * 4, ["made"] * 4)
    assert after.rows == [{"first": None}] * 4


def test_s2_a_column_named_only_in_a_skip_condition_propagates_nothing(run: Run) -> None:
    done = run(
        prepared(
            custom("first", Seen(), skip={"when": "true"}),
            custom("after", Seen(), [], skip={"when": "first = 'never'"}),
        )
    )
    assert done.column("after") == ["made"] * 4


@pytest.mark.parametrize("when", CONDITIONS)
def test_s3_skipped_cells_are_known_as_skipped_in_the_finished_datasets_statistics(run: Run, when: str) -> None:
    done = run(
        prepared(
            sampler("rating"),
            custom("first", Seen(), ["rating"], skip={"when": when}),
            custom("second", Seen(), ["first"]),
            records=40,
            row_group_size=8,
        )
    )
    low = sum(row["rating"] < 3 for row in done.dataset())
    assert done.sql("select column_name, done, skipped, waiting from progress") == [
        ("rating", 40, 0, 0),
        ("first", 40 - low, low, 0),
        ("second", 40 - low, low, 0),
    ]


def test_s3_a_skipped_cell_of_an_active_group_is_skipped_in_the_cell_view(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"), custom("first", Seen(), skip={"when": "true"}), custom("other", Seen()), records=2
    )
    state.take()
    assert state.cells("first") == {0: "skipped", 1: "skipped"}


@pytest.mark.parametrize(
    ("when", "kind"),
    [("cast(text as integer) > 0", "SkipError"), ("{{ text | int(default=1) // 0 }}", "TemplateError")],
)
def test_s4_an_error_in_a_skip_condition_drops_its_row_with_the_reason(run: Run, when: str, kind: str) -> None:
    seen = Seen()
    done = run(
        prepared(
            sampler("text", values=["-1", "none"]), custom("after", seen, ["text"], skip={"when": when}), records=30
        )
    )
    assert done.report is not None
    assert done.report.rows_dropped > 0
    assert {
        (name, reason, error)
        for name, reason, error in done.sql("select column_name, reason, error_type from dropped_row")
    } == {("after", "rejected", kind)}
    assert done.violations() == []


async def whole_group(rows: pa.Table) -> pa.Table:
    return pa.table({"row_index": rows.column("row_index"), "whole": [f"of {rows.num_rows}"] * rows.num_rows})


@pytest.mark.parametrize("when", CONDITIONS)
def test_s5_a_batch_generator_gets_live_unskipped_rows_only(run: Run, when: str) -> None:
    sizes: list[list[int]] = []

    async def whole(rows: pa.Table) -> pa.Table:
        sizes.append(rows.column("rating").to_pylist())
        return await whole_group(rows)

    column = custom("whole", whole, ["rating"], generation_strategy="batch", skip={"when": when, "value": "low"})
    done = run(prepared(sampler("rating"), column, records=40, row_group_size=8))
    assert min(min(ratings) for ratings in sizes) == 3
    assert sum(map(len, sizes)) == sum(row["rating"] >= 3 for row in done.dataset())
    assert all((row["whole"] == "low") == (row["rating"] < 3) for row in done.dataset())


@pytest.mark.parametrize("when", ["true", "{{ true }}"])
def test_s5_a_batch_generator_with_no_row_left_is_not_called_and_counts_as_done(run: Run, when: str) -> None:
    calls: list[Any] = []

    async def whole(rows: pa.Table) -> pa.Table:
        calls.append(rows)
        return await whole_group(rows)

    done = run(
        prepared(
            sampler("rating"), custom("whole", whole, ["rating"], generation_strategy="batch", skip={"when": when})
        )
    )
    assert (calls, done.column("whole")) == ([], [None] * 4)


def test_s5_a_deferred_batch_task_is_forgotten_when_its_last_unskipped_row_is_dropped(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating", values=[1, 5]),
        custom("other", Seen()),
        custom("whole", whole_group, ["rating"], generation_strategy="batch", skip={"when": "rating = 1"}),
        records=30,
        row_group_size=30,
    )
    tasks = state.take().tasks
    others, (whole,) = state.of(tasks, "other"), state.of(tasks, "whole")
    unskipped = set(whole.inputs.column("row_index").to_pylist())
    state.take([transient(whole)])
    assert len(state.sql("from deferred_task")) == 1
    state.take([rejected(task) if task.row_index in unskipped else succeeded(task, "o") for task in others])
    assert state.violations() == []
    assert state.sql("from state.deferred_task") == []


def test_s1_an_llm_column_that_is_skipped_makes_no_request(run: Run) -> None:
    done = run(
        prepared(
            sampler("rating"),
            llm("text", "{{ rating }}", with_trace=True, skip={"when": "{{ rating < 3 }}"}),
            models=[model()],
            records=20,
        )
    )
    low = sum(row["rating"] < 3 for row in done.dataset())
    assert done.sql("select requests from run_status") == [(20 - low,)]
    assert all((row["text__trace"] is None) == (row["rating"] < 3) for row in done.dataset())
