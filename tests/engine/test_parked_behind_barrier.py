"""R6 and A7 together: rows a reopened barrier returns while their row groups are parked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_state import RunState, rate_limited, succeeded
from virtual_run import EPOCH, llm, model

from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.reopening import Reopening
from rowmill.task import InvalidRow, Outcome, OutcomeKind, Task

StateOf = Callable[..., RunState]


@pytest.mark.slow
def test_r6_rows_a_reopened_barrier_returns_to_parked_groups_come_back_with_them(
    state_of: StateOf, tmp_path: Path
) -> None:
    (tmp_path / "judging_returned.py").write_text("def judge(rows):\n    return [{'is_valid': True}] * len(rows)\n")
    check = {
        "name": "check",
        "column_type": "validation",
        "target_columns": ["one"],
        "validator_type": "local_callable",
        "validator_params": {"validation_function": "judging_returned:judge"},
        "on_invalid": "regenerate",
        "max_regenerations": 2,
    }
    unique = {"name": "u", "column_type": "deduplicate", "columns": ["one"]}
    state = state_of(
        llm("one", "go", "m1"),
        check,
        unique,
        {**llm("two", "go", "m2"), "requires": ["u"]},
        models=[model("m1"), model("m2")],
        records=6,
        row_group_size=2,
        directory=tmp_path,
        path=tmp_path / "run.duckdb",
        run={"max_active_row_groups": 1},
    )
    values = ["v0", "v0", "v1", "v1", "v2", "v3"]
    free = {**dict.fromkeys(state.prepared.limits, 9), "simulated/m2": 0}

    def outcome(task: Task, invalid: int | None = None) -> Outcome:
        name = state.name(task.generator)
        if name != "check":
            return succeeded(task, values[task.row_id or 0] if name == "one" else "x")
        rest = [None] * (len(state.prepared.graph.generators[task.generator].declaration.outputs) - 1)
        if task.row_id == invalid:
            verdict = [{"is_valid": False, "error_messages": "no"}, *rest]
            return Outcome(OutcomeKind.SUCCEEDED, task, InvalidRow(verdict, "no"))
        return succeeded(task, {"is_valid": True, "error_messages": None}, *rest)

    tasks: list[Task] = []
    for _ in range(20):
        tasks = state.take([outcome(task) for task in tasks], free=free).tasks
    assert sorted(state.dropped()) == [1, 3]
    state.crash()
    reopening = Reopening(state.store.connection, Layout(state.prepared.graph, state.prepared.spec.seed))
    number = state.number("check")
    with state.store.connection.transaction():
        remade = sorted({number, *state.prepared.graph.downstream([number])})
        reopening.make_again(remade, reopening.made_rows(number, "true"))
        state.store.reopen("again", EPOCH)
    state.crash()
    tasks = []
    for place in range(9):
        outcomes = [
            rate_limited(task, 100.0) if state.name(task.generator) == "two" else outcome(task, 4) for task in tasks
        ]
        tasks = state.take(outcomes, free={**free, "simulated/m2": 0 if place else 1}, after_s=0.1).tasks
    parked = state.sql("select row_group from state.admitted_row_group where state = 'parked'")
    assert sorted(parked) == [(0,), (1,)]
    for _ in range(9):
        result = state.take([outcome(task) for task in tasks], after_s=200.0)
        tasks = result.tasks
    assert result.complete
    assert state.violations() == []
