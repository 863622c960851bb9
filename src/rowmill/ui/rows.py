"""Pages of rows, by key: finished, live or dropped ones, with a condition of the user's, whatever their number.

A page is read range by range of ``row_id``, each twice as wide as the one before, until it is full. So the first page
of ten million rows costs what that of ten does. A condition that few rows meet is looked for until the time is up; the
page then says how far it came, and goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowmill.errors import SpecError, UsageError
from rowmill.generators.prompting.image import ImageColumn
from rowmill.generators.prompting.prompt_column import PromptColumn
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.spec import Spec
from rowmill.store.database.statements import Statement, statements_of
from rowmill.store.layout.expression import hint_for_condition
from rowmill.store.reading.reader import Reader
from rowmill.ui.cell import SHORT, Cell, Cells, shortened
from rowmill.value.python_value import python_rows, python_values

sql = statements_of("reading/page")

PAGE_ROWS = 50
_FIRST_RANGE = 4_096
_SEARCH_S = 8.0
"""So long a page looks for rows that meet a condition before it shows what it found."""
_MOST_COLUMNS = 60
"""Of a wide dataset; others can be chosen."""
_MANY_COLUMNS = 8
"""From more on, those that models made come first: they are what somebody looks for, and the others fill a screen."""
_LEFT_OUT = "__trace"
"""Columns of conversations are for the page of a row, unless they are chosen."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Which rows: where they are looked at, and where their numbers are known."""

    view: str
    table: str
    title: str
    first: tuple[str, ...] = ("row_id",)
    """The columns that come first unless somebody chooses."""


KINDS = {
    "finished": Kind("dataset", "state.dataset_row", "Finished"),
    "live": Kind("live_row", "main.live_row", "Live"),
    "dropped": Kind(
        "dropped_row",
        "state.dropped_row",
        "Dropped",
        ("row_id", "column_name", "reason", "error_type", "message", "attempts", "dropped_at"),
    ),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see."""

    kind: str = "finished"
    where: str = ""
    columns: Sequence[str] = ()
    """None: the first ones."""
    below: int | None = None
    """Rows with a smaller row_id, the greatest first. Without it and ``above``: the newest ones."""
    above: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows."""

    columns: list[tuple[str, str]]
    """Name and type of those shown."""
    known: list[str]
    """All there are."""
    rows: list[tuple[int, list[Cell]]]
    total: int
    """Rows of this kind, whether they meet the condition or not."""
    newer: int | None = None
    """There may be rows with a greater row_id than this."""
    older: int | None = None
    searched: tuple[int, int] | None = None
    """From which row to which one it was looked, if the time was up before the page was full."""


def read_spec(reader: Reader) -> Spec | None:
    """The spec of the run; None if it needs something that is not installed here."""
    try:
        return Spec.from_json(reader.newest_spec())
    except SpecError:
        return None


def read_page(reader: Reader, wish: Wish) -> Page:
    """The page. Raises UsageError for an unknown column, and in the engine's words for a condition that is wrong."""
    kind = KINDS[wish.kind]
    types = [(row["column_name"], row["data_type"]) for row in _table(reader, sql.columns_of_view, view=kind.view)]
    spec = read_spec(reader)
    shown = _chosen(types, wish.columns) if wish.columns else _first_ones(types, kind, spec)
    read = shown if any(name == "row_id" for name, _ in shown) else [("row_id", "BIGINT"), *shown]
    columns = ", ".join(shortened(name, sql_type, SHORT) for name, sql_type in read)
    # On lines of its own, so that a comment in the condition ends with it.
    predicate = f"(\n{wish.where}\n)" if wish.where else "true"
    slots = {"columns": columns, "view": f"main.{kind.view}", "predicate": predicate}
    bounds = next(python_rows(reader.table(sql.row_bounds.fill(table=kind.table))))
    if not bounds["rows"]:
        _check(reader, slots, wish)
        return Page(shown, [name for name, _ in types], [], 0)
    search = _Search(reader, slots, bounds, wish)
    try:
        found = search.run()
    except UsageError as error:
        raise _with_hint(error, wish) from error
    cells = Cells(spec)
    values = [python_values(found[name]) for name, _ in read] if found is not None else []
    rows = []
    for row in zip(*values, strict=True):
        by_name = dict(zip([name for name, _ in read], row, strict=True))
        rows.append((by_name["row_id"], [cells.short(name, kind_, by_name[name]) for name, kind_ in shown]))
    if search.is_upwards:
        rows.reverse()
    top = rows[0][0] if rows else (wish.above if search.is_upwards else wish.below)
    bottom = rows[-1][0] if rows else (wish.below if not search.is_upwards else wish.above)
    if search.searched is not None:
        low, high = search.searched
        top, bottom = (high, bottom) if search.is_upwards else (top, low)
    return Page(
        shown,
        [name for name, _ in types],
        rows,
        bounds["rows"],
        newer=top if top is not None and top < bounds["last_row"] else None,
        older=bottom if bottom is not None and bottom > bounds["first_row"] else None,
        searched=search.searched,
    )


class _Search:
    """Range by range, from one row on downwards or upwards."""

    def __init__(self, reader: Reader, slots: dict[str, str], bounds: dict[str, int], wish: Wish) -> None:
        self._reader = reader
        first, last = bounds["first_row"], bounds["last_row"]
        # Where rows are far between, not many small ranges.
        self._width = max(_FIRST_RANGE, 2 * PAGE_ROWS * (last - first + 1) // bounds["rows"])
        self.is_upwards = wish.above is not None
        self._query = (sql.rows_above if self.is_upwards else sql.rows_below).fill(**slots)
        self._first = first if wish.above is None else max(first, wish.above + 1)
        self._last = last if wish.below is None else min(last, wish.below - 1)
        self.searched: tuple[int, int] | None = None

    def run(self) -> Any:
        """The rows as a table; None if there is none."""
        import pyarrow as pa

        low, high, width = self._first, self._last, self._width
        parts: list[Any] = []
        left = PAGE_ROWS
        give_up_at = time.monotonic() + _SEARCH_S
        while low <= high and left:
            if self.is_upwards:
                start, end = low, min(low + width - 1, high)
                low = end + 1
            else:
                start, end = max(high - width + 1, low), high
                high = start - 1
            part = self._reader.table(self._query, {"first": start, "last": end, "limit": left})
            left -= part.num_rows
            parts.append(part)
            width *= 2
            if left and low <= high and time.monotonic() > give_up_at:
                self.searched = (self._first, low - 1) if self.is_upwards else (high + 1, self._last)
                break
        return pa.concat_tables(parts) if parts else None


def neighbour(reader: Reader, kind: Kind, row_id: int, *, is_greater: bool) -> int | None:
    """The row next to this one; None at the end, or if none is near."""
    query = (sql.next_row if is_greater else sql.row_before).fill(table=kind.table)
    for width in (1_000, 1_000_000, 10**12):
        found = next(python_rows(reader.table(query, {"row_id": row_id, "range": width})))["row_id"]
        if found is not None:
            return int(found)
    return None


def _check(reader: Reader, slots: dict[str, str], wish: Wish) -> None:
    """A condition is wrong also where there is no row."""
    try:
        reader.table(sql.rows_below.fill(**slots), {"first": 0, "last": -1, "limit": 1})
    except UsageError as error:
        raise _with_hint(error, wish) from error


def _with_hint(error: UsageError, wish: Wish) -> UsageError:
    return UsageError(f"{error}{hint_for_condition(wish.where)}") if wish.where else error


def _chosen(types: list[tuple[str, str]], wanted: Sequence[str]) -> list[tuple[str, str]]:
    known = dict(types)
    for name in wanted:
        if name not in known:
            raise UsageError(f"There is no column '{name}'.{did_you_mean(name, list(known))}")
    return [(name, known[name]) for name in wanted]


def _first_ones(types: list[tuple[str, str]], kind: Kind, spec: Spec | None) -> list[tuple[str, str]]:
    """What is shown unless somebody chooses, the most telling ones first."""
    first = list(kind.first)
    if spec is not None and len(types) > _MANY_COLUMNS:
        first += [column.name for column in spec.columns if isinstance(column, (PromptColumn, ImageColumn))]
    place = {name: number for number, name in enumerate(first)}
    kept = [each for each in types if not each[0].endswith(_LEFT_OUT)]
    return sorted(kept, key=lambda each: place.get(each[0], len(place)))[:_MOST_COLUMNS]


def _table(reader: Reader, query: Statement, **parameters: object) -> list[dict[str, Any]]:
    return list(python_rows(reader.table(query.text, parameters)))
