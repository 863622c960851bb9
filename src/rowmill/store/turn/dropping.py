"""Rows that are given up leave the table they are in, with their reason; what they hold is kept beside them (R9)."""

from __future__ import annotations

from datetime import datetime

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of

ACTIVE, PARKED = "active_row", "parked_row"
"""The tables rows can be dropped from."""
sql = statements_of("turn/control", "turn/outcome", "turn/row_groups")


def give_up(connection: Connection, table: str, drops: Rows, now: datetime) -> None:
    """Drops rows of ``table`` for the reasons in ``drops`` (NEW_DROP). They stay staged as ``new_drop``.

    A parked row group that loses its last row is active again: it is complete.
    """
    connection.stage("new_drop", drops.table())
    connection.execute(sql.record_drops.fill(rows_of=table), {"now": now})
    connection.execute(sql.keep_dropped_values.fill(rows_of=table))
    connection.execute(sql.delete_dropped_rows.fill(rows_of=table))
    if table == PARKED:
        connection.execute(sql.delete_parked_deferrals.text)
        connection.execute(sql.unpark_emptied_row_groups.text)
        connection.execute(sql.count_rows_of_row_groups.text)
