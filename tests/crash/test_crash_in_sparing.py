"""A crash at any statement of a run whose spec changed: it spares what it would have spared without one (V8)."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from budget import Budget
from crashing_connection import CrashingConnection
from every_state import run_and_die_everywhere

from rowmill.engine.change import accept_change
from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import InlineWriter
from rowmill.store.run_store import RunStore

_SPEC = """
name: mended
records: 40
row_group_size: 10
seed: 2
models:
  - {{alias: writer, provider: simulated, model: quick, max_parallel_requests: 4, simulation: {{latency_ms: 0}}}}
run: {{max_active_row_groups: 2, max_in_flight: 1}}
columns:
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b, c], weights: [3, 1, 1]}}}}
  - {{name: mood, column_type: expression, sql: "{mood}"}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ mood }}}}",
     skip: {{when: "kind = 'b'"}}}}
  - {{name: short, column_type: expression, sql: "left(note, 5)"}}
  - {{name: answer, column_type: llm-text, model_alias: writer, prompt: "{{{{ short }}}} {{{{ kind }}}}"}}
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [7])
@pytest.mark.slow
def test_v8_a_changed_run_that_dies_at_any_statement_asks_for_no_more_than_one_that_does_not(
    tmp_path: Path, budget: Budget, seconds: float
) -> None:
    specs = []
    for name, mood in (("first", "if(kind = 'a', 'sad', kind)"), ("second", "if(kind = 'a', 'merry', kind)")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(_SPEC.format(mood=mood))
        specs.append(prepare(path))
    database = tmp_path / "run.duckdb"
    _work(database, specs[0])
    accept_change(specs[1], database, time.time())
    changed = shutil.copyfile(database, tmp_path / "changed.duckdb")
    expected = run_and_die_everywhere(changed, [specs[1]], budget, seconds, least=4)
    fresh = tmp_path / "fresh.duckdb"
    _work(fresh, specs[1])
    with CrashingConnection(fresh) as connection:
        assert connection.execute("from dataset order by row_id") == expected["dataset"]
    with CrashingConnection(changed) as connection:
        sad = connection.count("select count(*) from dataset where kind = 'a'")
        asked = "select count(*) from attempt where generator = 'note' and invocation > 1"
        assert 0 < sad < 40
        assert connection.count(asked) == sad


def _work(database: Path, prepared: Prepared) -> None:
    with CrashingConnection(database) as connection:
        anyio.run(partial(work, RunStore.over(connection), InlineWriter(), prepared, wall_clock=time.time, environ={}))
