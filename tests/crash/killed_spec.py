"""What a killed run makes: paid columns before and after four barriers, planned in three parts, with a changed prompt.

``first`` is paid for before the barriers, ``second`` and ``third`` after the first three. What barriers decide depends
on all rows (``unique``, ``chosen`` and ``place``), but no value a prompt needs does, and no two rows have a prompt in
common: a request whose body was answered before is asked again after a kill or a ``rerun``, or in vain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowmill.engine.preparation import prepare
from rowmill.run_database import RunDatabase
from rowmill.store.run_store import RunStore

PAID_COLUMNS = ("first", "second", "third")
CHANGED_COLUMNS = ("second", "third")
"""What has to be made again after the change of the prompt."""
RERUN_COLUMN = "second"
IN_BARRIER = "in_barrier"
"""The file the function over the dataset leaves behind when it begins."""
_PARTS = ((0.5, 40), (0.25, 40), (0.25, 24))
"""The plan: the share of the records of the first run and of each extension, and the size of their row groups."""

_SPEC = """
name: killed
records: {records}
row_group_size: {row_group_size}
seed: 3
models:
  - {{alias: writer, provider: openai, base_url: "{url}", model: small, max_parallel_requests: {in_flight}}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid}}
  - {{name: key, column_type: sampler, sampler_type: uniform, params: {{low: 0, high: 2000, decimal_places: 0}}}}
  - {{name: first, column_type: llm-text, model_alias: writer, prompt: "Begin {{{{ id }}}}."}}
  - {{name: unique, column_type: deduplicate, columns: [key], requires: [first]}}
  - {{name: length, column_type: custom, generator_function: "slow_barrier:length", required_columns: [first],
      requires: [unique], generation_strategy: dataset, dtype: int}}
  - {{name: chosen, column_type: select, requires: [length],
      sql: "row_number() over (partition by cast(key as bigint) % 20 order by first, row_id) > 1"}}
  - {{name: second, column_type: llm-text, model_alias: writer, requires: [chosen],
      prompt: "{wish} {{{{ first }}}} after {{{{ length }}}} ({{{{ id }}}})"}}
  - {{name: place, column_type: rank, order_by: "length desc, first"}}
  - {{name: doubled, column_type: expression, sql: "2 * place", dtype: int}}
  - {{name: third, column_type: llm-text, model_alias: writer, prompt: "End {{{{ second }}}} ({{{{ id }}}})"}}
# What failed before it was answered fails again when it is asked again: attempts must not run out of kills.
run: {{max_in_flight: {in_flight}, backoff_base_s: 0.05, max_attempts: 100, max_error_share: 1.0}}
"""
_FUNCTION = '''
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa


def length(rows: pa.RecordBatchReader) -> Iterator[dict]:
    """The lengths of the texts, batch by batch; takes a while, and says when it begins."""
    Path("in_barrier").write_text("")
    for batch in rows:
        time.sleep(0.1)
        yield {"row_id": batch["row_id"], "length": [len(text) for text in batch["first"].to_pylist()]}
    time.sleep(0.1)
'''


@dataclass(frozen=True)
class Specs:
    """The spec files, in the order in which a run gets them."""

    parts: tuple[Path, Path, Path]
    """As the run begins, and after each extension; the prompt is changed before the second extension."""
    changed: Path
    """The second part with the changed prompt."""
    extended: tuple[int, int]
    """Records and row-group size of the first extension."""


def write_specs(directory: Path, url: str, records: int, in_flight: int) -> Specs:
    """Writes the specs, and the module of their function, into ``directory``."""
    directory.mkdir(exist_ok=True)
    (directory / "slow_barrier.py").write_text(_FUNCTION)
    share, planned = 0.0, []
    for part, row_group_size in _PARTS:
        share += part
        planned.append((round(records * share), row_group_size))

    def write(name: str, part: int, wish: str) -> Path:
        path = directory / f"{name}.yaml"
        rows, size = planned[part]
        path.write_text(_SPEC.format(records=rows, row_group_size=size, url=url, in_flight=in_flight, wish=wish))
        return path

    parts = (write("begun", 0, "Go on from"), write("extended", 1, "Go on from"), write("whole", 2, "Contradict"))
    return Specs(parts, write("changed", 1, "Contradict"), planned[1])


def make_plan_at_once(specs: Specs, database: Path) -> Path:
    """Creates the run database with the whole plan and the last prompts; returns the spec to run."""
    first = prepare(specs.parts[-1])
    store = RunStore.open(database)
    begun, extended, whole = (prepare(path).spec for path in specs.parts)
    planned = first.spec.model_copy(update={"records": begun.records, "row_group_size": begun.row_group_size})
    store.create(prepare(planned, first.directory).blueprint(), time.time())
    for spec in (extended, whole):
        store.extend(spec.planned_records, spec.row_group_size, time.time())
    store.update_spec(first.spec, time.time())
    store.close()
    return specs.parts[-1]


def content_of(database: Path) -> dict[str, Any]:
    """The dataset and what is missing from it: the same however often the run was killed and steered."""
    with RunDatabase.open(database) as opened:
        return {
            "state": opened.sql("select state, records, rows_finished, rows_dropped from run_status").to_pylist(),
            "dataset": opened.to_arrow().to_pylist(),
            "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by row_id").to_pylist(),
            "row groups": opened.sql(
                "select row_group, first_row, row_count, rows_finished, rows_dropped from row_group order by row_group"
            ).to_pylist(),
        }
