"""What stops a run from inside: too many results that fail (F6), and a budget that is used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rowmill.errors import RowmillError
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.connection import Connection
from rowmill.store.reshape.reopening import RowKey
from rowmill.store.turn.budget import Budget
from rowmill.store.turn.error_window import ErrorWindow, Failure
from rowmill.store.turn.inbox import Inbox
from rowmill.store.turn.journal import Journal

_COUNTED_DROPS = ("rejected", "retries_exhausted")


class Stopping:
    """Watches one invocation, and notes the first reason to stop in the journal."""

    def __init__(
        self,
        connection: Connection,
        settings: RunSettings,
        journal: Journal,
        revive: Callable[[Sequence[RowKey]], None],
    ) -> None:
        """``revive`` takes dropped rows back."""
        self._budget = Budget(connection, settings)
        self._window = ErrorWindow(settings.error_window, settings.max_error_share)
        self._journal = journal
        self._revive = revive
        self._is_noted = False

    @property
    def deadline(self) -> float | None:
        """When the budget's time is up, in seconds since the epoch."""
        return self._budget.deadline

    def watch_results(self, inbox: Inbox) -> RowmillError | None:
        """Why to stop when too many results fail; then none of the failures in the window drops its row (F6)."""
        verdict = self.judge(inbox.results)
        if verdict is not None:
            inbox.drops.rows = [row for row in inbox.drops.rows if row[3] not in _COUNTED_DROPS]
        return verdict

    def judge(self, results: Sequence[Failure | None]) -> RowmillError | None:
        """What the error window says with these results in it; if it is full of failures, their rows come back (F6)."""
        if not results:
            return None
        self._window.add(results)
        verdict = self._window.verdict()
        if verdict is not None:
            self._revive([row for failure in self._window.failures() for row in failure.rows])
            self._note("error window", verdict)
        return verdict

    def judge_sample(self, succeeded: int, failures: Sequence[Failure]) -> RowmillError | None:
        """The same for evaluations in the database, which are many at once: the window sees a sample of them."""
        return self.judge(self._window.sample(succeeded, failures))

    def watch_budget(self, inbox: Inbox, now: float) -> RowmillError | None:
        """Why to stop when the budget is used up. ``now`` is seconds since the epoch."""
        verdict = self._budget.reached(now, has_attempts=bool(inbox.attempts.rows))
        if verdict is not None:
            self._note("budget", verdict)
        return verdict

    def _note(self, what: str, verdict: RowmillError) -> None:
        if not self._is_noted:
            self._journal.note("stopped", what, str(verdict)[:500])
        self._is_noted = True
