"""What an agent may ask of a run database, as plain values: nothing here changes anything."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.inspect.opening import open_reader
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.listing import VIEWS, Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.value.json_column import json_objects

sql = statements_of("reading/explain")

MOST_ROWS = 1_000
"""Rows of one answer, at most: an agent reads them all."""
_LONGEST_TEXT = 4_000
"""Characters of a text of an answer; what is longer is cut, and says so."""
_ATTEMPTS_OF_ROW = 20


def read_status(database: Path) -> dict[str, Any]:
    """Where the run stands: what ``rowmill status --format json`` holds."""
    with open_reader(database) as reader:
        return _status_of(reader)


def query(database: Path, question: str, most_rows: int) -> dict[str, Any]:
    """The rows of a query, at most ``most_rows``. Raises UsageError for SQL that does not run or would write."""
    with open_reader(database) as reader, reader.batches(question) as rows:
        return _shown(rows, most_rows)


def read_listing(
    database: Path, what: str, where: str | None, columns: Sequence[str], most_rows: int
) -> dict[str, Any]:
    """A listing, as ``rowmill show`` makes it. Raises UsageError for one that does not exist, and as that does."""
    if what not in VIEWS:
        raise UsageError(f"There is no listing '{what}'; there are {', '.join(VIEWS)}.")
    selection = Selection(where, tuple(columns), _bounded(most_rows) + 1)
    with open_reader(database) as reader, listing(reader, what, selection) as rows:
        return _shown(rows, most_rows)


def explain_run(database: Path) -> dict[str, Any]:
    """Why the run is where it is: what rows were dropped for, what tasks wait for, whether a row group may enter."""
    with open_reader(database) as reader:
        status = _status_of(reader)
    wanted = (
        "state", "reason", "records", "rows_finished", "rows_dropped", "drop_reasons", "deferral_reasons", "admission",
        "resources", "oldest_row_group", "cut_off", "pace", "budget",
    )  # fmt: skip
    return {name: status[name] for name in wanted if name in status}


def explain_row(database: Path, row_id: int) -> dict[str, Any]:
    """Everything on record of one row: its values or its cells, why it was dropped, what it waits for, its attempts."""
    row = {"row_id": row_id}
    with open_reader(database) as reader:
        parts = {
            "values": reader.table(sql.explain_values.text, row),
            "cells": reader.table(sql.explain_cells.text, row),
            "dropped": reader.table(sql.explain_drop.text, row),
            "deferred": reader.table(sql.explain_deferrals.text, row),
            "attempts": reader.table(sql.explain_attempts.text, {**row, "limit": _ATTEMPTS_OF_ROW}),
        }
    if not any(table.num_rows for table in parts.values()):
        raise UsageError(f"Nothing is known of row {row_id}: it has not been admitted yet, or it is not in the plan.")
    return {"row_id": row_id, **{name: _rows_of(table) for name, table in parts.items() if table.num_rows}}


def _status_of(reader: Reader) -> dict[str, Any]:
    found = asdict(reader.detailed_status(time.time()))
    found |= found.pop("details") or {}
    plain: dict[str, Any] = json.loads(json.dumps(found, default=_moment))
    return plain


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _bounded(most_rows: int) -> int:
    if not 1 <= most_rows <= MOST_ROWS:
        raise UsageError(f"An answer has 1 to {MOST_ROWS:,} rows; ask for a part, or sum up in SQL.")
    return most_rows


def _shown(rows: pa.RecordBatchReader, most_rows: int) -> dict[str, Any]:
    """Rows as objects, and whether there are more."""
    wanted = _bounded(most_rows)
    found: list[Any] = []
    for batch in rows:
        found += [_cut(json.loads(text)) for text in json_objects(batch.slice(0, wanted + 1 - len(found)))]
        if len(found) > wanted:
            break
    return {"rows": found[:wanted], "has_more": len(found) > wanted}


def _rows_of(table: pa.Table) -> list[Any]:
    return [_cut(json.loads(text)) for batch in table.to_batches() for text in json_objects(batch)]


def _cut(value: Any) -> Any:
    """The value with long texts shortened."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}… ({len(value):,} characters in all)"
    if isinstance(value, list):
        return [_cut(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    return value
