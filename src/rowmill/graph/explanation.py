"""Explanation: what a run of a spec would do, and why (``rowmill plan``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rowmill.graph.endpoint import Endpoint, endpoints
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.graph.plan import Plan
from rowmill.spec.declaration import Strategy
from rowmill.spec.spec import Spec


@dataclass(frozen=True, slots=True)
class ExplainedGenerator:
    """One generator of an explanation, in the order of the graph."""

    name: str
    column_type: str
    strategy: Strategy
    reason: str
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    stage: int
    tasks: int
    """Calls to make when no row is dropped or skipped; 0 for ``sql``."""
    resource: str | None
    skips: bool
    """Whether rows may skip it, so that fewer calls are made."""


@dataclass(frozen=True, slots=True)
class ExplainedEndpoint:
    """What one model endpoint has to do."""

    resource: str
    aliases: tuple[str, ...]
    max_parallel_requests: int
    requests: int
    """One for each task that uses it: retries come on top, skipped rows make it fewer."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a run would do."""

    name: str
    records: int
    """Rows that are planned at first."""
    most_records: int
    """Rows that are planned at most: more where so many must be accepted, in the place of dropped ones."""
    row_groups: int
    generators: tuple[ExplainedGenerator, ...]
    """In the order in which a row passes them."""
    stages: tuple[tuple[str, ...], ...]
    """Names of the generators of each stage, the barriers that end it last."""
    endpoints: tuple[ExplainedEndpoint, ...]
    critical_path: tuple[str, ...]
    depth: int

    @property
    def tasks(self) -> int:
        """Calls to make, of all generators."""
        return sum(generator.tasks for generator in self.generators)

    @property
    def model_requests(self) -> int:
        """Requests to make, to all endpoints."""
        return sum(endpoint.requests for endpoint in self.endpoints)

    def as_json(self) -> dict[str, Any]:
        """The explanation as plain JSON values; the fields are a contract."""
        return {
            "name": self.name,
            "records": self.records,
            "most_records": self.most_records,
            "row_groups": self.row_groups,
            "tasks": self.tasks,
            "model_requests": self.model_requests,
            "depth": self.depth,
            "critical_path": list(self.critical_path),
            "stages": [list(stage) for stage in self.stages],
            "generators": [
                {
                    "name": generator.name,
                    "column_type": generator.column_type,
                    "strategy": generator.strategy.value,
                    "reason": generator.reason,
                    "inputs": list(generator.inputs),
                    "columns": list(generator.columns),
                    "stage": generator.stage,
                    "tasks": generator.tasks,
                    "resource": generator.resource,
                    "skips": generator.skips,
                }
                for generator in self.generators
            ],
            "endpoints": [
                {
                    "resource": endpoint.resource,
                    "aliases": list(endpoint.aliases),
                    "max_parallel_requests": endpoint.max_parallel_requests,
                    "requests": endpoint.requests,
                }
                for endpoint in self.endpoints
            ],
        }


def explain(spec: Spec, graph: Graph, plan: Plan) -> Explanation:
    """What a run of ``spec`` under ``plan`` would do."""
    tasks = graph.task_counts(plan)
    stage_of = {number: stage.number for stage in graph.stages for number in (*stage.generators, *stage.barriers)}
    return Explanation(
        name=spec.name,
        records=plan.rows,
        most_records=spec.accepted_records.most if spec.accepted_records is not None else plan.rows,
        row_groups=plan.row_groups,
        generators=tuple(
            ExplainedGenerator(
                name=node.name,
                column_type=node.declaration.column_type,
                strategy=node.strategy,
                reason=node.declaration.reason,
                inputs=node.inputs,
                columns=tuple(output.name for output in node.columns),
                stage=stage_of[node.number],
                tasks=tasks[node.number],
                resource=node.declaration.resource,
                skips=node.declaration.skip is not None,
            )
            for node in graph.generators
        ),
        stages=tuple(
            tuple(graph.generators[number].name for number in (*stage.generators, *stage.barriers))
            for stage in graph.stages
        ),
        endpoints=tuple(_explained_endpoint(endpoint, graph, tasks) for endpoint in endpoints(spec).values()),
        critical_path=tuple(node.name for node in graph.critical_path()),
        depth=graph.depth,
    )


def _explained_endpoint(endpoint: Endpoint, graph: Graph, tasks: Mapping[int, int]) -> ExplainedEndpoint:
    requests = sum(tasks[node.number] for node in graph.generators if node.declaration.resource == endpoint.resource)
    return ExplainedEndpoint(endpoint.resource, endpoint.aliases, endpoint.limit, requests)


_DOT_SHAPES = {Strategy.CELL: "box", Strategy.BATCH: "box3d", Strategy.DATASET: "hexagon", Strategy.SQL: "ellipse"}


def dot(graph: Graph) -> str:
    """The graph in the DOT language of Graphviz. Dashed edges: needed by the skip condition only."""
    lines = ["digraph rowmill {", "  rankdir=LR;"]
    for node in graph.generators:
        shape = _DOT_SHAPES[node.strategy]
        lines.append(f'  g{node.number} [label="{_dot_text(_label(node))}", shape={shape}];')
    for node in graph.generators:
        for number in node.upstream:
            style = "" if number in node.required else " [style=dashed]"
            lines.append(f"  g{number} -> g{node.number}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _label(node: GeneratorNode) -> tuple[str, str]:
    """Two lines: the columns, and how they are made."""
    columns = ", ".join(output.name for output in node.columns)
    return columns, f"{node.declaration.column_type} · {node.strategy.value}"


def _dot_text(lines: tuple[str, str]) -> str:
    # &amp; because DOT reads HTML entities in labels.
    return "\\n".join(line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
