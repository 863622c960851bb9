"""The plans of what every turn asks: never all rows with all rows, and work that grows with the rows (style 12).

Plans are measured by the rows their operators hand on when they run, never by time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from query_plan import Operator, operators_of
from run_state import RunState, moment
from virtual_run import custom, model, sampler

from rowmill.store.database.statements import statement
from rowmill.store.layout.layout import Layout

StateOf = Callable[..., RunState]

CELLS = 8
EVERY_PAIR = ("CROSS_PRODUCT", "NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "PIECEWISE_MERGE_JOIN", "IE_JOIN")

VIEWS = (
    "ready_task",
    "cell",
    "progress",
    "row_group",
    "run_status",
    "admission",
    "invariant_violation",
    "deferred_task",
)
STATEMENTS = (
    "pull_ready_tasks",
    "pull_of_single_generators",
    "unfinished_rows",
    "admit_row_groups",
    "deferred_summary",
    "tasks_to_give_up",
    "parkable_row_groups",
)


async def made(row: object) -> str:
    return "made"


def filled(state_of: StateOf, row_groups: int, rows_per_group: int = 250) -> RunState:
    """A run in full swing: a chain of cell generators and a batch one, every row at a different place."""
    chain = [custom("c0", made)] + [custom(f"c{place}", made, [f"c{place - 1}"]) for place in range(1, CELLS)]
    rows = row_groups * rows_per_group
    state = state_of(
        sampler("rating"),
        *chain,
        custom("whole", made, ["c0"], generation_strategy="batch"),
        models=[model()],
        records=rows,
        row_group_size=rows_per_group,
        run={"max_active_rows": rows, "max_active_row_groups": row_groups},
    )
    for row_group in range(row_groups):
        state.write_row_group(row_group)
    state.write_done("rating")
    for place in range(CELLS):
        word, bit = state.prepared.graph.bit(state.number(f"c{place}"))
        state.sql(f"update state.active_row set done_{word} = done_{word} | {bit} where row_id % {CELLS + 1} > {place}")
    state.sql(
        "insert into state.deferred_task select $generator, row_group, row_index, 1, 'Timeout', 'slow',"
        " $until, $now, $now, 1"
        f" from state.active_row where row_id % {CELLS + 1} = 0 and row_id % 2 = 0",
        generator=state.number("c0"),
        until=moment(60),
        now=moment(0),
    )
    state.sql("analyze")
    return state


def measured(state: RunState, what: str) -> list[Operator]:
    """The operators of a view or a named statement, after it ran (and was rolled back)."""
    parameters: dict[str, object] = {}
    if what in VIEWS:
        text = f"from {what}"
    else:
        found = statement(what)
        text = found.fill(**{slot: Layout(state.prepared.graph, 0).all_done for slot in found.slots})
        numbers = list(range(len(state.prepared.graph.generators)))
        known = {
            "resources": ["local"],
            "free": [500],
            "most": 500,
            "generators": numbers,
            "next_tags": [0.0] * len(numbers),
            "steps": [1.0] * len(numbers),
            "rows_per_call": [1] * len(numbers),
            "wanted_rows": 8192,
            "turn": 1,
            "now": moment(0),
            "deferred_before": moment(0),
            "max_active_rows": 8192,
            "max_active_row_groups": 64,
            "max_parked_rows": 8192,
            "deferral_blocks": False,
        }
        parameters = {name: value for name, value in known.items() if f"${name}" in text}
    state.sql("begin transaction")
    try:
        return operators_of(state, text, parameters)
    finally:
        state.sql("rollback")


@pytest.mark.parametrize("what", VIEWS + STATEMENTS)
def test_nothing_compares_every_row_with_every_other(state_of: StateOf, what: str) -> None:
    rows = 1000
    state = filled(state_of, row_groups=4)
    pairs = [
        operator
        for operator in measured(state, what)
        if operator.kind in EVERY_PAIR and min(operator.inputs) > 1 and operator.inputs[0] * operator.inputs[1] > rows
    ]
    assert pairs == []


@pytest.mark.parametrize("what", VIEWS + STATEMENTS)
def test_work_grows_at_most_linearly_with_the_active_rows(state_of: StateOf, what: str) -> None:
    work = [sum(operator.rows for operator in measured(filled(state_of, groups), what)) for groups in (2, 4, 8)]
    fixed = 300  # generators, done sets and groups, which the smallest size has as well
    assert work[1] <= 2.1 * work[0] + fixed
    assert work[2] <= 2.1 * work[1] + fixed


def test_the_measure_sees_a_comparison_of_all_rows_with_all_rows(state_of: StateOf) -> None:
    state = filled(state_of, row_groups=1, rows_per_group=50)
    found = operators_of(
        state,
        "select count(*) from state.active_row as a, state.active_row as b where a.row_id < b.row_id + b.row_index",
    )
    assert [operator.inputs for operator in found if operator.kind in EVERY_PAIR] == [[50, 50]]


def test_p5_what_a_turn_asks_does_not_grow_with_what_is_finished(state_of: StateOf) -> None:
    work = []
    for finished in (0, 20_000):
        state = filled(state_of, row_groups=2)
        state.sql(
            "insert into state.finished_row_group select 1000 + range, 0, 1, 1, 0, $now, $now from range($finished)",
            finished=finished,
            now=moment(0),
        )
        work.append(sum(operator.rows for what in STATEMENTS for operator in measured(state, what)))
    assert work[0] == work[1]
