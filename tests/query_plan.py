"""What a query does when it runs: the operators of its plan, and the rows they hand on. Never its time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from run_state import RunState


class Operator(NamedTuple):
    """An operator of a plan that ran: its kind, the rows it handed on, and those its inputs handed to it."""

    kind: str
    rows: int
    inputs: list[int]


def operators_of(state: RunState, query: str, parameters: Mapping[str, object] | None = None) -> list[Operator]:
    """The operators of a query, after it ran."""
    ((_, plan),) = state.store.connection.execute(f"explain (analyze, format json) {query}", parameters or None)
    return [operator for root in json.loads(plan)["operator"] for operator in _operators(root)]


def work_of(state: RunState, query: str, parameters: Mapping[str, object] | None = None) -> int:
    """The rows all operators of a query handed on."""
    return sum(operator.rows for operator in operators_of(state, query, parameters))


def _operators(node: dict[str, Any]) -> Iterator[Operator]:
    for child in node.get("children", []):
        yield from _operators(child)
    inputs = [int(child["intermediate_rows"]) for child in node.get("children", [])]
    yield Operator(node["type"], int(node["intermediate_rows"]), inputs)
