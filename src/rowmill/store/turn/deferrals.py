"""Deferred tasks, each of which waits for its own point in time (F4), and what is known of them without looking."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of

sql = statements_of("turn/frontier", "turn/outcome")

_TABLE = "state.deferred_task"


class DeferredSummary(NamedTuple):
    """What waits at one time."""

    tasks: int
    next_not_before: datetime | None
    """When the next one becomes ready."""


class Deferrals:
    """Keeps ``state.deferred_task``. Bound to one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_any = True
        """Whether any task may be deferred; false only if it is known that none is."""
        self._last = DeferredSummary(0, None)
        self._last_at = datetime.min

    def add(self, deferrals: Rows, now: datetime) -> None:
        """Defers tasks, anew if they were before."""
        self.has_any = True
        self._connection.stage("new_deferral", deferrals.table())
        self._connection.execute(sql.merge_deferred.text, {"now": now})

    def end(self, undeferred: Rows) -> None:
        """These tasks were deferred, and ended."""
        self._connection.stage("undeferred_task", undeferred.table())
        self._connection.execute(sql.clear_deferred.text)

    def delete_stale(self) -> None:
        """Forgets deferrals of tasks that are none any more (R4)."""
        if self.has_any:
            self._connection.execute(sql.delete_stale_deferrals.text)

    def summary(self, now: datetime) -> DeferredSummary:
        """How many tasks are deferred, and when the next one becomes ready; looks only if that may have changed."""
        if not self.has_any:
            return DeferredSummary(0, None)
        next_not_before = self._last.next_not_before
        if now < self._last_at or (next_not_before is not None and next_not_before <= now):
            self._connection.forget(_TABLE)
        self._last = DeferredSummary(
            *self._connection.recall(sql.deferred_summary.text, _TABLE, parameters={"now": now})[0]
        )
        self._last_at = now
        self.has_any = self._last.tasks > 0
        return self._last
