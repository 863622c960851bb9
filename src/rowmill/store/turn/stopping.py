"""What stops a run from inside: too many results that fail (F6), and a budget that is used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import to_epoch
from rowmill.store.reshape.reopening import RowKey
from rowmill.store.turn.budget import Budget
from rowmill.store.turn.error_window import ErrorWindow, Failure
from rowmill.store.turn.inbox import Inbox
from rowmill.store.turn.journal import Journal
from rowmill.store.turn.ledger import Stop, TurnLedger

_COUNTED_DROPS = ("rejected", "retries_exhausted")
_NOTED = {Stop.TOO_MANY_FAILURES: "error window", Stop.BUDGET_REACHED: "budget"}
"""What the journal calls them."""


class Stopping:
    """Watches one invocation, and tells the journal of the first reason to stop."""

    def __init__(
        self,
        connection: Connection,
        settings: RunSettings,
        journal: Journal,
        revive: Callable[[Sequence[RowKey], TurnLedger], None],
    ) -> None:
        """``revive`` takes dropped rows back."""
        self._budget = Budget(connection, settings)
        self._window = ErrorWindow(settings.error_window, settings.max_error_share)
        self._journal = journal
        self._revive = revive

    @property
    def deadline(self) -> float | None:
        """When the budget's time is up, in seconds since the epoch."""
        return self._budget.deadline

    def watch_results(self, inbox: Inbox, ledger: TurnLedger) -> None:
        """Stops when too many results fail; then none of the failures in the window drops its row (F6)."""
        if self._judge(inbox.results, ledger):
            inbox.drops.rows = [row for row in inbox.drops.rows if row[3] not in _COUNTED_DROPS]

    def _judge(self, results: Sequence[Failure | None], ledger: TurnLedger) -> bool:
        """Whether the error window stops the run with these results in it; then the rows of its failures come back."""
        if not results:
            return False
        self._window.add(results)
        verdict = self._window.verdict()
        if verdict is None:
            return False
        self._revive([row for failure in self._window.failures() for row in failure.rows], ledger)
        ledger.note_stop(Stop.TOO_MANY_FAILURES, verdict)
        return True

    def judge_sample(self, succeeded: int, failures: Sequence[Failure], ledger: TurnLedger) -> bool:
        """The same for evaluations in the database, which are many at once: the window sees a sample of them."""
        return self._judge(self._window.sample(succeeded, failures), ledger)

    def watch_budget(self, inbox: Inbox, ledger: TurnLedger) -> None:
        """Stops when the budget is used up."""
        used_up = self._budget.reached(to_epoch(ledger.now), has_attempts=bool(inbox.attempts))
        ledger.note_stop(Stop.BUDGET_REACHED, used_up)

    def note(self, ledger: TurnLedger) -> None:
        """Tells the journal why the turn stops the run, if no turn before did and it is something this watches."""
        reason = ledger.stop_reason
        if reason in _NOTED and not (ledger.last is not None and ledger.last.has_stopped):
            self._journal.note("stopped", _NOTED[reason], str(ledger.stop)[:500])
