"""How long results wait for their commit is measured after it, written by the second, and adds up over invocations."""

from __future__ import annotations

import pytest
from run_state import PLENTY, RunState, released, succeeded
from virtual_run import EPOCH, llm, model, prepared, sampler

from rowmill.task import Outcome, Task

COUNTED = "select upper_ms, sum(results)::integer from state.commit_lag where results > 0 group by all order by all"


def _state() -> RunState:
    return RunState(prepared(sampler(), llm("note", "Write."), models=[model()], records=40, row_group_size=20))


def _ended(task: Task, after_s: float) -> Outcome:
    """A call that began with the run and took 2 s more than was waited."""
    return succeeded(task, "text")._replace(started_at=EPOCH + after_s - 2.0, duration_ms=2000.0)


def _take(state: RunState, outcomes: list[Outcome], at_s: float, commit_s: float) -> list[Task]:
    capacity = dict.fromkeys(state.prepared.limits, PLENTY)
    state.now_s = at_s
    return list(state.turn.take(outcomes, capacity, EPOCH + at_s, None, lambda: EPOCH + commit_s).tasks)


def test_d2_the_lag_of_a_result_goes_from_its_arrival_to_the_end_of_the_commit() -> None:
    with _state() as state:
        tasks = _take(state, [], 0.0, 0.0)
        _take(state, [_ended(tasks[0], 10.0), _ended(tasks[1], 9.97), _ended(tasks[2], -20.0)], 10.01, 10.02)
        assert state.sql(COUNTED) == [], "it was not known when that turn was written"
        _take(state, [], 12.0, 12.0)
        assert state.sql(COUNTED) == [(20, 1), (50, 1), (None, 1)]
        assert state.sql("select sum(lag_s) from state.commit_lag")[0][0] == pytest.approx(0.02 + 0.05 + 30.02)


def test_calls_that_never_started_and_a_clock_that_went_back_do_not_spoil_it() -> None:
    with _state() as state:
        tasks = _take(state, [], 0.0, 0.0)
        _take(state, [released(tasks[0]), _ended(tasks[1], 10.0)], 10.0, 9.0)
        _take(state, [], 12.0, 12.0)
        assert state.sql(COUNTED) == [(5, 1)]


def test_lags_add_up_over_invocations_and_the_last_ones_are_written_at_the_end() -> None:
    with _state() as state:
        tasks = _take(state, [], 0.0, 0.0)
        _take(state, [_ended(tasks[0], 10.0)], 10.0, 10.004)
        state.store.end("stopped", EPOCH + 10.1)
        state.store.begin(state.prepared.limits, EPOCH + 20)
        state.turn = state.store.turn(state.prepared.spec, state.prepared.graph)
        tasks = _take(state, [], 20.0, 20.0)
        _take(state, [_ended(tasks[0], 21.0)], 21.0, 21.008)
        _take(state, [_ended(tasks[1], 22.5)], 22.5, 22.503)
        state.store.end("stopped", EPOCH + 22.6)
        assert state.sql(COUNTED) == [(5, 2), (10, 1)]
        assert state.sql("select distinct invocation from state.commit_lag order by all") == [(1,), (2,)]
