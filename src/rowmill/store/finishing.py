"""Finishing row groups: complete ones move to the dataset in the turn's transaction (K1, K2)."""

from __future__ import annotations

from datetime import datetime

from rowmill.store.connection import Connection
from rowmill.store.layout import Layout
from rowmill.store.statements import statement
from rowmill.task import FinishedRowGroup

_FINISHABLE = statement("finishable_row_groups")
_MOVE = statement("move_finished_rows")
_SKIPS = statement("record_finished_skips")
_RECORD = statement("record_finished_row_groups")
_DELETE_ROWS = statement("delete_finished_rows")
_DELETE_GROUPS = statement("delete_finished_row_groups")


class Finishing:
    """Finishes row groups. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._finishable = _FINISHABLE.fill(all_done=layout.all_done)
        self._move = _MOVE.fill(columns=layout.all_columns)
        self._skips = _SKIPS.fill(is_skipped_of_a=layout.view_slots["is_skipped_of_a"]) if layout.skippable else None

    def finish(self, now: datetime) -> list[FinishedRowGroup]:
        """Finishes every complete active row group and returns them, lowest first."""
        complete = [row_group for (row_group,) in self._connection.execute(self._finishable)]
        if not complete:
            return []
        row_groups = {"row_groups": complete}
        self._connection.execute(self._move, row_groups)
        if self._skips:
            self._connection.execute(self._skips, row_groups)
        recorded = self._connection.execute(_RECORD.text, {**row_groups, "now": now})
        self._connection.execute(_DELETE_ROWS.text, row_groups)
        self._connection.execute(_DELETE_GROUPS.text, row_groups)
        return sorted((FinishedRowGroup(*row) for row in recorded), key=lambda group: group.row_group)
