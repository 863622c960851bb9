"""Regenerating: which generators a validation column has made again when it finds a row invalid, and when it cannot."""

from __future__ import annotations

from rowmill.errors import Problem
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.spec.declaration import Strategy


def regeneration_problems(graph: Graph) -> list[Problem]:
    """Why rows cannot be made again as validation columns want it (``on_invalid: regenerate``)."""
    return [problem for node in graph.generators if (problem := _problem(graph, node)) is not None]


def _problem(graph: Graph, node: GeneratorNode) -> Problem | None:
    wanted = node.declaration.regeneration
    if wanted is None:
        return None
    place = f"{node.declaration.place}.on_invalid"
    roots = graph.regenerating[node.number]
    if not roots:
        targets = ", ".join(f"'{target}'" for target in wanted.targets)
        return Problem(
            place,
            f"Nothing that makes {targets} would answer differently when asked again: only model columns and custom "
            "functions do. Use drop or keep.",
        )
    names = graph.generators
    remade = {*roots, *graph.downstream(roots)}
    for number in sorted(remade):
        if names[number].declaration.is_ordered:
            return Problem(
                place,
                f"Column '{names[number].name}' is made in order, row group by row group, so its cells cannot be made "
                "again one by one. Use drop or keep.",
            )
    between = remade.intersection(graph.all_upstream([node.number]))
    for number in sorted(between):
        if names[number].strategy is Strategy.DATASET:
            return Problem(
                place,
                f"Between column '{names[roots[0]].name}' and its verdict lies '{names[number].name}', which looks at "
                "all rows at once: judge the rows before it (leave it out of what the verdict needs), or use drop or "
                "keep.",
            )
    return None
