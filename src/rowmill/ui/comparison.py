"""A fork beside its parent: which rows differ, in which columns, and how many of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from rowmill.errors import UsageError
from rowmill.inspect.difference import compared_ranges, dataset_types
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.listing import Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.ui.cell import LONG, SHORT, Cell, Cells, shortened
from rowmill.ui.rows import read_spec
from rowmill.value.python_value import python_rows, python_values

sql = statements_of("reading/page")

PAGE_ROWS = 25
_COUNTING_S = 12.0
"""So long all rows are counted; of more rows the counts are of those that were reached."""
_ENDINGS = ("*.duckdb", "*.db", "*.ddb")
_MOST_NEIGHBOURS = 200
_SEEN = 80
"""Characters of a text in the table that are seen for certain."""
_BEFORE = 30
"""So many stand before the first one that differs."""


@dataclass(frozen=True, slots=True)
class ComparedColumn:
    """A column of both datasets, and in how many rows it differs."""

    name: str
    changed: int


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A row of both: per column the two cells and whether they differ."""

    row_id: int
    cells: Sequence[tuple[Cell, Cell, bool]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two datasets have in common and what not."""

    columns: Sequence[ComparedColumn]
    only_here: Sequence[str]
    only_there: Sequence[str]
    rows_compared: int
    rows_changed: int
    rows_only_here: int
    rows_only_there: int
    reached: int | None
    """The row the counting reached, if there are more."""
    rows: Sequence[ComparedRow]
    after: int | None
    """The last row of this page, if there may be more."""


def neighbours(database: Path, beside: Path | None) -> dict[str, Path]:
    """The run databases that can be compared with, by name: those of the same directory, and the one that was named."""
    found = {path.name: path for ending in _ENDINGS for path in sorted(database.parent.glob(ending))[:_MOST_NEIGHBOURS]}
    found.pop(database.name, None)
    return {**({str(beside): beside} if beside is not None else {}), **found}


def parent_of(reader: Reader) -> str | None:
    """The name of the file this run was forked from; None if it is no fork."""
    events = python_rows(listing(reader, "events", Selection(where="kind = 'forked'", limit=1)).read_all())
    return next((str(event["detail"]).partition(":")[0] for event in events), None)


def compare(here: Reader, there: Reader, after: int, *, only_changed: bool) -> Comparison:
    """The datasets of two readers, their rows from the one behind ``after`` on."""
    types_here, types_there = dataset_types(here), dataset_types(there)
    common = [name for name in types_here if name in types_there and name != "row_id"]
    if not common:
        raise UsageError("The two datasets have no column in common.")
    counts = dict.fromkeys(common, 0)
    compared = changed_rows = only_here = only_there = 0
    page: list[int] = []
    changed_of: dict[int, set[str]] = {}
    give_up_at = time.monotonic() + _COUNTING_S
    reached: int | None = None
    for part in compared_ranges(here, there, common):
        compared += len(part.row_ids)
        only_here += len(part.only_here)
        only_there += len(part.only_there)
        any_differs = part.any_differs()
        for name, mask in part.differs.items():
            counts[name] += pc.sum(mask).as_py() or 0
        changed_rows += pc.sum(any_differs).as_py() or 0
        if len(page) <= PAGE_ROWS:
            wanted = pc.greater(part.row_ids, after)
            if only_changed:
                wanted = pc.and_(wanted, any_differs)
            places = pc.indices_nonzero(wanted).to_pylist()[: PAGE_ROWS + 1 - len(page)]
            for place in places:
                row_id = part.row_ids[place].as_py()
                page.append(row_id)
                changed_of[row_id] = {name for name, mask in part.differs.items() if mask[place].as_py()}
        if time.monotonic() > give_up_at and not part.is_last:
            reached = part.last
            break
    shown = page[:PAGE_ROWS]
    common.sort(key=lambda name: not counts[name])  # those that differ are what somebody looks for
    return Comparison(
        columns=[ComparedColumn(name, counts[name]) for name in common],
        only_here=[name for name in types_here if name not in types_there],
        only_there=[name for name in types_there if name not in types_here],
        rows_compared=compared,
        rows_changed=changed_rows,
        rows_only_here=only_here,
        rows_only_there=only_there,
        reached=reached,
        rows=_rows(here, there, types_here, types_there, common, shown, changed_of),
        after=shown[-1] if len(page) > PAGE_ROWS else None,
    )


def _rows(
    here: Reader,
    there: Reader,
    types_here: dict[str, str],
    types_there: dict[str, str],
    common: Sequence[str],
    row_ids: Sequence[int],
    changed_of: dict[int, set[str]],
) -> list[ComparedRow]:
    if not row_ids:
        return []
    changed = set().union(*changed_of.values())
    mine, others = (
        _values(reader, types, common, row_ids, changed) for reader, types in ((here, types_here), (there, types_there))
    )
    shown_here, shown_there = Cells(read_spec(here)), Cells(read_spec(there))
    rows = []
    for row_id in row_ids:
        cells = []
        for name, value, other in zip(common, mine[row_id], others[row_id], strict=True):
            differs = name in changed_of[row_id]
            if differs and isinstance(value, str) and isinstance(other, str):
                value, other = _from_their_difference(value, other)
            cell = shown_here.short(name, types_here[name], value)
            cells.append((cell, shown_there.short(name, types_there[name], other), differs))
        rows.append(ComparedRow(row_id, cells))
    return rows


def _values(
    reader: Reader, types: dict[str, str], columns: Sequence[str], row_ids: Sequence[int], changed: set[str]
) -> dict[int, list[Any]]:
    """The values of rows, by row: no more of them than is shown, and of columns that differ enough to see where."""
    lengths = {name: LONG if name in changed else SHORT for name in columns}
    read = ", ".join(["row_id", *(shortened(name, types[name], lengths[name]) for name in columns)])
    wanted = f"row_id in ({', '.join(map(str, row_ids))})"
    query = sql.rows_above.fill(columns=read, view="main.dataset", predicate=wanted)
    table = reader.table(query, {"first": row_ids[0], "last": row_ids[-1], "limit": len(row_ids)})
    values: list[list[Any]] = [python_values(column) for column in table.columns]
    return {row[0]: list(row[1:]) for row in zip(*values, strict=True)}


def _from_their_difference(one: str, other: str) -> tuple[str, str]:
    """Two texts, from a little before the first character that differs where that would not be seen otherwise."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((place for place, (mine, its) in pairs if mine != its), min(len(one), len(other)))
    if same <= _SEEN:
        return one, other
    start = same - _BEFORE
    return f"…{one[start:]}", f"…{other[start:]}"
