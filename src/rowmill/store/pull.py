"""The pull: ready tasks leave the database, with the values they need, and are marked in flight.

What the resources can take comes as parameters; which tasks are ready is the view ``state.frontier``.
Fairness between the generators of a resource is start-time fair queueing (Goyal, Vin and Cheng, 1996): a
generator's next tag grows by 1/weight with each of its tasks, the smallest tags go first, and one that was idle
rejoins at the tag its resource has reached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rowmill.graph.graph import GeneratorNode
from rowmill.spec.declaration import Strategy
from rowmill.store.connection import Connection, quote
from rowmill.store.layout import Layout
from rowmill.store.statements import statement
from rowmill.task import Task

_CREATE_IN_FLIGHT = statement("create_in_flight")
_PULL = statement("pull_ready_tasks")
_CELLS = statement("pulled_cells")
_BATCHES = statement("pulled_batches")
_BATCH_ROWS = statement("batch_rows")
_STATE = statement("read_generator_state")


_TIME_ZONE = re.compile(r"TIME ZONE|TIMESTAMPTZ|TIMETZ", re.IGNORECASE)


class FairShare:
    """The next tag of every task generator; true of this process only, and never needed for correctness."""

    def __init__(self, resource_of: Mapping[int, str], weight_of: Mapping[int, float]) -> None:
        self._resource_of = dict(resource_of)
        self._step = {generator: 1.0 / weight for generator, weight in weight_of.items()}
        self._next_tag = dict.fromkeys(resource_of, 0.0)

    def parameters(self) -> dict[str, Any]:
        """The tags as parameters of the pull."""
        return {
            "generators": list(self._next_tag),
            "next_tags": list(self._next_tag.values()),
            "steps": [self._step[generator] for generator in self._next_tag],
        }

    def charge(self, started: Mapping[int, int]) -> None:
        """Charges each generator for the tasks it got; idle ones of the same resource catch up."""
        reached: dict[str, float] = {}
        for generator, count in started.items():
            self._next_tag[generator] += count * self._step[generator]
            resource = self._resource_of[generator]
            reached[resource] = max(reached.get(resource, 0.0), self._next_tag[generator] - self._step[generator])
        for generator, resource in self._resource_of.items():
            if resource in reached:
                self._next_tag[generator] = max(self._next_tag[generator], reached[resource])


class Pull:
    """Hands out tasks. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        nodes = [node for node in layout.graph.generators if node.declaration.strategy is not Strategy.SQL]
        self._cells = [node for node in nodes if node.declaration.strategy is Strategy.CELL]
        self._batches = [node for node in nodes if node.declaration.strategy is Strategy.BATCH]
        self._share = FairShare(
            {node.number: node.declaration.resource or "" for node in nodes},
            {node.number: node.declaration.weight for node in nodes},
        )
        self._turn = 0
        names = list(dict.fromkeys(name for node in self._cells for name in node.inputs))
        position = {name: index for index, name in enumerate(names)}
        self._inputs_of = {node.number: [(name, 5 + position[name]) for name in node.inputs] for node in self._cells}
        types = dict(layout.value_columns)
        self._has_time_zones = any(_TIME_ZONE.search(types[name]) for name in names)
        self._cells_query = _CELLS.fill(inputs=layout.inputs(self._cells, names) or "null as no_inputs")
        connection.execute(_CREATE_IN_FLIGHT.text)

    @property
    def has_generators(self) -> bool:
        """False if the graph is all SQL: then nothing is ever handed out."""
        return bool(self._cells or self._batches)

    def pull(self, free: Mapping[str, int], now: datetime) -> list[Task]:
        """Marks up to ``free`` tasks per resource in flight and returns them, lowest row group first."""
        capacity = {resource: count for resource, count in free.items() if count > 0}
        if not capacity:
            return []
        self._turn += 1
        marked = self._connection.execute(
            _PULL.text,
            {
                "resources": list(capacity),
                "free": list(capacity.values()),
                **self._share.parameters(),
                "turn": self._turn,
                "now": now,
            },
        )
        if not marked[0][0]:
            return []
        tasks: list[Task] = []
        if self._cells:
            tasks += self._pulled_cells()
        if self._batches and len(tasks) < marked[0][0]:
            tasks += self._pulled_batches()
        started: dict[int, int] = {}
        for task in tasks:
            started[task.generator] = started.get(task.generator, 0) + 1
        self._share.charge(started)
        return tasks

    def _pulled_cells(self) -> list[Task]:
        rows = self._cell_rows()
        inputs_of = self._inputs_of
        return [
            Task(row[0], row[1], row[2], row[4], row[3], {name: row[place] for name, place in inputs_of[row[0]]})
            for row in rows
        ]

    def _cell_rows(self) -> list[tuple[Any, ...]]:
        parameters = {"turn": self._turn}
        if not self._has_time_zones:
            return self._connection.execute(self._cells_query, parameters)
        # The engine's own conversion of a time with zone needs a package we do without; Arrow's does not.
        table = self._connection.arrow(self._cells_query, parameters)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def _pulled_batches(self) -> list[Task]:
        tasks = []
        for number, row_group, attempts in self._connection.execute(_BATCHES.text, {"turn": self._turn}):
            node = self._layout.graph.generators[number]
            query = _BATCH_ROWS.fill(inputs=self._batch_inputs(node), not_done=self._layout.lacks("a.done", number))
            table = self._connection.arrow(query, {"row_group": row_group})
            state = self._state_of(number) if node.declaration.is_ordered else None
            tasks.append(Task(number, row_group, None, None, attempts, table, state))
        return tasks

    def _state_of(self, number: int) -> Any:
        rows = self._connection.execute(_STATE.text, {"generator": number})
        return json.loads(rows[0][0]) if rows and rows[0][0] is not None else None

    def _batch_inputs(self, node: GeneratorNode) -> str:
        names = node.inputs
        return ", ".join(f"a.{quote(name)}" for name in names) or "null as no_inputs"
