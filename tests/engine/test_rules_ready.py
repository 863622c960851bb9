"""R1 to R11: what is ready when, who gets which result. By single turns, and end to end in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pyarrow as pa
import pytest
from run_state import RunState, rejected, released, request, succeeded, transient
from virtual_run import Finished, Row, custom, expression, llm, model, prepared, sampler

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]


async def made(row: Row) -> str:
    return "made"


async def row_number(row: Row) -> int:
    return 7


async def upper(rows: pa.Table) -> pa.Table:
    """One output row per input row, in the opposite order."""
    indices = rows.column("row_index").to_pylist()[::-1]
    names = dict(zip(rows.column("row_index").to_pylist(), rows.column("name").to_pylist(), strict=True))
    return pa.table({"row_index": indices, "whole": [names[index].upper() for index in indices]})


def batch(name: str, function: object, requires: list[str], **fields: object) -> dict[str, object]:
    return custom(name, function, requires, generation_strategy="batch", **fields)  # type: ignore[arg-type]


# Admission and cells ------------------------------------------------------------------------------


def test_r1_a_turn_hands_out_no_task_of_a_row_group_that_is_not_admitted(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=10, row_group_size=2, run={"max_active_row_groups": 2})
    assert {task.row_group for task in state.take().tasks} == {0, 1}


def test_r1_a_turn_that_may_let_nothing_in_admits_nothing(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=4, row_group_size=2)
    assert state.take(free={}).tasks == []
    assert state.sql("from row_group") == []


def test_r2_every_row_of_a_generator_without_inputs_is_handed_out_at_once(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=5, row_group_size=2)
    tasks = state.take().tasks
    assert sorted(state.keys(tasks)) == [("text", 0, 0), ("text", 0, 1), ("text", 1, 0), ("text", 1, 1), ("text", 2, 0)]
    assert sorted(task.row_id for task in tasks if task.row_id is not None) == [0, 1, 2, 3, 4]


def test_r2_a_batch_generator_without_inputs_gets_one_task_per_group_with_all_its_rows(state_of: StateOf) -> None:
    state = state_of(batch("whole", upper, []), records=5, row_group_size=2)
    tasks = state.take().tasks
    assert state.keys(tasks) == [("whole", 0, None), ("whole", 1, None), ("whole", 2, None)]
    assert [task.inputs.column("row_id").to_pylist() for task in tasks] == [[0, 1], [2, 3], [4]]


def test_r3_a_row_goes_on_while_its_neighbours_still_wait(state_of: StateOf) -> None:
    state = state_of(custom("first", made), custom("second", made, ["first"]), records=3, row_group_size=3)
    first = state.take().tasks
    after = state.take([succeeded(first[1], "b")])
    assert state.keys(after.tasks) == [("second", 0, 1)]
    assert after.tasks[0].inputs == {"first": "b"}


def test_r3_a_task_in_flight_is_not_handed_out_again(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=3, row_group_size=3)
    assert len(state.take().tasks) == 3
    assert state.take().tasks == []


def test_r3_a_task_that_was_released_is_simply_ready_again(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1)
    (task,) = state.take().tasks
    (again,) = state.take([released(task)]).tasks
    assert again == task


def test_r3_tasks_in_flight_when_the_process_died_are_ready_again(state_of: StateOf, tmp_path: Path) -> None:
    state = state_of(custom("text", made), records=3, path=tmp_path / "run.duckdb")
    before = state.take().tasks
    state.crash()
    assert state.keys(state.take().tasks) == state.keys(before)


def test_a_turn_hands_out_no_more_than_is_free(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=10, row_group_size=10)
    assert state.keys(state.take(free=3).tasks) == [("text", 0, 0), ("text", 0, 1), ("text", 0, 2)]


# Batches ------------------------------------------------------------------------------------------


def table_for(task: object, **columns: list[object]) -> pa.Table:
    return pa.table({"row_index": task.inputs.column("row_index"), **columns})  # type: ignore[attr-defined]


def test_r4_a_batch_task_comes_only_when_the_last_live_row_has_its_inputs(state_of: StateOf) -> None:
    state = state_of(custom("name", made), batch("whole", upper, ["name"]), records=3, row_group_size=3)
    first, second, third = state.take().tasks
    assert state.take([succeeded(first, "a"), succeeded(third, "c")]).tasks == []
    assert state.keys(state.take([succeeded(second, "b")]).tasks) == [("whole", 0, None)]


def test_r4_dropping_the_last_unfinished_row_hands_out_the_batch_task(state_of: StateOf) -> None:
    state = state_of(custom("name", made), batch("whole", upper, ["name"]), records=3, row_group_size=3)
    first, second, third = state.take().tasks
    state.take([succeeded(first, "a"), succeeded(third, "c")])
    (task,) = state.take([rejected(second)]).tasks
    assert task.inputs.column("row_index").to_pylist() == [0, 2]
    assert task.inputs.column("name").to_pylist() == ["a", "c"]


def test_r4_a_batch_generator_is_not_called_for_a_group_without_live_rows(state_of: StateOf) -> None:
    state = state_of(custom("name", made), batch("whole", upper, ["name"]), records=2, row_group_size=2)
    result = state.take([rejected(task) for task in state.take().tasks])
    assert (result.tasks, result.complete) == ([], True)


def test_r5_a_batch_result_belongs_to_rows_by_index_also_with_a_row_missing_in_the_middle(state_of: StateOf) -> None:
    state = state_of(custom("name", made), batch("whole", upper, ["name"]), records=4, row_group_size=4)
    tasks = state.take().tasks
    (whole,) = state.take(
        [rejected(task) if task.row_index == 1 else succeeded(task, f"n{task.row_index}") for task in tasks]
    ).tasks
    shuffled = pa.table({"row_index": [3, 0, 2], "whole": ["W3", "W0", "W2"]})
    state.take([succeeded(whole, shuffled)])
    assert [(row["row_id"], row["name"], row["whole"]) for row in state.dataset()] == [
        (0, "n0", "W0"),
        (2, "n2", "W2"),
        (3, "n3", "W3"),
    ]


def test_r5_a_batch_generator_that_may_drop_rows_loses_the_missing_ones_as_filtered(state_of: StateOf) -> None:
    state = state_of(batch("whole", upper, [], may_drop_rows=True), records=4, row_group_size=4)
    (task,) = state.take().tasks
    state.take([succeeded(task, pa.table({"row_index": [2, 0], "whole": ["c", "a"]}))])
    assert state.dropped() == {1: "filtered", 3: "filtered"}
    assert [row["whole"] for row in state.dataset()] == ["a", "c"]


def test_r5_a_batch_generator_that_returns_no_row_at_all_finishes_its_group_empty(state_of: StateOf) -> None:
    state = state_of(batch("whole", upper, [], may_drop_rows=True), records=2, row_group_size=2)
    (task,) = state.take().tasks
    empty = pa.table({"row_index": pa.array([], pa.int64()), "whole": pa.array([], pa.string())})
    assert state.take([succeeded(task, empty)]).complete
    assert set(state.dropped().values()) == {"filtered"}


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([0, 1, 2], "3 of 4 rows"),
        ([0, 1, 2, 2], "more than once"),
        ([0, 1, 2, 9], "not among the 4 rows"),
        ([0, 1, 2, 3, 4], "not among the 4 rows"),
        ([0, 1, 2, None], "not among the 4 rows"),
    ],
)
def test_r5_missing_more_duplicate_or_foreign_indices_are_rejected(
    state_of: StateOf, indices: list[int | None], said: str
) -> None:
    state = state_of(batch("whole", upper, []), records=4, row_group_size=4)
    (task,) = state.take().tasks
    table = pa.table({"row_index": pa.array(indices, pa.int64()), "whole": ["x"] * len(indices)})
    state.take([succeeded(task, table)])
    assert state.dropped() == dict.fromkeys(range(4), "rejected")
    assert all(said in message for (message,) in state.sql("select message from dropped_row"))
    assert state.violations() == []


def test_r5_rows_dropped_while_their_batch_runs_are_left_out_of_its_result(state_of: StateOf) -> None:
    state = state_of(custom("other", made), batch("whole", upper, []), records=3, row_group_size=3)
    tasks = state.take().tasks
    others, (whole,) = state.of(tasks, "other"), state.of(tasks, "whole")
    state.take([rejected(others[1])])
    state.take(
        [succeeded(whole, table_for(whole, whole=["a", "b", "c"])), *[succeeded(others[i], "o") for i in (0, 2)]]
    )
    assert [row["whole"] for row in state.dataset()] == ["a", "c"]
    assert state.dropped() == {1: "rejected"}


def test_r5_end_to_end_a_reversed_table_lands_in_the_right_rows(run: Run) -> None:
    async def name(row: Row) -> str:
        if row["rating"] == 3:
            raise ValueError("no name")
        return f"name-{row['rating']}"

    spec = prepared(
        sampler("rating"),
        custom("name", name, ["rating"]),
        batch("whole", upper, ["name"]),
        records=40,
        row_group_size=8,
    )
    done = run(spec)
    assert done.report is not None
    assert done.report.rows_dropped > 0
    assert all(row["whole"] == row["name"].upper() for row in done.dataset())


# SQL, identity, idempotence -----------------------------------------------------------------------


def test_r7_sql_generators_are_evaluated_inside_the_turn_as_soon_as_their_inputs_are_there(state_of: StateOf) -> None:
    state = state_of(
        custom("count", row_number, dtype="int"),
        expression("twice", "count * 2"),
        expression("text", "'n' || twice", dtype="str"),
        custom("last", made, ["text"]),
        records=2,
    )
    first, second = state.take().tasks
    after = state.take([succeeded(first, 7)])
    assert state.keys(after.tasks) == [("last", 0, 0)]
    assert after.tasks[0].inputs == {"text": "n14"}
    assert state.cells("twice") == {0: "done", 1: "waiting"}
    assert second.row_index == 1


def test_r7_a_run_of_nothing_but_sql_needs_no_task(run: Run) -> None:
    done = run(prepared(sampler("rating"), expression("twice", "rating * 2"), records=1000, row_group_size=7))
    assert [row["twice"] for row in done.dataset()] == [2 * row["rating"] for row in done.dataset()]
    assert done.sql("from attempt") == []


def test_r7_a_row_whose_sql_fails_is_dropped_with_the_engines_reason_and_the_others_go_on(run: Run) -> None:
    done = run(
        prepared(
            sampler("text", values=["1", "2", "none"]),
            expression("number", "cast(text as integer)"),
            records=60,
            row_group_size=20,
        )
    )
    assert {(column, reason) for column, reason in done.sql("select column_name, reason from dropped_row")} == {
        ("number", "rejected")
    }
    assert all("none" in message for (message,) in done.sql("select message from dropped_row"))
    assert {row["number"] for row in done.dataset()} == {1, 2}
    assert done.violations() == []


def test_r8_a_result_reported_twice_is_one_result(state_of: StateOf) -> None:
    state = state_of(custom("text", made), custom("other", made), records=1)
    text, other = sorted(state.take().tasks, key=lambda task: state.name(task.generator), reverse=True)
    state.take([succeeded(text, "first")])
    state.take([succeeded(text, "second")])
    state.take([succeeded(other, "o")])
    assert [row["text"] for row in state.dataset()] == ["first"]


def test_r9_results_of_several_generators_for_the_same_rows_are_all_kept_in_one_turn(state_of: StateOf) -> None:
    state = state_of(
        custom("text", made), custom("number", row_number, dtype="int"), custom("last", made, ["text"]), records=3
    )
    tasks = state.take().tasks
    text, number = state.of(tasks, "text"), state.of(tasks, "number")
    state.take([succeeded(text[0], "kept")])
    outcomes = [succeeded(text[0], "late"), succeeded(text[1], None), succeeded(text[2], "c")]
    outcomes += [succeeded(task, 10 + index) for index, task in enumerate(number)]
    last = state.of(state.take(outcomes).tasks, "last")
    assert state.sql("select row_id, text, number from state.active_row order by row_id") == [
        (0, "kept", 10),
        (1, None, 11),
        (2, "c", 12),
    ]
    assert {task.row_id for task in last} == {1, 2}
    assert state.violations() == []


def test_r8_the_same_work_never_runs_twice_end_to_end(run: Run) -> None:
    calls: Counter[tuple[str, str]] = Counter()

    async def first(row: Row) -> str:
        calls["first", str(row["id"])] += 1
        await anyio.sleep(0.1 * (len(calls) % 7))
        return str(row["id"])

    async def second(row: Row) -> str:
        calls["second", row["first"]] += 1
        await anyio.sleep(0.05)
        return "x"

    spec = prepared(
        sampler("id", sampler_type="uuid", params={}),
        custom("first", first, ["id"]),
        custom("second", second, ["first"]),
        records=60,
        row_group_size=7,
    )
    done = run(spec)
    assert done.report is not None
    assert done.report.rows_finished == 60
    assert len(calls) == 120
    assert set(calls.values()) == {1}


def test_r9_dropping_a_row_twice_keeps_the_first_reason(state_of: StateOf) -> None:
    state = state_of(custom("a", made), custom("b", made), records=2, row_group_size=2)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    state.take([rejected(tasks["a", 0, 0], ValueError("first"))])
    state.take([rejected(tasks["b", 0, 0], ValueError("second")), rejected(tasks["a", 0, 0], ValueError("third"))])
    assert state.sql("select row_id, column_name, message from dropped_row") == [(0, "a", "first")]
    assert state.violations() == []


def test_r9_two_failures_of_one_row_in_one_turn_drop_it_once(state_of: StateOf) -> None:
    state = state_of(custom("a", made), custom("b", made), records=2, row_group_size=2)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    state.take([rejected(tasks["b", 0, 0]), rejected(tasks["a", 0, 0])])
    assert list(state.dropped()) == [0]


def test_r9_a_late_result_for_a_dropped_row_is_discarded_but_its_cost_is_recorded(state_of: StateOf) -> None:
    state = state_of(llm("a", "go"), llm("b", "go"), models=[model()], records=2, row_group_size=2)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    state.take([rejected(tasks["a", 0, 0])])
    state.take([succeeded(tasks["b", 0, 0], "late", requests=[request(tokens=10, cost=0.25)])])
    assert state.dropped() == {0: "rejected"}
    assert state.sql("select input_tokens, output_tokens, cost_usd from run_status") == [(10, 20, 0.25)]
    assert state.cells("b") == {0: "dropped", 1: "ready"}


def test_r9_a_late_failure_of_a_dropped_row_defers_nothing(state_of: StateOf) -> None:
    state = state_of(custom("a", made), custom("b", made), records=2, row_group_size=2)
    tasks = {key: task for task in state.take().tasks for key in state.keys([task])}
    state.take([rejected(tasks["a", 0, 0])])
    state.take([transient(tasks["b", 0, 0])])
    assert state.sql("from deferred_task") == []
    assert state.violations() == []


def test_r9_a_late_result_for_a_finished_group_changes_nothing(state_of: StateOf) -> None:
    state = state_of(custom("a", made), records=1)
    (task,) = state.take().tasks
    assert state.take([succeeded(task, "kept")]).complete
    state.take([succeeded(task, "late"), transient(task), rejected(task)])
    assert [row["a"] for row in state.dataset()] == ["kept"]
    assert state.dropped() == {}
    assert state.violations() == []


# Several columns of one generator -----------------------------------------------------------------


async def three(row: Row) -> dict[str, object]:
    return {"main": 1, "also": "two", "effect": "three"}


def test_r11_several_columns_from_one_generator_are_one_task_and_one_commit(state_of: StateOf) -> None:
    state = state_of(
        custom("main", three, dtype="int", output_columns={"also": "str"}, side_effect_columns={"effect": "str"}),
        records=1,
    )
    (task,) = state.take().tasks
    assert {state.cells(name)[0] for name in ("main", "also", "effect")} == {"ready"}
    state.take([succeeded(task, 1, "two", "three")])
    assert state.dataset() == [{"row_id": 0, "main": 1, "also": "two", "effect": "three"}]


def test_r11_a_column_that_needs_a_side_effect_waits_for_its_generator(run: Run) -> None:
    async def shout(row: Row) -> str:
        return str(row["effect"]).upper()

    done = run(
        prepared(
            custom("main", three, dtype="int", output_columns={"also": "str"}, side_effect_columns={"effect": "str"}),
            custom("shout", shout, ["effect"]),
            records=3,
        )
    )
    assert done.column("shout") == ["THREE"] * 3


def test_r11_a_declared_column_wins_over_a_side_effect_of_its_name(run: Run) -> None:
    done = run(
        prepared(
            custom("main", three, dtype="int", output_columns={"also": "str"}, side_effect_columns={"effect": "str"}),
            sampler("effect", values=["declared"]),
            records=3,
        )
    )
    assert done.column("effect") == ["declared"] * 3
    assert done.column("also") == ["two"] * 3


def test_r11_a_generator_that_leaves_out_a_declared_column_rejects_its_row(run: Run) -> None:
    async def partly(row: Row) -> dict[str, object]:
        return {"main": 1}

    done = run(prepared(custom("main", partly, dtype="int", output_columns={"also": "str"}), records=2))
    assert done.sql("select reason, error_type from dropped_row") == [("rejected", "GeneratorError")] * 2


def test_r9_a_batch_result_of_which_every_row_was_dropped_meanwhile_is_discarded(state_of: StateOf) -> None:
    """Found by the simulation: taking no row at all from the table ended the run."""
    state = state_of(batch("whole", made, []), custom("other", made), records=2, row_group_size=2)
    tasks = state.take().tasks
    (whole,) = state.of(tasks, "whole")
    state.take([rejected(task) for task in state.of(tasks, "other")], free={})
    table = pa.table({"row_index": pa.array([0, 1], type=pa.int64()), "whole": ["x", "y"]})
    assert state.take([succeeded(whole, table)], free={}).complete
    assert state.dropped() == {0: "rejected", 1: "rejected"}
