"""Earlier rows: values that a change of the spec takes from rows, kept until it is known whether they are needed again.

A generator that did not change itself makes the same of the same inputs. So where what it needs comes out as it was
before the change, the cell has its earlier value and no call is made (V8). That is decided in the run's turns
(:mod:`rowmill.store.turn.sparing`); here is what they decide by.
"""

from __future__ import annotations

from collections.abc import Sequence

from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import Strategy
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.change import Change, spareable
from rowmill.store.reshape.renumbering import Renumbering

sql = statements_of("reshape/earlier")

_ROWS = ("dataset_row", "active_row", "parked_row", "dropped_row_value")


def keep_earlier_rows(
    connection: Connection, layout: Layout, change: Change, renumbering: Renumbering, version: int
) -> None:
    """Keeps what the rows of the database ``source`` held of cells that may be spared under a new layout.

    What it kept from changes before stays, of cells that are still undecided. ``version``: of the spec the rows were
    made under. Belongs into the transaction of a rebuild. O(rows).
    """
    known = _Known(connection)
    nodes = [node for node in spareable(layout.graph, change) if known.has(node, layout.graph)]
    again = [node for node in nodes if node.name in change.downstream]
    for table in _ROWS:
        _keep(connection, layout, renumbering, again, table, str(version))
    _keep(connection, layout, renumbering, nodes, "earlier_row", "a.spec_version")


def _keep(
    connection: Connection,
    layout: Layout,
    renumbering: Renumbering,
    nodes: Sequence[GeneratorNode],
    table: str,
    version: str,
) -> None:
    if not nodes:
        return
    needed = {name for node in nodes for name in (*node.inputs, *(output.name for output in node.columns))}
    done = [renumbering.moved("done", word, nodes) for word in range(layout.words)]
    values = ["a.row_group", "a.row_index", "a.row_id"]
    for word in range(layout.words):
        values += [done[word], renumbering.moved("skipped", word, layout.graph.generators)]
    values += [
        f"a.{quote(name)}" if name in needed else f"cast(null as {sql_type})" for name, sql_type in layout.value_columns
    ]
    connection.execute(
        sql.keep_earlier_rows.fill(
            columns=layout.all_columns,
            version=version,
            values=", ".join(values),
            table=table,
            has_any=" or ".join(f"({bits}) <> 0" for bits in done),
        )
    )


class _Known:
    """The columns of the source: who makes them, how, and of which type."""

    def __init__(self, connection: Connection) -> None:
        rows = connection.execute(sql.makers_in_source.text)
        self._columns = {str(column): (str(name), str(sql_type)) for column, name, sql_type, _ in rows}
        self._strategies = {str(name): str(strategy) for _, name, _, strategy in rows}

    def has(self, node: GeneratorNode, graph: Graph) -> bool:
        """Whether the source has the generator, and all it needs, as they are now."""
        if self._strategies.get(node.name) != Strategy.CELL:
            return False
        types = {output.name: output.sql_type for output in graph.outputs}
        makers = {output.name: node.name for output in node.columns}
        makers |= {name: graph.generator_of_column(name).name for name in node.inputs}
        needed = {graph.generators[number].name for number in node.upstream}
        return needed <= self._strategies.keys() and all(
            self._columns.get(name) == (maker, types[name]) for name, maker in makers.items()
        )
