"""A crash at any statement of a run that makes invalid rows again: each is made as often as if there had been none."""

from __future__ import annotations

from pathlib import Path

import pytest
from budget import Budget
from every_state import run_and_die_everywhere

from rowmill.engine.preparation import prepare

_SPEC = """
name: judged
records: {records}
row_group_size: 4
seed: 2
models:
  - {{alias: writer, provider: simulated, model: quick, max_parallel_requests: 4, simulation: {{latency_ms: 0}}}}
run: {{max_in_flight: 2}}
columns:
  - {{name: kind, column_type: sampler, sampler_type: uuid}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ kind }}}}"}}
  - {{name: short, column_type: expression, sql: "left(note, 20)"}}
  - {{name: check, column_type: validation, target_columns: [short], validator_type: {validator},
     on_invalid: regenerate, max_regenerations: 2, validator_params: {params}}}
  - {{name: answer, column_type: llm-text, model_alias: writer, prompt: "{{{{ note }}}} {{{{ check.is_valid }}}}"}}
"""
_VALIDATORS = {
    "sql": """{predicate: "md5(short) < '8'"}""",
    "json_schema": """{json_schema: {type: object}}""",
}
"""One that finds half of the texts good, and one that finds all bad and is called."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("validator", list(_VALIDATORS))
@pytest.mark.parametrize(("seconds", "least"), [(4, 4)])
@pytest.mark.slow
def test_a_run_that_makes_rows_again_and_dies_at_any_statement_ends_as_if_it_had_not(
    tmp_path: Path, budget: Budget, validator: str, seconds: float, least: int
) -> None:
    specs = []
    for records in (9, 13):
        path = tmp_path / f"judged_{records}.yaml"
        path.write_text(_SPEC.format(records=records, validator=validator, params=_VALIDATORS[validator]))
        specs.append(prepare(path))
    expected = run_and_die_everywhere(tmp_path / "run.duckdb", specs, budget, seconds, least=least)
    assert {reason for _, _, reason in expected["dropped"]} == {"invalid"}
    assert bool(expected["dataset"]) == (validator == "sql")
