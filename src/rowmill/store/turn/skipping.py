"""Skips by Jinja rules: what SQL cannot decide is asked of every pulled task before it goes out (S1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from rowmill.errors import RowmillError
from rowmill.graph.graph import Graph
from rowmill.task import Outcome, OutcomeKind, Task
from rowmill.value.python_value import python_rows

SkipCondition = Callable[[Mapping[str, object]], bool]
"""Whether the cell of a row with these inputs is skipped."""

_KIND_OF_FAILED_RULE = {"skip": OutcomeKind.SKIPPED, "stop": OutcomeKind.STOP, "drop": OutcomeKind.REJECTED}
"""What becomes of a row whose rule raises, by the rule's ``on_error`` (S4)."""

LONGEST_TURN_S = 0.25
"""How long the rules of one turn may take together: the tasks that are left are pulled again by the next one."""


class Skipping:
    """Tells pulled tasks to hand out from cells to skip."""

    def __init__(self, graph: Graph, conditions: Mapping[int, SkipCondition]) -> None:
        """``conditions``: by generator, for those with a Jinja ``skip.when``."""
        self._graph = graph
        self._conditions = conditions

    def separate(self, tasks: list[Task]) -> tuple[list[Task], list[Outcome]]:
        """Tasks to hand out, and what became of the others: outcomes of the next turn, like any other.

        One rule is decided at least, and no more than there is time for.
        """
        if not self._conditions:
            return tasks, []
        wanted: list[Task] = []
        settled: list[Outcome] = []
        since = monotonic()
        has_decided = False
        for task in tasks:
            condition = self._conditions.get(task.generator)
            if condition is not None and has_decided and monotonic() - since > LONGEST_TURN_S:
                settled.append(Outcome(OutcomeKind.RELEASED, task))
                continue
            has_decided = has_decided or condition is not None
            skipped = [] if condition is None else self._skipped(task, condition)
            if not skipped:
                wanted.append(task)
                continue
            settled += skipped
            if task.row_index is None:
                # The rest of the row group is pulled again, without the skipped rows (S5).
                settled.append(Outcome(OutcomeKind.RELEASED, task))
        return wanted, settled

    def _skipped(self, task: Task, condition: SkipCondition) -> list[Outcome]:
        return [outcome for cell in _cells_of(task) if (outcome := self._outcome(cell, condition)) is not None]

    def _outcome(self, cell: Task, condition: SkipCondition) -> Outcome | None:
        """The outcome of a skipped cell, None for one to generate. An error goes by ``on_error`` (S4)."""
        try:
            return Outcome(OutcomeKind.SKIPPED, cell) if condition(cell.inputs) else None
        except RowmillError as error:
            rule = self._graph.generators[cell.generator].declaration.skip
            return Outcome(_KIND_OF_FAILED_RULE[rule.on_error if rule else "drop"], cell, error=error)


def _cells_of(task: Task) -> Sequence[Task]:
    """The task itself, or the rows of a batch task as if they were tasks of their own."""
    if task.row_index is not None:
        return [task]
    return [
        Task(task.generator, task.row_group, row["row_index"], row["row_id"], task.attempts, row)
        for row in python_rows(task.inputs)
    ]
