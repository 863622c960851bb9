"""Shards: consecutive row groups of a run, made in a run database of their own and merged later.

A shard keeps the numbers its row groups and rows have in the whole, so that every value is the one the whole run makes.
Its borders are those of row groups: a generator that works on row groups sees what it would see there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.graph.plan import Plan, PlanSegment


@dataclass(frozen=True, slots=True)
class Shard:
    """Which rows of a whole run a run database holds."""

    first_row: int
    end_row: int
    """The first row after it."""
    records: int
    """Rows of the whole."""
    number: int | None = None
    """Counted from 1; None: it was asked for by its rows."""
    shards: int | None = None
    """Into how many the whole is cut, if they are numbered."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.end_row - self.first_row

    @property
    def share(self) -> float:
        """Which part of the whole it is: 1 for all of it."""
        return self.rows / self.records if self.records else 1.0

    def __str__(self) -> str:
        numbered = f"shard {self.number}/{self.shards}, " if self.number is not None else ""
        if not self.rows:
            return f"{numbered}no rows of {self.records:,}"
        return f"{numbered}rows {self.first_row:,}..{self.end_row:,} of {self.records:,}"

    def cut(self, plan: Plan) -> tuple[PlanSegment, ...]:
        """The segments of the whole plan that it has, under the numbers they have there.

        Raises UsageError for a border inside a row group.
        """
        found = []
        for segment in plan.segments:
            first, end = max(self.first_row, segment.first_row), min(self.end_row, segment.end_row)
            if first < end:
                before = (first - segment.first_row) // segment.row_group_size
                row_groups = -(-(end - segment.first_row) // segment.row_group_size) - before
                found.append(
                    PlanSegment(
                        segment.first_row_group + before, row_groups, segment.row_group_size, first, end - first
                    )
                )
        for border in (self.first_row, self.end_row):
            _check_border(plan, border)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """Which shard is asked for: one of so many, or some rows."""

    number: int | None = None
    shards: int | None = None
    rows: tuple[int, int] | None = None
    """The first row, and the first one after it."""

    @classmethod
    def asked(cls, shard: tuple[int, int] | None, rows: range | None) -> Self | None:
        """The order that the arguments ``shard`` and ``rows`` make; None: the whole. Raises UsageError."""
        if shard is not None and rows is not None:
            raise UsageError("A shard is asked for by its number or by its rows, not by both.")
        if shard is not None:
            number, shards = shard
            if not 1 <= number <= shards:
                raise UsageError(f"There is no shard {number} of {shards}: they are counted from 1.")
            return cls(number, shards)
        if rows is not None:
            if rows.step != 1 or not 0 <= rows.start <= rows.stop:
                raise UsageError(f"Rows are asked for as the first and the one after the last, not as {rows}.")
            return cls(rows=(rows.start, rows.stop))
        return None

    def __str__(self) -> str:
        return f"shard {self.number}/{self.shards}" if self.rows is None else f"rows {self.rows[0]}..{self.rows[1]}"

    @property
    def name(self) -> str:
        """``3-of-16``, ``rows-0-500``: what tells its file from those of the others."""
        return f"{self.number}-of-{self.shards}" if self.rows is None else f"rows-{self.rows[0]}-{self.rows[1]}"

    def of(self, plan: Plan) -> Shard:
        """The shard of a whole plan. Raises UsageError for rows it does not have, or a border inside a row group."""
        if self.rows is not None:
            first, end = self.rows
            if end > plan.rows:
                raise UsageError(f"The run has {plural(plan.rows, 'row')}, so there are no rows {first}..{end}.")
            shard = Shard(first, end, plan.rows)
        else:
            assert self.number is not None
            assert self.shards is not None
            borders = [plan.row_groups * place // self.shards for place in (self.number - 1, self.number)]
            first, end = (plan.offset_of(group) if group < plan.row_groups else plan.rows for group in borders)
            shard = Shard(first, end, plan.rows, self.number, self.shards)
        shard.cut(plan)
        return shard

    def fits(self, shard: Shard) -> bool:
        """Whether it asks for that shard."""
        if self.rows is not None:
            return self.rows == (shard.first_row, shard.end_row)
        return (self.number, self.shards) == (shard.number, shard.shards)


def _check_border(plan: Plan, row: int) -> None:
    if row in (0, plan.rows):
        return
    row_group = plan.group_of_row(row)
    before = plan.offset_of(row_group)
    if before != row:
        after = before + plan.size_of(row_group)
        raise UsageError(
            f"Row {row} lies inside row group {row_group}, whose rows are made together: rows {before} to {after - 1}. "
            f"A shard begins and ends where a row group does, here at {before} or {after}."
        )
