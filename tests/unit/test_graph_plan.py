"""Plans: P1, P2, P3, P4 and P5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import Damaged, UsageError
from rowmill.graph.plan import Plan, PlanSegment


def groups(plan: Plan) -> list[tuple[int, int, int]]:
    return [(group, plan.size_of(group), plan.offset_of(group)) for group in range(plan.row_groups)]


def test_p1_five_rows_in_twos_are_three_groups() -> None:
    assert groups(Plan.fresh(5, 2)) == [(0, 2, 0), (1, 2, 2), (2, 1, 4)]


def test_p1_an_extension_never_tops_up_the_last_partial_group() -> None:
    assert groups(Plan.fresh(5, 2).extended(7)) == [(0, 2, 0), (1, 2, 2), (2, 1, 4), (3, 2, 5)]


def test_p1_two_small_extensions_give_every_row_once() -> None:
    plan = Plan.fresh(5, 2).extended(6).extended(9)
    assert groups(plan)[3:] == [(3, 1, 5), (4, 2, 6), (5, 1, 8)]
    assert [plan.group_of_row(row) for row in range(9)] == [0, 0, 1, 1, 2, 3, 4, 4, 5]


def test_p2_an_extension_may_use_another_size() -> None:
    assert groups(Plan.fresh(4, 2).extended(10, 4))[2:] == [(2, 4, 4), (3, 2, 8)]


def test_p2_extending_to_the_same_target_changes_nothing() -> None:
    plan = Plan.fresh(5, 2)
    assert plan.extended(5) is plan


def test_p2_a_target_below_the_current_one_is_refused() -> None:
    with pytest.raises(UsageError, match="has 5 records; it can be extended, but not cut to 4"):
        Plan.fresh(5, 2).extended(4)


def test_p2_no_records_are_a_valid_plan_without_groups() -> None:
    plan = Plan.fresh(0, 2)
    assert (plan.rows, plan.row_groups, plan.segments) == (0, 0, ())


def test_p2_an_empty_plan_can_be_extended_given_a_size() -> None:
    assert Plan.fresh(0, 2).extended(3, 2) == Plan.fresh(3, 2)
    with pytest.raises(UsageError, match="takes a row-group size"):
        Plan.fresh(0, 2).extended(3)


@pytest.mark.parametrize("group", [-1, 3, 10**12])
def test_p3_an_unknown_group_is_an_error_naming_the_known_ones(group: int) -> None:
    plan = Plan.fresh(5, 2)
    for look_up in (plan.size_of, plan.offset_of):
        with pytest.raises(UsageError, match=f"Row group {group} is not in the plan: its row groups are 0 to 2"):
            look_up(group)


@pytest.mark.parametrize("row", [-1, 5])
def test_p3_an_unknown_row_is_an_error_naming_the_known_ones(row: int) -> None:
    with pytest.raises(UsageError, match=f"Row {row} is not in the plan: its rows are 0 to 4"):
        Plan.fresh(5, 2).group_of_row(row)


def test_p3_an_empty_plan_says_that_it_has_no_groups() -> None:
    with pytest.raises(UsageError, match="it has no row groups"):
        Plan.fresh(0, 2).size_of(0)


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([PlanSegment(1, 1, 2, 0, 2)], "starts with row group 1"),
        ([PlanSegment(0, 1, 2, 0, 2), PlanSegment(1, 1, 2, 3, 2)], "starts with row 3"),
        ([PlanSegment(0, 1, 2, 0, 2), PlanSegment(3, 1, 2, 2, 2)], "starts with row group 3"),
        ([PlanSegment(0, 2, 2, 0, 2)], "are 1 group, not 2"),
        ([PlanSegment(0, 1, 0, 0, 2)], "at least 1"),
        ([PlanSegment(0, 0, 2, 0, 0)], "at least 1"),
        ([PlanSegment(0, 1, 2, 0, -2)], "at least 1"),
    ],
)
def test_p4_a_plan_that_contradicts_itself_is_refused(segments: list[PlanSegment], reason: str) -> None:
    with pytest.raises(Damaged, match=reason):
        Plan(tuple(segments))


def test_p5_a_billion_groups_are_one_segment() -> None:
    plan = Plan.fresh(10**12, 1000)
    assert len(plan.segments) == 1
    assert plan.row_groups == 10**9
    assert plan.offset_of(10**9 - 1) == 10**12 - 1000
    assert plan.group_of_row(10**12 - 1) == 10**9 - 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=6))
def test_p1_any_chain_of_extensions_agrees_with_cutting_rows_by_hand(steps: list[tuple[int, int]]) -> None:
    plan = Plan(())
    expected: list[list[int]] = []
    rows = 0
    for more, size in steps:
        plan = plan.extended(rows + more, size)
        added = list(range(rows, rows + more))
        expected += [added[start : start + size] for start in range(0, more, size)]
        rows += more
    assert plan.rows == rows
    assert groups(plan) == [(group, len(cut), cut[0]) for group, cut in enumerate(expected)]
    assert [plan.group_of_row(row) for row in range(rows)] == [g for g, cut in enumerate(expected) for _ in cut]
