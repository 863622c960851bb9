"""Sparing: a cell whose inputs came out as they were before a change of the spec has its earlier value (V8).

What cells were earlier was kept by the change (:mod:`rowmill.store.reshape.earlier`). A run whose spec never changed
has nothing of it, and then no turn asks.
"""

from __future__ import annotations

from collections.abc import Iterable

from rowmill.graph.graph import GeneratorNode
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout

sql = statements_of("turn/spare")


class Sparing:
    """Decides which cells are spared. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        self._is_decided = layout.per_word("done_# = 0", " and ")
        self._has_any = False
        self._has_decided = False
        self.look()

    def look(self) -> None:
        """Learns whether there are earlier rows of rows that live: at the start, and when rows come back.

        Where a barrier may bring dropped rows back at any time, those count as well.
        """
        statement = sql.has_earlier_rows if self._layout.graph.barriers else sql.has_earlier_rows_of_living
        self._has_any = bool(self._connection.execute(statement.text)[0][0])

    def with_spareable(self, nodes: tuple[GeneratorNode, ...]) -> Iterable[GeneratorNode]:
        """These generators, and those of which a cell may be spared, in topological order."""
        if not self._has_any:
            return nodes
        numbers = {*self._layout.graph.spareable, *(node.number for node in nodes)}
        return [node for node in self._layout.graph.generators if node.number in numbers]

    def spare(self, node: GeneratorNode) -> int:
        """Decides the cells of a generator whose inputs are there, before any is handed out; how many are spared."""
        if not self._has_any or node.number not in self._layout.graph.spareable:
            return 0
        layout = self._layout
        word, mask = layout.graph.bit(node.number)
        statement = sql.spare_cells.fill(
            assignments=", ".join(f"{quote(output.name)} = e.{quote(output.name)}" for output in node.columns),
            set_done=layout.add("done", node.number, "a."),
            set_skipped=f"skipped_{word} = a.skipped_{word} | (e.skipped_{word} & {mask}::ubigint)",
            has_value=layout.contains("e.done", [node.number]),
            upstream_done=layout.contains("n.done", node.upstream),
            not_done=layout.lacks("n.done", node.number),
            same_skips=layout.same_skips(node, "e", "n"),
            same_inputs=layout.same_inputs(node, "e", "n"),
        )
        spared = int(self._connection.execute(statement)[0][0])
        decided = sql.decide_cells.fill(
            forgotten=layout.forgotten([node.number]),
            has_value=layout.contains("e.done", [node.number]),
            upstream_done=layout.contains("n.done", node.upstream),
        )
        self._has_decided = bool(self._connection.execute(decided)[0][0]) or self._has_decided
        return spared

    def forget_decided(self) -> None:
        """Forgets earlier rows that have nothing left to decide."""
        if self._has_decided:
            self._has_decided = False
            self._connection.execute(sql.forget_decided_rows.fill(is_decided=self._is_decided))
            self.look()
