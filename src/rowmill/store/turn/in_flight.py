"""The marks of handed-out tasks: true of the living process only, so they are in its memory and in no table.

SQL reads them as ``in_flight``: the engine asks for them whenever it scans that name, so what a statement sees is
always what is so.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import TASK_KEY, Rows
from rowmill.task import TaskKey


class InFlight:
    """The tasks that were handed out and of which no outcome has arrived. Bound to one connection."""

    def __init__(self, connection: Connection) -> None:
        self._tasks: set[TaskKey] = set()
        self._table: pa.Table | None = None
        connection.mirror("in_flight", self)

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, tasks: Iterable[TaskKey]) -> None:
        """These tasks are handed out."""
        self._tasks.update(tasks)
        self._table = None

    def end(self, tasks: Iterable[TaskKey]) -> None:
        """Outcomes of these tasks have arrived."""
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
