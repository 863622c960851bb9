"""Staged tables: how Python values of a turn reach SQL. Their schemas, and rows on their way into columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

_EPOCH = datetime(1970, 1, 1)

_KEY = [("generator", pa.int32()), ("row_group", pa.int64()), ("row_index", pa.int64())]
_FAILURE = [("error_type", pa.string()), ("message", pa.string()), ("attempts", pa.int32())]
TASK_KEY = pa.schema(_KEY)
NEW_DEFERRAL = pa.schema([*_KEY, *_FAILURE, ("not_before", pa.timestamp("us"))])
NEW_DROP = pa.schema([*_KEY, ("reason", pa.string()), *_FAILURE, ("source_line", pa.string())])
NEW_COOLING = pa.schema([("resource", pa.string()), ("cooling_until", pa.timestamp("us")), ("reason", pa.string())])
NEW_STATE = pa.schema([("generator", pa.int32()), ("row_group", pa.int64()), ("state", pa.string())])
NEW_ATTEMPT = pa.schema(
    [
        ("invocation", pa.int32()),
        *_KEY,
        ("row_id", pa.int64()),
        ("attempt", pa.int32()),
        ("outcome", pa.string()),
        ("error_type", pa.string()),
        ("message", pa.string()),
        ("model", pa.string()),
        ("started_at", pa.timestamp("us")),
        ("duration_ms", pa.float64()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("finish_reason", pa.string()),
        ("cached_tokens", pa.int64()),
        ("cache_write_tokens", pa.int64()),
    ]
)
NEW_TASK_TRACE = pa.schema(
    [
        ("invocation", pa.int32()),
        *_KEY,
        ("row_id", pa.int64()),
        ("handed_out_at", pa.timestamp("us")),
        ("started_at", pa.timestamp("us")),
        ("ended_at", pa.timestamp("us")),
        ("outcome", pa.string()),
        ("worker", pa.string()),
    ]
)
NEW_WORKER = pa.schema(
    [
        ("name", pa.string()),
        ("worker_group", pa.string()),
        ("kind", pa.string()),
        ("state", pa.string()),
        ("pid", pa.int32()),
        ("host", pa.string()),
        ("node", pa.string()),
        ("joined_at", pa.timestamp("us")),
        ("heard_at", pa.timestamp("us")),
        ("ended_at", pa.timestamp("us")),
        ("in_flight", pa.int64()),
        ("done", pa.int64()),
        ("calls_lost", pa.int64()),
        ("reason", pa.string()),
    ]
)
NEW_WORKER_GROUP = pa.schema(
    [
        ("worker_group", pa.string()),
        ("kind", pa.string()),
        ("workers", pa.int64()),
        ("empty_since", pa.timestamp("us")),
        ("waits_until", pa.timestamp("us")),
    ]
)
NEW_ANSWER = pa.schema([("answer_key", pa.decimal128(38, 0)), ("answer", pa.string())])


def from_epoch(seconds: float) -> datetime:
    """A time as the run database keeps it: UTC without zone. ``seconds`` since the epoch."""
    return _EPOCH + timedelta(seconds=seconds)


def to_microseconds(seconds: float) -> int:
    """The same as a number, as Arrow takes it sooner than a datetime. ``seconds`` since the epoch."""
    return round(seconds * 1e6)


def to_epoch(moment: datetime) -> float:
    """Seconds since the epoch of a time of the run database."""
    return moment.replace(tzinfo=UTC).timestamp()


class Rows:
    """Rows of a staged table on their way: appended as tuples, turned into columns once."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[tuple[Any, ...]] = []

    def __bool__(self) -> bool:
        return bool(self.rows)

    def append(self, *values: Any) -> None:
        """Adds a row; values in the order of the schema."""
        self.rows.append(values)

    def table(self) -> pa.Table:
        """All rows as an Arrow table."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.schema)
        arrays = [pa.array(column, type=kind.type) for column, kind in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)
