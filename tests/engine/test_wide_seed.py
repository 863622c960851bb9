"""Seed datasets of thousands of columns: what they cost grows with their columns, not with the square of them."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import pytest
from seed_reading import rows_of

from rowmill.engine.preparation import prepare
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

MADE = [{"name": "made", "column_type": "expression", "sql": "1", "dtype": "int"}]


@pytest.mark.slow
def test_four_times_the_columns_take_about_four_times_the_cpu_time(tmp_path: Path) -> None:
    few = min(_cpu_seconds(tmp_path, 500) for _ in range(2))
    many = min(_cpu_seconds(tmp_path, 2000) for _ in range(2))
    assert many / few < 5  # with the square it was 5.8 to 8; what does not depend on columns makes it less than 4


def test_an_object_of_thousands_of_fields_is_a_row(tmp_path: Path) -> None:
    values = {f"c{number}": number for number in range(3000)}
    assert rows_of(tmp_path, "s.jsonl", json.dumps(values)) == [values]


def _cpu_seconds(directory: Path, columns: int) -> float:
    """What reading a seed of so many columns and creating a run database from it takes, whoever else works here."""
    names = [f"c{number}" for number in range(columns)]
    values = [str(number) if number % 2 else f"{number}.5" for number in range(columns)]
    path = directory / f"s{columns}.csv"
    path.write_text(",".join(names) + "\n" + ",".join(values) + "\n")
    spec = Spec.from_data({"name": "wide", "records": 1, "seed_dataset": {"path": path.name}, "columns": MADE})
    gc.collect()
    before = time.process_time()
    prepared = prepare(spec, directory)
    store = RunStore.in_memory()
    try:
        store.create(prepared.blueprint(), 0.0)
    finally:
        store.close()
    return time.process_time() - before
