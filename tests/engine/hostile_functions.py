"""Functions of a user who means no good, or does not know better. Never imported by name: copied beside a spec."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any

import pyarrow as pa

from rowmill.errors import RateLimited

RELEASED = threading.Event()
"""Lets functions that never return go, when their test is over."""


def raises(row: dict[str, Any]) -> str:
    raise ValueError("cannot do " + row["kind"] + " \ud800 \0 " + "x" * 100_000)


def raises_for_a(row: dict[str, Any]) -> str:
    if row["kind"] == "a":
        raise ValueError("no a's")
    return "fine"


def raises_a_group(row: dict[str, Any]) -> str:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def raises_without_words(row: dict[str, Any]) -> str:
    raise AssertionError


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises_something_unspeakable(row: dict[str, Any]) -> str:
    raise Unspeakable


def exits(row: dict[str, Any]) -> str:
    sys.exit(7)


async def exits_async(row: dict[str, Any]) -> str:
    sys.exit(7)


def changes_directory(row: dict[str, Any]) -> str:
    os.chdir("/")
    return "elsewhere"


def recurses(row: dict[str, Any]) -> str:
    return recurses(row)


def stops_iterating(row: dict[str, Any]) -> str:
    raise StopIteration


async def cancels_itself(row: dict[str, Any]) -> str:
    raise asyncio.CancelledError


def never_returns(row: dict[str, Any]) -> str:
    RELEASED.wait()
    return "too late"


async def never_returns_async(row: dict[str, Any]) -> str:
    await asyncio.Event().wait()
    return "never"


def returns_none(row: dict[str, Any]) -> str | None:
    return None


def returns_number(row: dict[str, Any]) -> str:
    return 3  # type: ignore[return-value]


def returns_text(row: dict[str, Any]) -> int:
    return "three"  # type: ignore[return-value]


def returns_huge_number(row: dict[str, Any]) -> int:
    return 2**63


def returns_half_a_surrogate(row: dict[str, Any]) -> str:
    return "\ud800"


def returns_nul(row: dict[str, Any]) -> str:
    return "one\0two"


def returns_ten_megabytes(row: dict[str, Any]) -> str:
    return "0123456789" * 1_000_000


def returns_not_a_number(row: dict[str, Any]) -> float:
    return float("nan")


def prints(row: dict[str, Any]) -> str:
    print("printed by the function")
    os.write(1, b"written by the function\n")
    return "fine"


def changes_its_row(row: dict[str, Any]) -> str:
    row["kind"] = "changed"
    row.clear()
    return "fine"


def table_of_nothing(rows: pa.Table) -> Any:
    return None


def table_of_text(rows: pa.Table) -> Any:
    return "no table"


def table_with_rows_twice(rows: pa.Table) -> Any:
    return {"row_index": [0, 0], "made": ["x", "y"]}


def table_of_strangers(rows: pa.Table) -> Any:
    return {"row_index": [0, 99], "made": ["x", "y"]}


def table_without_index(rows: pa.Table) -> Any:
    return {"made": ["x"] * rows.num_rows}


def table_with_an_index_of_text(rows: pa.Table) -> Any:
    return {"row_index": ["a"] * rows.num_rows, "made": ["x"] * rows.num_rows}


def table_with_null_index(rows: pa.Table) -> Any:
    return {"row_index": [None] * rows.num_rows, "made": ["x"] * rows.num_rows}


def table_of_other_types(rows: pa.Table) -> Any:
    return {"row_index": rows["row_index"], "made": [{"a": 1}] * rows.num_rows}


_REFUSED: list[str] = []


def refuses_once_and_sets_the_clock_back(row: dict[str, Any]) -> str:
    if not _REFUSED:
        _REFUSED.append(row["kind"])
        now = time.time
        time.time = lambda: now() - 3 * 86_400.0
        raise RateLimited("later", retry_after_s=0.05)
    return "made"
