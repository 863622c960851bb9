"""The turn: one transaction that moves the run on.

Outcomes in; values, skips, deferrals, drops and attempts written; set-wise generators evaluated;
complete row groups finished; ready tasks marked in flight; row groups admitted where there is a use for more; then the
commit, then the tasks out. Either all of it happened or nothing. (A barrier that is evaluated in the database
follows in a transaction of its own: its SQL may fail, and must not take the outcomes with it.) Each part has a module:

    inbox         what arrived, as Arrow tables; which failure defers and which drops   (F1, F2, F3, R5, V3)
    stopping      too many failures, or a budget that is used up, stop the run          (F6)
    recording     values, skips, deferrals, drops, attempts are written                 (R9, R11, F4)
    reopening     dropped rows come back                                                (F6)
    regeneration  what was found invalid is made again, so many times
    settling      SQL generators and skips                                              (R7, S1, S2, S4)
    skipping      Jinja rules that say no to a pulled task                              (S1, S4, S5)
    finishing     complete row groups leave                                             (K1, K2)
    barrier       row groups wait for what looks at all rows at once                    (R6)
    pull          ready tasks go out                                                    (R3, R4, R10, C3, C4)
    control       what people want of the run
    admission     row groups enter, are parked and come back                            (A1 to A7)
    acceptance    rows are planned in the place of dropped ones                         (P6)

Time comes in as a parameter; nothing here looks at a clock or draws a random number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from rowmill.errors import BarrierFailed, InternalError, RowmillError
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_DROP, Rows, from_epoch, to_epoch
from rowmill.store.database.statements import statement
from rowmill.store.database.task_marks import IN_FLIGHT, TaskMarks
from rowmill.store.database.typing import Typing
from rowmill.store.file import engine_errors
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.barrier import Barriers
from rowmill.store.reshape.regeneration import InvalidCell, Regeneration
from rowmill.store.reshape.reopening import Reopening, RowKey
from rowmill.store.turn.acceptance import Acceptance, TooFewAccepted
from rowmill.store.turn.admission import Admission, count_active
from rowmill.store.turn.attempts import Attempts, clean
from rowmill.store.turn.control import Control
from rowmill.store.turn.deferrals import Deferrals
from rowmill.store.turn.drop_log import DropLog
from rowmill.store.turn.error_window import Failure
from rowmill.store.turn.finishing import Finishing
from rowmill.store.turn.inbox import Inbox
from rowmill.store.turn.journal import Journal
from rowmill.store.turn.pull import Pull
from rowmill.store.turn.recording import Recording
from rowmill.store.turn.settling import Settling
from rowmill.store.turn.skipping import SkipCondition, Skipping
from rowmill.store.turn.stopping import Stopping
from rowmill.store.turn.trace import Trace
from rowmill.task import FinishedRowGroup, Outcome, OutcomeKind, Task, TurnResult

_ACTIVE_ROWS = statement("active_row_count")
_CURSOR_SUMMARY = statement("cursor_summary")
_TOUCH = statement("touch_run")
_FINISH_RUN = statement("finish_run")
_CONTRADICTIONS = statement("contradictions")

_TOUCH_INTERVAL = timedelta(seconds=1)
_ROUNDS = 3
"""How often a turn looks for more work when what it admitted was too little, or finished at once."""


class Turn:
    """Takes turns on one run database; used by one thread."""

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        settings: RunSettings,
        *,
        invocation: int,
        seed_rows: int,
        acceptance: Acceptance,
        drop_log: DropLog,
        skip_conditions: Mapping[int, SkipCondition] | None = None,
        announces: bool = False,
    ) -> None:
        """``acceptance``: plans more rows as long as too few survive (P6).

        ``skip_conditions``: per generator with a Jinja ``skip.when``, whether a row's cell is skipped (S1).

        ``announces``: somebody wants to hear of every finished row group, also of those an earlier
        invocation finished but did not announce (K3).
        """
        self._connection = connection
        self._layout = layout
        self._settings = settings
        self._invocation = invocation
        self._typing = Typing(connection, layout.value_columns)
        self._deferrals = Deferrals(connection)
        self._recording = Recording(connection, layout, settings, self._typing, self._deferrals, drop_log)
        self._reopening = Reopening(connection, layout)
        self._settling = Settling(connection, layout, seed_rows)
        self._finishing = Finishing(connection, layout, announces=announces)
        self._admission = Admission(connection, layout, settings, seed_rows)
        self._barriers = Barriers(connection, layout, announces=announces)
        self._regeneration = Regeneration(connection, layout)
        self._in_flight = TaskMarks(connection, IN_FLIGHT)
        self._pull = Pull(connection, layout, self._in_flight, self._barriers, self._regeneration)
        self._trace = Trace(connection, invocation, is_on=settings.trace)
        self._journal = Journal(connection)
        self.control = Control(connection, self._recording.drop, self._revive, is_living=True)
        """Takes what people want of the run, from any thread; the next turn does it."""
        self._acceptance = acceptance
        self._stopping = Stopping(connection, settings, self._journal, self._revive)
        self._touched_at: datetime | None = None
        self._skipping = Skipping(layout.graph, skip_conditions or {})
        self._skipped: list[Outcome] = []
        self._is_first = True
        self._stopped_by_sql: RowmillError | None = None
        """What users' SQL did that stops the run: a skip rule that says so, or too many failures."""
        self._has_revived = False
        """Dropped rows came back in this turn: what is evaluated in the database may be missing in them."""
        self._came_in_last = False
        """The last row groups that came in in this turn came too late for its pull."""
        self.is_untidy = False
        """Whether :meth:`tidy` has something to do, by the end of the last turn."""

    def take(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int] | None = None,
    ) -> TurnResult:
        """One turn: everything the outcomes mean, and up to ``free`` new tasks per resource.

        ``now`` is seconds since the epoch; ``learned`` the limits of resources that changed (C2). An empty ``free``
        writes outcomes without letting anything new in: that is how a run ends. Raises WriteFailed or
        InternalError; then nothing of the turn is written.
        """
        arrived = [*self._skipped, *outcomes]
        try:
            with self._connection.transaction():
                result, skipped = self._move_on(arrived, free, now, learned or {})
            self.control.committed()
            if self._barriers.ready is not None and result.stop is None and self._hands_out(free):
                result = self._run_barrier(result, from_epoch(now))
        except duckdb.Error as error:
            failure = engine_errors.turn_error(error, "taking a turn")
            self.control.failed(failure)
            raise failure from error
        except BaseException as error:
            self.control.failed(error)
            raise
        finally:
            self._connection.clear_staged()
        self._skipped = skipped
        self._is_first = False
        self.is_untidy = self._connection.has_long_log()
        return result

    def tidy(self) -> None:
        """What a turn leaves for after its tasks are handed out, as it takes long: folds the log into the file.

        Raises WriteFailed or InternalError; what is committed is safe in the log then.
        """
        try:
            self._connection.fold_long_log()
        except duckdb.Error as error:
            raise engine_errors.turn_error(error, "folding the log") from error

    def _move_on(
        self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float, learned: Mapping[str, int]
    ) -> tuple[TurnResult, list[Outcome]]:
        moment = from_epoch(now)
        self._has_revived = False
        self._recording.begin()
        self._regeneration.begin()
        self._finishing.forget_announced()
        inbox = Inbox(
            self._layout.graph,
            self._settings,
            self._typing,
            self._invocation,
            now,
            self._recording.live_rows,
            outdated=self._regeneration.outdated(),
        )
        inbox.take(outcomes)
        stop = inbox.stop.error if inbox.stop is not None else None
        stop = self._stopping.watch_results(inbox) or stop
        stop = self._take_results(inbox, moment) or stop
        self._in_flight.remove(inbox.ended)
        self._trace.record(outcomes, now)
        changed = self._recording.write(inbox, moment)
        if inbox.done:
            self._regeneration.arrived(inbox.ended)
        self._regenerate(inbox.invalid, moment)
        if learned:
            self._learn(learned)
        stop = stop or self._stopping.watch_budget(inbox, now)
        steering = self.control.apply(moment)
        has_changed = inbox.deferrals or inbox.cooling or inbox.drops or self.control.has_applied
        self._admission.deferrals_changed(bool(has_changed))
        settled = self._settle(changed, moment, rows_admitted=self._is_first, rows_returned=self._has_revived)
        stop = stop or self._stopped_by_sql
        finished = self._finish(moment) if self._may_complete(inbox, changed, settled) else []
        tasks: list[Task] = []
        skipped: list[Outcome] = []
        self._came_in_last = False
        if self._hands_out(free):
            tasks, skipped, finished_at_once = self._hand_out(free, moment)
            finished += finished_at_once
            stop = stop or self._stopped_by_sql
        self._trace.hand_out((*tasks, *(outcome.task for outcome in skipped)), now)
        finished += self._finished_by_barrier()
        result = self._result(tasks, skipped, finished, stop, moment, free)
        if steering is not None:
            result = result._replace(steering=steering)
        if self._stopping.deadline is not None:
            wakes_at = (at for at in (result.next_not_before, self._stopping.deadline) if at is not None)
            result = result._replace(next_not_before=min(wakes_at))
        return result, skipped

    def _hands_out(self, free: Mapping[str, int]) -> bool:
        """Does work go on? A run that ends has nothing free; one without tasks never has."""
        return bool(free) or not self._pull.has_generators

    # Outcomes ------------------------------------------------------------------------------------

    def _revive(self, rows: Sequence[RowKey]) -> None:
        """Takes dropped rows back, wherever their row groups are."""
        self._reopening.revive(rows)
        self._barriers.reopen()
        self._has_revived = True

    def _learn(self, learned: Mapping[str, int]) -> None:
        self._recording.learn(learned)
        for resource, limit in learned.items():
            self._journal.note("limit changed", resource, str(limit))

    def _settle(
        self,
        changed: Iterable[int],
        now: datetime,
        *,
        rows_admitted: bool,
        came_in: int = 0,
        rows_returned: bool = False,
    ) -> set[int]:
        """Evaluates what needs no task; returns the generators that were looked at. ``came_in``: how many rows did."""
        looked_at, failed = self._settling.settle(changed, rows_admitted=rows_admitted, rows_returned=rows_returned)
        self._stopped_by_sql = self._stopped_by_sql or self._settling.stopped_by
        self._regenerate(self._settling.to_regenerate, now)
        if failed:
            names = self._layout.graph.generators
            failures = [
                Failure(names[cell.generator].name, ((cell.row_group, cell.row_index),), cell.error_type, cell.message)
                for cell in failed
                if cell.error_type is not None  # a row that was found invalid was evaluated well
            ]
            verdict = None
            if failures:
                if self._is_first:
                    came_in = int(self._connection.execute(_ACTIVE_ROWS.text)[0][0])
                succeeded = self._settling.succeeded + max(0, came_in - len(failures))
                verdict = self._stopping.judge_sample(succeeded, failures)
            if verdict is None:
                self._recording.drop_cells(failed, now)
            self._stopped_by_sql = self._stopped_by_sql or verdict
        elif looked_at and self._layout.has_batch:
            self._deferrals.delete_stale()
        return looked_at

    def _regenerate(self, invalid: Sequence[InvalidCell], now: datetime) -> None:
        """Has rows that were found invalid made again, as often as their column allows, and gives the others up."""
        if not invalid:
            return
        found = self._regeneration.take(invalid)
        journal = Attempts(self._invocation, to_epoch(now))
        for row in found.again:
            task = Task(row.generator, row.row_group, row.row_index, row.row_id, row.regenerations, None)
            journal.note_regeneration(task, row.message)
            self._journal.count_rows("regenerated", self._layout.graph.generators[row.generator].name)
        if found.again:
            self._recording.record_attempts(journal.rows)
            self._deferrals.delete_stale()
            if not found.cleared.isdisjoint(self._layout.graph.barriers):
                self._barriers.reopen()
        drops = Rows(NEW_DROP)
        for row in found.given_up:
            times = f"{row.regenerations} regeneration{'s' if row.regenerations != 1 else ''}"
            message = f"not valid after {times}: {row.message}"
            drops.append(*row[:3], "invalid", None, clean(message), row.regenerations + 1)
        if drops:
            self._recording.drop(drops, now)

    def _may_complete(self, inbox: Inbox, changed: set[int], settled: set[int]) -> bool:
        """Can a row group have become complete? The last bit of its last row is that of a generator nobody needs."""
        leaves = self._barriers.leaves
        if self._is_first or self._recording.dropped or not leaves.isdisjoint(settled):
            return True
        if self._barriers.open:
            return not leaves.isdisjoint(changed)
        return self._finishing.count_ended(task for task in inbox.ended if task[0] in leaves)

    def _finish(self, now: datetime) -> list[FinishedRowGroup]:
        finished = self._finishing.finish(now, only_emptied=bool(self._barriers.open))
        if finished:
            self._regeneration.forget_finished()
        rested = self._barriers.rest()
        if finished or rested or self._recording.dropped:
            self._admission.has_room = True
        self._journal.count("resting", rested)
        self._journal.count("finished", len(finished))
        return finished

    # Barriers ------------------------------------------------------------------------------------

    def _take_results(self, inbox: Inbox, now: datetime) -> RowmillError | None:
        """Writes the result of a task over the whole dataset; returns why it cannot be used, if so (R6)."""
        for outcome in inbox.over_dataset:
            node = self._layout.graph.generators[outcome.task.generator]
            values = outcome.values
            result = values.to_reader() if isinstance(values, pa.Table) else values
            told = self._barriers.take_result(node, result, self._typing, now)
            if isinstance(told, BarrierFailed):
                inbox.attempts.note_failed_call(outcome, OutcomeKind.REJECTED, told.error_type, told.reason)
                return told
            if told is not None:
                self._passed(node.name, told)
        return None

    def _run_barrier(self, result: TurnResult, now: datetime) -> TurnResult:
        """Runs the barrier the database can evaluate now. If its SQL fails, the run stops, nothing of it is written."""
        name = self._layout.graph.generators[self._barriers.ready or 0].name
        try:
            told = self._barriers.run(now)
        except BarrierFailed as error:
            return result._replace(stop=error)
        self._passed(name, told)
        return result._replace(again=True, finished=[*result.finished, *self._finished_by_barrier()])

    def _finished_by_barrier(self) -> list[FinishedRowGroup]:
        finished = self._barriers.take_finished()
        self._finishing.announce(finished)
        return finished

    def _passed(self, column: str, told: str) -> None:
        self._journal.note("barrier", column, told)
        self._admission.has_room = True

    # Tasks ---------------------------------------------------------------------------------------

    def _hand_out(
        self, free: Mapping[str, int], now: datetime
    ) -> tuple[list[Task], list[Outcome], list[FinishedRowGroup]]:
        """Pulls tasks, and lets row groups in as long as a resource could do more than there is (A3)."""
        unused = dict(free)
        tasks: list[Task] = []
        skipped: list[Outcome] = []
        finished: list[FinishedRowGroup] = []
        for _ in range(_ROUNDS):
            for task in self._pull.pull(unused, now):
                unused[self._layout.graph.generators[task.generator].declaration.resource or ""] -= 1
                tasks.append(task)
            came_in = self._admission.find_work(unused, now, has_tasks=bool(tasks))
            if not came_in:
                break
            has_returned = self._admission.has_returned
            self._settle(set(), now, rows_admitted=True, came_in=came_in, rows_returned=has_returned)
            if self._stopped_by_sql is not None:
                break
            finished += self._finish(now)
        else:
            # What came in last was not asked for tasks yet, and nothing else may ever ask.
            self._came_in_last = True
        for kind, row_groups in self._admission.take_counts().items():
            self._journal.count(kind, row_groups)
        self._journal.admission_blocked(self._admission.blocked_by)
        wanted, skipped = self._skipping.separate(tasks)
        return wanted, skipped, finished

    # Where the run stands --------------------------------------------------------------------------

    def _result(
        self,
        tasks: list[Task],
        skipped: list[Outcome],
        finished: list[FinishedRowGroup],
        stop: BaseException | None,
        now: datetime,
        free: Mapping[str, int],
    ) -> TurnResult:
        groups, parked, _ = count_active(self._connection)
        deferred, not_before = self._deferrals.summary(now)
        has_groups_left = groups == 0 and self._has_groups_left()
        waits = self._barriers.hold_rows(is_any_active=groups > 0)
        complete = groups == 0 and not (has_groups_left or waits or skipped)
        if complete and stop is None:
            grew, stop = self._plan_missing()
            complete, has_groups_left = not (grew or stop), grew
        self._journal.write(now, at_once=complete)
        self._touch(now, complete=complete, is_patient=bool(deferred or parked))
        again = bool(skipped) or has_groups_left or self._came_in_last or self._barriers.ready is not None
        could_take_any = bool(free) and all(count > 0 for count in free.values())
        is_stuck = could_take_any and stop is None and not (complete or again or tasks or deferred or parked)
        if is_stuck and not self._in_flight:
            raise InternalError(
                f"Nothing is ready, in flight or deferred, and {groups} row groups are unfinished. "
                f"{self._contradiction()}"
            )
        return TurnResult(
            tasks=tasks,
            finished=finished,
            next_not_before=to_epoch(not_before) if not_before is not None else None,
            again=again,
            complete=complete,
            stop=stop,
            dropped=frozenset(self._recording.dropped),
            outdated=frozenset(self._regeneration.newly_outdated),
        )

    def _plan_missing(self) -> tuple[bool, RowmillError | None]:
        """Plans rows in the place of dropped ones if a number must survive (P6); whether it did, or why it cannot."""
        try:
            rows = self._acceptance.plan_missing()
        except TooFewAccepted as error:
            return False, error
        if rows:
            self._journal.note("extended", "plan", f"{rows} more rows are tried")
            self._admission.plan_grew()
            self._barriers.reopen()
        return rows > 0, None

    def _has_groups_left(self) -> bool:
        next_row_group, row_groups = self._connection.execute(_CURSOR_SUMMARY.text)[0]
        return bool(next_row_group < row_groups) or self._admission.has_due

    def _touch(self, now: datetime, *, complete: bool, is_patient: bool) -> None:
        """Notes when the run moved on: by the second, and in every turn while something waits for a point in time."""
        if complete:
            self._connection.execute(_FINISH_RUN.text, {"now": now})
        elif is_patient or self._touched_at is None or abs(now - self._touched_at) >= _TOUCH_INTERVAL:
            self._connection.execute(_TOUCH.text, {"now": now})
            self._touched_at = now

    def _contradiction(self) -> str:
        """What ``invariant_violation`` says (F9)."""
        found = self._connection.execute(_CONTRADICTIONS.text)
        if not found:
            return "The view invariant_violation is empty. Please report this with the run database."
        return "; ".join(f"{rule}: {subject} ({detail})" for rule, subject, detail in found)
