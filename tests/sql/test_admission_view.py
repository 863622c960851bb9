"""The view admission (A1, A2, A5) on state written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from run_state import RunState
from virtual_run import custom

StateOf = Callable[..., RunState]


async def made(row: object) -> str:
    return "made"


def admission(state: RunState) -> tuple[Any, ...]:
    (row,) = state.sql("select admit, reason, next_row_group, next_row_count from admission")
    return row


def bounded(state_of: StateOf, **fields: Any) -> RunState:
    return state_of(custom("text", made), **{"records": 10, "row_group_size": 3, **fields})


def test_a1_the_first_group_of_the_plan_may_enter_when_none_is_active(state_of: StateOf) -> None:
    assert admission(bounded(state_of))[0:1] + admission(bounded(state_of))[2:] == (True, 0, 3)


def test_a1_the_next_group_is_the_next_of_the_plan(state_of: StateOf) -> None:
    state = bounded(state_of)
    for row_group in range(3):
        state.write_row_group(row_group)
    assert admission(state)[2:] == (3, 1)


def test_a2_no_group_enters_beyond_max_active_row_groups(state_of: StateOf) -> None:
    state = bounded(state_of, run={"max_active_row_groups": 2})
    state.write_row_group(0)
    assert admission(state)[0] is True
    state.write_row_group(1)
    assert admission(state)[:2] == (False, "max groups")


def test_a2_no_group_enters_that_would_exceed_max_active_rows(state_of: StateOf) -> None:
    state = bounded(state_of, run={"max_active_rows": 5})
    state.write_row_group(0)
    assert admission(state)[:2] == (False, "max rows")


def test_a2_dropped_rows_make_room_for_the_next_group(state_of: StateOf) -> None:
    state = bounded(state_of, run={"max_active_rows": 5})
    state.write_row_group(0)
    state.write_drop("text", 0)
    assert admission(state)[0] is True


def test_a2_a_single_larger_group_may_enter_when_none_is_active(state_of: StateOf) -> None:
    assert admission(bounded(state_of, run={"max_active_rows": 1}))[0] is True


def test_a5_the_reason_is_no_group_left_when_the_plan_is_used_up(state_of: StateOf) -> None:
    state = bounded(state_of, records=3)
    state.write_row_group(0)
    assert admission(state) == (False, "no group left", None, None)


def test_a5_max_rows_is_named_before_max_groups(state_of: StateOf) -> None:
    state = bounded(state_of, run={"max_active_rows": 3, "max_active_row_groups": 1})
    state.write_row_group(0)
    assert admission(state)[1] == "max rows"


def test_the_bounds_are_those_of_the_newest_spec(state_of: StateOf) -> None:
    state = bounded(state_of)
    changed = state.prepared.spec.model_copy(
        update={"run": state.prepared.spec.run.model_copy(update={"max_active_row_groups": 1})}
    )
    state.store.update_spec(changed, 1_700_000_001.0)
    assert state.sql("select max_active_row_groups from admission") == [(1,)]


def test_a1_the_size_of_a_group_of_an_extension_follows_its_own_segment(state_of: StateOf) -> None:
    state = bounded(state_of, records=5)
    state.store.extend(9, 2, 1_700_000_001.0)
    sizes = []
    for row_group in range(4):
        sizes.append(admission(state)[3])
        state.write_row_group(row_group)
    assert sizes == [3, 2, 2, 2]


def test_a1_the_next_group_may_enter_when_all_that_were_admitted_are_parked(state_of: StateOf) -> None:
    """Whatever is deferred: the run lets one in then, and the view says so."""
    state = bounded(state_of, run={"max_parked_rows": 1})
    state.write_row_group(0)
    state.sql("insert into state.parked_row select * from state.active_row")
    state.sql("delete from state.active_row")
    state.sql(
        "update state.admitted_row_group set state = 'parked', came_from = 'active', parked_for = ['x'],"
        " rows_parked = 3"
    )
    assert admission(state) == (True, "the next row group may enter", 1, 3)


def test_a2_what_is_parked_stands_in_the_way_only_where_the_bounds_do(state_of: StateOf) -> None:
    state = bounded(state_of, run={"max_parked_rows": 3, "max_active_row_groups": 2})
    for row_group in (0, 1):
        state.write_row_group(row_group)
    state.sql("insert into state.parked_row select * from state.active_row where row_group = 0")
    state.sql("delete from state.active_row where row_group = 0")
    state.sql(
        "update state.admitted_row_group set state = 'parked', came_from = 'active', parked_for = ['x'],"
        " rows_parked = 3"
        " where row_group = 0"
    )
    assert admission(state)[:2] == (True, "the next row group may enter")
    state.write_row_group(2)
    assert admission(state)[:2] == (False, "max parked rows")
