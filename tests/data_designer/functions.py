"""What the configurations in this directory refer to, written for Rowmill."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

import rowmill


@rowmill.generator(required_columns=["stars"])
def shout(row: dict[str, Any]) -> str:
    """One exclamation mark a star."""
    return "!" * int(row["stars"])


@rowmill.generator(required_columns=["loud"])
def double(df: pa.Table) -> dict[str, Any]:
    """The same text twice."""
    return {"row_index": df["row_index"], "double": [2 * text for text in df["loud"].to_pylist()]}


def longest(rows: pa.Table) -> dict[str, list[bool]]:
    """Whether the name of the city is short."""
    return {"is_valid": [len(city) <= 10 for city in rows["city"].to_pylist()]}
