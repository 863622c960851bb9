"""Regeneration: rows a validation column found invalid are made again, as often as it allows.

In the transaction that writes the verdict, what made the row's values is cleared, counted, and ready again. A call
that is under way on values that were taken back is outdated: its result is not taken, its cost is recorded (R9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import TASK_KEY, Rows
from rowmill.store.database.statements import statements_of
from rowmill.store.database.task_marks import OUTDATED, TaskMarks
from rowmill.store.layout.layout import Layout
from rowmill.task import WHOLE_ROW_GROUP, Task, TaskKey

sql = statements_of("reshape/regeneration")

INVALID_ROW = pa.schema([*TASK_KEY, ("message", pa.string())])


class InvalidCell(NamedTuple):
    """A verdict that a row is not valid."""

    generator: int
    """That of the validation column."""
    row_group: int
    row_index: int
    message: str


class JudgedRow(NamedTuple):
    """A row that was found invalid, and lives."""

    generator: int
    row_group: int
    row_index: int
    row_id: int
    message: str
    regenerations: int
    """How often it was made again before."""


class Regenerated(NamedTuple):
    """What became of invalid rows."""

    again: list[JudgedRow]
    """Made again."""
    given_up: list[JudgedRow]
    """Found invalid once more than is allowed, and to be dropped."""
    cleared: frozenset[int]
    """The generators whose cells were cleared."""
    outdated: frozenset[TaskKey]
    """Tasks in flight that became pointless with that."""


class Regeneration:
    """Makes invalid rows again. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        self._outdated = TaskMarks(connection, OUTDATED)
        self._has_any = bool(layout.regenerating) and bool(connection.execute(sql.has_regenerations.text)[0][0])

    def outdated(self) -> frozenset[TaskKey]:
        """Tasks in flight whose result is not to be taken, row by row also where they take whole row groups."""
        return self._outdated.tasks

    def arrived(self, ended: Collection[TaskKey]) -> None:
        """Outcomes of these tasks arrived: they are no longer in flight, and ready again where they were outdated."""
        if self._outdated:
            whole = {key for key in ended if key[2] == WHOLE_ROW_GROUP}
            of_batches = [key for key in self._outdated.tasks if (key[0], key[1], WHOLE_ROW_GROUP) in whole]
            self._outdated.remove([*ended, *of_batches])

    def take(self, invalid: Sequence[InvalidCell]) -> Regenerated:
        """Clears what made these rows, where that is allowed once more. The caller drops those that are given up."""
        found = Regenerated([], [], frozenset(), frozenset())
        rows = Rows(INVALID_ROW)
        rows.rows = list(invalid)
        self._connection.stage("invalid_row", rows.table())
        for number in sorted({cell.generator for cell in invalid}):
            found = self._take(number, found)
        return found

    def _take(self, number: int, before: Regenerated) -> Regenerated:
        graph = self._layout.graph
        wanted = graph.generators[number].declaration.regeneration
        assert wanted is not None, "only such columns find rows that are to be made again"
        roots = graph.regenerating[number]
        can_change = " or ".join(f"not ({self._layout.intersects('a.skipped', [root])})" for root in roots)
        query = sql.rows_found_invalid.fill(predicate=can_change, is_done=self._layout.contains("a.done", [number]))
        again: list[JudgedRow] = []
        given_up: list[JudgedRow] = []
        for *row, can in self._connection.execute(query, {"generator": number}):
            may = can and row[-1] < wanted.at_most
            (again if may else given_up).append(JudgedRow(number, *row))
        cleared = set(before.cleared)
        outdated = set(before.outdated)
        if again:
            self._stage("regenerated_row", (row[:3] for row in again))
            self._connection.execute(sql.count_regenerations.text)
            self._has_any = True
            for root in roots:
                remade = [root, *graph.downstream([root])]
                outdated.update(self._connection.execute(sql.tasks_to_outdate.text, {"generators": remade}))
                self._clear(remade, self._layout.intersects("a.skipped", [root]))
                cleared.update(remade)
            self._outdated.add(outdated)
        if given_up and wanted.then_drops:
            # Without its verdict: should a person have the row tried again, it is judged again.
            self._stage("regenerated_row", (row[:3] for row in given_up))
            self._clear([number, *graph.downstream([number])], "false")
        return Regenerated(
            before.again + again,
            before.given_up + (given_up if wanted.then_drops else []),
            frozenset(cleared),
            frozenset(outdated),
        )

    def _stage(self, name: str, keys: Iterable[TaskKey]) -> None:
        rows = Rows(TASK_KEY)
        rows.rows = list(keys)
        self._connection.stage(name, rows.table())

    def _clear(self, generators: Iterable[int], unless: str) -> None:
        clear = ", ".join(f"{word} = a.{bits}" for word, bits in self._layout.cleared(generators))
        self._connection.execute(sql.clear_active_cells.fill(clear=clear, is_skipped=unless))

    def number(self, tasks: Sequence[Task]) -> list[Task]:
        """Pulled tasks with how often their values were made before."""
        if not self._has_any:
            return list(tasks)
        self._stage("pulled_task", (task.key for task in tasks))
        found = self._connection.execute(sql.regenerations_of_pulled.fill(pairs=self._layout.regenerated_pairs))
        numbers = {row[:3]: row[3] for row in found}
        return [
            task if (count := numbers.get(task.key)) is None else task._replace(regenerations=count) for task in tasks
        ]

    def forget_finished(self) -> None:
        """Row groups finished: their rows need no count any more."""
        if self._has_any:
            self._connection.execute(sql.forget_regenerations.text)
            self._has_any = bool(self._connection.execute(sql.has_regenerations.text)[0][0])
