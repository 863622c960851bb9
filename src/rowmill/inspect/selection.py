"""Which rows or tasks of a run somebody means: by number, or by a condition that is only ever read with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rowmill.errors import UsageError
from rowmill.inspect.opening import open_reader
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.expression import hint_for_condition
from rowmill.store.reading.reader import Reader
from rowmill.value.python_value import python_rows

Range = tuple[int, int]
"""Row numbers, both ends included."""

sql = statements_of("turn/control")
_PART = re.compile(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?")


def parsed_ranges(text: str) -> list[Range]:
    """``3,17,100-199`` as ranges. Raises UsageError for anything else."""
    ranges = []
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None or (found[2] is not None and int(found[2]) < int(found[1])):
            raise UsageError(f"'{part.strip()}' is no row number or range of them: write 3,17,100-199.")
        ranges.append((int(found[1]), int(found[2] or found[1])))
    return ranges


def live_rows(database: Path, *, where: str | None = None, ranges: Sequence[Range] | None = None) -> list[Range]:
    """The rows that are worked on and meet a condition, or lie in ``ranges``.

    Raises UsageError for a condition that does not run, or does more than read.
    """
    if where is None:
        inside = [f"row_id between {first} and {last}" for first, last in ranges or ()]
        where = " or ".join(inside) or "false"
    with open_reader(database) as reader:
        rows = _asked(reader, sql.live_row_ids.fill(predicate=_enclosed(where)), where)
    return [(row["first_row"], row["last_row"]) for row in rows]


def deferred_tasks(database: Path, where: str | None = None) -> list[tuple[str, int, int]]:
    """The deferred tasks (generator, row group, row index or -1) that meet a condition on the view deferred_task."""
    with open_reader(database) as reader:
        rows = _asked(reader, sql.deferred_tasks_where.fill(predicate=_enclosed(where or "true")), where)
    return [(row["generator"], row["row_group"], row["row_index"]) for row in rows]


def dropped_rows(database: Path, where: str | None = None) -> list[tuple[int, int]]:
    """The dropped rows (row group, row index) that meet a condition on the view dropped_row."""
    with open_reader(database) as reader:
        rows = _asked(reader, sql.dropped_rows_of_view.fill(predicate=_enclosed(where or "true")), where)
    return [(row["row_group"], row["row_index"]) for row in rows]


def _enclosed(where: str) -> str:
    # On lines of its own, so that a comment in the condition ends with it.
    return f"(\n{where}\n)"


def _asked(reader: Reader, query: str, where: str | None) -> list[dict[str, Any]]:
    reader.check_version()
    try:
        return list(python_rows(reader.table(query)))
    except UsageError as error:
        raise UsageError(f"The condition {where!r} cannot be used. {error}{hint_for_condition(where or '')}") from error
