"""Mermaid flow charts of a graph: as the spec declares it, and as far as a run has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.graph.graph import Graph
from rowmill.spec.declaration import Strategy

_SHAPES = {
    Strategy.CELL: ("[", "]"),
    Strategy.BATCH: ("[[", "]]"),
    Strategy.DATASET: ("{{", "}}"),
    Strategy.SQL: ("(", ")"),
}
_COLOURS = {
    "done": "fill:#d7f0dd,stroke:#2e7d46,color:#12351f",
    "ready": "fill:#dbe9fb,stroke:#2a66b8,color:#10294b",
    "cooling": "fill:#fde7c8,stroke:#b06a00,color:#4a2d00",
    "deferred": "fill:#fde7c8,stroke:#b06a00,color:#4a2d00",
    "waiting": "fill:#eeeeee,stroke:#8a8a8a,color:#333333",
}
"""State of a generator → how its node is drawn."""


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flow chart. Dashed arrows: needed by the skip condition only.

    Barriers stand between the stages they separate, each in a frame of its own.
    """
    lines = ["flowchart LR"]
    boxes = {}
    for node in graph.generators:
        columns = ", ".join(output.name for output in node.columns)
        kind = f"{node.declaration.column_type} · {node.strategy}"
        boxes[node.number] = _node(node.number, node.strategy, columns, kind)
    if not graph.barriers:
        lines += boxes.values()
    else:
        for stage in graph.stages:
            if stage.generators:
                lines.append(f'  subgraph s{stage.number}["stage {stage.number}"]')
                lines += [f"  {boxes[number]}" for number in stage.generators]
                lines.append("  end")
            lines += [boxes[number] for number in stage.barriers]
    for node in graph.generators:
        lines += [
            f"  g{number} {'-->' if number in node.required else '-.->'} g{node.number}" for number in node.upstream
        ]
    return "\n".join(lines) + "\n"


def live_mermaid(generators: Sequence[Mapping[str, Any]]) -> str:
    """The rows of the view ``graph`` as a Mermaid flow chart with counts, coloured by state."""
    number = {row["generator"]: position for position, row in enumerate(generators)}
    lines = ["flowchart LR"]
    for row in generators:
        strategy = Strategy(row["strategy"])
        columns = ", ".join(row["columns"] or [row["generator"]])
        lines.append(_node(number[row["generator"]], strategy, columns, row["column_type"], _counts(row)))
    for row in generators:
        lines += [f"  g{number[name]} --> g{number[row['generator']]}" for name in row["needs"] if name in number]
    for state, colours in _COLOURS.items():
        members = [f"g{number[row['generator']]}" for row in generators if row["state"] == state]
        if members:
            lines.append(f"  classDef {state} {colours}")
            lines.append(f"  class {','.join(members)} {state}")
    return "\n".join(lines) + "\n"


def _counts(row: Mapping[str, Any]) -> str:
    settled = row["done"] + row["skipped"] + row["dropped"]
    counts = [f"{row['state']} · {settled:,} of {row['cells']:,}"]
    counts += [f"{row[name]:,} {name}" for name in ("skipped", "dropped", "deferred") if row[name]]
    return ", ".join(counts)


def _node(number: int, strategy: Strategy, *lines: str) -> str:
    opening, closing = _SHAPES[strategy]
    return f'  g{number}{opening}"{_text(lines)}"{closing}'


def _text(lines: Sequence[str]) -> str:
    # Inside quotes Mermaid reads HTML, Markdown and entity codes (#35;): every mark of those becomes a code.
    return "<br/>".join("".join(c if c.isalnum() or c in " ,._-·" else f"#{ord(c)};" for c in line) for line in lines)
