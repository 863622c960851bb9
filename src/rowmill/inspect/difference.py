"""Where two run databases differ: their finished rows by ``row_id``, their columns, and the rows they dropped.

Both are read range by range of ``row_id``. A range brings a digest of each value, so memory holds no values but those
of the examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import UsageError
from rowmill.spec.nearest import did_you_mean
from rowmill.store.database.connection import column_list, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.reader import Reader
from rowmill.value.json_column import json_objects
from rowmill.value.python_value import python_rows

sql = statements_of("reading/page", "reading/difference")

_RANGE = 50_000


@dataclass(frozen=True, slots=True)
class ComparedRange:
    """A range of ``row_id`` of two datasets."""

    last: int
    """The last row_id of the range."""
    is_last: bool
    """There is no range after it."""
    row_ids: pa.ChunkedArray
    """The rows of both, in order."""
    differs: dict[str, pa.ChunkedArray]
    """By column: whether each of them differs."""
    only_here: list[int]
    only_there: list[int]

    def any_differs(self) -> pa.ChunkedArray:
        """Whether each row differs in any column."""
        found = pa.chunked_array([pa.array([False] * len(self.row_ids), pa.bool_())])
        for mask in self.differs.values():
            found = pc.or_(found, mask)
        return found


def dataset_types(reader: Reader) -> dict[str, str]:
    """The columns of the dataset and their types, in order."""
    rows = python_rows(reader.table(sql.columns_of_view.text, {"view": "dataset"}))
    return {row["column_name"]: row["data_type"] for row in rows}


def compared_ranges(here: Reader, there: Reader, columns: Sequence[str]) -> Iterator[ComparedRange]:
    """All finished rows of both, range by range, compared in these columns."""
    low, last = _bounds(here, there)
    while low <= last:
        high = min(low + _RANGE - 1, last)
        mine, other = (_digests(reader, columns, low, high) for reader in (here, there))
        joined = mine.join(other, keys="row_id", join_type="inner", right_suffix=" there").sort_by("row_id")
        yield ComparedRange(
            last=high,
            is_last=high == last,
            row_ids=joined["row_id"],
            differs={name: pc.not_equal(joined[name], joined[f"{name} there"]) for name in columns},
            only_here=_without(mine["row_id"], other["row_id"]),
            only_there=_without(other["row_id"], mine["row_id"]),
        )
        low = high + 1


def _bounds(*readers: Reader) -> tuple[int, int]:
    found = [next(python_rows(reader.table(sql.row_bounds.fill(table="state.dataset_row")))) for reader in readers]
    filled = [each for each in found if each["rows"]]
    if not filled:
        return 0, -1
    return min(each["first_row"] for each in filled), max(each["last_row"] for each in filled)


def _digests(reader: Reader, columns: Sequence[str], first: int, last: int) -> pa.Table:
    # As text: the two may be of different types, and only what a reader of the values would see counts.
    parts = [f"coalesce(md5(cast({quote(name)} as varchar)), '') as {quote(name)}" for name in columns]
    table = reader.table(sql.digested_rows.fill(columns=", ".join(parts)), {"first": first, "last": last})
    return table.cast(pa.schema([("row_id", pa.int64()), *((name, pa.string()) for name in columns)]))


def _without(these: pa.ChunkedArray, others: pa.ChunkedArray) -> list[int]:
    found: list[int] = these.filter(pc.invert(pc.is_in(these, value_set=others.combine_chunks()))).to_pylist()
    return found


@dataclass(frozen=True, slots=True)
class Example:
    """A value that differs, as an export to JSON has it."""

    row_id: int
    here: Any
    there: Any


@dataclass(slots=True)
class ColumnDifference:
    """A column of both."""

    name: str
    type_here: str
    type_there: str
    changed: int = 0
    """Rows in which it differs."""
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class RowsOfOne:
    """Rows that are in one of the two only."""

    rows: int = 0
    row_ids: list[int] = field(default_factory=list)
    """The first of them."""

    def count(self, found: Sequence[int], most: int) -> None:
        """Counts these, and keeps the first."""
        self.rows += len(found)
        self.row_ids += found[: most - len(self.row_ids)]


@dataclass(slots=True)
class Difference:
    """All in which two run databases differ. ``here`` is the first one."""

    columns: list[ColumnDifference]
    """Those of both."""
    columns_only_here: list[str]
    columns_only_there: list[str]
    rows_compared: int = 0
    rows_changed: int = 0
    rows_only_here: RowsOfOne = field(default_factory=RowsOfOne)
    rows_only_there: RowsOfOne = field(default_factory=RowsOfOne)
    dropped_only_here: RowsOfOne = field(default_factory=RowsOfOne)
    dropped_only_there: RowsOfOne = field(default_factory=RowsOfOne)

    @property
    def other_types(self) -> list[ColumnDifference]:
        """The columns of both whose types differ."""
        return [column for column in self.columns if column.type_here != column.type_there]

    @property
    def is_equal(self) -> bool:
        """There is no difference at all."""
        of_one = (self.rows_only_here, self.rows_only_there, self.dropped_only_here, self.dropped_only_there)
        return not (
            self.rows_changed
            or self.columns_only_here
            or self.columns_only_there
            or self.other_types
            or any(each.rows for each in of_one)
        )


def difference(here: Reader, there: Reader, chosen: Sequence[str], examples: int) -> Difference:
    """Compares two run databases in all columns, or in ``chosen``; at most so many examples of each kind.

    Raises UsageError for a chosen column that neither has.
    """
    types_here, types_there = dataset_types(here), dataset_types(there)
    known = [name for name in {**types_here, **types_there} if name != "row_id"]
    for name in chosen:
        if name not in known:
            raise UsageError(f"Neither dataset has a column '{name}'.{did_you_mean(name, known)}")
    wanted = list(dict.fromkeys(chosen)) or known
    found = Difference(
        [
            ColumnDifference(name, types_here[name], types_there[name])
            for name in wanted
            if name in types_here and name in types_there
        ],
        [name for name in wanted if name not in types_there],
        [name for name in wanted if name not in types_here],
    )
    shown: dict[str, list[int]] = {column.name: [] for column in found.columns}
    for part in compared_ranges(here, there, list(shown)):
        found.rows_compared += len(part.row_ids)
        found.rows_changed += pc.sum(part.any_differs()).as_py() or 0
        found.rows_only_here.count(part.only_here, examples)
        found.rows_only_there.count(part.only_there, examples)
        for column in found.columns:
            mask = part.differs[column.name]
            column.changed += pc.sum(mask).as_py() or 0
            left = examples - len(shown[column.name])
            shown[column.name] += part.row_ids.filter(mask).slice(0, left).to_pylist()
    values_here, values_there = _values(here, shown), _values(there, shown)
    for column in found.columns:
        name = column.name
        column.examples = [Example(row, values_here[row][name], values_there[row][name]) for row in shown[name]]
    dropped_here, dropped_there = (reader.table(sql.dropped_row_ids.text)["row_id"] for reader in (here, there))
    found.dropped_only_here.count(_without(dropped_here, dropped_there), examples)
    found.dropped_only_there.count(_without(dropped_there, dropped_here), examples)
    return found


def _values(reader: Reader, shown: dict[str, list[int]]) -> dict[int, dict[str, Any]]:
    """The rows of the examples, with the columns that any example is of."""
    row_ids = sorted({row_id for found in shown.values() for row_id in found})
    if not row_ids:
        return {}
    columns = column_list(["row_id", *(name for name, found in shown.items() if found)])
    wanted = f"row_id in ({', '.join(map(str, row_ids))})"
    query = sql.rows_above.fill(columns=columns, view="main.dataset", predicate=wanted)
    table = reader.table(query, {"first": row_ids[0], "last": row_ids[-1], "limit": len(row_ids)})
    rows = [json.loads(text) for batch in table.to_batches() for text in json_objects(batch)]
    return {row["row_id"]: row for row in rows}
