"""Reopening: dropped rows come back, cells are made again. Everything that was paid for stays where it is.

Each method belongs into a transaction of the caller's and leaves a state that any turn can go on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout

sql = statements_of("reshape/reopen", "reshape/earlier", "turn/row_groups")
_FORGET_DROPS = [
    sql.forget_earlier_of_invalid,
    sql.delete_revived_drops,
    sql.delete_revived_values,
    sql.forget_regenerations_of_revived,
]
_FOLLOW = [
    sql.bring_row_groups_back,
    sql.forget_finished_row_groups,
    sql.count_rows_of_row_groups,
]
_SET_ASIDE = [
    sql.park_active_rows,
    sql.delete_all_active_rows,
    sql.set_row_groups_aside,
    sql.delete_all_deferrals,
]

_CONDITION = "The condition"

ROW_KEY = pa.schema([("row_group", pa.int64()), ("row_index", pa.int64())])

RowKey = tuple[int, int]
"""Row group and index: which row."""


class Reopening:
    """Brings rows back. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout

    def dropped_rows(self, predicate: str) -> list[RowKey]:
        """The dropped rows for which an SQL condition over the view ``dropped_row`` holds."""
        with allowance(self._connection, _CONDITION, [predicate]):
            found = self._connection.execute(sql.dropped_rows_where.fill(predicate=predicate))
        return [(group, index) for group, index in found]

    def made_rows(self, generator: int, predicate: str) -> list[RowKey]:
        """The rows that have the generator's cell and for which an SQL condition over their columns holds."""
        query = sql.made_rows_where.fill(is_made=self._layout.contains("m.done", [generator]), predicate=predicate)
        with allowance(self._connection, _CONDITION, [predicate]):
            return [(group, index) for group, index in self._connection.execute(query)]

    def revive(self, rows: Iterable[RowKey], *, by_hand: bool = False) -> None:
        """:func:`revive` on this connection."""
        revive(self._connection, rows, by_hand=by_hand)

    def set_aside(self) -> None:
        """Sets all active and parked row groups aside, so that everything comes back lowest first."""
        for each in _SET_ASIDE:
            self._connection.execute(each.text)

    def make_again(self, generators: Sequence[int], rows: Sequence[RowKey]) -> None:
        """Clears the cells of ``generators`` in ``rows``; they are made again when their row groups come back.

        ``generators`` must hold everything downstream of its members. No task may be in flight.
        """
        self.set_aside()
        self._connection.stage("remade_row", _keys(rows))
        cleared = self._layout.cleared(generators)
        self._connection.execute(
            sql.clear_parked_cells.fill(clear=", ".join(f"{word} = p.{bits}" for word, bits in cleared))
        )
        self._connection.execute(sql.forget_earlier_of_remade.fill(forgotten=self._layout.forgotten(generators)))
        self._connection.execute(
            sql.take_from_dataset.fill(cleared=", ".join(f"d.{bits} as {word}" for word, bits in cleared))
        )
        self._connection.execute(sql.delete_taken_from_dataset.text)
        follow_rows(self._connection)
        if self._layout.skippable:
            self._connection.execute(sql.forget_skips_of_remade.text)
            self._connection.execute(
                sql.count_skips_of_remade.fill(is_skipped_of_a=self._layout.view_slots["is_skipped_of_a"])
            )
        if self._layout.regenerating:
            self._connection.execute(sql.forget_regenerations_of_remade.text, {"generators": list(generators)})
        nodes = self._layout.graph.generators
        ordered = [number for number in generators if nodes[number].declaration.is_ordered]
        if ordered:
            self._connection.execute(sql.forget_generator_state.text, {"generators": ordered})

    def ordered(self, generators: Iterable[int]) -> list[str]:
        """Those that work on one row group after the other: they can only be made again as a whole (R10)."""
        nodes = (self._layout.graph.generators[number] for number in generators)
        return [node.name for node in nodes if node.declaration.is_ordered]


def revive(connection: Connection, rows: Iterable[RowKey], *, by_hand: bool = False) -> None:
    """Takes dropped rows back with the values they had; finished row groups will come back for them (F6).

    ``by_hand``: a person wants them tried again, so of those that were found invalid what was judged is made again.
    """
    connection.stage("new_revival", _keys(rows))
    values = "dropped_row_again" if by_hand else "dropped_row_value"
    connection.execute(sql.revive_rows.fill(values=values))
    connection.execute(sql.revive_parked_rows.fill(values=values))
    for each in _FORGET_DROPS:
        connection.execute(each.text)
    follow_rows(connection)


def follow_rows(connection: Connection) -> None:
    """Has row groups follow rows that left the dataset or came back: finished ones are due, others count theirs."""
    for each in _FOLLOW:
        connection.execute(each.text)


def _keys(rows: Iterable[RowKey]) -> pa.Table:
    keys = Rows(ROW_KEY)
    keys.rows = list(dict.fromkeys(rows))
    return keys.table()
