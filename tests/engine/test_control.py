"""Steering by hand: applied once, in the transaction that records it, the same on a living run and on a stopped one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from run_state import RunState, rate_limited, succeeded, transient
from virtual_run import EPOCH, Finished, Row, custom, expression, llm, model, prepared, sampler

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.errors import InternalError
from rowmill.store.reading.status import Status
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest
from rowmill.task import Outcome, Steering, Task

StateOf = Callable[..., RunState]
Run = Callable[..., Finished]
_keys = itertools.count()


async def made(row: Row) -> str:
    return "made"


def request(verb: str, key: str | None = None, **arguments: Any) -> ControlRequest:
    return ControlRequest(key or f"key {next(_keys)}", verb, arguments, "ann (pid 7 on host)", EPOCH)


def asked(state: RunState, verb: str, **arguments: Any) -> tuple[ControlAnswer, Steering | None]:
    """Asks the living run, and takes the turn that answers."""
    pending = state.turn.control.submit(request(verb, **arguments))
    result = state.take(free={})
    assert pending.done.is_set()
    assert pending.answer is not None
    return pending.answer, result.steering


def asked_directly(state: RunState, verb: str, **arguments: Any) -> ControlAnswer:
    """Asks the run as if nothing worked on it."""
    return state.store.steer(request(verb, **arguments), EPOCH + state.now_s)


@pytest.fixture
def state(state_of: StateOf) -> RunState:
    return state_of(
        sampler("rating"),
        custom("text", made, ["rating"]),
        custom("more", made, ["rating"]),
        records=8,
        row_group_size=4,
    )


# pause and resume ---------------------------------------------------------------------------------


def test_a_pause_is_kept_recorded_and_said_to_be_there_already(state: RunState) -> None:
    answer, steering = asked(state, "pause")
    assert (answer.outcome, steering) == ("applied", Steering(paused=True))
    state.store.say_alive()
    assert state.sql("select state from run_status") == [("paused",)]
    again, steering = asked(state, "pause")
    assert (again.outcome, steering) == ("already", None)
    assert "ann (pid 7 on host)" in again.message
    assert state.store.hand_settings().paused_by == "ann (pid 7 on host)"
    assert state.sql("select verb, outcome, requested_by from state.control_request") == [
        ("pause", "applied", "ann (pid 7 on host)"),
        ("pause", "already", "ann (pid 7 on host)"),
    ]
    ((detail,),) = state.sql("select detail from event where kind = 'pause'")
    assert detail.endswith("By ann (pid 7 on host).")
    resumed, steering = asked(state, "resume")
    assert (resumed.outcome, steering) == ("applied", Steering(paused=False))
    assert asked(state, "resume")[0].outcome == "already"
    assert state.store.hand_settings().paused_at is None


def test_what_nothing_works_on_is_stopped_also_when_it_is_paused(state: RunState) -> None:
    asked(state, "pause")
    assert state.sql("select state from run_status") == [("stopped",)]


@pytest.mark.slow
def test_a_paused_run_stays_paused_in_the_next_invocation(run: Run, tmp_path: Path) -> None:
    started: list[float] = []

    async def work(row: Row) -> str:
        started.append(anyio.current_time())
        await anyio.sleep(1.0)
        return "x"

    spec = prepared(sampler("rating"), custom("text", work, ["rating"]), records=4, row_group_size=4)
    first = run(spec, tmp_path / "x.duckdb", on_dispatcher=lambda dispatcher: dispatcher.drain())
    first.store.steer(request("pause"), EPOCH)
    held: list[Dispatcher] = []
    looks = itertools.count()

    def look(status: Status) -> None:
        if next(looks) == 100:
            held[0].drain()

    second = run(spec, tmp_path / "x.duckdb", on_dispatcher=held.append, on_progress=look)
    assert (started, second.took_s > 40.0) == ([], True)
    second.store.steer(request("resume"), EPOCH)
    assert run(spec, tmp_path / "x.duckdb").column("text") == ["x"] * 4


# limits -------------------------------------------------------------------------------------------


def test_a_limit_is_kept_shown_and_lifted_again(state_of: StateOf) -> None:
    async def ask(row: Row, params: dict[str, Any], models: dict[str, Any]) -> str:
        return "asked"

    state = state_of(custom("text", ask, model_aliases=["writer"]), models=[model(limit=8)], records=4)
    resource = next(name for name in state.prepared.limits if name.startswith("simulated/"))
    asked_for = {"resource": resource, "spec_calls": 8}
    answer, steering = asked(state, "limit", calls=3, **asked_for)
    assert answer == ControlAnswer("applied", f"The limit of {resource} is 3 now, it was 8.")
    assert steering == Steering(limits={resource: 3})
    shown = "select configured_limit, learned_limit from resource where resource like 'simulated/%'"
    assert state.sql(shown) == [(3, 3)]
    assert state.store.hand_settings().limited(state.prepared.limits)[resource] == 3
    assert asked(state, "limit", calls=3, **asked_for)[0].outcome == "already"
    assert asked(state, "limit", calls=9, **asked_for)[0].outcome == "refused"
    assert asked(state, "limit", calls=0, **asked_for)[0].outcome == "refused"
    assert asked(state, "limit", calls=None, **asked_for)[0].outcome == "applied"
    assert state.sql(shown) == [(8, 8)]
    assert state.store.hand_settings().limits == {}


def test_a_limit_of_all_tasks_is_kept(state: RunState) -> None:
    answer, steering = asked(state, "limit", resource=None, calls=5, spec_calls=1024)
    assert (answer.outcome, steering) == ("applied", Steering(max_in_flight=5))
    assert state.store.hand_settings().limits == {None: 5}


# drop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["living", "stopped"])
def test_rows_are_dropped_by_hand_with_their_reason_and_their_values(state: RunState, how: str) -> None:
    tasks = state.of(state.take(free=4).tasks, "text")
    state.take([succeeded(task, "kept") for task in tasks], free={})
    arguments = {"rows": [(1, 1), (3, 99)], "reason": "source withdrawn"}
    answer = asked(state, "drop", **arguments)[0] if how == "living" else asked_directly(state, "drop", **arguments)
    entered = {row_id for (row_id,) in state.sql("select row_id from state.dropped_row")}
    assert answer == ControlAnswer("applied", f"{len(entered)} rows dropped.", len(entered))
    assert {1, 3} <= entered
    assert state.sql("select distinct reason, message, error_type from dropped_row") == [
        ("by_hand", "source withdrawn", None)
    ]
    assert state.sql("select text from state.dropped_row_value where row_id = 1") == [("kept",)]
    assert state.violations() == []
    again = asked(state, "drop", **arguments)[0] if how == "living" else asked_directly(state, "drop", **arguments)
    assert (again.outcome, again.rows) == ("already", 0)


def test_tasks_of_rows_dropped_by_hand_are_given_up_and_late_results_are_discarded(state: RunState) -> None:
    tasks = state.take(free=8).tasks
    pending = state.turn.control.submit(request("drop", rows=[(0, 0)], reason="no"))
    result = state.take(free={})
    assert pending.answer is not None
    assert result.dropped == {(0, 0)}
    late = [task for task in tasks if task.row_id == 0]
    assert late
    state.take([succeeded(task, "late") for task in late], free={})
    assert state.dropped() == {0: "by_hand"}
    assert state.violations() == []


def test_a_row_group_whose_last_unfinished_row_is_dropped_by_hand_finishes(state: RunState) -> None:
    tasks = state.take(free=100).tasks
    state.take([succeeded(task, "x") for task in tasks if task.row_group == 0 and task.row_id != 2], free={})
    pending = state.turn.control.submit(request("drop", rows=[(2, 2)], reason="no"))
    result = state.take(free={})
    assert pending.done.is_set()
    assert [(group.row_group, group.rows_finished, group.rows_dropped) for group in result.finished] == [(0, 3, 1)]


def test_parked_rows_can_be_dropped_by_hand(state: RunState) -> None:
    state.take(free=4)
    state.sql("insert into state.parked_row select * from state.active_row where row_group = 0")
    state.sql("delete from state.active_row where row_group = 0")
    state.sql(
        "update state.admitted_row_group set state = 'parked', came_from = 'active', parked_for = ['somewhere'],"
        " rows_parked = 4 where row_group = 0"
    )
    assert asked(state, "drop", rows=[(1, 2)], reason="no")[0].rows == 2
    assert state.dropped() == {1: "by_hand", 2: "by_hand"}
    assert state.sql("select row_id from state.parked_row order by row_id") == [(0,), (3,)]
    assert state.violations() == []


# retry of deferred tasks --------------------------------------------------------------------------


def test_deferred_tasks_become_ready_at_once(state: RunState) -> None:
    tasks = state.of(state.take(free=4).tasks, "text")
    state.take([transient(task) for task in tasks], free={})
    waiting = state.sql("select generator, row_group, coalesce(row_index, -1) from deferred_task order by all")
    first = ("text", 0, 0)
    assert first not in state.ready()
    answer, _ = asked(state, "retry_deferred", tasks=waiting[:1])
    assert (answer.outcome, answer.rows) == ("applied", 1)
    assert first in state.ready()
    assert asked(state, "retry_deferred", tasks=[])[0].outcome == "already"


def test_dropped_rows_come_back_in_a_living_run_and_in_a_stopped_one(state: RunState) -> None:
    state.take(free=1)
    asked(state, "drop", rows=[(0, 2)], reason="no")
    answer, _ = asked(state, "retry_dropped", rows=[(0, 0), (0, 1), (1, 3)])
    assert (answer.outcome, answer.rows, answer.message) == ("applied", 2, "2 rows back.")
    assert set(state.dropped()) == {2}
    assert asked(state, "retry_dropped", rows=[(0, 0)])[0].outcome == "already"
    assert asked_directly(state, "retry_dropped", rows=[(0, 2)]).rows == 1
    assert state.dropped() == {}
    assert state.violations() == []


# once, or not at all ------------------------------------------------------------------------------


def test_a_request_that_comes_again_is_not_applied_again(state: RunState) -> None:
    first = request("pause", key="the same")
    assert state.store.steer(first, EPOCH).outcome == "applied"
    state.store.steer(request("resume"), EPOCH)
    assert state.store.steer(first, EPOCH).outcome == "applied"
    assert state.store.hand_settings().paused_at is None
    assert state.sql("select count(*) from state.control_request where verb = 'pause'") == [(1,)]


TWO_GROUPS_BEHIND_ONE = {"records": 4, "row_group_size": 2, "run": {"max_active_rows": 2}}
COOLING = {"simulated/writer": 0, "local": 100}


def parked_behind(state: RunState) -> list[Task]:
    """The first row group is parked for an endpoint that refuses; returns the local tasks of the second."""
    tasks = state.take().tasks
    refused = [rate_limited(task, 60.0) for task in state.of(tasks, "text")]
    result = state.take([*refused, *(succeeded(task, "x") for task in state.of(tasks, "other"))], free=COOLING)
    assert state.sql("select row_group, state from row_group order by 1") == [(0, "parked"), (1, "active")]
    return result.tasks


def worked_off(state: RunState, tasks: Sequence[Task]) -> set[int]:
    """Answers everything until the run is complete; returns the row groups that finished."""
    finished: set[int] = set()
    for _ in range(9):
        result = state.take([succeeded(task, "x") for task in tasks], after_s=61.0)
        tasks = result.tasks
        finished.update(group.row_group for group in result.finished)
    assert result.complete
    return finished


@pytest.mark.parametrize("is_living", [True, False])
def test_k1_a_parked_group_all_rows_of_which_are_dropped_by_hand_is_finished(
    state_of: StateOf, tmp_path: Path, is_living: bool
) -> None:
    state = state_of(
        llm("text", "go"),
        custom("other", made),
        models=[model()],
        path=tmp_path / "run.duckdb",
        **TWO_GROUPS_BEHIND_ONE,
    )
    tasks = parked_behind(state)
    if is_living:
        state.turn.control.submit(request("drop", rows=[(0, 1)], reason="no"))
    else:
        state.crash()
        assert asked_directly(state, "drop", rows=[(0, 1)], reason="no").outcome == "applied"
        state.crash()
        tasks = []
    result = state.take(free=COOLING)
    assert [(group.row_group, group.rows_dropped) for group in result.finished] == [(0, 2)]
    assert state.sql("from deferred_task where row_group = 0") == []
    assert worked_off(state, [*tasks, *result.tasks]) == {1}
    assert len(state.dataset()) == 2


def test_k1_a_parked_group_that_lost_its_rows_in_an_older_version_is_finished_when_it_comes_back(
    state_of: StateOf,
) -> None:
    state = state_of(llm("text", "go"), custom("other", made), models=[model()], **TWO_GROUPS_BEHIND_ONE)
    tasks = parked_behind(state)
    state.sql("delete from state.parked_row where row_group = 0")
    state.sql("delete from state.deferred_task where row_group = 0")
    assert worked_off(state, tasks) == {0, 1}


def test_a7_a_row_revived_into_a_parked_group_comes_back_with_it(state_of: StateOf, tmp_path: Path) -> None:
    """The group was emptied while another one came back, so nothing was parked any more."""
    names = ("one", "two", "three")
    state = state_of(
        *(llm(name, "go", name) for name in names),
        models=[model(name) for name in names],
        records=3,
        row_group_size=1,
        run={"max_active_row_groups": 2},
        path=tmp_path / "run.duckdb",
    )
    one, two, three = (f"simulated/{name}" for name in names)

    def outcome(task: Task) -> Outcome:
        if state.name(task.generator) == "one":
            return rate_limited(task, 600.0)
        return rate_limited(task, 60.0) if state.keys([task]) == [("two", 1, 0)] else succeeded(task, "x")

    result = state.take([outcome(task) for task in state.take(free=2).tasks], free={one: 0, two: 0, three: 2})
    state.take([succeeded(task, "x") for task in result.tasks], free={})
    state.crash()
    assert asked_directly(state, "drop", rows=[(0, 0)], reason="no").outcome == "applied"
    state.crash()
    result = state.take(after_s=100.0, free={one: 0, two: 2, three: 2})
    state.turn.control.submit(request("retry_dropped", rows=[(0, 0)]))
    result = state.take([succeeded(task, "x") for task in result.tasks], free={one: 0, two: 1, three: 1})
    for _ in range(9):
        result = state.take([succeeded(task, "x") for task in result.tasks], after_s=700.0)
    assert result.complete
    assert [row["row_id"] for row in state.dataset()] == [0, 1, 2]


def test_a_revived_row_gets_what_the_database_evaluates_although_nothing_is_admitted(state_of: StateOf) -> None:
    text = "cast(case when rating = 1 then 'no' else '1' end as int)"
    state = state_of(sampler("rating"), custom("a", made), expression("e", text), records=4, row_group_size=4, seed=3)
    tasks = state.take().tasks
    (dropped, *_) = state.sql("select row_group, row_index from state.dropped_row")
    state.sql("update state.dropped_row_value set rating = 2")
    state.turn.control.submit(request("retry_dropped", rows=[dropped]))
    assert worked_off(state, [*tasks, *state.take().tasks]) == {0}
    assert len(state.dataset()) == len(tasks) + 1


def test_a_turn_that_fails_applies_nothing_and_says_so(state: RunState) -> None:
    pending = state.turn.control.submit(request("drop", rows=[(0, 0)], reason="no"))
    state.take(free=1)
    assert pending.error is None
    failing = state.turn.control.submit(request("pause"))
    state.sql("alter table state.active_row rename to gone")
    with pytest.raises(InternalError):
        state.take(free=1)
    assert isinstance(failing.error, InternalError)
    state.sql("alter table state.gone rename to active_row")
    assert state.sql("select verb from state.control_request") == [("drop",)]


def test_a_request_nobody_has_taken_yet_can_be_withdrawn(state: RunState) -> None:
    pending = state.turn.control.submit(request("pause"))
    assert state.turn.control.withdraw(pending)
    state.take(free={})
    assert not state.turn.control.withdraw(pending)
    assert state.sql("select * from state.control_request") == []


def test_what_cannot_be_read_is_refused_and_changes_nothing(state: RunState) -> None:
    assert asked(state, "fly")[0].outcome == "refused"
    assert asked(state, "limit", resource="x")[0].outcome == "refused"
    assert asked(state, "drop", rows="all", reason="no")[0].outcome == "refused"
    assert state.dropped() == {}


@pytest.mark.parametrize("verb", ["drain", "cancel"])
def test_stopping_what_is_stopped_changes_nothing(state: RunState, verb: str) -> None:
    assert asked_directly(state, verb).outcome == "already"
    answer, steering = asked(state, verb)
    assert answer.outcome == "applied"
    assert steering == (Steering(drain=True) if verb == "drain" else Steering(cancel=True))
