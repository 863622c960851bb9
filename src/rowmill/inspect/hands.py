"""Giving rows up, and bringing back what was given up or waits: by number, or by a condition in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.inspect.selection import Range, deferred_tasks, dropped_rows, live_rows, parsed_ranges
from rowmill.inspect.steering import steer
from rowmill.store.turn.control_request import ControlAnswer

BY_HAND = "dropped by hand"
"""The reason of rows that are dropped without one."""


def ranges_of(rows: str | range | Iterable[int]) -> list[Range]:
    """Row numbers as ranges: ``3,17,100-199`` or numbers. Raises UsageError for anything else."""
    if isinstance(rows, str):
        return parsed_ranges(rows)
    numbers = sorted(set(rows))
    wrong = next((each for each in numbers if type(each) is not int or each < 0), None)
    if wrong is not None:
        raise UsageError(f"{wrong!r} is no row number: they are whole numbers from 0 on.")
    found: list[Range] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def drop_rows(
    database: Path,
    *,
    ranges: list[Range] | None,
    where: str | None,
    reason: str = BY_HAND,
    dry_run: bool = False,
) -> ControlAnswer:
    """Gives up the rows that are worked on and meant; says how many it would be with ``dry_run``. Raises UsageError."""
    if (ranges is None) == (where is None):
        raise UsageError('Say which rows: --rows 3,17,100-199 or --where "a condition".')
    found = live_rows(database, where=where, ranges=ranges)
    count = sum(last - first + 1 for first, last in found)
    if not count:
        return ControlAnswer("already", "No row that is worked on is meant: nothing to drop.")
    if dry_run:
        return ControlAnswer("dry_run", f"{plural(count, 'row')} would be dropped.", count)
    return steer(database, "drop", {"rows": found, "reason": reason})


def retry_dropped(database: Path, where: str | None, *, dry_run: bool = False) -> ControlAnswer:
    """Brings dropped rows back, of a living run or a stopped one. Raises UsageError."""
    rows = dropped_rows(database, where)
    which = f" where {where}" if where else ""
    if not rows:
        return ControlAnswer("already", f"{database} has no dropped rows{which}: nothing to bring back.")
    if dry_run:
        return ControlAnswer("dry_run", f"{plural(len(rows), 'dropped row')}{which} would come back.", len(rows))
    return steer(database, "retry_dropped", {"rows": rows})


def retry_deferred(database: Path, where: str | None, *, dry_run: bool = False) -> ControlAnswer:
    """Ends the waiting of deferred tasks. Raises UsageError."""
    tasks = deferred_tasks(database, where)
    if dry_run:
        return ControlAnswer("dry_run", f"{plural(len(tasks), 'deferred task')} would be ready at once.", len(tasks))
    return steer(database, "retry_deferred", {"tasks": tasks})
