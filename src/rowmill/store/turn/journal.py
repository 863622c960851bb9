"""The journal of changes: what happened to the run, for people. The table ``event``, bounded in size.

Things that happen all the time (row groups entering and leaving) are counted and written about once a second.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of

_log = logging.getLogger("rowmill.run")

sql = statements_of("run")

_NEW_EVENT = pa.schema([("kind", pa.string()), ("subject", pa.string()), ("detail", pa.string())])
_KEPT = 10_000
_SUMMARY_INTERVAL = timedelta(seconds=1)


class Journal:
    """Collects the events of turns and writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events = Rows(_NEW_EVENT)
        self._counts: dict[tuple[str, str], int] = {}
        self._counted_since: datetime | None = None
        self._written = 0
        self._blocked: str | None = None

    def note(self, kind: str, subject: str, detail: str) -> None:
        """Something that happened."""
        self._events.append(kind, subject, detail)

    def count(self, kind: str, row_groups: int) -> None:
        """Row groups that were admitted, finished, parked or unparked."""
        if row_groups:
            self._add(f"row groups {kind}", "run", row_groups)

    def count_rows(self, kind: str, column: str) -> None:
        """One row more of which that is true, for a column."""
        self._add(f"rows {kind}", column, 1)

    def count_cells(self, kind: str, column: str, cells: int) -> None:
        """So many cells more of which that is true, for a column."""
        self._add(f"cells {kind}", column, cells)

    def _add(self, kind: str, subject: str, count: int) -> None:
        self._counts[kind, subject] = self._counts.get((kind, subject), 0) + count

    def admission_blocked(self, reason: str | None) -> None:
        """Why nothing more is admitted; noted when it changes."""
        if reason != self._blocked:
            self._blocked = reason
            if reason is not None:
                self.note("admission blocked", "run", reason)

    def write(self, now: datetime, *, at_once: bool) -> None:
        """Writes what was noted; counts if a second has passed since the last ones, or ``at_once``."""
        if self._counts:
            self._counted_since = self._counted_since or now
            if at_once or now - self._counted_since >= _SUMMARY_INTERVAL:
                for (kind, subject), count in self._counts.items():
                    self.note(kind, subject, str(count))
                self._counts = {}
                self._counted_since = None
        if not self._events:
            return
        for kind, subject, detail in self._events.rows:
            _log.info("%s: %s %s", kind, subject, detail, extra={"kind": kind, "subject": subject})
        self._connection.stage("new_event", self._events.table())
        self._connection.execute(sql.insert_events.text, {"now": now})
        self._written += len(self._events.rows)
        self._events.rows = []
        if self._written >= _KEPT // 10:
            self._connection.execute(sql.trim_events.text, {"kept": _KEPT})
            self._written = 0
