"""Rows that are given up leave the table they are in, with their reason; what they hold is kept beside them (R9)."""

from __future__ import annotations

from datetime import datetime

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statement

ACTIVE, PARKED = "active_row", "parked_row"
"""The tables rows can be dropped from."""
_RECORD = statement("record_drops")
_KEEP_VALUES = statement("keep_dropped_values")
_DELETE = statement("delete_dropped_rows")
_DELETE_PARKED_DEFERRALS = statement("delete_parked_deferrals")
_UNPARK_EMPTIED = statement("unpark_emptied_row_groups")
_COUNT_ROWS = statement("count_rows_of_row_groups")


def give_up(connection: Connection, table: str, drops: Rows, now: datetime) -> None:
    """Drops rows of ``table`` for the reasons in ``drops`` (NEW_DROP). They stay staged as ``new_drop``.

    A parked row group that loses its last row is active again: it is complete.
    """
    connection.stage("new_drop", drops.table())
    connection.execute(_RECORD.fill(rows_of=table), {"now": now})
    connection.execute(_KEEP_VALUES.fill(rows_of=table))
    connection.execute(_DELETE.fill(rows_of=table))
    if table == PARKED:
        connection.execute(_DELETE_PARKED_DEFERRALS.text)
        connection.execute(_UNPARK_EMPTIED.text)
        connection.execute(_COUNT_ROWS.text)
