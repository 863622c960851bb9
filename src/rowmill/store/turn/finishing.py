"""Finishing row groups: complete ones move to the dataset in the turn's transaction (K1, K2)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.turn.ledger import TurnLedger
from rowmill.task import FinishedRowGroup, TaskKey

sql = statements_of("turn/finish", "turn/row_groups")


class Finishing:
    """Finishes row groups. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout, *, announces: bool) -> None:
        """``announces``: row groups are remembered until they were announced (K3)."""
        self._connection = connection
        self._of_all = sql.unfinished_rows.fill(all_done=layout.all_done)
        self._living = sql.unfinished_rows.fill(all_done="false")
        """Counts every row that lives."""
        self._unfinished: dict[int, int] = {}
        """At least so many rows have to end before a row group is complete; none if it is missing here."""
        self._move = sql.move_finished_rows.fill(columns=layout.all_columns)
        self._skips = (
            sql.record_finished_skips.fill(is_skipped_of_a=layout.view_slots["is_skipped_of_a"])
            if layout.skippable
            else None
        )
        self._announces = announces

    def forget_announced(self, ledger: TurnLedger) -> None:
        """What the last turn returned was announced since: its callbacks have run."""
        if self._announces and ledger.last is not None and ledger.last.announced:
            self._connection.execute(sql.forget_announced.text, {"row_groups": list(ledger.last.announced)})

    def unannounced(self) -> list[FinishedRowGroup]:
        """What earlier invocations finished and may not have announced, lowest first."""
        if not self._announces:
            return []
        return [FinishedRowGroup(*row) for row in self._connection.execute(sql.unannounced_row_groups.text)]

    def finish(self, ledger: TurnLedger, *, only_emptied: bool = False) -> int:
        """Finishes every complete active row group and returns how many; the ledger gets them, lowest first.

        ``only_emptied``: rows wait for a barrier, so only row groups of which none lives are complete.
        """
        finished = self._finish(ledger.now, self._living if only_emptied else self._of_all)
        if only_emptied:
            self._unfinished = {}
        ledger.finished += finished
        ledger.counts["finished"] += len(finished)
        return len(finished)

    def count_ended(self, ended: Iterable[TaskKey]) -> bool:
        """Counts tasks that ended, after which their rows need no other; whether a row group may be complete now.

        Most turns complete nothing, and looking costs as much as a small write. Each task counts for a row, whatever
        came of it, so this errs on the side of looking. Nothing else may have completed rows since the last look.
        """
        unfinished = self._unfinished
        may = False
        for _, row_group, row_index in ended:
            left = unfinished.get(row_group, 0) - 1 if row_index >= 0 else 0
            unfinished[row_group] = left
            may = may or left <= 0
        return may

    def _finish(self, now: datetime, query: str) -> list[FinishedRowGroup]:
        found = self._connection.execute(query)
        self._unfinished = {row_group: unfinished for row_group, unfinished, _ in found}
        complete = {row_group: live_rows for row_group, unfinished, live_rows in found if not unfinished}
        if not complete:
            return []
        row_groups = {"row_groups": list(complete)}
        self._connection.execute(self._move, row_groups)
        if self._skips:
            self._connection.execute(self._skips, row_groups)
        facts = {**row_groups, "live_rows": list(complete.values()), "now": now}
        recorded = self._connection.execute(sql.finish_row_groups.text, facts)
        if self._announces:
            self._connection.execute(sql.note_unannounced.text, row_groups)
        self._connection.execute(sql.delete_finished_rows.text, row_groups)
        self._connection.execute(sql.forget_admitted_row_groups.text, row_groups)
        return sorted((FinishedRowGroup(*row) for row in recorded), key=lambda group: group.row_group)
