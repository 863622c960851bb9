"""The pull: ready tasks leave the database, with the values they need, and are marked in flight.

What the resources can take comes as parameters; which tasks are ready is the view ``state.frontier``.
Fairness between the generators of a resource is start-time fair queueing (Goyal, Vin and Cheng, 1996): a
generator's next tag grows by 1/weight with each of its tasks, the smallest tags go first, and one that was idle
rejoins at the tag its resource has reached. Tags are those at which tasks start, not finish: so one that waits for
its turn has a tag at least as large as all that went before, and only idle ones are raised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rowmill.spec.declaration import Strategy
from rowmill.store.database.column_types import arrow_schema
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.database.task_marks import TaskMarks
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.barrier import Barriers
from rowmill.store.reshape.regeneration import Regeneration
from rowmill.task import Task
from rowmill.value.python_value import is_plain, python_values

sql = statements_of("turn/frontier")


class FairShare:
    """The next tag of every task generator; true of this process only, and never needed for correctness."""

    def __init__(
        self, resource_of: Mapping[int, str], weight_of: Mapping[int, float], rows_per_call: Mapping[int, int]
    ) -> None:
        self._resource_of = dict(resource_of)
        self._rows_per_call = dict(rows_per_call)
        self._step = {generator: 1.0 / weight for generator, weight in weight_of.items()}
        self._next_tag = dict.fromkeys(resource_of, 0.0)

    def parameters(self) -> dict[str, Any]:
        """The tags as parameters of the pull."""
        return {
            "generators": list(self._next_tag),
            "next_tags": list(self._next_tag.values()),
            "steps": [self._step[generator] for generator in self._next_tag],
            "rows_per_call": [self._rows_per_call[generator] for generator in self._next_tag],
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

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        in_flight: TaskMarks,
        barriers: Barriers,
        regeneration: Regeneration,
    ) -> None:
        self._connection = connection
        self._in_flight = in_flight
        self._regeneration = regeneration
        self._layout = layout
        self._barriers = barriers
        nodes = [node for node in layout.graph.generators if node.is_task]
        cells = [node for node in nodes if node.declaration.strategy is Strategy.CELL]
        self.has_generators = bool(nodes)
        """False if all is evaluated in the database: then nothing is ever handed out."""
        self._share = FairShare(
            {node.number: node.declaration.resource or "" for node in nodes},
            {node.number: node.declaration.weight for node in nodes},
            {node.number: node.declaration.max_rows_per_call for node in nodes},
        )
        names = list(dict.fromkeys(name for node in cells for name in node.inputs))
        position = {name: index for index, name in enumerate(names)}
        self._inputs_of = {node.number: [(name, 6 + position[name]) for name in node.inputs] for node in cells}
        types = dict(layout.value_columns)
        kinds = arrow_schema(connection, [(name, types[name]) for name in names])
        self._are_plain = all(is_plain(field.type) for field in kinds)
        resources = [node.declaration.resource for node in nodes]
        self._shares = len(set(resources)) < len(resources)
        """Whether any resource has several generators."""
        query = sql.pull_ready_tasks if self._shares else sql.pull_of_single_generators
        self._query = query.fill(inputs=layout.inputs(cells, names) or "null as no_inputs")

    def pull(self, free: Mapping[str, int], now: datetime) -> list[Task]:
        """Marks up to ``free`` tasks per resource in flight and returns them in the order they are to start (C4)."""
        capacity = {resource: count for resource, count in free.items() if count > 0}
        if not capacity:
            return []
        parameters: dict[str, Any] = {"resources": list(capacity), "free": list(capacity.values()), "now": now}
        if self._shares:
            parameters |= {"most": max(capacity.values()), **self._share.parameters()}
        rows = self._rows(parameters)
        if not rows:
            return []
        self._in_flight.add(row[:3] for row in rows)
        inputs_of = self._inputs_of
        tasks: list[Task] = []
        started: dict[int, int] = {}
        for row in rows:
            generator, row_group, row_index, attempts, deferrals, row_id = row[:6]
            if row_index >= 0:
                inputs = {name: row[place] for name, place in inputs_of[generator]}
                task = Task(generator, row_group, row_index, row_id, attempts, inputs)
            elif row_group >= 0:
                task = self._batch(generator, row_group, attempts)
            else:
                task = Task(generator, row_group, None, None, attempts, self._barriers.task_rows(generator))
            tasks.append(task._replace(deferrals=deferrals) if deferrals else task)
            started[generator] = started.get(generator, 0) + 1
        if self._shares:
            self._share.charge(started)
        return self._regeneration.number(tasks)

    def _rows(self, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        if self._are_plain:
            return self._connection.execute(self._query, parameters)
        table = self._connection.arrow(self._query, parameters)
        return list(zip(*map(python_values, table.columns), strict=True))

    def _batch(self, number: int, row_group: int, attempts: int) -> Task:
        node = self._layout.graph.generators[number]
        inputs = ", ".join(f"a.{quote(name)}" for name in node.inputs) or "null as no_inputs"
        query = sql.batch_rows.fill(inputs=inputs, not_done=self._layout.lacks("a.done", number))
        table = self._connection.arrow(query, {"row_group": row_group})
        state = self._state_of(number) if node.declaration.is_ordered else None
        return Task(number, row_group, None, None, attempts, table, state)

    def _state_of(self, number: int) -> Any:
        rows = self._connection.execute(sql.read_generator_state.text, {"generator": number})
        return json.loads(rows[0][0]) if rows and rows[0][0] is not None else None
