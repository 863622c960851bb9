"""What deferral blocks, why nothing is admitted, and parking (A4, A5, A7): on state written by hand, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from run_state import RunState, moment, rate_limited, rejected, succeeded, transient
from virtual_run import Row, custom, expression, llm, model, sampler

from rowmill.task import Task

StateOf = Callable[..., RunState]


async def made(row: Row) -> str:
    return "made"


# A4: what deferral blocks -------------------------------------------------------------------------


def at(name: str, alias: str, needs: Sequence[str] = ()) -> dict[str, Any]:
    """A column that asks a model."""
    return llm(name, " ".join(f"{{{{ {column} }}}}" for column in ("rating", *needs)), alias)


def local(name: str, needs: Sequence[str] = ()) -> dict[str, Any]:
    return custom(name, made, ["rating", *needs])


def graph_state(state_of: StateOf, columns: Sequence[dict[str, Any]], **fields: Any) -> RunState:
    models = [model(name, 4) for name in ("one", "two", "three")]
    fields = {"records": 40, "row_group_size": 2, "models": models, **fields}
    state = state_of(sampler("rating"), *columns, **fields)
    state.write_row_group(0)
    state.write_done("rating")
    return state


def cool(state: RunState, *resources: str, until_s: float = 100.0) -> None:
    for resource in resources:
        state.sql(
            "update state.resource set cooling_until = $until where resource = $name",
            until=moment(until_s),
            name=f"simulated/{resource}",
        )


def names(state: RunState, view: str) -> set[str]:
    return {
        name
        for (name,) in state.sql(f"select g.name from state.{view} as v join state.generator as g using (generator)")
    }


A4_CASES: dict[str, tuple[list[dict[str, Any]], list[str], set[str], set[str]]] = {
    "its endpoint is blocked, others are not": (
        [at("a", "one"), at("b", "two")],
        ["a"],
        {"a"},
        {"b"},
    ),
    "all uses of its endpoint share its key": (
        [at("a", "one"), at("b", "one"), at("c", "two")],
        ["a"],
        {"a", "b"},
        {"c"},
    ),
    "what is downstream of it is blocked, whatever it uses": (
        [at("a", "one"), at("b", "two", ["a"]), at("c", "three", ["b"])],
        ["a"],
        {"a", "b", "c"},
        set(),
    ),
    "what shares a key further down blocks only from there": (
        [at("a", "one"), at("b", "two", ["a"]), at("c", "three")],
        ["b"],
        {"b"},
        {"a", "c"},
    ),
    "an endpoint that feeds blocked columns is useful work": (
        [at("a", "one"), at("b", "two", ["a"])],
        ["b"],
        {"b"},
        {"a"},
    ),
    "a local feeder of blocked columns is not": (
        [local("a"), at("b", "two", ["a"])],
        ["b"],
        {"b"},
        set(),
    ),
    "nor is a local feeder of a local feeder": (
        [local("a"), local("b", ["a"]), at("c", "two", ["b"])],
        ["c"],
        {"c"},
        set(),
    ),
    "a local column that feeds nothing blocked is": (
        [local("a"), local("b"), at("c", "two", ["b"])],
        ["c"],
        {"c"},
        {"a"},
    ),
    "a local feeder of blocked and unblocked columns feeds a blocked one": (
        [local("a"), at("b", "one", ["a"]), at("c", "two", ["a"])],
        ["b"],
        {"b"},
        {"c"},
    ),
    "through SQL too": (
        [at("a", "one"), expression("b", "len(a)"), local("c", ["b"]), at("d", "two")],
        ["a"],
        {"a", "c"},
        {"d"},
    ),
    "two deferred endpoints block both sides": (
        [at("a", "one"), at("b", "two"), local("c", ["a", "b"])],
        ["a", "b"],
        {"a", "b", "c"},
        set(),
    ),
}


@pytest.mark.parametrize("case", A4_CASES)
def test_a4_which_generators_deferred_tasks_block(state_of: StateOf, case: str) -> None:
    columns, deferred, blocked, independent = A4_CASES[case]
    state = graph_state(state_of, columns)
    for name in deferred:
        state.write_deferral(name, 0, 0, 100.0)
        cool(state, next(column["model_alias"] for column in columns if column["name"] == name))
    tasks = {column["name"] for column in columns if column["column_type"] != "expression"}
    assert names(state, "blocked_generator") & tasks == blocked
    assert names(state, "independent_generator") == independent
    ((reason, candidates, shown),) = state.sql("select reason, candidate_columns, independent_columns from admission")
    assert (reason == "deferred tasks") == (not independent)
    assert (set(candidates), set(shown)) == (tasks, independent)


def test_a4_a_task_deferred_by_a_transient_failure_blocks_nothing(state_of: StateOf) -> None:
    """Its endpoint takes other requests meanwhile."""
    state = graph_state(state_of, [at("a", "one")])
    state.write_deferral("a", 0, 0, 100.0)
    assert names(state, "blocked_generator") == set()
    assert state.sql("select reason from admission") == [("the next row group may enter",)]


def test_a4_nothing_is_blocked_any_more_once_the_endpoint_has_cooled_down(state_of: StateOf) -> None:
    state = graph_state(state_of, [at("a", "one")])
    state.write_deferral("a", 0, 0, 100.0)
    cool(state, "one", until_s=50.0)
    assert state.sql("select reason from admission") == [("deferred tasks",)]
    state.write_time(51.0)
    assert names(state, "blocked_generator") == set()


def test_a4_the_turn_admits_by_the_same_rule_as_the_view_shows(state_of: StateOf) -> None:
    state = graph_state(state_of, [local("a"), at("b", "two", ["a"])], run={"max_active_rows": 8})
    tasks = state.take(free={"local": 2, "simulated/two": 0}).tasks
    assert {task.row_group for task in tasks} == {0}
    (bs,) = [state.take([succeeded(task, "x") for task in tasks], free={"simulated/two": 4}).tasks]
    result = state.take([rate_limited(task, 50.0) for task in bs], free={"local": 4})
    assert state.sql("select reason from admission") == [("deferred tasks",)]
    assert result.tasks == []
    assert {task.row_group for task in state.take(after_s=50.0, free={"local": 4}).tasks} == {1, 2}


def refuse(state: RunState, name: str, tasks: list[Task], after_s: float = 0.0) -> None:
    """All tasks of a local column are rate limited; its endpoints take nothing meanwhile."""
    free = {resource: 0 if resource.startswith("simulated") else 4 for resource in state.prepared.limits}
    state.take([rate_limited(task, 100.0) for task in state.of(tasks, name)], free=free, after_s=after_s)


def test_a4_a_rate_limited_function_blocks_what_would_only_add_to_it(state_of: StateOf) -> None:
    state = graph_state(state_of, [local("f"), at("b", "one", ["f"])], run={"max_active_rows": 8})
    refuse(state, "f", state.take(free={"local": 4, "simulated/one": 4}).tasks)
    assert names(state, "blocked_generator") == {"f", "b"}
    assert state.sql("select reason, deferred_scope from admission") == [("deferred tasks", "generator f")]
    assert blocked(state) == ["deferred tasks"]
    assert state.violations() == []


def test_a4_beside_a_rate_limited_function_row_groups_enter_for_endpoints(state_of: StateOf) -> None:
    state = graph_state(state_of, [local("f"), at("b", "one"), local("feeder"), local("after", ["f", "feeder"])])
    refuse(state, "f", state.take(free={"local": 4, "simulated/one": 4}).tasks)
    assert names(state, "blocked_generator") == {"f", "after"}
    assert names(state, "independent_generator") == {"b"}, "its feeder is no useful work"


def test_a4_a_function_that_succeeds_again_blocks_nothing(state_of: StateOf) -> None:
    state = graph_state(state_of, [local("f")])
    tasks = state.take(free={"local": 2}).tasks
    state.take([rate_limited(task, 100.0) for task in tasks], free={"local": 0})
    assert names(state, "blocked_generator") == {"f"}
    (again, *_) = state.take(after_s=101.0, free={"local": 1}).tasks
    state.take([succeeded(again, "x")], free={"local": 0})
    assert names(state, "blocked_generator") == set()
    assert state.sql("select count(*) from state.refusal") == [(0,)]


def test_a4_a_function_that_refuses_some_rows_while_others_succeed_blocks_nothing(state_of: StateOf) -> None:
    state = graph_state(state_of, [local("f")])
    tasks = state.take(free={"local": 4}).tasks
    state.take([rate_limited(tasks[0], 100.0), *(succeeded(task, "x") for task in tasks[1:])], free={"local": 0})
    assert names(state, "blocked_generator") == set()


# A5: reasons, the first that holds ----------------------------------------------------------------


def reason(state: RunState) -> str:
    ((found,),) = state.sql("select reason from admission")
    return str(found)


def test_a5_the_reasons_come_in_their_order(state_of: StateOf) -> None:
    """Every reason holds in the end; each one is taken away, and the next is named."""
    bounds = {"max_active_rows": 2, "max_active_row_groups": 1}

    def state_with(records: int, **run_settings: Any) -> RunState:
        state = graph_state(state_of, [at("a", "one"), at("b", "two")], records=records, run=run_settings)
        state.write_deferral("a", 0, 0, 100.0)
        state.write_deferral("b", 0, 0, 100.0)
        cool(state, "one", "two")
        return state

    assert reason(state_with(2, **bounds)) == "no group left"
    assert reason(state_with(40, **bounds)) == "max rows"
    assert reason(state_with(40, max_active_row_groups=1)) == "max groups"
    state = state_with(40)
    assert reason(state) == "deferred tasks"
    state.sql("delete from state.deferred_task")
    assert reason(state) == "resource saturated"
    state.sql("update state.resource set cooling_until = null, learned_limit = 1")
    assert reason(state) == "enough ready work already"
    state.write_done("a")
    assert reason(state) == "the next row group may enter"


def test_a5_deferral_is_explained_by_column_and_by_resource(state_of: StateOf) -> None:
    state = graph_state(state_of, [at("a", "one"), at("b", "one"), at("c", "two")])
    for name, row_index in (("a", 0), ("a", 1), ("b", 0)):
        state.write_deferral(name, 0, row_index, 100.0)
    cool(state, "one")
    names_, (row,) = state.store.connection.columns("from admission")
    shown = dict(zip(names_, row, strict=True))
    assert shown["deferred_tasks"] == 3
    assert shown["deferred_scope"] == "simulated/one"
    assert shown["deferred_by_column"] == {"a": 2, "b": 1}
    assert shown["deferred_by_resource"] == {"simulated/one": 3}
    assert shown["independent_columns"] == ["c"]


def blocked(state: RunState) -> list[str]:
    """Why the run let no row group in, as it noted when that changed."""
    return [why for (why,) in state.sql("select detail from event where kind = 'admission blocked' order by \"at\"")]


@pytest.mark.parametrize(
    ("run_settings", "expected"),
    [
        ({"max_active_row_groups": 2}, "max groups"),
        ({"max_active_rows": 2}, "max rows"),
        ({"max_active_row_groups": 2, "max_active_rows": 2}, "max rows"),
    ],
)
def test_a5_the_run_and_the_view_give_the_same_reason(
    state_of: StateOf, run_settings: dict[str, Any], expected: str
) -> None:
    state = state_of(
        sampler("rating"), at("a", "one"), models=[model("one", 9)], records=8, row_group_size=1, run=run_settings
    )
    state.take(free={"simulated/one": 9})
    assert (blocked(state), reason(state)) == ([expected], expected)


def test_a5_the_run_and_the_view_give_the_same_reason_when_deferred_tasks_block(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"),
        at("a", "one"),
        at("b", "two"),
        models=[model("one", 9), model("two", 9)],
        records=40,
        row_group_size=2,
    )
    tasks = state.take(free={"simulated/one": 2, "simulated/two": 2}).tasks
    state.take([rate_limited(task, 100.0) for task in tasks], free={"simulated/one": 9, "simulated/two": 9})
    assert (blocked(state), reason(state)) == (["deferred tasks"], "deferred tasks")


def test_a5_the_run_and_the_view_give_the_same_reason_when_no_more_may_be_parked(state_of: StateOf) -> None:
    state, tasks = storm_state(state_of, max_parked_rows=3)
    bad = [rate_limited(task, 100.0) for task in state.of(tasks, "bad")]
    state.take([*bad, *(succeeded(task, "x") for task in state.of(tasks, "good"))], free={"simulated/one": 4})
    assert (blocked(state)[-1], reason(state)) == ("max parked rows", "max parked rows")


# A7: parking --------------------------------------------------------------------------------------


def storm_state(state_of: StateOf, path: Path | None = None, **run_settings: Any) -> tuple[RunState, list[Task]]:
    """Row groups of one row: ``good`` is done of some, ``bad`` was refused there for 100 s. And what is handed out."""
    settings = {"max_active_row_groups": 2, **run_settings}
    columns = [at("good", "one"), at("bad", "two")]
    models = [model("one", 4), model("two", 4)]
    state = state_of(sampler("rating"), *columns, path=path, models=models, records=12, row_group_size=1, run=settings)
    tasks = state.take().tasks
    for _ in range(3):
        outcomes = [succeeded(task, "x") for task in state.of(tasks, "good")]
        outcomes += [rate_limited(task, 100.0) for task in state.of(tasks, "bad")]
        tasks = state.take(outcomes, free={"simulated/one": 4}).tasks
    return state, tasks


def groups_in(state: RunState, kind: str) -> list[int]:
    return [
        group for (group,) in state.sql("select row_group from row_group where state = $kind order by 1", kind=kind)
    ]


def function_state(state_of: StateOf, path: Path | None = None) -> RunState:
    """Row groups of one row: ``good`` is done of some, the function ``f`` was refused there for 100 s."""
    columns = [sampler("rating"), at("good", "one"), local("f")]
    settings = {"max_active_row_groups": 2}
    state = state_of(*columns, path=path, models=[model("one", 4)], records=6, row_group_size=1, run=settings)
    free = {"simulated/one": 4, "local": 4}
    tasks = state.take(free=free).tasks
    for _ in range(4):
        outcomes = [succeeded(task, "x") for task in state.of(tasks, "good")]
        outcomes += [rate_limited(task, 100.0) for task in state.of(tasks, "f")]
        tasks = state.take(outcomes, free=free).tasks
    return state


def test_a7_groups_that_only_wait_for_a_rate_limited_function_make_room(state_of: StateOf) -> None:
    state = function_state(state_of)
    assert groups_in(state, "parked") == [0, 1, 2, 3, 4, 5]
    assert state.sql("select distinct parked_for from state.admitted_row_group") == [(["generator f"],)]
    assert state.progress("good")["done"] == 6
    assert state.violations() == []


def test_a7_what_waits_for_a_function_comes_back_one_by_one_until_it_succeeds_also_after_a_crash(
    state_of: StateOf, tmp_path: Path
) -> None:
    state = function_state(state_of, tmp_path / "run.duckdb")
    state.crash()
    free = {"simulated/one": 4, "local": 4}
    assert state.take(free=free, after_s=50.0).tasks == []
    (task,) = state.take(free=free, after_s=51.0).tasks
    assert (task.row_group, state.take(free=free).tasks) == (0, []), "one is enough to see whether it works"
    assert state.take([rate_limited(task, 100.0)], free=free).tasks == []
    assert groups_in(state, "parked") == [0, 1, 2, 3, 4, 5]
    tasks = state.take(free=free, after_s=101.0).tasks
    done = []
    while tasks:
        done += [task.row_group for task in tasks]
        tasks = state.take([succeeded(task, "x") for task in tasks], free=free).tasks
    assert done == [0, 1, 2, 3, 4, 5]
    assert state.sql("select state from run_status") == [("finished",)]
    assert state.violations() == []


def test_a7_groups_that_only_wait_for_a_cooling_endpoint_make_room(state_of: StateOf) -> None:
    state, tasks = storm_state(state_of)
    assert groups_in(state, "parked") == [0, 1, 2, 3, 4, 5]
    assert groups_in(state, "active") == [6, 7]
    assert {task.row_group for task in tasks} == {6, 7}
    assert state.violations() == []


def test_a7_parking_survives_a_crash_and_ends_lowest_group_first(state_of: StateOf, tmp_path: Path) -> None:
    state, _ = storm_state(state_of, tmp_path / "run.duckdb")
    parked = groups_in(state, "parked")
    state.crash()
    assert groups_in(state, "parked") == parked
    state.take(after_s=10.0, free={"simulated/one": 0, "simulated/two": 0})
    assert groups_in(state, "parked") == parked
    order: list[int] = []
    tasks = state.take(after_s=90.0, free={"simulated/one": 4, "simulated/two": 4}).tasks
    while tasks:
        order += [task.row_group for task in state.of(tasks, "bad")]
        tasks = state.take(
            [succeeded(task, "x") for task in tasks], free={"simulated/one": 4, "simulated/two": 4}
        ).tasks
        assert state.violations() == []
    assert [group for group in order if group in parked] == parked
    assert sorted(order) == list(range(12))
    assert order.index(parked[-1]) < order.index(8), "what was parked comes before new row groups"


def test_a7_parked_rows_are_bounded(state_of: StateOf) -> None:
    state, tasks = storm_state(state_of, max_parked_rows=3)
    assert 3 <= len(groups_in(state, "parked")) <= 4
    for _ in range(3):
        outcomes = [succeeded(task, "x") for task in tasks]
        tasks = state.take(outcomes, free={"simulated/one": 4}).tasks
    assert len(groups_in(state, "parked")) <= 4
    assert state.sql("select reason from admission") in ([("max parked rows",)], [("max groups",)])


def test_a7_a_group_with_work_elsewhere_is_not_parked(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"),
        at("good", "one"),
        at("bad", "two"),
        models=[model("one", 1), model("two", 1)],
        records=8,
        row_group_size=1,
        run={"max_active_row_groups": 2},
    )
    tasks = state.take().tasks
    bad = state.of(tasks, "bad")
    state.take([rate_limited(task, 100.0) for task in bad], free={"simulated/one": 4})
    assert groups_in(state, "parked") == []


def test_f6_a_row_of_a_parked_group_comes_back_to_where_its_group_rests(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"),
        at("good", "one"),
        at("bad", "two"),
        models=[model("one", 4), model("two", 4)],
        records=8,
        row_group_size=2,
        run={"max_active_row_groups": 1, "error_window": 2, "max_error_share": 1.0},
    )
    tasks = state.take().tasks
    good, bad = state.of(tasks, "good"), state.of(tasks, "bad")
    outcomes = [succeeded(good[1], "x"), rejected(good[0]), *[rate_limited(task, 100.0) for task in bad]]
    (other, *_) = state.take(outcomes, free={"simulated/one": 4}).tasks
    assert groups_in(state, "parked") == [0]
    assert state.take([rejected(other)], free={}).stop is not None
    assert state.dropped() == {}
    assert state.violations() == []


def test_a7_what_is_parked_counts_as_the_rows_it_is(state_of: StateOf) -> None:
    state, _ = storm_state(state_of)
    assert state.progress("good")["done"] == 6
    bad = state.progress("bad")
    assert (bad["done"], bad["deferred"], bad["waiting"]) == (0, 2, 10)
    assert state.sql("select row_group from deferred_task order by 1") == [(0,), (1,)]


def test_f2_a_transient_failure_waits_alone(state_of: StateOf) -> None:
    """Its endpoint goes on with other tasks of other groups."""
    state = graph_state(state_of, [at("a", "one")])
    first, second = state.take(free={"simulated/one": 2}).tasks
    result = state.take([transient(first), succeeded(second, "x")], free={"simulated/one": 2})
    assert (first.row_group, {task.row_group for task in result.tasks}) == (0, {1})
