"""What ``export --layout huggingface`` writes is a dataset to the library ``datasets``, as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_line import CommandLine
from package_registry import install, skip_without

import rowmill as package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PACKAGE = "datasets==5.2.0"
# Beside what the tests have anyway: what it needs, in the versions it asks for.
NEEDED = ("dill<0.4.2", "multiprocess<0.70.20", "xxhash")
LOAD = """
import json, sys
from datasets import load_dataset

loaded = load_dataset(sys.argv[1])
print(json.dumps({
    name: {"rows": part.to_list(), "features": {column: str(kind) for column, kind in part.features.items()}}
    for name, part in loaded.items()
}, default=str))
"""
COLUMNS: list[dict[str, Any]] = [
    {"name": "colour", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["red", "a/b ü"]}},
    {"name": "day", "column_type": "expression", "sql": "date '2024-02-29' + number::int", "dtype": "date"},
    {"name": "vector", "column_type": "expression", "sql": "[number, 0.5]::float[]", "dtype": "FLOAT[]"},
    {
        "name": "nested",
        "column_type": "expression",
        "sql": "{'a': number, 'b': [colour, null]}",
        "dtype": "STRUCT(a BIGINT, b VARCHAR[])",
    },
    {"name": "maybe", "column_type": "expression", "sql": "nullif(number, 3)", "dtype": "int"},
]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Any]:
    """``load_dataset`` of a directory, in another process: rows and features of each split."""
    packages = tmp_path_factory.mktemp("datasets")
    skip_without(PACKAGE, packages / "found")
    install("--no-deps", "--target", str(packages / "installed"), PACKAGE, *NEEDED)
    cache = packages / "cache"
    environment = {
        **os.environ,
        "PYTHONPATH": str(packages / "installed"),
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
    }

    def loaded(directory: Path) -> Any:
        command = [sys.executable, "-c", LOAD, str(directory)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return loaded


def grow(directory: Path, records: int) -> None:
    seed = pa.table({"number": range(100)})
    spec = {"name": "things", "records": records, "columns": COLUMNS, "seed_dataset": {"seed_type": "df"}}
    assert package.run(spec, directory / "things.duckdb", seed=seed).exit_code == 0


def test_an_exported_dataset_is_loaded_with_its_splits_and_types_and_grows(
    rowmill: CommandLine, load: Callable[[Path], Any]
) -> None:
    directory = rowmill.directory
    export = ("export", "things.duckdb", "--layout", "huggingface", "--split", "train=0.7,test=0.3", "--append")
    for records in (20, 50):
        grow(directory, records)
        rowmill.output_of(*export, "-o", "hub")
        found = load(directory / "hub")
        assert set(found) == {"train", "test"}
        rows = sorted((row for part in found.values() for row in part["rows"]), key=lambda row: int(row["row_id"]))
        with package.RunDatabase.open(directory / "things.duckdb") as database:
            expected = database.to_arrow().to_pylist()
        assert rows == [{**row, "day": str(row["day"])} for row in expected]
        assert len(rows) == records
        # An estimate, but never more than there are.
        assert f"| row_id | BIGINT |  | {records} | 0 |" in (directory / "hub" / "README.md").read_text()
        assert found["train"]["features"]["day"] == "Value('date32')"
        assert found["train"]["features"]["vector"] == "List(Value('float32'))"
        assert "'a': Value('int64')" in found["train"]["features"]["nested"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_other_formats_are_loaded_too(form: str, rowmill: CommandLine, load: Callable[[Path], Any]) -> None:
    grow(rowmill.directory, 10)
    rowmill.output_of("export", "things.duckdb", "--layout", "huggingface", "--format", form, "-o", "hub")
    found = load(rowmill.directory / "hub")
    assert [row["number"] for row in found["train"]["rows"]] == list(range(10))


def test_a_part_without_rows_is_left_out(rowmill: CommandLine, load: Callable[[Path], Any]) -> None:
    grow(rowmill.directory, 3)
    shares = ("--split", "train=0.99999,test=0.00001")
    rowmill.output_of("export", "things.duckdb", "--layout", "huggingface", *shares, "-o", "hub")
    found = load(rowmill.directory / "hub")
    assert {name: len(part["rows"]) for name, part in found.items()} == {"train": 3}


def test_a_new_export_of_as_many_rows_is_not_answered_from_the_copy_of_the_old(
    rowmill: CommandLine, load: Callable[[Path], Any]
) -> None:
    for name, shift in (("one", 0), ("other", 1000)):
        (rowmill.directory / name).mkdir()
        shifted = {"name": "y", "column_type": "expression", "sql": f"x + {shift}", "dtype": "int"}
        spec = {"name": "things", "records": 10, "seed_dataset": {"seed_type": "df"}, "columns": [shifted]}
        seed = pa.table({"x": range(10)})
        assert package.run(spec, rowmill.directory / name / "things.duckdb", seed=seed).exit_code == 0
        rowmill.output_of("export", f"{name}/things.duckdb", "--layout", "huggingface", "--force", "-o", "hub")
        found = load(rowmill.directory / "hub")
        assert [row["y"] for row in found["train"]["rows"]] == list(range(shift, shift + 10))
