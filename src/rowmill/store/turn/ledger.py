"""The ledger of a turn: what one turn has found out and done so far.

It is made when the turn starts, passed to every part of it, and becomes the turn's result. A turn that fails takes its
ledger with it, so no part remembers what never happened. What the next turn has to know of this one is a value,
too: :class:`LastTurn`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from rowmill.store.reshape.reopening import RowKey
from rowmill.store.turn.control_request import PendingRequest
from rowmill.task import FinishedRowGroup, Outcome, Steering, Task, TaskKey, TurnResult


class Stop(IntEnum):
    """Why a turn stops the run. Of several reasons people are told the one that comes first here.

    What has to be mended comes before bounds that only have to be raised. What says most of what is wrong comes first:
    the window of failures counts them and names the most frequent one.
    """

    BARRIER_FAILED = 1
    """A column over the dataset cannot be made (R6)."""
    TOO_MANY_FAILURES = 2
    """The error window is full of failures, of calls or of SQL (F6)."""
    FATAL_OUTCOME = 3
    """An outcome says that every row would fail, such as a wrong key (F3)."""
    SKIP_RULE_FAILED = 4
    """A skip rule cannot be evaluated, and its spec says to stop then (S4)."""
    BUDGET_REACHED = 5
    """The money, the tokens, the requests or the time are used up."""
    TOO_FEW_ACCEPTED = 6
    """No more rows may be tried, and too few of them survived (P6)."""
    NOTHING_TO_FOLLOW = 7
    """The run that is followed is not complete, and nobody works on it."""


@dataclass(frozen=True, slots=True)
class LastTurn:
    """What a turn has to know of the one before it."""

    has_stopped: bool
    """It, or an earlier one, stopped the run."""
    skipped: tuple[Outcome, ...]
    """Outcomes it made itself, of pulled tasks that rules skip: they arrive with the next turn."""
    announced: tuple[int, ...]
    """Row groups it returned as finished: their callbacks have run since (K3)."""


@dataclass
class TurnLedger:
    """One turn. Only its parts write here, in the order of the turn."""

    now: datetime
    """The time of the turn."""
    last: LastTurn | None = None
    """None: it is the first of its invocation, and nothing is known of what the database holds."""

    dropped: set[RowKey] = field(default_factory=set)
    """Rows given up."""
    outdated: set[TaskKey] = field(default_factory=set)
    """Tasks in flight that became pointless, as their inputs were taken back."""
    was_refused: bool = False
    """A local generator was rate limited: row groups that only wait for it can be parked."""
    has_revived: bool = False
    """Dropped rows came back: what is evaluated in the database may be missing in them."""
    requests: list[PendingRequest] = field(default_factory=list)
    """What people wanted, and got."""
    steering: Steering | None = None
    """What of that the dispatcher has to know."""
    finished: list[FinishedRowGroup] = field(default_factory=list)
    """Row groups whose end is to be announced."""
    tasks: list[Task] = field(default_factory=list)
    """To be handed out."""
    skipped: list[Outcome] = field(default_factory=list)
    """What became of pulled tasks that rules skip."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many row groups were admitted, finished, parked, …: for the journal."""
    blocked_by: str | None = None
    """Why the last search for work let no row group in, although there was a use for one."""
    came_in_last: bool = False
    """The last row groups that came in came too late for the pull."""
    ready_barrier: int | None = None
    """The barrier the database can evaluate now; in a transaction of its own, after this one."""
    next_not_before: float | None = None
    """When a turn has to come even if nothing arrives, in seconds since the epoch."""
    again: bool = False
    """Another turn has work to do at once."""
    complete: bool = False
    """Every row group is finished."""
    rests: bool = False
    """The run is a shard, and all its rows wait for a barrier, which needs those of the other shards."""
    _stops: dict[Stop, BaseException] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """No turn of this invocation came before."""
        return self.last is None

    def as_last(self) -> LastTurn:
        """What the next turn has to know, once this one is committed."""
        return LastTurn(
            has_stopped=self.stop is not None or (self.last is not None and self.last.has_stopped),
            skipped=tuple(self.skipped),
            announced=tuple(group.row_group for group in self.finished),
        )

    def note_stop(self, reason: Stop, error: BaseException | None) -> None:
        """Notes a reason to stop the run; of the same reason the first one counts. None: there is none."""
        if error is not None:
            self._stops.setdefault(reason, error)

    @property
    def stop_reason(self) -> Stop | None:
        """Why the turn stops the run: the first of the reasons, in the order of :class:`Stop`."""
        return min(self._stops, default=None)

    @property
    def stop(self) -> BaseException | None:
        """The error of that reason; None: the run goes on."""
        reason = self.stop_reason
        return None if reason is None else self._stops[reason]

    def result(self) -> TurnResult:
        """What the turn hands back."""
        return TurnResult(
            tasks=self.tasks,
            finished=self.finished,
            next_not_before=self.next_not_before,
            again=self.again,
            complete=self.complete or self.rests,
            stop=self.stop,
            dropped=frozenset(self.dropped),
            steering=self.steering,
            outdated=frozenset(self.outdated),
        )
