"""What the dispatcher needs from the rest: somebody to execute calls, somebody to take turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rowmill.dispatch.slot import Slot
from rowmill.task import Outcome, Request, Task, TaskKey, TurnResult


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


class CallEnding(NamedTuple):
    """A call that was made elsewhere has ended."""

    call: int
    outcomes: Sequence[Outcome]
    """One for each task of the call, in their order."""


class Workers(Protocol):
    """Makes calls elsewhere, many at a time: the bulk lane, with no coroutine per call on this side."""

    @property
    def suspects(self) -> Set[TaskKey]:
        """Tasks that lost more than one worker. Each is to be a call of its own (W4). A live view."""
        ...

    def submit(self, slots: Sequence[Slot]) -> None:
        """Takes calls over. Returns at once, and never refuses: what cannot be made now waits for a worker.

        Each slot begins (:meth:`~rowmill.dispatch.slot.Slot.begin`) when a worker gets it. A task among the suspects
        comes in a call of its own.
        """
        ...

    def cancel(self, calls: Sequence[int]) -> None:
        """Nobody waits for the values of these calls any more: they are to end at once.

        Each ends within about a second, with the requests it made as far as they are known.
        """
        ...

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """From now on at most so many requests at once go to these servers of models, of all workers together (C6).

        The same with resources, and calls of their generators (W9): of each worker its share. At 0, and at any that is
        lower than before, calls that wait there end as RELEASED; those of plain functions wait on.
        """
        ...

    def can_share(self, resource: str, calls: int) -> bool:
        """Whether each worker can keep to its share of so many calls of a resource: none is missing, none has more."""
        ...

    def endings(self) -> AsyncIterator[Sequence[CallEnding]]:
        """What ended, in batches, for ever; each call once (W1). To be iterated once.

        A call whose worker was lost ends as RELEASED, or TRANSIENT if it is to blame (W4). Raises
        :class:`~rowmill.errors.Interrupted` when the run is to stop and drop nothing (W5), any other error if it
        cannot go on.
        """
        ...


class TakeTurn(Protocol):
    """Takes one turn on the run database."""

    async def __call__(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int],
        *,
        alone: bool = False,
    ) -> TurnResult:
        """See :class:`rowmill.store.turn.turn.Turn`. ``now`` is seconds since the epoch.

        ``alone``: the event loop is to stand still meanwhile, which makes the turn shorter.
        """
        ...
