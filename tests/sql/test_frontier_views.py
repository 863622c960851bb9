"""The frontier (R1 to R5, R8, F4) asked directly in SQL, on state written by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from run_state import RunState
from virtual_run import custom, expression, llm, model, sampler

StateOf = Callable[..., RunState]


async def made(row: object) -> str:
    return "made"


def batch(name: str, requires: list[str], **fields: Any) -> dict[str, Any]:
    return custom(name, made, requires, generation_strategy="batch", **fields)


@pytest.fixture
def chain(state_of: StateOf) -> RunState:
    """first → second, and other beside them: cell generators over 6 rows in groups of 3."""
    return state_of(
        custom("first", made),
        custom("second", made, ["first"]),
        custom("other", made),
        records=6,
        row_group_size=3,
    )


@pytest.fixture
def batches(state_of: StateOf) -> RunState:
    """first → whole, where whole is made for a row group at a time."""
    return state_of(custom("first", made), batch("whole", ["first"]), records=6, row_group_size=3)


def test_r1_nothing_is_ready_while_no_row_group_is_admitted(chain: RunState) -> None:
    assert chain.ready() == set()
    assert chain.violations() == []


def test_r1_only_tasks_of_admitted_row_groups_are_ready(chain: RunState) -> None:
    chain.write_row_group(0)
    assert {row_group for _, row_group, _ in chain.ready()} == {0}


def test_r2_a_cell_generator_without_inputs_has_one_ready_task_per_row(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_row_group(1)
    assert {task for task in chain.ready() if task[0] == "first"} == set(product(["first"], [0, 1], [0, 1, 2]))


def test_r2_a_batch_generator_without_inputs_has_one_ready_task_per_row_group(state_of: StateOf) -> None:
    state = state_of(batch("whole", []), records=6, row_group_size=3)
    state.write_row_group(0)
    state.write_row_group(1)
    assert state.ready() == {("whole", 0, None), ("whole", 1, None)}


def test_r3_a_cell_task_is_ready_only_when_everything_upstream_is_done_for_that_row(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_done("first", 1)
    assert {task for task in chain.ready() if task[0] == "second"} == {("second", 0, 1)}


def test_r3_every_upstream_generator_must_be_done_not_just_one(state_of: StateOf) -> None:
    state = state_of(
        custom("left", made),
        custom("right", made),
        custom("both", made, ["left", "right"]),
        records=4,
        row_group_size=4,
    )
    state.write_row_group(0)
    state.write_done("left", 0, 1)
    state.write_done("right", 1, 2)
    assert {task for task in state.ready() if task[0] == "both"} == {("both", 0, 1)}


def test_r3_a_done_cell_is_not_ready_again(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_done("first", 0)
    assert ("first", 0, 0) not in chain.ready()


def test_r3_a_row_that_was_dropped_has_no_ready_tasks(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_drop("first", 1)
    assert {index for _, _, index in chain.ready()} == {0, 2}


def test_r3_a_task_deferred_into_the_future_is_not_ready(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_deferral("first", 0, 1, until_s=10.0)
    chain.write_time(9.0)
    assert ("first", 0, 1) not in chain.ready()
    assert {("first", 0, 0), ("first", 0, 2), ("other", 0, 1)} <= chain.ready()


def test_f4_a_deferred_task_is_ready_from_the_moment_its_not_before_passes(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_deferral("first", 0, 1, until_s=10.0)
    chain.write_time(10.0)
    assert ("first", 0, 1) in chain.ready()


def test_f4_the_cell_view_says_ready_once_the_deferral_has_passed(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_deferral("first", 0, 1, until_s=10.0)
    chain.write_time(9.0)
    before = chain.cells("first")
    chain.write_time(10.0)
    assert (before[1], chain.cells("first")[1]) == ("deferred", "ready")


def test_r3_a_sql_generator_is_upstream_like_any_other(state_of: StateOf) -> None:
    state = state_of(sampler("rating"), custom("text", made, ["rating"]), records=3, row_group_size=3)
    state.write_row_group(0)
    state.write_done("rating", 2)
    assert state.ready() == {("text", 0, 2)}


def test_r4_a_batch_task_waits_for_the_last_live_row(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_done("first", 0, 1)
    assert ("whole", 0, None) not in batches.ready()
    batches.write_done("first", 2)
    assert batches.ready() == {("whole", 0, None)}


def test_r4_a_row_unfinished_in_one_group_does_not_hold_another_groups_batch_task(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_row_group(1)
    batches.write_done("first", 3, 4, 5)
    assert {task for task in batches.ready() if task[0] == "whole"} == {("whole", 1, None)}


def test_r4_dropping_the_last_unfinished_row_makes_the_batch_task_ready(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_done("first", 0, 2)
    assert ("whole", 0, None) not in batches.ready()
    batches.write_drop("first", 1)
    assert batches.ready() == {("whole", 0, None)}


def test_r4_a_batch_task_of_a_group_without_live_rows_never_runs(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_drop("first", 0, 1, 2)
    assert batches.ready() == set()


def test_r4_a_deferred_batch_task_waits_for_its_own_not_before(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_done("first")
    batches.write_deferral("whole", 0, None, until_s=5.0)
    batches.write_time(4.9)
    assert batches.ready() == set()
    batches.write_time(5.0)
    assert batches.ready() == {("whole", 0, None)}


def test_s5_a_batch_generator_of_which_every_row_was_skipped_counts_as_done(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_done("first")
    batches.write_done("whole", skipped=True)
    assert batches.ready() == set()


def test_r7_sql_generators_never_become_tasks(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"), expression("twice", "rating * 2"), custom("text", made), records=3, row_group_size=3
    )
    state.write_row_group(0)
    assert {generator for generator, _, _ in state.ready()} == {"text"}


def test_r8_no_task_is_in_the_frontier_twice_however_many_done_sets_there_are(state_of: StateOf) -> None:
    names = ["a", "b", "c"]
    state = state_of(*(custom(name, made) for name in names), custom("last", made, names), records=8, row_group_size=8)
    state.write_row_group(0)
    for row_id in range(8):
        for position, name in enumerate(names):
            if row_id >> position & 1:
                state.write_done(name, row_id)
    assert state.ready() == {
        (name, 0, row_id) for row_id in range(8) for position, name in enumerate(names) if not row_id >> position & 1
    } | {("last", 0, 7)}


def test_r8_a_task_is_named_by_its_row_group_and_index_while_row_id_says_which_row(chain: RunState) -> None:
    chain.write_row_group(1)
    rows = chain.sql("select row_group, row_index, row_id from ready_task where generator = 'first' order by row_id")
    assert rows == [(1, 0, 3), (1, 1, 4), (1, 2, 5)]


def test_the_frontier_names_the_resource_a_task_will_occupy(state_of: StateOf) -> None:
    state = state_of(llm("text", "go"), custom("local", made), models=[model("writer")], records=1)
    state.write_row_group(0)
    assert state.sql("select generator, resource, strategy from ready_task order by 1") == [
        ("local", "local", "cell"),
        ("text", "simulated/writer", "cell"),
    ]


def test_the_cell_view_tells_waiting_ready_deferred_done_skipped_and_dropped_apart(state_of: StateOf) -> None:
    state = state_of(custom("first", made), custom("second", made, ["first"]), records=6, row_group_size=6)
    state.write_row_group(0)
    state.write_done("first", 1, 2, 3, 4)
    state.write_done("second", 2)
    state.write_done("second", 3, skipped=True)
    state.write_deferral("second", 0, 4, until_s=60.0)
    state.write_drop("first", 5)
    assert state.cells("second") == {0: "waiting", 1: "ready", 2: "done", 3: "skipped", 4: "deferred", 5: "dropped"}


def test_every_cell_of_a_deferred_batch_task_is_deferred(batches: RunState) -> None:
    batches.write_row_group(0)
    batches.write_done("first")
    batches.write_deferral("whole", 0, None, until_s=60.0)
    assert set(batches.cells("whole").values()) == {"deferred"}
