"""The plan: how rows are cut into row groups. Pure arithmetic over segments, whatever the number of groups.

Rule P1: segment after segment, groups of ``row_group_size`` rows, the last of a segment smaller. Nothing
that happens in a run (holes, drops, order of finishing) moves an offset; an extension appends a segment.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from rowmill.counted import plural
from rowmill.errors import Damaged, UsageError


@dataclass(frozen=True, slots=True)
class PlanSegment:
    """Consecutive row groups of one size: a row of ``plan_segment``."""

    first_row_group: int
    row_groups: int
    row_group_size: int
    first_row: int
    rows: int

    @property
    def end_row_group(self) -> int:
        """The number after the segment's last row group."""
        return self.first_row_group + self.row_groups

    @property
    def end_row(self) -> int:
        """The row_id after the segment's last row."""
        return self.first_row + self.rows


@dataclass(frozen=True)
class Plan:
    """The segments of a run, in order. Memory and time grow with the extensions, not with the rows (P5).

    Raises :class:`~rowmill.errors.Damaged` for segments that contradict themselves or each other (P4).
    """

    segments: tuple[PlanSegment, ...]
    first_row_group: int = 0
    """Where it begins: 0, but in a shard."""
    first_row: int = 0

    def __post_init__(self) -> None:
        row_group, row = self.first_row_group, self.first_row
        for number, segment in enumerate(self.segments):
            problem = _contradiction(segment, row_group, row)
            if problem:
                raise Damaged(
                    f"The plan contradicts itself: {problem} (plan segment {number}). "
                    "'rowmill doctor FILE' checks the rest."
                )
            row_group, row = segment.end_row_group, segment.end_row

    @classmethod
    def fresh(cls, records: int, row_group_size: int) -> Plan:
        """The plan of a new run. 0 records make a plan without segments, which is complete (P2)."""
        if records < 0 or row_group_size < 1:
            raise UsageError(
                f"A plan needs at least 0 records and groups of at least 1 row, not {records}, {row_group_size}."
            )
        return cls(()).extended(records, row_group_size)

    def extended(self, records: int, row_group_size: int | None = None) -> Plan:
        """This plan with a segment appended so that it has ``records`` rows; itself if it has them already.

        ``row_group_size`` defaults to that of the last segment. Raises
        :class:`~rowmill.errors.UsageError` when the plan has more rows than ``records`` (P2).
        """
        if records < self.rows:
            raise UsageError(
                f"The run has {plural(self.rows, 'record')}; it can be extended, but not cut to "
                f"{records:,}. Say 'records: "
                f"{self.rows}' or more to go on with it, or start a new run in another file."
            )
        if records == self.rows:
            return self
        size = row_group_size or (self.segments[-1].row_group_size if self.segments else 0)
        if size < 1:
            raise UsageError("The plan is empty; extending it takes a row-group size of at least 1.")
        rows = records - self.rows
        segment = PlanSegment(self.row_groups, -(-rows // size), size, self.rows, rows)
        return Plan((*self.segments, segment))

    @property
    def rows(self) -> int:
        """Rows of all segments, and of what lies before a shard."""
        return self.segments[-1].end_row if self.segments else 0

    @property
    def row_groups(self) -> int:
        """Row groups of all segments, and of what lies before a shard; they are numbered from 0."""
        return self.segments[-1].end_row_group if self.segments else 0

    def size_of(self, row_group: int) -> int:
        """Rows of a row group. Raises :class:`~rowmill.errors.UsageError` for an unknown one (P3)."""
        segment = self._segment_of(row_group)
        before = (row_group - segment.first_row_group) * segment.row_group_size
        return min(segment.row_group_size, segment.rows - before)

    def offset_of(self, row_group: int) -> int:
        """The row_id of a row group's first row. Raises :class:`~rowmill.errors.UsageError` for an unknown one (P3)."""
        segment = self._segment_of(row_group)
        return segment.first_row + (row_group - segment.first_row_group) * segment.row_group_size

    def group_of_row(self, row_id: int) -> int:
        """The row group a row is in. Raises :class:`~rowmill.errors.UsageError` for an unknown row (P3)."""
        if not 0 <= row_id < self.rows:
            raise UsageError(f"Row {row_id} is not in the plan: {_known('rows', self.rows)}.")
        segment = self.segments[bisect_right(self._first_rows, row_id) - 1]
        return segment.first_row_group + (row_id - segment.first_row) // segment.row_group_size

    def _segment_of(self, row_group: int) -> PlanSegment:
        if not 0 <= row_group < self.row_groups:
            raise UsageError(f"Row group {row_group} is not in the plan: {_known('row groups', self.row_groups)}.")
        return self.segments[bisect_right(self._first_row_groups, row_group) - 1]

    @cached_property
    def _first_rows(self) -> list[int]:
        return [segment.first_row for segment in self.segments]

    @cached_property
    def _first_row_groups(self) -> list[int]:
        return [segment.first_row_group for segment in self.segments]


def _known(what: str, count: int) -> str:
    return f"it has no {what}" if count == 0 else f"its {what} are 0 to {count - 1}"


def _contradiction(segment: PlanSegment, row_group: int, row: int) -> str | None:
    if segment.first_row_group != row_group:
        return f"it starts with row group {segment.first_row_group}, but the one before ends before {row_group}"
    if segment.first_row != row:
        return f"it starts with row {segment.first_row}, but the one before ends before {row}"
    if segment.row_group_size < 1 or segment.rows < 1 or segment.row_groups < 1:
        return "sizes and counts must be at least 1"
    needed = -(-segment.rows // segment.row_group_size)
    if segment.row_groups != needed:
        return (
            f"{plural(segment.rows, 'row')} in groups of {segment.row_group_size} are "
            f"{plural(needed, 'group')}, not {segment.row_groups}"
        )
    return None
