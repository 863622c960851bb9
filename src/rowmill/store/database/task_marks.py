"""Marks of tasks that are true of the living process only: they are in its memory and in no table.

SQL reads them by name: the engine asks for them whenever it scans that name, so what a statement sees is always what
is so. A turn that fails ends the invocation, so nothing has to be rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import TASK_KEY, Rows
from rowmill.task import TaskKey

IN_FLIGHT = "in_flight"
"""The tasks that were handed out and of which no outcome has arrived."""
OUTDATED = "outdated_task"
"""Of these, the tasks whose inputs were taken back, row by row also of a batch task: their results are not taken."""


class TaskMarks:
    """A set of tasks under one name in SQL. Bound to one connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._tasks: set[TaskKey] = set()
        self._table: pa.Table | None = None
        connection.mirror(name, self)

    def __bool__(self) -> bool:
        return bool(self._tasks)

    @property
    def tasks(self) -> frozenset[TaskKey]:
        """The tasks that are marked."""
        return frozenset(self._tasks)

    def add(self, tasks: Iterable[TaskKey]) -> None:
        """Marks these tasks."""
        self._tasks.update(tasks)
        self._table = None

    def remove(self, tasks: Iterable[TaskKey]) -> None:
        """Takes the marks of these tasks away, where they have one."""
        self._tasks.difference_update(tasks)
        self._table = None

    def __arrow_c_schema__(self) -> object:
        return TASK_KEY.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._table is None:
            rows = Rows(TASK_KEY)
            rows.rows = list(self._tasks)
            self._table = rows.table()
        return self._table.__arrow_c_stream__(requested_schema)
