"""A barrier of a function that streams holds a part of the rows in memory, however many there are (R6).

Each run has a process of its own, whose engine may keep 64 MB: it would keep the whole file otherwise, because nobody
else wants the memory. Beside each run with a barrier there is one without, on the same machine with the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import rowmill
from rowmill.store import run_store
from rowmill.store.database.connection import Connection

FEW, MANY = 50_000, 400_000
ALLOWED_MIB = 20.0
"""How much more the peak may rise from few rows to many with a barrier than without: the texts alone are 80 MB."""
STATUS = Path("/proc/self/status")


class SmallConnection(Connection):
    """One whose engine keeps little in memory, and moves what is more beside the file."""

    def _harden(self, read_only: bool) -> None:
        self._engine.execute("set memory_limit = '64MB'")
        super()._harden(read_only)


def labelled(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """A text of 200 characters for each row."""
    for batch in rows:
        labels = pc.utf8_lpad(pc.cast(batch.column("weight"), pa.string()), 200, ".")
        yield pa.RecordBatch.from_pydict({"row_id": batch.column("row_id"), "label": labels})


LABELLED: dict[str, Any] = {
    "name": "label",
    "column_type": "custom",
    "generator_function": labelled,
    "required_columns": ["weight"],
    "generation_strategy": "dataset",
}
EXPRESSION: dict[str, Any] = {"name": "label", "column_type": "expression", "sql": "lpad(weight::varchar, 200, '.')"}


def peak_mib(records: int, *, has_barrier: bool, path: Path) -> float:
    """The greatest resident memory of this process after a run with so many rows."""
    vars(run_store)["Connection"] = SmallConnection
    weight = {"name": "weight", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    label = LABELLED if has_barrier else EXPRESSION
    rowmill.run({"name": "memory", "records": records, "row_group_size": 5000, "columns": [weight, label]}, path)
    peak = next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    with Connection(path, read_only=True) as connection:
        assert connection.execute("select count(label), min(length(label)) from dataset") == [(records, 200)]
    path.unlink()
    return peak


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say how much memory a process had")
def test_memory_of_a_barrier_that_streams_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def grown_mib(*, has_barrier: bool) -> float:
        peaks = []
        for records in (FEW, MANY):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                run = pool.submit(peak_mib, records, has_barrier=has_barrier, path=tmp_path / "run.duckdb")
                peaks.append(run.result())
        return peaks[1] - peaks[0]

    with_barrier, without = grown_mib(has_barrier=True), grown_mib(has_barrier=False)
    print(f"from {FEW} to {MANY} rows: {with_barrier:.0f} MiB with a barrier, {without:.0f} MiB without")
    assert with_barrier - without < ALLOWED_MIB
