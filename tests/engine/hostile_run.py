"""Runs of specs that mean no good, in real files: what came out, or the error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowmill.engine.ending import RunReport
from rowmill.errors import RowmillError
from rowmill.run_database import RunDatabase, run

SIMULATED = {
    "alias": "writer",
    "provider": "simulated",
    "model": "hostile",
    "max_parallel_requests": 8,
    "simulation": {"latency_ms": 0},
}


@dataclass(frozen=True)
class Ran:
    """How a run ended and what is in its database."""

    report: RunReport
    rows: list[dict[str, Any]]
    dropped: list[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        """The values of a column in row order."""
        return [row[name] for row in self.rows]


def spec_of(columns: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """A small spec as plain data."""
    return {"name": "hostile", "records": 4, "row_group_size": 2, "models": [SIMULATED], "columns": columns, **fields}


def run_spec(directory: Path, columns: Sequence[Mapping[str, Any]], **fields: Any) -> Ran:
    """Runs a spec in ``directory/run.duckdb`` and reads what came of it. Nothing may contradict itself."""
    return run_text(directory, json.dumps(spec_of(columns, **fields)))


def run_text(directory: Path, text: str) -> Ran:
    """Runs the text of a spec, as :func:`run_spec`."""
    path = directory / "spec.json"
    path.write_text(text)
    database = directory / "run.duckdb"
    report = run(path, database)
    with RunDatabase.open(database) as opened:
        assert opened.sql("from invariant_violation").to_pylist() == []
        rows = opened.to_arrow().to_pylist()
        dropped = opened.sql("from dropped_row order by row_id").to_pylist()
    assert report.rows_finished == len(rows)
    assert report.rows_dropped == len(dropped)
    lost = [row for row in dropped if row["reason"] in ("rejected", "retries_exhausted", "given_up")]
    assert (report.rows_lost, report.exit_code) == (len(lost), 3 if lost else 0)
    return Ran(report, rows, dropped)


def assert_helps(error: RowmillError, *words: str) -> None:
    """The message names what it is about, and has nothing of Python or the engine's inside in it."""
    text = str(error)
    for word in words:
        assert word in text
    assert len(text) < 20_000
    for noise in ("Traceback", "0x7f", "_duckdb", "Stack Trace", "INTERNAL Error"):
        assert noise not in text
