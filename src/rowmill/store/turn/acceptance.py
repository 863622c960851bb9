"""Acceptance: rows are planned until enough of them survive (P6).

Whenever all planned rows are finished or dropped, exactly as many rows as are missing are planned anew. So no row is
made in vain, and the dataset holds the wanted number and not one more.
"""

from __future__ import annotations

from rowmill.counted import plural
from rowmill.errors import RowmillError
from rowmill.spec.records import AcceptedRecords
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of

sql = statements_of("run")


class TooFewAccepted(RowmillError):
    """The bound on rows to try is reached, and too few of them survived. Everything that was made is kept."""


class Acceptance:
    """Plans the rows that are missing. Bound to one connection, one target, and the size of new row groups."""

    def __init__(self, connection: Connection, target: AcceptedRecords | None, row_group_size: int) -> None:
        self._connection = connection
        self._target = target
        self._row_group_size = row_group_size

    def plan_missing(self) -> int:
        """Plans as many rows as are missing, and returns how many; 0 if enough survived or no number was asked for.

        Call it when every planned row is finished or dropped, in the transaction of the turn. Raises TooFewAccepted
        when the bound is reached.
        """
        if self._target is None:
            return 0
        finished, planned = self._connection.execute(sql.acceptance_summary.text)[0]
        missing = self._target.accepted - int(finished)
        if missing <= 0:
            return 0
        rows = min(missing, self._target.most - int(planned))
        if rows <= 0:
            raise TooFewAccepted(
                f"{finished:,} of {plural(self._target.accepted, 'row')} were accepted after {planned:,} "
                f"were tried, which is "
                "the bound. 'rowmill show dropped' says why rows were dropped; raise records.at_most, then run again."
            )
        self._connection.execute(sql.plan_more_rows.text, {"rows": rows, "row_group_size": self._row_group_size})
        return rows
