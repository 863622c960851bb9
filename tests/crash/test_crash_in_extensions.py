"""5 → 6 → 9 rows in row groups of two: nine rows, each seed row once, whenever the process dies (P1, D1)."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from budget import Budget
from crashing_connection import CrashingConnection
from scenario import contradictions, copy_of_database

from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import InlineWriter
from rowmill.store.run_store import RunStore

_SPEC = """
name: growing
records: {records}
row_group_size: 2
seed: 8
models:
  - {{alias: writer, provider: simulated, model: quick, max_parallel_requests: 3, simulation: {{latency_ms: 0}}}}
seed_dataset: {{path: towns.csv, sampling_strategy: {strategy}}}
columns:
  - {{name: town, column_type: seed-dataset}}
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b, c]}}}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "{{{{ kind }}}} of {{{{ town }}}}"}}
"""
_TOWNS = [f"town {number}" for number in range(9)]
_RECORDS = (5, 6, 9)
_GROUPS = [(0, 0, 2), (1, 2, 2), (2, 4, 1), (3, 5, 1), (4, 6, 2), (5, 8, 1)]
"""Row group, its first row, its rows: what the plan of three segments says."""


def _specs(directory: Path, strategy: str) -> list[Prepared]:
    (directory / "towns.csv").write_text("\n".join(["town", *_TOWNS, ""]))
    found = []
    for records in _RECORDS:
        path = directory / f"growing_{records}.yaml"
        path.write_text(_SPEC.format(records=records, strategy=strategy))
        found.append(prepare(path))
    return found


def _work(connection: CrashingConnection, prepared: Prepared) -> None:
    store = RunStore.over(connection)
    anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))


def _outcome(connection: CrashingConnection) -> dict[str, Any]:
    assert contradictions(connection) == []
    return {
        "dataset": connection.execute("from dataset order by row_id"),
        "groups": connection.execute("select row_group, first_row, row_count from row_group order by row_group"),
        "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("strategy", "seconds", "least"),
    [("ordered", 5, 8), ("shuffle", 5, 8)],
)
@pytest.mark.slow
def test_a_run_that_grows_from_5_to_6_to_9_rows_has_nine_after_a_crash_at_any_statement(
    tmp_path: Path, budget: Budget, strategy: str, seconds: float, least: int
) -> None:
    specs = _specs(tmp_path, strategy)
    database = tmp_path / "run.duckdb"
    left_behind: dict[tuple[bytes, bytes], tuple[int, str]] = {}
    part = 0

    def keep(where: str) -> None:
        log = database.with_name("run.duckdb.wal")
        left_behind.setdefault((database.read_bytes(), log.read_bytes() if log.exists() else b""), (part, where))

    for part, prepared in enumerate(specs):  # noqa: B007  read by keep
        with CrashingConnection(database) as connection:
            connection.observe = keep
            _work(connection, prepared)
            connection.observe = None
    with CrashingConnection(database) as connection:
        expected = _outcome(connection)
    assert expected["groups"] == _GROUPS
    assert [row[0] for row in expected["dataset"]] == list(range(9))
    assert sorted(row[1] for row in expected["dataset"]) == _TOWNS
    if strategy == "ordered":
        assert [row[1] for row in expected["dataset"]] == _TOWNS
    assert len(left_behind) > 20
    chosen = budget.some_of(list(left_behind.items()), seconds, least=least)
    for number, ((content, log), (crashed_in, where)) in enumerate(chosen):
        left = tmp_path / f"left_{number}.duckdb"
        left.write_bytes(content)
        if log:
            left.with_name(left.name + ".wal").write_bytes(log)
        for prepared in specs[crashed_in:]:
            with CrashingConnection(left) as connection:
                _work(connection, prepared)
        with CrashingConnection(left) as connection:
            assert _outcome(connection) == expected, where
        left.unlink()


@pytest.mark.slow
def test_extending_at_once_and_in_steps_gives_the_same_rows(tmp_path: Path) -> None:
    specs = _specs(tmp_path, "shuffle")
    outcomes = []
    for name, steps in (("steps", specs), ("at once", specs[-1:])):
        database = tmp_path / f"{name}.duckdb"
        if name == "at once":
            store = RunStore.open(database)
            store.create(specs[0].blueprint(), time.time())
            for prepared in specs[1:]:
                store.extend(prepared.spec.planned_records, prepared.spec.row_group_size, time.time())
            store.close()
        for prepared in steps:
            with CrashingConnection(database) as connection:
                _work(connection, prepared)
        with CrashingConnection(copy_of_database(database, tmp_path / "copy.duckdb")) as connection:
            outcomes.append(_outcome(connection))
    assert outcomes[0] == outcomes[1]
