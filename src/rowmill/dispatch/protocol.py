"""What the dispatcher needs from the rest: somebody to execute calls, somebody to take turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rowmill.task import Outcome, Request, Task, TurnResult


@dataclass(frozen=True, slots=True)
class Traits:
    """How the tasks of a generator are called."""

    resource: str
    max_rows_per_call: int = 1
    timeout_s: float | None = None
    """Deadline of one call; None: no deadline."""


class Executor(Protocol):
    """Executes calls: the seam to run tasks elsewhere."""

    async def execute(self, tasks: Sequence[Task], journal: list[Request]) -> Sequence[Outcome]:
        """Makes one call for tasks of one generator and returns one outcome a task.

        Errors of the generator are outcomes; whatever is raised is an error of Rowmill and stops the run.
        Requests are appended to ``journal`` as they end, so that those of a call that is cancelled are known too.
        """
        ...


class TakeTurn(Protocol):
    """Takes one turn on the run database."""

    async def __call__(
        self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float, learned: Mapping[str, int]
    ) -> TurnResult:
        """See :class:`rowmill.store.turn.turn.Turn`. ``now`` is seconds since the epoch."""
        ...
