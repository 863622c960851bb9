"""C1, C5, A1 and A2: how much runs at once, and how many row groups are let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from run_state import RunState, rate_limited, rejected, succeeded
from virtual_run import Concurrency, Finished, Row, custom, llm, model, prepared, sampler

from rowmill.errors import RateLimited
from rowmill.store.turn.pull import Pull
from rowmill.task import Task

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]


async def made(row: Row) -> str:
    return "made"


def asking(watched: Concurrency, seconds: float = 1.0) -> Callable[..., Any]:
    """A function that occupies its model's endpoint for a while."""

    async def ask(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        async with watched:
            await anyio.sleep(seconds)
            return "asked"

    return ask


# C1: one limit per endpoint -----------------------------------------------------------------------


def test_c1_aliases_of_one_endpoint_share_its_limit_and_the_smallest_counts(run: Run) -> None:
    watched = Concurrency()
    spec = prepared(
        custom("a", asking(watched), model_aliases=["wide"]),
        custom("b", asking(watched), model_aliases=["narrow"]),
        models=[model("wide", limit=16, model="same"), model("narrow", limit=3, model="same")],
        records=12,
        row_group_size=12,
    )
    done = run(spec)
    assert watched.greatest == 3
    assert done.took_s == pytest.approx(24 / 3 * 1.0, abs=0.2)
    assert done.sql("select resource, configured_limit from resource where resource like 'simulated%'") == [
        ("simulated/same", 3)
    ]


def test_c1_different_models_have_limits_of_their_own(run: Run) -> None:
    first, second = Concurrency(), Concurrency()
    spec = prepared(
        custom("a", asking(first), model_aliases=["one"]),
        custom("b", asking(second), model_aliases=["two"]),
        models=[model("one", limit=2), model("two", limit=5)],
        records=20,
        row_group_size=20,
    )
    run(spec)
    assert (first.greatest, second.greatest) == (2, 5)


def test_c1_an_endpoint_is_used_up_to_its_limit(run: Run) -> None:
    spec = prepared(
        llm("text", "{{ rating }}"),
        sampler("rating"),
        models=[model(limit=8, simulation={"latency_ms": 1000.0})],
        records=80,
        row_group_size=20,
    )
    assert run(spec).took_s == pytest.approx(10.0, rel=0.05)


def test_c1_all_uses_of_an_endpoint_share_its_cool_down(run: Run) -> None:
    starts: list[float] = []
    refused: list[float] = []

    async def refusing(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        if not refused:
            refused.append(anyio.current_time())
            raise RateLimited("429", 50.0)
        return "a"

    async def other(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        starts.append(anyio.current_time())
        return "b"

    spec = prepared(
        custom("a", refusing, model_aliases=["one"]),
        custom("b", other, ["a"], model_aliases=["two"]),
        models=[model("one", limit=1, model="same"), model("two", limit=1, model="same")],
        records=6,
        row_group_size=3,
    )
    run(spec)
    assert all(start >= 50.0 for start in starts)


def test_c3_a_cooling_endpoint_leaves_the_tasks_of_others_alone(run: Run) -> None:
    async def refusing(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        if anyio.current_time() < 1000.0:
            raise RateLimited("429", 500.0)
        return "late"

    healthy = Concurrency()
    last: list[float] = []

    async def well(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        async with healthy:
            await anyio.sleep(1.0)
            last.append(anyio.current_time())
            return "well"

    spec = prepared(
        custom("sick", refusing, model_aliases=["sick"]),
        custom("well", well, model_aliases=["well"]),
        models=[model("sick", limit=2), model("well", limit=4)],
        records=40,
        row_group_size=10,
    )
    run(spec)
    assert max(last) == pytest.approx(10.0, abs=0.5)


def test_c1_the_cool_down_of_an_endpoint_outlives_the_process(run: Run, tmp_path: Path) -> None:
    starts: list[float] = []

    async def ask(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        starts.append(anyio.current_time())
        return "asked"

    spec = prepared(
        custom("a", ask, model_aliases=["one"]), models=[model("one", limit=1)], records=3, row_group_size=3
    )
    with RunState(spec, tmp_path / "run.duckdb") as state:
        (task, *_) = state.take(free={"simulated/one": 1}).tasks
        state.take([rate_limited(task, 90.0)], free={})
    done = run(spec, tmp_path / "run.duckdb", starts_at_s=10.0)
    assert min(starts) == pytest.approx(80.0)
    assert len(done.dataset()) == 3


# C4: the order of starts --------------------------------------------------------------------------


def test_c4_the_first_starts_of_equal_columns_are_one_of_each(run: Run) -> None:
    starts: list[str] = []

    def column(name: str) -> dict[str, Any]:
        async def made_here(row: Row) -> str:
            starts.append(name)
            await anyio.sleep(1.0)
            return name

        return custom(name, made_here)

    run(prepared(*map(column, "abcd"), records=20, row_group_size=10, run={"max_in_flight": 4}))
    assert [sorted(starts[first : first + 4]) for first in range(0, 80, 4)] == [list("abcd")] * 20


def test_c4_a_pull_hands_out_in_the_order_of_weights(state_of: StateOf) -> None:
    state = state_of(
        llm("often", "go", weight=3.0), llm("seldom", "go"), models=[model(limit=100)], records=8, row_group_size=8
    )
    tasks = state.take(free={"simulated/writer": 8}).tasks
    assert [(state.name(task.generator), task.row_index) for task in tasks] == [
        ("often", 0),
        ("seldom", 0),
        ("often", 1),
        ("often", 2),
        ("often", 3),
        ("seldom", 1),
        ("often", 4),
        ("often", 5),
    ]


def test_c4_what_goes_into_one_call_stays_together(state_of: StateOf) -> None:
    state = state_of(
        custom("many", made, max_rows_per_call=3),
        custom("one", made),
        records=6,
        row_group_size=6,
    )
    tasks = state.take(free={"local": 9}).tasks
    assert [state.name(task.generator) for task in tasks] == [
        *["many"] * 3,
        *["one"] * 3,
        *["many"] * 2,
        "one",
    ]


# C5: how many tasks at once -----------------------------------------------------------------------


def test_c5_max_in_flight_bounds_all_tasks_of_all_resources(run: Run) -> None:
    watched = Concurrency()

    async def local(row: Row) -> str:
        async with watched:
            await anyio.sleep(1.0)
            return "local"

    spec = prepared(
        custom("a", local),
        custom("b", asking(watched), model_aliases=["writer"]),
        models=[model(limit=50)],
        records=30,
        row_group_size=30,
        run={"max_in_flight": 7},
    )
    done = run(spec)
    assert watched.greatest == 7
    assert watched.calls == 60
    assert done.took_s == pytest.approx(60 / 7, abs=1.1)


def test_c5_max_in_flight_is_1024_unless_the_spec_says_otherwise(run: Run) -> None:
    watched = Concurrency()

    async def local(row: Row) -> str:
        async with watched:
            await anyio.sleep(1.0)
            return "local"

    run(prepared(custom("a", local), records=2500, row_group_size=2500))
    assert watched.greatest == 1024


def test_c3_at_the_bound_of_all_tasks_no_resource_starves_another(run: Run) -> None:
    starts: list[str] = []

    async def local(row: Row) -> str:
        starts.append("local")
        await anyio.sleep(1.0)
        return "local"

    async def remote(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        starts.append("remote")
        await anyio.sleep(1.0)
        return "remote"

    spec = prepared(
        custom("a", local),
        custom("b", remote, model_aliases=["writer"]),
        models=[model(limit=4)],
        records=40,
        row_group_size=40,
        run={"max_in_flight": 4},
    )
    run(spec)
    assert len(starts) == 80
    assert set(starts[:40]) == {"local", "remote"}, "all 40 rows of one resource went first"


def test_c5_calls_that_take_several_rows_keep_to_a_small_bound(run: Run) -> None:
    template = {"name": "text", "column_type": "expression", "expr": "{{ rating }}!", "dtype": "str"}
    spec = prepared(sampler("rating"), template, records=50, row_group_size=50, run={"max_in_flight": 3})
    done = run(spec)
    assert len(done.dataset()) == 50
    assert all(row["text"] == f"{row['rating']}!" for row in done.dataset())


def test_two_generators_of_one_endpoint_get_equal_shares(run: Run) -> None:
    """C4."""
    order: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        async def ask(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
            order.append(name)
            await anyio.sleep(1.0)
            return name

        return ask

    spec = prepared(
        custom("a", noting("a"), model_aliases=["writer"]),
        custom("b", noting("b"), model_aliases=["writer"]),
        models=[model(limit=4)],
        records=100,
        row_group_size=100,
    )
    run(spec)
    half = order[:100]
    assert 40 <= half.count("a") <= 60


# A1, A2: letting groups in ------------------------------------------------------------------------


def test_a1_groups_are_admitted_in_plan_order(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=14, row_group_size=2, run={"max_active_row_groups": 3})
    admitted: list[int] = []
    tasks = state.take().tasks
    while tasks:
        admitted += [
            group for (group,) in state.sql("select row_group from row_group where state = 'active' order by 1")
        ]
        # the highest groups finish first
        tasks = tasks[:-2] + state.take([succeeded(task, "x") for task in tasks[-2:]]).tasks
    assert list(dict.fromkeys(admitted)) == [0, 1, 2, 3, 4, 5, 6]


def test_a1_the_next_group_enters_when_the_last_active_one_is_finished(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=3, row_group_size=1, run={"max_active_row_groups": 1})
    seen = []
    result = state.take()
    while not result.complete:
        (task,) = result.tasks
        seen.append(task.row_group)
        result = state.take([succeeded(task, "x")])
    assert seen == [0, 1, 2]


def test_a1_a_group_that_loses_every_row_makes_way_for_the_next(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=4, row_group_size=2, run={"max_active_row_groups": 1})
    result = state.take([rejected(task) for task in state.take().tasks])
    assert {task.row_group for task in result.tasks} == {1}


def test_a2_never_more_groups_are_active_than_max_active_row_groups(run: Run) -> None:
    active: list[int] = []

    async def slow(row: Row) -> str:
        await anyio.sleep(row["rating"])
        return "x"

    spec = prepared(
        sampler("rating"),
        custom("text", slow, ["rating"]),
        records=30,
        row_group_size=2,
        run={"max_active_row_groups": 4},
    )
    done = run(spec, on_progress=lambda status: active.append(status.row_groups_active))
    assert done.report is not None
    assert done.report.rows_finished == 30
    assert max(active) == 4


def test_a2_never_more_rows_are_active_than_max_active_rows(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=100, row_group_size=4, run={"max_active_rows": 10})
    tasks = state.take().tasks
    for _ in range(10):
        ((rows,),) = state.sql("select count(*) from state.active_row")
        assert rows <= 10
        tasks = tasks[3:] + state.take([succeeded(task, "x") for task in tasks[:3]]).tasks


def test_a2_a_single_larger_group_is_allowed_when_none_is_active(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=40, row_group_size=20, run={"max_active_rows": 10})
    tasks = state.take().tasks
    assert {task.row_group for task in tasks} == {0}
    assert {task.row_group for task in state.take([succeeded(task, "x") for task in tasks]).tasks} == {1}


def test_a2_a_group_that_comes_back_from_parking_keeps_to_the_bounds(state_of: StateOf) -> None:
    state = state_of(
        llm("text", "go"),
        custom("other", made),
        models=[model("writer")],
        records=4,
        row_group_size=2,
        run={"max_active_rows": 2},
    )
    cooling = {"simulated/writer": 0, "local": 100}
    tasks = state.take().tasks
    texts, others = state.of(tasks, "text"), state.of(tasks, "other")
    state.take(
        [*[rate_limited(task, 60.0) for task in texts], *[succeeded(task, "o") for task in others]], free=cooling
    )
    assert state.sql("select row_group, state from row_group order by 1") == [(0, "parked"), (1, "active")]
    state.take(after_s=61.0)
    ((active,),) = state.sql("select count(*) from state.active_row")
    assert active <= 2


def test_a2_the_default_bound_is_8192_rows(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=20_000, row_group_size=500)
    state.take()
    assert state.sql("select count(*) from state.active_row") == [(8000,)]


def test_a2_a_run_of_sql_alone_never_leaves_rows_active(state_of: StateOf) -> None:
    state = state_of(sampler("rating"), records=5000, row_group_size=500)
    result = state.take()
    assert (result.complete, state.sql("select count(*) from state.active_row")) == (True, [(0,)])


# A3: never merely because there is room ------------------------------------------------------------


def test_a3_no_group_enters_while_there_is_ready_work_for_every_free_place(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1000, row_group_size=10)
    tasks = state.take(free={"local": 4}).tasks
    entered = state.sql("select count(*) from row_group")
    assert (len(tasks), entered) == (4, [(1,)])
    # A place has become free, and rows of the first group wait for it.
    for _ in range(4):
        tasks = tasks[1:] + state.take([succeeded(tasks[0], "x")], free={"local": 1}).tasks
    assert state.sql("select count(*) from row_group") == entered


def test_a3_no_group_enters_while_no_resource_has_a_free_place(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1000, row_group_size=2)
    tasks = state.take(free={"local": 2}).tasks
    entered = state.sql("select count(*) from row_group")
    assert state.take([succeeded(tasks[0], "x")], free={"local": 0}).tasks == []
    assert state.sql("select count(*) from row_group") == entered


def test_a3_another_group_enters_when_a_resource_has_a_place_and_no_ready_task(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=1000, row_group_size=2)
    assert {task.row_group for task in state.take(free={"local": 2}).tasks} == {0}
    entered = state.sql("select count(*) from row_group")
    # Nothing ends, and there is a place: what entered is handed out first, then another row group enters.
    for _ in range(entered[0][0]):
        assert state.take(free={"local": 2}).tasks
    assert state.sql("select count(*) from row_group") > entered


def test_a3_what_enters_is_enough_for_the_next_turn_too_which_then_asks_once(
    state_of: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    pull = Pull.pull

    def counted(self: Pull, free: Mapping[str, int], now: datetime) -> list[Task]:
        asked[-1] += 1
        return pull(self, free, now)

    monkeypatch.setattr(Pull, "pull", counted)
    state = state_of(custom("text", made), records=1000, row_group_size=5)
    tasks: list[Task] = []
    for _ in range(20):
        asked.append(0)
        tasks = state.take([succeeded(task, "x") for task in tasks], free={"local": 7}).tasks
        assert len(tasks) == 7
    assert asked[0] == 2
    assert sum(asked) <= 20 + 10, "at most every other turn looks twice"


def test_a3_how_many_groups_are_active_follows_the_free_places_not_the_bound(state_of: StateOf) -> None:
    def entered(places: int) -> int:
        bounds = {"max_active_row_groups": 400, "max_in_flight": places}
        state = state_of(custom("text", made), records=400, row_group_size=1, run=bounds)
        state.take(free={"local": places})
        ((count,),) = state.sql("select count(*) from row_group")
        return int(count)

    assert 2 <= entered(2) <= 4
    assert 40 <= entered(40) <= 80
