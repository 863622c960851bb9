"""invariant_violation finds every contradiction it promises to find, in state that was damaged by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from run_state import RunState
from virtual_run import EPOCH, custom

from rowmill.errors import Damaged
from rowmill.store.database.statements import statement

StateOf = Callable[..., RunState]


async def made(row: object) -> str:
    return "made"


DAMAGES = {
    "plan: no gap between segments": "update state.plan_segment set first_row = 1",
    "R1: admitted row group beyond the cursor": "update state.run set next_row_group = 1",
    "R1: row outside an active row group": "delete from state.admitted_row_group where row_group = 1",
    "K2: row group in two states": (
        "insert into state.finished_row_group select row_group, first_row, row_count, row_count, 0,"
        " admitted_at, admitted_at"
        " from state.admitted_row_group where row_group = 1"
    ),
    "K2: admitted row groups do not add up": "update state.run set next_row_group = 3",
    "K2: rows of a finished row group do not add up": (
        "insert into state.finished_row_group select 7, 14, 2, 2, 0, admitted_at, admitted_at from"
        " state.admitted_row_group"
        " where row_group = 1"
    ),
    "K4: dataset row of a row group that is not finished": (
        "insert into state.dataset_row select * from state.active_row where row_id = 3"
    ),
    "A7: parked row outside a parked, waiting or due row group": (
        "insert into state.parked_row select * from state.active_row where row_id = 3"
    ),
    "A7: parked rows of a row group do not add up": (
        "update state.admitted_row_group set state = 'due', came_from = 'active', rows_parked = 1 where row_group = 1"
    ),
    "row is there twice": "insert into state.active_row select * from state.active_row where row_id = 2",
    "row of an unfinished row group is missing": "delete from state.active_row where row_id = 2",
    "row_id does not follow the plan": "update state.active_row set row_id = 99 where row_id = 2",
    "R3: done before its inputs": "update state.active_row set done_0 = 2 where row_id = 3",
    "S3: skipped but not done": "update state.active_row set skipped_0 = 1 where row_id = 3",
    "deferred task of a row that does not wait for it": (
        "insert into state.deferred_task select 1, 1, 1, 1, 'x', 'y', created_at, created_at, created_at, 1"
        " from state.run"
    ),
    "R6: closed barrier that has not seen every row": (
        "insert into state.barrier select 0, false, created_at, 0, 0 from state.run"
    ),
    "R6: barrier recorded more than once, or for another generator": (
        "insert into state.barrier select 0, true, created_at, 0, 0 from state.run"
    ),
    "R6: deferred task of a barrier that cannot run": (
        "insert into state.deferred_task select 0, -1, -1, 1, 'x', 'y', created_at, created_at, created_at, 1"
        " from state.run"
    ),
    "R6: row group waits and has work to do, or is due and has none": (
        "update state.admitted_row_group set state = 'waiting', came_from = 'active', rows_parked = 1"
        " where row_group = 1"
    ),
    "V8: earlier value of a cell that is made": (
        "insert into state.earlier_row by name select 1 as spec_version, * from state.active_row where row_id = 0"
    ),
    "R8: task deferred twice": (
        "insert into state.deferred_task select 0, 1, 1, 1, 'x', 'y', created_at, created_at, created_at, 1"
        " from state.run, range(2)"
    ),
}


@pytest.fixture
def sound(state_of: StateOf) -> RunState:
    """first → second; groups 0 and 1 active, rows 0 and 1 done by first."""
    state = state_of(custom("first", made), custom("second", made, ["first"]), records=6, row_group_size=2)
    state.write_row_group(0)
    state.write_row_group(1)
    state.write_done("first", 0, 1)
    return state


def test_state_as_it_must_be_violates_nothing(sound: RunState) -> None:
    sound.write_deferral("first", 1, 0, until_s=9)
    sound.write_drop("first", 3)
    assert sound.violations() == []


@pytest.mark.parametrize("rule", DAMAGES)
def test_damaged_state_is_reported_under_the_rule_it_breaks(sound: RunState, rule: str) -> None:
    sound.sql(DAMAGES[rule])
    assert rule in {found for found, _, _ in sound.violations()}


def test_of_many_rows_exactly_those_are_named_that_are_there_twice(sound: RunState) -> None:
    into = "insert into state.dataset_row by name select i as row_id, 0 as row_group, i as row_index, 0 as done_0,"
    sound.sql(f"{into} 0 as skipped_0 from range(100, 1000) as r(i)")
    assert "row is there twice" not in {rule for rule, _, _ in sound.violations()}
    sound.sql(f"{into} 0 as skipped_0 from (values (127), (128), (640), (999), (2)) as r(i)")
    found = {(subject, detail) for rule, subject, detail in sound.violations() if rule == "row is there twice"}
    both = {(str(row_id), "dataset, dataset") for row_id in (127, 128, 640, 999)}
    assert found == both | {("2", "active, dataset")}


def test_every_rule_of_the_view_is_tried(sound: RunState) -> None:
    (definition,) = sound.sql("select sql from duckdb_views() where view_name = 'invariant_violation'")[0]
    missing = [rule for rule in DAMAGES if rule not in definition]
    assert not missing
    assert definition.upper().count("UNION ALL") >= len(DAMAGES) - 1


IN_UNFINISHED_ROWS = [
    "plan: no gap between segments",
    "R1: admitted row group beyond the cursor",
    "R1: row outside an active row group",
    "A7: parked row outside a parked, waiting or due row group",
    "A7: parked rows of a row group do not add up",
    "row of an unfinished row group is missing",
    "R3: done before its inputs",
    "S3: skipped but not done",
    "deferred task of a row that does not wait for it",
    "R6: closed barrier that has not seen every row",
    "R6: row group waits and has work to do, or is due and has none",
    "R8: task deferred twice",
]


@pytest.mark.parametrize("rule", IN_UNFINISHED_ROWS)
def test_after_a_crash_a_contradiction_among_unfinished_rows_is_refused(sound: RunState, rule: str) -> None:
    sound.store.check_after_crash()
    sound.sql(DAMAGES[rule])
    with pytest.raises(Damaged, match=re.escape(rule)):
        sound.store.check_after_crash()


def test_a_run_that_was_closed_properly_is_not_looked_through(sound: RunState) -> None:
    sound.store.end("drained", EPOCH)
    sound.sql(DAMAGES["row of an unfinished row group is missing"])
    sound.store.check_after_crash()


def test_the_look_after_a_crash_does_not_read_the_finished_rows(sound: RunState) -> None:
    """Branches of the view that need them are cut away by the engine, since no rule of theirs is asked for."""
    plan = "\n".join(text for _, text in sound.sql(f"explain {statement('contradictions_of_unfinished_rows').text}"))
    assert "active_row" in plan
    assert "dataset_row" not in plan
    assert "usage_sum" not in plan
    assert "finished_row_group" not in plan
