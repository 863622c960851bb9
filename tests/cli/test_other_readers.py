"""Exports are read by pandas, by polars and by an older DuckDB, and say the same there: every format, odd values."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from package_registry import install, skip_without

import rowmill
from rowmill.run_database import RunDatabase

# Their libraries warn of their own future, which is none of ours.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]

OLDER = "duckdb==1.3.2"
TEXTS = [
    "plain",
    'a "quoted", one',
    "two\nlines\r\nthree",
    "",
    " space ",
    "NULL",
    "ü 日本 🐧",
    "=1+1",
    "\\N",
    "nan",
    "0012",
]
_ROWS = len(TEXTS)
SEED = pa.table(
    {
        "number": range(_ROWS),
        "big": [2**62 + number for number in range(_ROWS)],
        "flag": [number % 2 == 0 for number in range(_ROWS)],
        "share": [0.1, 1e300, -2.5e-7, 1 / 3, 0.0, 1.0, 2.0, 3.5, 1e-12, 1e15, 0.30000000000000004],
        "words": TEXTS,
        "maybe": [None if number % 3 == 0 else number for number in range(_ROWS)],
        "day": [date(1999, 2, 1 + number) for number in range(_ROWS)],
        "moment": [datetime(2024, 2, 29, 12, 30, number, 123456) for number in range(_ROWS)],
        "price": pa.array([Decimal(f"{number}.10") for number in range(_ROWS)], pa.decimal128(12, 2)),
        "tags": [[word, "x"] if word else [] for word in TEXTS],
        "nested": [{"word": word, "count": number} for number, word in enumerate(TEXTS)],
        "raw": [bytes([number, 0, 255]) for number in range(_ROWS)],
    }
)
SIMPLE = ["row_id", "number", "big", "flag", "share", "words", "maybe", "tags", "nested"]
"""Columns that JSON holds as they are."""
FORMATS = ("parquet", "arrow", "jsonl", "csv")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A directory with an export of each kind, and the rows they hold."""
    directory = tmp_path_factory.mktemp("exported")
    same = {"name": "same", "column_type": "expression", "sql": "number", "dtype": "int"}
    spec = {"name": "odd", "records": _ROWS, "seed_dataset": {"seed_type": "df"}, "columns": [same]}
    assert rowmill.run(spec, directory / "odd.duckdb", seed=SEED).exit_code == 0
    with RunDatabase.open(directory / "odd.duckdb") as database:
        for form in FORMATS:
            database.export(directory / f"odd.{form}")
        database.export_directory(directory / "hub", layout="huggingface", split="train=0.6,test=0.4")
        return directory, database.to_arrow().to_pylist()


def _of(rows: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    return sorted(({name: row[name] for name in columns} for row in rows), key=lambda row: int(row["row_id"]))


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _hub_files(directory: Path) -> list[Path]:
    return sorted((directory / "hub" / "data").glob("*.parquet"))


def test_what_the_text_formats_hold_is_what_the_dataset_holds(exported: tuple[Path, list[dict[str, Any]]]) -> None:
    directory, rows = exported
    lines = [json.loads(line) for line in (directory / "odd.jsonl").read_text().splitlines()]
    assert _of(lines, SIMPLE) == _of(rows, SIMPLE)
    for told, row in zip(_csv(directory / "odd.csv"), rows, strict=True):
        assert (told["words"], int(told["big"]), float(told["share"])) == (row["words"], row["big"], row["share"])
        assert told["maybe"] == ("" if row["maybe"] is None else str(row["maybe"]))


def test_polars_reads_them(exported: tuple[Path, list[dict[str, Any]]]) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    directory, rows = exported
    assert polars.read_parquet(directory / "odd.parquet").to_dicts() == rows
    assert polars.read_ipc(directory / "odd.arrow").to_dicts() == rows
    assert _of(polars.read_ndjson(directory / "odd.jsonl").to_dicts(), SIMPLE) == _of(rows, SIMPLE)
    text = polars.read_csv(directory / "odd.csv", infer_schema=False).to_dicts()
    assert [{name: value or "" for name, value in row.items()} for row in text] == _csv(directory / "odd.csv")
    hub = polars.concat([polars.read_parquet(file) for file in _hub_files(directory)])
    assert _of(hub.to_dicts(), list(rows[0])) == rows


def test_pandas_reads_them(exported: tuple[Path, list[dict[str, Any]]]) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    directory, rows = exported

    def records(frame: Any) -> list[dict[str, Any]]:
        return [
            {name: None if value is pandas.NA else value for name, value in row.items()}
            for row in frame.to_dict("records")
        ]

    def read(path: Path) -> list[dict[str, Any]]:
        return records(pandas.read_parquet(path, dtype_backend="pyarrow"))

    assert read(directory / "odd.parquet") == rows
    assert records(pandas.read_feather(directory / "odd.arrow", dtype_backend="pyarrow")) == rows
    lines = pandas.read_json(
        directory / "odd.jsonl",
        lines=True,
        dtype=False,
        precise_float=True,
        dtype_backend="pyarrow",
    )
    assert _of(records(lines), SIMPLE) == _of(rows, SIMPLE)
    text = pandas.read_csv(directory / "odd.csv", dtype=str, keep_default_na=False, na_values=[])
    assert text.to_dict("records") == _csv(directory / "odd.csv")
    hub = [row for file in _hub_files(directory) for row in read(file)]
    assert _of(hub, list(rows[0])) == rows


READ = """
import json, sys
import duckdb

assert duckdb.__version__ == sys.argv[2]
connection = duckdb.connect()
connection.execute("set timezone = 'UTC'")
found = {}
for name, query in json.loads(sys.argv[1]).items():
    rows = connection.execute(query)
    names = [each[0] for each in rows.description]
    found[name] = [dict(zip(names, row)) for row in rows.fetchall()]
print(json.dumps(found, default=str))
"""


def test_an_older_duckdb_reads_them(
    exported: tuple[Path, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    packages = tmp_path_factory.mktemp("older")
    skip_without(OLDER, packages / "found")
    install("--no-deps", "--target", str(packages / "installed"), OLDER)
    directory, rows = exported
    queries = {
        "parquet": f"from read_parquet('{directory}/odd.parquet')",
        "hub": f"from read_parquet('{directory}/hub/data/*.parquet') order by row_id",
        "jsonl": f"from read_json('{directory}/odd.jsonl')",
        "csv": f"from read_csv('{directory}/odd.csv', all_varchar = true, header = true)",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(queries), OLDER.partition("==")[2]],
        env={**os.environ, "PYTHONPATH": str(packages / "installed")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    told = json.loads(json.dumps(rows, default=str))
    assert found["parquet"] == told
    assert _of(found["hub"], list(rows[0])) == told
    assert _of(found["jsonl"], SIMPLE) == _of(told, SIMPLE)
    assert [{name: value or "" for name, value in row.items()} for row in found["csv"]] == _csv(directory / "odd.csv")
