"""The trace of tasks: when each was handed out, started and ended, and how (T1), in runs that ask for it.

When a task was handed out is true of the living process only, so it is in its memory until the outcome arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_TASK_TRACE, Rows, from_epoch
from rowmill.store.database.statements import statements_of
from rowmill.store.turn.ledger import TurnLedger
from rowmill.task import Outcome, OutcomeKind, TaskKey

sql = statements_of("turn/trace")


class Trace:
    """Writes what became of tasks, if the run is traced. Bound to one connection."""

    def __init__(self, connection: Connection, invocation: int, *, is_on: bool) -> None:
        self._connection = connection
        self._invocation = invocation
        self._is_on = is_on
        self._handed_out_at: dict[TaskKey, datetime] = {}

    def hand_out(self, ledger: TurnLedger) -> None:
        """The tasks of this turn are handed out, those that rules skip among them."""
        if self._is_on:
            tasks = (*ledger.tasks, *(outcome.task for outcome in ledger.skipped))
            self._handed_out_at.update((task.key, ledger.now) for task in tasks)

    def record(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Writes the traces of tasks that ended; one that was given back before it started leaves none."""
        if not self._is_on or not outcomes:
            return
        rows = Rows(NEW_TASK_TRACE)
        for outcome in outcomes:
            task = outcome.task
            handed_out_at = self._handed_out_at.pop(task.key, None)
            has_started = outcome.started_at > 0
            if handed_out_at is None or (outcome.kind is OutcomeKind.RELEASED and not has_started):
                continue
            started_at = from_epoch(outcome.started_at) if has_started else None
            ended_at = now if started_at is None else started_at + timedelta(milliseconds=outcome.duration_ms)
            rows.append(
                self._invocation,
                *task.key,
                task.row_id,
                handed_out_at,
                started_at,
                ended_at,
                str(outcome.kind),
                outcome.worker,
            )
        self._connection.stage("new_task_trace", rows.table())
        self._connection.execute(sql.insert_task_traces.text)
