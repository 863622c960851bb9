"""What progress, row_group, run_status, usage and deferred_task make of state written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from run_state import RunState, moment
from virtual_run import custom, sampler

StateOf = Callable[..., RunState]


async def made(row: object) -> str:
    return "made"


@pytest.fixture
def chain(state_of: StateOf) -> RunState:
    """first → second over 7 rows in groups of 3."""
    return state_of(custom("first", made), custom("second", made, ["first"]), records=7, row_group_size=3)


def finish_by_hand(state: RunState, row_group: int, rows_finished: int, rows_dropped: int) -> None:
    state.sql("delete from state.active_row where row_group = $group", group=row_group)
    state.sql(
        "insert into state.finished_row_group select row_group, first_row, row_count, $finished, $dropped,"
        " admitted_at, $now"
        " from state.admitted_row_group where row_group = $group",
        group=row_group,
        finished=rows_finished,
        dropped=rows_dropped,
        now=moment(5),
    )
    state.sql("delete from state.admitted_row_group where row_group = $group", group=row_group)


def test_every_cell_is_counted_once_in_progress(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_row_group(1)
    chain.write_done("first", 0, 1, 2, 3)
    chain.write_done("second", 0)
    chain.write_done("second", 1, skipped=True)
    chain.write_deferral("second", 0, 2, until_s=60)
    chain.write_drop("first", 5)
    counts = chain.progress("second")
    assert {name: counts[name] for name in ("cells", "done", "skipped", "dropped", "deferred", "waiting")} == {
        "cells": 7,
        "done": 1,
        "skipped": 1,
        "dropped": 1,
        "deferred": 1,
        "waiting": 3,
    }


def test_s3_skipped_cells_stay_known_as_skipped_when_their_group_is_finished(chain: RunState) -> None:
    chain.write_row_group(0)
    finish_by_hand(chain, 0, rows_finished=3, rows_dropped=0)
    chain.sql("insert into state.finished_skip values (0, $generator, 2)", generator=chain.number("second"))
    assert (chain.progress("second")["skipped"], chain.progress("second")["done"]) == (2, 1)


def test_finished_rows_count_as_done_in_every_column(chain: RunState) -> None:
    chain.write_row_group(0)
    finish_by_hand(chain, 0, rows_finished=3, rows_dropped=0)
    assert [(chain.progress(name)["done"], chain.progress(name)["waiting"]) for name in ("first", "second")] == [
        (3, 4),
        (3, 4),
    ]


def test_columns_of_progress_are_in_declaration_order(state_of: StateOf) -> None:
    state = state_of(custom("late", made, ["early"]), sampler("early"), records=1)
    assert state.sql("select column_name, generator, strategy from progress") == [
        ("late", "late", "cell"),
        ("early", "early", "sql"),
    ]


def test_k1_a_group_of_which_no_row_survived_is_finished_for_ever(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_drop("first", 0, 1, 2)
    finish_by_hand(chain, 0, rows_finished=0, rows_dropped=3)
    assert chain.sql("select row_group, state, rows_finished, rows_dropped from row_group") == [(0, "finished", 0, 3)]
    assert chain.ready() == set()
    assert chain.violations() == []


def test_the_row_group_view_shows_active_groups_with_their_drops(chain: RunState) -> None:
    chain.write_row_group(0)
    chain.write_row_group(1)
    chain.write_row_group(2)
    chain.write_drop("first", 1)
    rows = chain.sql(
        "select row_group, state, first_row, row_count, rows_finished, rows_dropped, finished_at from"
        " row_group order by 1"
    )
    assert rows == [(0, "active", 0, 3, 0, 1, None), (1, "active", 3, 3, 0, 0, None), (2, "active", 6, 1, 0, 0, None)]


def test_run_status_counts_rows_and_groups_of_the_whole_plan(chain: RunState) -> None:
    chain.write_row_group(0)
    finish_by_hand(chain, 0, rows_finished=3, rows_dropped=0)
    chain.write_row_group(1)
    chain.write_drop("first", 4)
    assert chain.sql(
        "select records, rows_finished, rows_dropped, row_groups, row_groups_active, row_groups_finished, invocations"
        " from run_status"
    ) == [(7, 3, 1, 3, 1, 1, 1)]


def test_a_run_nobody_works_on_is_not_shown_as_running(chain: RunState) -> None:
    assert chain.sql("select state from run_status") == [("stopped",)]


def test_the_dropped_row_view_names_the_column_and_the_reason(chain: RunState) -> None:
    chain.write_row_group(1)
    chain.write_drop("second", 4)
    assert chain.sql(
        "select row_id, row_group, row_index, column_name, reason, error_type, message, attempts from dropped_row"
    ) == [(4, 1, 1, "second", "rejected", "ValueError", "no", 1)]


def test_the_deferred_task_view_names_the_row_and_when_it_is_tried_again(chain: RunState) -> None:
    chain.write_row_group(1)
    chain.write_deferral("first", 1, 2, until_s=30, attempts=2)
    assert chain.sql(
        "select generator, row_group, row_index, row_id, attempts, not_before, resource from deferred_task"
    ) == [("first", 1, 2, 5, 2, moment(30), "local")]


def test_a_deferred_batch_task_has_no_row(state_of: StateOf) -> None:
    state = state_of(custom("whole", made, generation_strategy="batch"), records=2)
    state.write_row_group(0)
    state.write_deferral("whole", 0, None, until_s=30)
    assert state.sql("select row_index, row_id from deferred_task") == [(None, None)]


def test_d4_usage_adds_up_requests_by_model_invocation_and_hour(chain: RunState) -> None:
    insert = (
        "insert into state.attempt values"
        " ($invocation, 0, 0, 0, 0, 1, 'succeeded', $error, null, $model, $at, 5.0, 10, 20, 0.5, null, 0, 0)"
    )
    for invocation, error, name, seconds in [
        (1, None, "a", 0),
        (1, "HTTP 503", "a", 10),
        (2, None, "a", 20),
        (2, None, "b", 30),
        (2, None, "b", 7200),
        (2, "ValueError", None, 40),
    ]:
        chain.sql(insert, invocation=invocation, error=error, model=name, at=moment(seconds))
    rows = chain.sql(
        "select model, invocation, requests, succeeded, failed, input_tokens, output_tokens, cost_usd from"
        " usage order by model, invocation, hour"
    )
    assert rows == [
        ("a", 1, 2, 1, 1, 20, 40, 1.0),
        ("a", 2, 1, 1, 0, 10, 20, 0.5),
        ("b", 2, 1, 1, 0, 10, 20, 0.5),
        ("b", 2, 1, 1, 0, 10, 20, 0.5),
    ]


def test_k4_the_dataset_view_is_in_row_id_order_whatever_the_order_of_writing(chain: RunState) -> None:
    for row_group, row_index, row_id in [(2, 0, 6), (0, 1, 1), (0, 0, 0), (1, 2, 5)]:
        chain.sql(
            "insert into state.dataset_row by name"
            " select $group as row_group, $index as row_index, $id as row_id, 3 as done_0, 0 as skipped_0",
            group=row_group,
            index=row_index,
            id=row_id,
        )
    assert [row["row_id"] for row in chain.dataset()] == [0, 1, 5, 6]
