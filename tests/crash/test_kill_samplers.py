"""Every type of sampler, with conditions, conversions and constraints, in a run that is killed with -9 (D1, V1)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rowmill.run_database import RunDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RECORDS = 600
KILL_AFTER_ROWS = 150
DEADLINE_S = 120.0

_SPEC = """
name: sampled
records: {records}
row_group_size: {row_group_size}
seed: 7
columns:
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b], weights: [1, 2]}}}}
  - {{name: part, column_type: sampler, sampler_type: subcategory,
     params: {{category: kind, values: {{a: [a1, a2], b: [b1]}}}}}}
  - {{name: day, column_type: sampler, sampler_type: datetime, params: {{start: 2024-01-01, end: 2024-06-01}},
     convert_to: "%d.%m.%Y"}}
  - {{name: later, column_type: sampler, sampler_type: timedelta,
     params: {{dt_min: 1, dt_max: 9, unit: h, reference_column_name: day}}}}
  - {{name: id, column_type: sampler, sampler_type: uuid, params: {{prefix: "id-", short_form: true}}}}
  - {{name: share, column_type: sampler, sampler_type: uniform, params: {{low: 0, high: 1}}}}
  - {{name: size, column_type: sampler, sampler_type: gaussian, params: {{mean: 10, stddev: 5}}, convert_to: int,
     conditional_params: {{"kind = 'a'": {{mean: 20, stddev: 5}}}}}}
  - {{name: visits, column_type: sampler, sampler_type: poisson, params: {{mean: 4}},
     conditional_params: {{"size > 12": {{mean: 400}}}}}}
  - {{name: sold, column_type: sampler, sampler_type: binomial, params: {{n: 600, p: 0.4}}}}
  - {{name: won, column_type: sampler, sampler_type: bernoulli, params: {{p: 0.5}}}}
  - {{name: claim, column_type: sampler, sampler_type: bernoulli_mixture,
     params: {{p: 0.5, dist_name: expon, dist_params: {{scale: 20}}}}}}
  - {{name: shape, column_type: sampler, sampler_type: scipy, params: {{dist_name: gamma, dist_params: {{a: 2}}}},
     conditional_params: {{"won = 1": {{dist_name: norm, dist_params: {{loc: 50}}}}}}}}
  - {{name: known, column_type: sampler, sampler_type: person, params: {{file: people.csv, sex: Female}}}}
  - {{name: made_up, column_type: sampler, sampler_type: person_from_faker, params: {{age_range: [20, 40]}}}}
  - {{name: seen, column_type: custom, generator_function: "seeing:seen", required_columns: [made_up, shape]}}
constraints:
  - {{target_column: size, operator: ge, rhs: 1}}
  - {{target_column: claim, operator: le, rhs: sold}}
  - {{target_column: shape, operator: gt, rhs: share}}
"""
_SEEING = """
from pathlib import Path

def seen(row) -> str:
    with open(Path(__file__).parent / "seen.txt", "a") as file:
        file.write(".")
    return row["made_up"]["first_name"] + str(row["shape"])
"""
_PEOPLE = "first_name,sex,age\nAnn,Female,30\nBob,Male,40\nCia,Female,50\n"


def _prepared(directory: Path, row_group_size: int) -> Path:
    directory.mkdir()
    (directory / "seeing.py").write_text(_SEEING)
    (directory / "people.csv").write_text(_PEOPLE)
    spec = directory / "spec.yaml"
    spec.write_text(_SPEC.format(records=RECORDS, row_group_size=row_group_size))
    return spec


def _command(spec: Path) -> list[str]:
    return [sys.executable, "-m", "rowmill", "run", "--quiet", str(spec), str(spec.parent / "run.duckdb")]


def _content(directory: Path) -> list[dict[str, Any]]:
    with RunDatabase.open(directory / "run.duckdb") as opened:
        assert opened.sql("from invariant_violation").num_rows == 0
        assert opened.sql("from dropped_row").num_rows == 0
        rows: list[dict[str, Any]] = opened.to_arrow().to_pylist()
        return rows


def _kill_midway(command: list[str], seen: Path) -> None:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    try:
        while not (seen.exists() and seen.stat().st_size >= KILL_AFTER_ROWS):
            assert time.monotonic() < deadline
            with pytest.raises(subprocess.TimeoutExpired):
                pytest.fail(f"the run ended by itself, {process.wait(0.01)}")
    finally:
        process.kill()
        process.wait()


def test_a_killed_run_ends_with_the_values_of_one_in_other_row_groups_that_nobody_killed(tmp_path: Path) -> None:
    spec = _prepared(tmp_path / "killed", row_group_size=20)
    _kill_midway(_command(spec), spec.parent / "seen.txt")
    assert subprocess.run(_command(spec), stdin=subprocess.DEVNULL).returncode == 0
    calm = _prepared(tmp_path / "calm", row_group_size=RECORDS)
    assert subprocess.run(_command(calm), stdin=subprocess.DEVNULL).returncode == 0
    assert _content(spec.parent) == _content(calm.parent)
