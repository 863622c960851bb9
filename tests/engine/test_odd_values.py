"""Whatever a function returns costs its row at most, never the run: here and in processes (V3, W4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rowmill
from rowmill import RunDatabase

FUNCTIONS = """
import threading

import pyarrow as pa

from collections.abc import Mapping

class Unreadable(Mapping):
    def __getitem__(self, key):
        raise OSError("the file is gone")
    def __iter__(self):
        raise OSError("the file is gone")
    def __len__(self):
        return 1

class Unshowable:
    def __repr__(self):
        raise RuntimeError("no words")

class Sealed(list):
    def __reduce__(self):
        raise RuntimeError("stays here")

def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value

def endless():
    value = [1]
    value.append(value)
    return value

ODD = {
    1: lambda: nested(5000),
    2: endless,
    3: lambda: (lambda: 1),
    4: lambda: (one for one in [1]),
    5: threading.Lock,
    6: lambda: [Unreadable()],
    7: lambda: [Unshowable()],
    8: lambda: {"value": [{1, 2}, object()]},
}

def odd(row):
    made = ODD.get(row["number"])
    return {"value": [row["number"]] if made is None else made()}

class Panic(BaseException):  # as of a library in Rust
    pass

class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

class Untyped(Exception):
    @property
    def error_type(self):
        raise RuntimeError("no type")

RAISED = {
    1: lambda: Panic("index out of bounds"),
    2: lambda: SystemExit(3),
    3: lambda: StopIteration(1),
    4: Speechless,
    5: Untyped,
    6: lambda: BaseExceptionGroup("two", [Panic("one"), ValueError("other")]),
    7: lambda: ExceptionGroup("two", [ValueError("one"), ValueError("other")]),
    8: lambda: RecursionError("too deep"),
    9: lambda: GeneratorExit("of its own"),
}

def raises(row):
    if row["number"] in RAISED:
        raise RAISED[row["number"]]()
    return row["number"]

async def raises_later(row):
    return raises(row)

def judges(rows: pa.Table):
    raise (GeneratorExit() if rows["number"][0].as_py() % 2 else Panic("judging"))

class Closes:
    def generate(self, row):
        return row["number"]

    def close(self):
        raise Panic("closing")

def keeps(rows, state):
    value = [1] * len(rows["row_index"])
    return {"row_index": rows["row_index"], "value": value}, (lambda: 1)
"""
COLUMN = {"name": "value", "column_type": "custom", "required_columns": ["number"]}


def _made(
    directory: Path, column: dict[str, Any], executor: str, exit_code: int = 3
) -> tuple[list[int], dict[int, str]]:
    """The rows that are in the dataset, and of those that were dropped why."""
    (directory / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    (directory / "seed.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(10)))
    spec = {
        "name": "odd",
        "records": 10,
        "seed_dataset": {"path": "seed.csv"},
        "columns": [{**COLUMN, **column} if "column_type" not in column else {"name": "value", **column}],
        "run": {"max_error_share": 1.0, "error_window": 100, "max_attempts": 1},
    }
    report = rowmill.run(spec, directory / "odd.duckdb", directory=directory, executor=executor)
    assert report.exit_code == exit_code, report.message
    with RunDatabase.open(directory / "odd.duckdb") as database:
        kept = database.sql("select row_id from dataset order by row_id").column("row_id").to_pylist()
        dropped = database.sql("select row_id, message from dropped_row").to_pylist()
    return kept, {row["row_id"]: row["message"] for row in dropped}


@pytest.mark.parametrize("rows_per_call", [1, 4])
@pytest.mark.parametrize("executor", ["local", "processes"])
def test_v3_a_value_that_nothing_can_hold_costs_its_row(tmp_path: Path, executor: str, rows_per_call: int) -> None:
    column = {"generator_function": "functions:odd", "dtype": "json", "max_rows_per_call": rows_per_call}
    kept, dropped = _made(tmp_path, column, executor)
    assert kept == [0, 9]
    assert sorted(dropped) == list(range(1, 9))
    assert all("value" in message.lower() for message in dropped.values()), dropped


@pytest.mark.parametrize("rows_per_call", [1, 4])
@pytest.mark.parametrize("function", ["raises", "raises_later"])
@pytest.mark.parametrize("executor", ["local", "processes"])
def test_f3_whatever_a_function_raises_costs_its_row(
    tmp_path: Path, executor: str, function: str, rows_per_call: int
) -> None:
    column = {"generator_function": f"functions:{function}", "dtype": "int", "max_rows_per_call": rows_per_call}
    kept, dropped = _made(tmp_path, column, executor)
    assert kept == [0]
    assert sorted(dropped) == list(range(1, 10))
    assert "of its own" in dropped[9]
    assert "raised Panic: index out of bounds" in dropped[1]


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_f3_whatever_a_validator_raises_costs_its_row(tmp_path: Path, executor: str) -> None:
    column = {
        "column_type": "validation",
        "validator_type": "local_callable",
        "target_columns": ["number"],
        "validator_params": {"validation_function": "functions:judges"},
        "batch_size": 1,
    }
    kept, dropped = _made(tmp_path, column, executor)
    assert not kept
    assert "GeneratorExit" in dropped[1]
    assert "judging" in dropped[2]


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_class_that_panics_when_it_is_closed_costs_nothing(tmp_path: Path, executor: str) -> None:
    kept, dropped = _made(tmp_path, {"generator_function": "functions:Closes", "dtype": "int"}, executor, exit_code=0)
    assert (len(kept), dropped) == (10, {})


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_r10_a_state_that_cannot_be_kept_costs_its_rows(tmp_path: Path, executor: str) -> None:
    column = {"generator_function": "functions:keeps", "generation_strategy": "batch", "ordered": True, "dtype": "int"}
    kept, dropped = _made(tmp_path, column, executor)
    assert not kept
    assert len(dropped) == 10
    assert all(message.startswith("The returned state cannot be ") for message in dropped.values()), dropped
