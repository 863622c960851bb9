"""The functions of the tests' spec; copied beside it."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import anyio
import pyarrow as pa

MARK = "the first edition"
GATE = ""
"""A file; some rows wait until it is there, so that a run cannot end before a test has done what it is about."""


async def slow(row: dict[str, Any]) -> str:
    """Takes a moment; one row in ten takes until the gate is open."""
    await anyio.sleep(0.1)
    while GATE and row["start"] > 0.9 and not await anyio.Path(GATE).exists():  # noqa: ASYNC110  another process opens it
        await anyio.sleep(0.5)
    return f"{row['start']:.9f} {MARK}"


def digest(row: dict[str, Any]) -> str:
    """Refuses some rows, and says more than it should."""
    if row["start"] < 0.05:
        raise ValueError(f"too small, says {os.environ.get('WRITER_KEY', 'nobody')}")
    return hashlib.sha256(row["slow"].encode()).hexdigest()


def rank(rows: pa.Table) -> pa.Table:
    """A row group at a time."""
    order = sorted(range(rows.num_rows), key=lambda index: rows["start"][index].as_py())
    place = {index: number for number, index in enumerate(order)}
    return pa.table({"row_index": rows["row_index"], "rank": [place[index] for index in range(rows.num_rows)]})
