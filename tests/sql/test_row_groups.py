"""A row group has one state, and goes from one to another only where row_groups.sql says so."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from run_state import RunState, moment
from virtual_run import custom

from rowmill.store.database.statements import Statement, all_statements
from rowmill.store.turn import admission

StateOf = Callable[..., RunState]
Places = Mapping[int, str]
Move = tuple[str, str]

STATES = ("active", "parked", "waiting", "due")
WAYS = {
    ("plan", "active"),
    ("active", "parked"),
    ("parked", "active"),
    ("active", "waiting"),
    ("waiting", "due"),
    ("due", "waiting"),
    ("due", "active"),
    ("active", "due"),
    ("parked", "due"),
    ("finished", "due"),
}
"""From one state to another of an admitted row group."""
ENDS = {("active", "finished"), ("waiting", "finished"), ("due", "finished")}
"""From there row groups are finished."""
_WRITES = re.compile(r"\b(?:insert into|update|delete from|merge into)\s+state\.(?:admitted|finished)_row_group\b")
_ALL = {"row_groups": [0, 1, 2, 3, 4, 5]}


async def made(row: object) -> str:
    return "made"


@pytest.fixture
def state(state_of: StateOf) -> RunState:
    """first → unique (a barrier) → second. Row group 0 is active, 1 parked, 2 waits, 3 due, 4 finished, 5 in plan."""
    found = state_of(
        custom("first", made),
        {"name": "unique", "column_type": "deduplicate", "columns": ["first"]},
        custom("second", made) | {"requires": ["unique"]},
        records=12,
        row_group_size=2,
    )
    for row_group in range(5):
        found.write_row_group(row_group)
    found.write_done("first", 2, 3, 4, 5)
    found.sql(
        "insert into state.parked_row select * from state.active_row where row_group in (1, 2, 3) order by row_id"
    )
    found.sql("insert into state.dataset_row select * from state.active_row where row_group = 4")
    found.sql("delete from state.active_row where row_group > 0")
    place = "update state.admitted_row_group set rows_parked = 2, came_from = 'active',"
    found.sql(f"{place} state = 'parked', parked_for = ['somewhere'] where row_group = 1")
    found.sql(f"{place} state = 'waiting' where row_group = 2")
    found.sql(f"{place} state = 'due' where row_group = 3")
    found.sql(
        "insert into state.finished_row_group select 4, first_row, 2, 2, 0, admitted_at, admitted_at"
        " from state.admitted_row_group where row_group = 4"
    )
    found.sql("delete from state.admitted_row_group where row_group = 4")
    return found


def places(state: RunState) -> Places:
    """Where each row group is, by the tables."""
    return dict(
        state.sql(
            "select row_group, state from state.admitted_row_group union all select row_group, 'finished'"
            " from state.finished_row_group union all select 5, 'plan' from state.run where next_row_group <= 5"
        )
    )


@dataclass(frozen=True)
class Case:
    """A statement that moves row groups, in a database that has one in each state."""

    expected: Mapping[int, Move]
    before: Sequence[str] = ()
    """What happened to rows before it."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    then: str | None = None
    """The statement that takes them out of the table they were in."""
    affected: Sequence[int] = ()


_CLEAR = "update state.parked_row set done_0 = 0 where row_group = 2"
_COMPLETE = "update state.parked_row set done_0 = 1 where row_group = 3"
_BACK = "insert into state.parked_row select * from state.dataset_row where row_id = 8"
_GONE = "delete from state.dataset_row where row_id = 8"
CASES = {
    "admit_row_groups": Case(
        {5: ("plan", "active")},
        parameters={
            "max_active_row_groups": 9,
            "max_active_rows": 99,
            "wanted_rows": 99,
            "now": moment(0),
            "deferral_blocks": False,
        },
        then="advance_cursor",
    ),
    "park_row_groups": Case({0: ("active", "parked")}),
    "unpark_row_groups": Case({1: ("parked", "active")}, parameters=_ALL),
    "unpark_emptied_row_groups": Case({1: ("parked", "active")}, ["delete from state.parked_row where row_group < 3"]),
    "hold_row_groups_back": Case({0: ("active", "waiting")}, parameters=_ALL),
    "return_row_groups": Case({3: ("due", "active")}, parameters=_ALL),
    "set_row_groups_aside": Case(
        {0: ("active", "due"), 1: ("parked", "due")}, ["insert into state.parked_row from state.active_row"]
    ),
    "look_at_row_groups_again": Case({2: ("waiting", "due"), 3: ("due", "waiting")}, [_CLEAR, _COMPLETE]),
    "bring_row_groups_back": Case({4: ("finished", "due")}, [_BACK, _GONE], then="forget_finished_row_groups"),
    "finish_row_groups": Case(
        {0: ("active", "finished")},
        parameters=_ALL | {"live_rows": [0] * len(_ALL["row_groups"]), "now": moment(1)},
        then="forget_admitted_row_groups",
        affected=[0],
    ),
    "finish_emptied_row_groups": Case(
        {2: ("waiting", "finished"), 3: ("due", "finished")},
        ["delete from state.parked_row"],
        parameters={"now": moment(1)},
        then="forget_admitted_row_groups",
        affected=[2, 3],
    ),
}


def moving() -> Iterator[tuple[Statement, set[Move]]]:
    """The statements that move row groups, each with the ways it says it moves them."""
    for statement in all_statements().values():
        if statement.file == "row_groups.sql":
            found = {(before, after) for before, after in re.findall(r"(\w+) → (\w+)", statement.purpose)}
            if found:
                yield statement, found


def test_the_ways_row_groups_go_are_those_the_table_allows_and_the_statements_name(state: RunState) -> None:
    ((condition,),) = state.sql(
        "select constraint_text from duckdb_constraints() where table_name = 'admitted_row_group'"
        " and constraint_text like '%came_from%'"
    )
    assert set(re.findall(r"'(\w+) > (\w+)'", condition)) == WAYS
    named = [way for _, ways in moving() for way in ways]
    assert set(named) == WAYS | ENDS
    assert {statement.name for statement, _ in moving()} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_statement_moves_row_groups_of_the_states_it_names_and_leaves_all_others(state: RunState, name: str) -> None:
    case, statements = CASES[name], all_statements()
    assert set(case.expected.values()) == {each.name: ways for each, ways in moving()}[name]
    state.sql("begin transaction")
    for sql in case.before:
        state.sql(sql)
    before = places(state)
    assert set(before.values()) == {*STATES, "finished", "plan"}
    parking = pa.table({"row_group": [0, 1, 2, 3, 4, 5], "parked_for": [["there"]] * 6}, schema=admission._NEW_PARKING)
    state.store.connection.stage("new_parking", parking)
    state.sql(statements[name].text, **case.parameters)
    if case.then == "advance_cursor":
        state.sql(statements[case.then].text, next_row_group=6)
    elif case.then is not None:
        state.sql(statements[case.then].text, **({"row_groups": list(case.affected)} if case.affected else {}))
    after = places(state)
    assert {group: (before[group], after[group]) for group in before if before[group] != after[group]} == case.expected
    state.sql("rollback")


def _going(before: str, after: str) -> str:
    """A statement that takes row groups from one state to the other and says so."""
    held = {"active": 0, "parked": 2, "waiting": 2, "due": 2}[after]
    parked_for = "['there']" if after == "parked" else "null"
    if before in STATES:
        return (
            f"update state.admitted_row_group set state = '{after}', came_from = state, parked_for = {parked_for},"
            f" rows_parked = {held} where state = '{before}'"
        )
    return (
        "insert into state.admitted_row_group (row_group, first_row, row_count, admitted_at, state, came_from,"
        f" rows_parked, parked_for) select 5, 10, 2, created_at, '{after}', '{before}', {held}, {parked_for}"
        " from state.run"
    )


def test_the_database_refuses_every_way_but_those(state: RunState) -> None:
    refused, tried = set(), set(itertools.product((*STATES, "plan", "finished"), STATES))
    for before, after in tried:
        state.sql("begin transaction")
        try:
            state.sql(_going(before, after))
        except duckdb.ConstraintException:
            refused.add((before, after))
        state.sql("rollback")
    assert refused == tried - WAYS


def test_whoever_sets_a_state_says_from_which() -> None:
    for statement in all_statements().values():
        if re.search(r"update state\.admitted_row_group\b", statement.text) and re.search(
            r"\bset state =", statement.text
        ):
            assert re.search(r"came_from = (g\.)?state\b", statement.text), statement.name
            assert re.search(r"(g\.)?state (=|in) ", statement.text.partition("\nwhere")[2]), statement.name


def test_row_groups_are_moved_in_one_file_and_copied_where_a_database_is_rebuilt() -> None:
    files = {each.file for each in all_statements().values() if _WRITES.search(" ".join(each.text.split()))}
    assert files == {"row_groups.sql", "rebuild.sql", "merge.sql"}


def test_a_state_is_tied_to_what_belongs_to_it(state: RunState) -> None:
    for wrong in (
        "set state = 'resting', came_from = state",
        "set parked_for = ['there'] where state = 'active'",
        "set parked_for = null where state = 'parked'",
        "set rows_parked = 1 where state = 'active'",
        "set rows_parked = 0 where state = 'waiting'",
        "set rows_parked = 3 where state = 'due'",
        "set rows_finished = 1 where state = 'due'",
        "set rows_finished = -1 where state = 'due'",
    ):
        with pytest.raises(duckdb.ConstraintException):
            state.sql(f"update state.admitted_row_group {wrong}")
