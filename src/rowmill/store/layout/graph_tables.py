"""The graph as rows: what a run database knows of its generators, columns and dependencies."""

from __future__ import annotations

import pyarrow as pa

from rowmill.graph.fingerprint import fingerprint
from rowmill.graph.graph import Graph
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout

sql = statements_of("run")


def insert_graph(connection: Connection, graph: Graph, layout: Layout) -> None:
    """Writes generators, columns and dependencies of a graph. Belongs into the caller's transaction."""
    rows = []
    for node in graph.generators:
        declaration = node.declaration
        row: dict[str, object] = {
            "generator": node.number,
            "name": node.name,
            "column_type": declaration.column_type,
            "strategy": str(declaration.strategy),
            "reason": declaration.reason,
            "resource": declaration.resource,
            "weight": declaration.weight,
            "is_ordered": declaration.is_ordered,
            "fingerprint": fingerprint(declaration),
        }
        for word, (own, upstream) in enumerate(
            zip(layout.word_masks([node.number]), layout.word_masks(node.upstream), strict=True)
        ):
            row[f"own_{word}"] = own
            row[f"upstream_{word}"] = upstream
        rows.append(row)
    masks = [(f"{kind}_{word}", pa.uint64()) for word in range(layout.words) for kind in ("own", "upstream")]
    texts = [(name, pa.string()) for name in ("name", "column_type", "strategy", "reason", "resource", "fingerprint")]
    traits = [("weight", pa.float64()), ("is_ordered", pa.bool_())]
    generators = pa.Table.from_pylist(rows, schema=pa.schema([("generator", pa.int32()), *texts, *traits, *masks]))
    owner = {output.name: node.number for node in graph.generators for output in node.columns}
    columns = pa.table(
        {
            "column_name": pa.array([output.name for output in graph.outputs], type=pa.string()),
            "generator": pa.array([owner[output.name] for output in graph.outputs], type=pa.int32()),
            "position": pa.array(range(len(graph.outputs)), type=pa.int32()),
            "sql_type": pa.array([output.sql_type for output in graph.outputs], type=pa.string()),
            "is_side_effect": pa.array([output.side_effect for output in graph.outputs], type=pa.bool_()),
            "in_dataset": pa.array([not output.drop for output in graph.outputs], type=pa.bool_()),
        }
    )
    edges = [(node.number, upstream) for node in graph.generators for upstream in node.upstream]
    dependencies = pa.table(
        {
            "generator": pa.array([edge[0] for edge in edges], type=pa.int32()),
            "upstream": pa.array([edge[1] for edge in edges], type=pa.int32()),
        }
    )
    for name, table, insert in (
        ("new_generator", generators, sql.insert_generator),
        ("new_column", columns, sql.insert_column_def),
        ("new_dependency", dependencies, sql.insert_dependency),
    ):
        connection.stage(name, table)
        connection.execute(insert.text)
        connection.unstage(name)
