"""A crash at any statement of a run with barriers, before, in and after them, and of its extension (R6, D1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from every_state import run_and_die_everywhere

from rowmill.engine.preparation import Prepared, prepare

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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("states", [12, pytest.param(40, marks=pytest.mark.slow)])
def test_a_run_with_barriers_that_dies_at_any_statement_ends_as_if_it_had_not(
    tmp_path: Path, specs: list[Prepared], states: int
) -> None:
    expected = run_and_die_everywhere(tmp_path / "run.duckdb", specs, states)
    assert {reason for _, _, reason in expected["dropped"]} == {"duplicate"}
    assert expected["dataset"]
