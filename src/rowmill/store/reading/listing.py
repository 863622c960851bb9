"""Listings: the public views as ``rowmill show`` puts them, with a condition, chosen columns and a limit.

They go through a :class:`~rowmill.store.reading.reader.Reader`'s queries alone, so that they work on a file and on a
living run alike.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.store.database.connection import column_list
from rowmill.store.database.statements import Statement, statement, statements_of
from rowmill.store.layout.expression import hint_for_condition
from rowmill.store.reading.reader import Reader
from rowmill.value.python_value import python_rows

sql = statements_of("reading/show", "reading/status")

_SLICE_ROWS = 50_000
_LOST = "lost"
"""Of a dropped row: whether it was lost to an error, or went as the spec, or a person, wanted. Of the listing alone."""

VIEWS = {
    "rows": "dataset",
    "groups": "row_group",
    "ready": "ready_task",
    "deferred": "deferred_task",
    "dropped": "dropped_row",
    "attempts": "attempt",
    "events": "event",
    "usage": "usage",
    "resources": "resource",
    "admission": "admission",
    "invocations": "invocation",
    "workers": "worker",
    "spec": "spec_version",
    "graph": "graph",
    "columns": "column_statistics",
}
"""What can be listed → the public view it comes from."""

_STATEMENTS = {what: statement(f"show_{what}") for what in VIEWS}


@dataclass(frozen=True, slots=True)
class _Sliced:
    """A listing that may be too long to be sorted at once: its rows lie in the order of a number they have."""

    bounds: Statement
    """The least and the greatest of these numbers, and how many rows there are."""
    between: Statement
    is_backwards: bool


_SLICED = {
    "rows": _Sliced(sql.finished_row_bounds, sql.show_rows_between, is_backwards=False),
    "attempts": _Sliced(sql.attempt_bounds, sql.show_attempts_between, is_backwards=True),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a listing: a condition in SQL, columns (none: all), the greatest number of rows (None: all)."""

    where: str | None = None
    columns: Sequence[str] = ()
    limit: int | None = None
    values: bool = False
    """Of dropped rows: also what they held."""


def listing(reader: Reader, what: str, selection: Selection) -> pa.RecordBatchReader:
    """A listing as a stream. ``what`` is a key of :data:`VIEWS`.

    Raises UsageError for a column the view does not have (names the nearest) and for a condition that does not run.
    """
    views = [VIEWS[what], "dropped_row_value"] if selection.values else [VIEWS[what]]
    columns = _chosen(reader, views, selection.columns)
    # On lines of its own, so that a comment in the condition ends with it.
    slots = {"columns": columns, "predicate": f"(\n{selection.where}\n)" if selection.where else "true"}
    try:
        if what in _SLICED and (selection.limit is None or selection.where is None):
            return _slice_by_slice(reader, _SLICED[what], slots, selection.limit)
        query = sql.show_dropped_values if selection.values else _STATEMENTS[what]
        return _query(reader, query, slots, {"limit": selection.limit})
    except UsageError as error:
        if selection.where is None:
            raise
        hint = hint_for_condition(selection.where)
        raise UsageError(f"The condition {selection.where!r} cannot be used on '{what}'. {error}{hint}") from error


def dropped_note(reader: Reader) -> str:
    """How many of the dropped rows were lost to errors, where it is some and not all; else empty."""
    (counts,) = reader.table(sql.dropped_counts.text).to_pylist()
    dropped, lost = counts["rows_dropped"], counts["rows_lost"]
    if not 0 < lost < dropped:
        return ""
    return (
        f"{lost:,} of {plural(dropped, 'row')} {'was' if lost == 1 else 'were'} lost to errors, the others were left "
        f'out as wanted: --where "{_LOST}" or --where "not {_LOST}" lists these alone.'
    )


def view_columns(reader: Reader) -> dict[str, list[str]]:
    """The public views and their columns."""
    found: dict[str, list[str]] = {}
    for row in reader.table(sql.public_columns.text).to_pylist():
        found.setdefault(row["view"], []).append(row["column_name"])
    return found


def _query(
    reader: Reader, query: Statement, slots: dict[str, str], parameters: dict[str, int | None]
) -> pa.RecordBatchReader:
    return reader.batches(query.fill(**slots), parameters)


def _slice_by_slice(reader: Reader, sliced: _Sliced, slots: dict[str, str], limit: int | None) -> pa.RecordBatchReader:
    """Every row, or the first ones: sorting them all at once would need them all at once."""
    query = sliced.between.fill(**slots)
    first, last, rows = next(python_rows(reader.table(sliced.bounds.text))).values()
    # An empty range tells the types, and whether the condition runs at all.
    schema = reader.table(query, {"first": 0, "last": -1}).schema
    if not rows:
        return pa.RecordBatchReader.from_batches(schema, [])

    def slices() -> Iterator[pa.RecordBatch]:
        low, high = first, last  # what is still to read
        left, slice_rows = limit, min(limit or _SLICE_ROWS, _SLICE_ROWS)
        while low <= high and left != 0:
            width = max(slice_rows * (last - first + 1) // rows, 1)
            if sliced.is_backwards:
                start, end = max(high - width + 1, low), high
                high = start - 1
            else:
                start, end = low, min(low + width - 1, high)
                low = end + 1
            table = reader.table(query, {"first": start, "last": end}).slice(0, left)
            left = None if left is None else left - table.num_rows
            slice_rows = min(2 * slice_rows, _SLICE_ROWS)  # where rows are missing, not many small slices
            yield from table.to_batches()

    return pa.RecordBatchReader.from_batches(schema, slices())


def _chosen(reader: Reader, views: Sequence[str], columns: Sequence[str]) -> str:
    if not columns:
        return "*"
    known: dict[str, None] = {}
    for view in views:
        known |= dict.fromkeys(reader.table(sql.view_columns.text, {"view": view})["column_name"].to_pylist())
    if views[0] == VIEWS["dropped"]:
        known |= {_LOST: None}
    for column in columns:
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"The view '{views[0]}' has no column '{column}'.{hint} It has: {', '.join(known)}.")
    return column_list(columns)
