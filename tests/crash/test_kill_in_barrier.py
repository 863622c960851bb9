"""kill -9 while a barrier looks at all rows: nothing is asked twice, nothing is lost (R6, D1)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

ROWS = 60
SPEC = """
name: walls
records: 60
row_group_size: 7
models: [{alias: writer, provider: simulated, model: walls, max_parallel_requests: 8, simulation: {latency_ms: 1}}]
columns:
  - {name: rating, column_type: sampler, sampler_type: category, params: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}
  - {name: review, column_type: llm-text, model_alias: writer, prompt: "Rate {{ rating }}"}
  - {name: unique, column_type: deduplicate, columns: [rating, review]}
  - PLACE
  - {name: title, column_type: llm-text, model_alias: writer, prompt: "Name {{ place }}: {{ review }}"}
"""
FUNCTIONS = '''
import time
from pathlib import Path

import pyarrow as pa


def place(rows: pa.Table) -> dict:
    """Places by row. If there is a pipe named began, it says so there, and never ends."""
    if Path("began").exists():
        Path("began").write_text("")
        time.sleep(3600)
    ids = rows.column("row_id").to_pylist()
    return {"row_id": ids, "place": list(range(len(ids)))}
'''

COLUMN_TYPE = """
import sys
from typing import Literal

from rowmill.cli.main import main
from rowmill.generators.protocol import DatasetGenerator
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import LOCAL, Declaration, Output, Reference, Strategy
from rowmill.spec.registry import register_column_type


@register_column_type
class PlaceColumn(ColumnConfig):
    column_type: Literal["test_place"] = "test_place"
    after: list[str]

    def declare(self, context):
        place = f"columns.{context.index}"
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=tuple(Reference(name, f"{place}.after") for name in self.after),
            outputs=(Output(self.name, "BIGINT"),),
            strategy=Strategy.DATASET,
            reason="looks at all rows",
            resource=LOCAL,
            fingerprint={"after": self.after},
        )

    def bind(self, runtime):
        return Place()


class Place(DatasetGenerator):
    async def generate_dataset(self, rows, call):
        import pyarrow as pa

        from barrier_functions import place

        return pa.table(place(rows.table()))


main()
"""
PLACES = {
    "custom function": '{name: place, column_type: custom, generator_function: "barrier_functions:place",'
    " required_columns: [rating, unique], generation_strategy: dataset, dtype: int}",
    "registered class": "{name: place, column_type: test_place, after: [rating, unique]}",
}
"""The column that is killed: a function of the spec's, and a column type of somebody else's."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(params=PLACES)
def rowmill(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CommandLine]:
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "walls.yaml").write_text(SPEC.replace("PLACE", PLACES[request.param]))
        (tmp_path / name / "barrier_functions.py").write_text(FUNCTIONS)
    command_line = CommandLine(tmp_path / "killed", (sys.executable, "-c", COLUMN_TYPE))
    yield command_line
    command_line.close()


def lines(rowmill: CommandLine, query: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rowmill.output_of("sql", query, "--format", "jsonl").splitlines()]


def test_a_run_killed_in_a_barrier_goes_on_there_and_asks_nothing_twice(rowmill: CommandLine) -> None:
    began = rowmill.directory / "began"
    os.mkfifo(began)
    for _ in range(2):
        run = rowmill.start("run", "walls.yaml")
        began.read_text()  # waits until the function opens the other end
        run.kill()
        rowmill.end_of(run)
        asked = {
            row["generator"]: row["n"]
            for row in lines(rowmill, "select generator, count(*) as n from attempt group by all")
        }
        assert asked["review"] == ROWS
        assert "title" not in asked
        assert lines(rowmill, "select count(*) as n from dataset") == [{"n": 0}]
        assert lines(rowmill, "from invariant_violation") == []
    began.unlink()
    assert rowmill("run", "walls.yaml").returncode == 0
    whole = CommandLine(rowmill.directory.with_name("whole"), rowmill.command)
    assert whole("run", "walls.yaml").returncode == 0
    assert lines(rowmill, "from dataset") == lines(whole, "from dataset")
    dropped = "select row_id, column_name, reason, message from dropped_row order by row_id"
    assert lines(rowmill, dropped) == lines(whole, dropped)
    assert lines(rowmill, "select generator, count(*) as n from attempt group by all order by all") == lines(
        whole, "select generator, count(*) as n from attempt group by all order by all"
    )
    assert rowmill("doctor", "walls.duckdb").returncode == 0
