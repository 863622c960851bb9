"""Random lives of rows that are judged and made again: verdicts, failures, late results, crashes, in any order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from run_state import RunState, rate_limited, rejected, succeeded, transient
from virtual_run import custom, prepared, sampler

from rowmill.task import InvalidRow, Outcome, OutcomeKind, Task

AT_MOST = 2
FATES = ["succeed"] * 8 + ["invalid"] * 6 + ["late"] * 3 + ["transient", "rate_limited", "rejected"]


async def made(row: object) -> str:
    raise AssertionError("the test makes the outcomes; nothing is called")


def judge(name: str, target: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "column_type": "validation",
        "target_columns": [target],
        "validator_type": "json_schema",
        "validator_params": {"json_schema": {}},
        "on_invalid": "regenerate",
        "max_regenerations": AT_MOST,
    } | fields


SPEC = prepared(
    sampler("rating", values=[1, 2, 3]),
    custom("a", made, ["rating"]),
    custom("b", made, ["a"], skip={"when": "rating = 1"}),
    judge("judge_a", "a"),
    judge("judge_b", "b", on_still_invalid="keep", propagate_skip=False),
    custom("c", made, ["b"], propagate_skip=False),
    custom("w", made, ["a"], generation_strategy="batch"),
    records=7,
    row_group_size=3,
    run={"max_attempts": 2, "max_error_share": 1.0, "error_window": 1_000_000, "backoff_base_s": 0.5},
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 10))])
def test_no_row_is_made_more_often_than_allowed_and_no_value_is_of_an_earlier_making(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with RunState(SPEC, tmp_path / "run.duckdb") as state:
        serial = 0
        flying: list[Task] = []
        outcomes: list[Outcome] = []
        for _ in range(400):
            result = state.take(outcomes, after_s=3.0)
            assert state.violations() == []
            assert all(count <= AT_MOST for (count,) in state.sql("select regenerations from state.regeneration"))
            if result.complete:
                break
            flying += result.tasks
            identities = [task[:3] for task in flying]
            assert len(set(identities)) == len(identities), "the same work is under way twice"
            outcomes = []
            if chance.random() < 0.07:
                state.crash()
                flying = []
                continue
            held = []
            for task in flying:
                fate = chance.choice(FATES)
                name = state.name(task.generator)
                serial += 1
                if fate == "late":
                    held.append(task)
                elif fate == "invalid" and name.startswith("judge"):
                    values = ({"is_valid": False, "error_messages": "no"},)
                    outcomes.append(Outcome(OutcomeKind.SUCCEEDED, task, InvalidRow(values, "no")))
                elif fate in ("succeed", "invalid") or task.row_index is None:
                    outcomes.append(succeeded(task, _value(name, task, serial)))
                elif fate == "transient":
                    outcomes.append(transient(task))
                elif fate == "rate_limited":
                    outcomes.append(rate_limited(task))
                else:
                    outcomes.append(rejected(task))
            flying = held
            serial += 1
        else:
            pytest.fail("the run does not end")
        for row in state.dataset():
            # Each value tells of what it was made: of the values that are in its row now.
            assert row["judge_a"]["is_valid"]
            assert row["w"] == f"w of {row['a']}"
            assert row["b"] is None if row["rating"] == 1 else row["b"].startswith(f"b of {row['a']} ")
            assert row["c"].startswith(f"c of {row['b']} ")
        for row_id, column, attempts in state.sql(
            "select row_id, column_name, attempts from dropped_row where reason = 'invalid'"
        ):
            assert (column, attempts) == ("judge_a", AT_MOST + 1), row_id
        assert state.sql("from state.regeneration") == []


def _value(name: str, task: Task, serial: int) -> Any:
    if name == "w":
        rows = task.inputs
        return pa.table({"row_index": rows["row_index"], "w": [f"w of {a}" for a in rows["a"].to_pylist()]})
    if name.startswith("judge"):
        return {"is_valid": True, "error_messages": None}
    (source,) = task.inputs.values() if name != "b" else (task.inputs["a"],)
    return f"{name} of {source} {serial}"
