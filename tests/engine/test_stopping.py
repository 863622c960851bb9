"""Several reasons to stop in one turn: people are told the one that has to be mended (F3, F6, S4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from run_state import RunState, rejected, request, succeeded
from virtual_run import custom, expression, llm, model, sampler

from rowmill.errors import BudgetReached, GeneratorError, Rejected
from rowmill.store.turn.error_window import TooManyFailures
from rowmill.task import InvalidRow, Outcome, OutcomeKind

StateOf = Callable[..., RunState]


async def made(row: object) -> str:
    return "made"


def test_f6_a_window_full_of_failures_is_told_before_a_wrong_key_and_a_used_up_budget(state_of: StateOf) -> None:
    state = state_of(
        custom("text", made), records=4, run={"error_window": 2, "max_error_share": 1.0, "max_requests": 1}
    )
    tasks = state.take().tasks
    wrong_key = Outcome(OutcomeKind.STOP, tasks[0], error=Rejected("wrong key", "HTTP 401"), requests=[request()])
    stop = state.take([wrong_key, *(rejected(task) for task in tasks[1:])], free={}).stop
    assert isinstance(stop, TooManyFailures)
    assert state.sql("select subject from event where kind = 'stopped'") == [("error window",)]


def test_s4_a_skip_rule_that_fails_is_told_before_a_used_up_budget(state_of: StateOf) -> None:
    state = state_of(
        custom("text", made),
        llm("more", "{{ text }}", skip={"when": "cast(text as int) = 1", "on_error": "stop"}),
        models=[model()],
        records=2,
        run={"max_requests": 1},
    )
    tasks = state.take().tasks
    stop = state.take([succeeded(task, "no number", requests=[request()]) for task in tasks], free={}).stop
    assert isinstance(stop, GeneratorError)
    assert state.sql("select count(*) from event where kind = 'stopped'") == [(0,)]
    state.take(free={})
    assert state.sql("select count(*) from event where kind = 'stopped'") == [(0,)], "why it stopped was told"


def test_a_reason_to_stop_is_told_to_the_journal_once(state_of: StateOf) -> None:
    state = state_of(custom("text", made), records=2, run={"max_requests": 1})
    tasks = state.take().tasks
    first = state.take([succeeded(tasks[0], "made", requests=[request()])], free={})
    second = state.take([succeeded(tasks[1], "made", requests=[request()])], free={})
    assert [type(result.stop) for result in (first, second)] == [BudgetReached, BudgetReached]
    assert state.sql("select subject from event where kind = 'stopped'") == [("budget",)]


def test_a_run_without_tasks_lets_nothing_in_once_it_was_stopped(state_of: StateOf) -> None:
    state = state_of(
        sampler("rating"),
        expression("text", "rating", skip={"when": "cast('x' || rating as int) = 1", "on_error": "stop"}),
        records=3,
        row_group_size=1,
        run={"max_active_row_groups": 1},
    )
    assert isinstance(state.take(free={}).stop, GeneratorError)
    admitted = state.sql("select count(*) from row_group")
    state.take(free={})
    assert state.sql("select count(*) from row_group") == admitted


def test_the_budget_counts_the_requests_of_a_turn_that_has_rows_made_again(state_of: StateOf, tmp_path: Path) -> None:
    (tmp_path / "stopping_check.py").write_text("def judge(rows):\n    return [{'is_valid': True}] * len(rows)\n")
    check = {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["text"],
        "validator_type": "local_callable",
        "validator_params": {"validation_function": "stopping_check:judge"},
        "on_invalid": "regenerate",
    }
    state = state_of(llm("text", "go"), check, models=[model()], records=2, directory=tmp_path, run={"max_requests": 2})
    tasks = state.take().tasks
    (judge,) = state.take([succeeded(tasks[0], "bad", requests=[request()])], free={"local/threads": 1}).tasks
    outputs = state.prepared.graph.generators[judge.generator].declaration.outputs
    verdict = [{"is_valid": False, "error_messages": "no"}, *[None] * (len(outputs) - 1)]
    found = Outcome(OutcomeKind.SUCCEEDED, judge, InvalidRow(verdict, "no"))
    result = state.take([found, succeeded(tasks[1], "good", requests=[request()])], free={})
    assert isinstance(result.stop, BudgetReached)
