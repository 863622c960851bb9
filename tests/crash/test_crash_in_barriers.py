"""A crash at any statement of a run with barriers, before, in and after them, and of its extension (R6, D1)."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from crashing_connection import CrashingConnection
from scenario import contradictions

from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import InlineWriter
from rowmill.store.run_store import RunStore

_SPEC = """
name: sorted-out
records: {records}
row_group_size: 3
seed: 2
models:
  - {{alias: writer, provider: simulated, model: quick, max_parallel_requests: 4, simulation: {{latency_ms: 0}}}}
columns:
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b, c, d, e, f]}}}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ kind }}}}"}}
  - {{name: unique, column_type: deduplicate, columns: [note], drop: true}}
  - {{name: answer, column_type: llm-text, model_alias: writer, prompt: "More of {{{{ note }}}}", requires: [unique]}}
  - {{name: place, column_type: rank, order_by: "answer desc"}}
  - {{name: words, column_type: expression, sql: "place * 2", dtype: int}}
"""
_RECORDS = (8, 13)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    directory = tmp_path_factory.mktemp("specs")
    found = []
    for records in _RECORDS:
        path = directory / f"sorted_{records}.yaml"
        path.write_text(_SPEC.format(records=records))
        found.append(prepare(path))
    return found


def _work(database: Path, prepared: Prepared) -> None:
    with CrashingConnection(database) as connection:
        store = RunStore.over(connection)
        anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))


def _outcome(database: Path) -> dict[str, Any]:
    with CrashingConnection(database) as connection:
        assert contradictions(connection) == []
        return {
            "dataset": connection.execute("from dataset order by row_id"),
            "dropped": connection.execute("select row_id, column_name, reason from dropped_row order by row_id"),
            "groups": connection.execute(
                "select row_group, state, first_row, row_count, rows_finished from row_group order by row_group"
            ),
            "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
        }


def _paid(database: Path) -> Counter[tuple[str, int]]:
    """How often each cell was asked for, as far as that was committed."""
    with CrashingConnection(database) as connection:
        return Counter(
            {
                (generator, row_id): count
                for generator, row_id, count in connection.execute(
                    "select generator, row_id, count(*) from attempt where model is not null group by all"
                )
            }
        )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("states", [12, pytest.param(40, marks=pytest.mark.slow)])
def test_a_run_with_barriers_that_dies_at_any_statement_ends_as_if_it_had_not(
    tmp_path: Path, specs: list[Prepared], states: int
) -> None:
    database = tmp_path / "run.duckdb"
    left_behind: dict[tuple[bytes, bytes], tuple[int, str]] = {}
    part = 0

    def keep(where: str) -> None:
        log = database.with_name("run.duckdb.wal")
        left_behind.setdefault((database.read_bytes(), log.read_bytes() if log.exists() else b""), (part, where))

    for part, prepared in enumerate(specs):  # noqa: B007  read by keep
        with CrashingConnection(database) as connection:
            connection.observe = keep
            store = RunStore.over(connection)
            anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))
            connection.observe = None
    expected = _outcome(database)
    paid = _paid(database)
    assert {reason for _, _, reason in expected["dropped"]} == {"duplicate"}
    assert expected["dataset"]
    assert len(left_behind) > 20
    chosen = list(left_behind.items())[:: max(1, len(left_behind) // states)]
    for number, ((content, log), (crashed_in, where)) in enumerate(chosen):
        left = tmp_path / f"left_{number}.duckdb"
        left.write_bytes(content)
        if log:
            left.with_name(left.name + ".wal").write_bytes(log)
        for prepared in specs[crashed_in:]:
            _work(left, prepared)
        assert _outcome(left) == expected, where
        assert _paid(left) == paid, f"{where}: something that was committed was paid for again"
        left.unlink()
