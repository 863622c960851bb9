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
    sparing       cells whose inputs came out as before a change have their earlier value (V8)
    skipping      Jinja rules that say no to a pulled task                              (S1, S4, S5)
    finishing     complete row groups leave                                             (K1, K2)
    barrier       row groups wait for what looks at all rows at once                    (R6)
    pull          ready tasks go out                                                    (R3, R4, R10, C3, C4)
    control       what people want of the run
    admission     row groups enter, are parked and come back                            (A1 to A7)
    refusals      custom functions that are rate limited block and park as endpoints do (A4, A7)
    following     rows of another run that finish are planned, and are seed rows
    acceptance    rows are planned in the place of dropped ones                         (P6)
    commit_lag    how long results waited for their commit                             (D2)
    ledger        what the turn has found out so far, and which reason to stop wins

Time comes in as a parameter; nothing here looks at a clock or draws a random number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import BarrierFailed, InternalError
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.column_types import ColumnTypes
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_DROP, Rows, from_epoch, to_epoch
from rowmill.store.database.statements import statements_of
from rowmill.store.database.task_marks import IN_FLIGHT, TaskMarks
from rowmill.store.file import engine_errors
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.barrier import Barriers, Passed
from rowmill.store.reshape.regeneration import InvalidCell, Regeneration
from rowmill.store.reshape.reopening import Reopening, RowKey
from rowmill.store.turn.acceptance import Acceptance, TooFewAccepted
from rowmill.store.turn.admission import Admission, count_row_groups
from rowmill.store.turn.attempts import Attempts, clean
from rowmill.store.turn.commit_lag import CommitLags
from rowmill.store.turn.control import Control, RowHands
from rowmill.store.turn.deferrals import Deferrals
from rowmill.store.turn.drop_log import DropLog
from rowmill.store.turn.error_window import Failure
from rowmill.store.turn.finishing import Finishing
from rowmill.store.turn.following import Following
from rowmill.store.turn.inbox import Inbox
from rowmill.store.turn.journal import Journal
from rowmill.store.turn.ledger import LastTurn, Stop, TurnLedger
from rowmill.store.turn.outages import Outages
from rowmill.store.turn.pull import Pull
from rowmill.store.turn.recording import Recording
from rowmill.store.turn.refusals import Refusals
from rowmill.store.turn.settling import Settled, Settling
from rowmill.store.turn.skipping import SkipCondition, Skipping
from rowmill.store.turn.stopping import Stopping
from rowmill.store.turn.trace import Trace
from rowmill.task import Outcome, OutcomeKind, Task, TurnResult

sql = statements_of("run", "turn/finish", "turn/frontier")

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
        following: Following | None = None,
        is_shard: bool = False,
        skip_conditions: Mapping[int, SkipCondition] | None = None,
        announces: bool = False,
    ) -> None:
        """``acceptance``: plans more rows as long as too few survive (P6). ``is_shard``: other rows of the run are made
        elsewhere, so no barrier runs.

        ``skip_conditions``: per generator with a Jinja ``skip.when``, whether a row's cell is skipped (S1).

        ``announces``: somebody wants to hear of every finished row group, also of those an earlier
        invocation finished but did not announce (K3).
        """
        self._connection = connection
        self._layout = layout
        self._settings = settings
        self._invocation = invocation
        self._column_types = ColumnTypes(connection, layout.value_columns)
        self._deferrals = Deferrals(connection)
        self._recording = Recording(connection, layout, settings, self._column_types, self._deferrals, drop_log)
        self._reopening = Reopening(connection, layout)
        self._settling = Settling(connection, layout, seed_rows, settings.max_active_rows)
        self._finishing = Finishing(connection, layout, announces=announces)
        self._barriers = Barriers(connection, layout, announces=announces)
        self._regeneration = Regeneration(connection, layout)
        self._in_flight = TaskMarks(connection, IN_FLIGHT)
        self._refusals = Refusals(connection, layout, self._in_flight)
        self._admission = Admission(connection, layout, settings, seed_rows, self._refusals)
        self._pull = Pull(connection, layout, self._in_flight, self._barriers, self._regeneration)
        self._trace = Trace(connection, invocation, is_on=settings.trace)
        self.lags = CommitLags(connection, invocation)
        """What was measured of this invocation's commits; the turns write it, and whoever signs out."""
        self._journal = Journal(connection)
        self._outages = Outages()
        self.control = Control(connection, is_living=True)
        """Takes what people want of the run, from any thread; the next turn does it."""
        self._acceptance = acceptance
        self.following = following
        """Takes rows of the run that is followed, from any thread; None: none is."""
        self._is_shard = is_shard
        self._stopping = Stopping(connection, settings, self._journal, self._revive)
        self._touched_at: datetime | None = None
        self._skipping = Skipping(layout.graph, skip_conditions or {})
        self._last: LastTurn | None = None
        self._drop_log = drop_log
        self.is_untidy = False
        """Whether :meth:`tidy` has something to do, by the end of the last turn."""

    def take(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> TurnResult:
        """One turn: everything the outcomes mean, and up to ``free`` new tasks per resource.

        ``now`` is seconds since the epoch; ``learned`` the limits of resources that changed (C2). An empty ``free``
        writes outcomes without letting anything new in: that is how a run ends. ``clock`` says when the commit was,
        for the lag of its results. Raises WriteFailed or InternalError; then nothing of the turn is written.
        """
        ledger = TurnLedger(from_epoch(now), self._last)
        try:
            with self._connection.transaction():
                self._move_on(ledger, outcomes, free, learned or {})
            if clock is not None:
                self.lags.committed(outcomes, clock())
            self.control.committed(ledger)
            if ledger.ready_barrier is not None and ledger.stop is None and self._hands_out(free, ledger):
                self._run_barrier(ledger.ready_barrier, ledger)
            self._drop_log.committed(ledger.now)
        except duckdb.Error as error:
            failure = engine_errors.turn_error(error, "taking a turn")
            self.control.failed(ledger, failure)
            raise failure from error
        except BaseException as error:
            self.control.failed(ledger, error)
            raise
        finally:
            self._connection.clear_staged()
        self._last = ledger.as_last()
        self.is_untidy = self._connection.has_long_log()
        return ledger.result()

    def tidy(self) -> None:
        """What a turn leaves for after its tasks are handed out, as it takes long: folds the log into the file.

        Raises WriteFailed or InternalError; what is committed is safe in the log then.
        """
        try:
            self._connection.fold_long_log()
        except duckdb.Error as error:
            raise engine_errors.turn_error(error, "folding the log") from error

    def _move_on(
        self, ledger: TurnLedger, outcomes: Sequence[Outcome], free: Mapping[str, int], learned: Mapping[str, int]
    ) -> None:
        self._finishing.forget_announced(ledger)
        if ledger.is_first:
            ledger.finished += self._finishing.unannounced()
        inbox = Inbox(
            self._layout.graph,
            self._settings,
            self._column_types,
            self._invocation,
            to_epoch(ledger.now),
            self._recording.live_rows,
            outdated=self._regeneration.outdated(),
            outages=self._outages,
        )
        arrived = [*ledger.last.skipped, *outcomes] if ledger.last is not None else outcomes
        inbox.take(arrived)
        if inbox.stop is not None:
            ledger.note_stop(Stop.FATAL_OUTCOME, inbox.stop.error)
        self._stopping.watch_results(inbox, ledger)
        self._take_results(inbox, ledger)
        self._in_flight.remove(inbox.ended)
        self._trace.record(arrived, ledger.now)
        changed = self._recording.write(inbox, ledger)
        if inbox.ended:
            self._regeneration.arrived(inbox.ended)
        self._stopping.watch_budget(inbox, ledger)
        self._regenerate(inbox.invalid, ledger)
        if learned:
            self._learn(learned)
        self._steer(ledger)
        self._follow()
        has_refused = self._refusals.note(inbox, ledger.now)
        ledger.was_refused = has_refused and bool(self._refusals)
        has_changed = has_refused or inbox.deferrals or inbox.cooling or inbox.drops or ledger.requests
        self._admission.deferrals_changed(bool(has_changed))
        settled = self._settle(changed, ledger, rows_admitted=ledger.is_first, rows_returned=ledger.has_revived)
        if self._may_complete(inbox, changed, settled, ledger):
            self._finish(ledger)
        if self._hands_out(free, ledger):
            self._hand_out(free, ledger)
        self._trace.hand_out(ledger)
        self._conclude(free, ledger)

    def _hands_out(self, free: Mapping[str, int], ledger: TurnLedger) -> bool:
        """Does work go on? A run that ends has nothing free; one without tasks never has."""
        was_stopped = ledger.last is not None and ledger.last.has_stopped
        return bool(free) or not (self._pull.has_generators or was_stopped)

    # Outcomes ------------------------------------------------------------------------------------

    def _revive(self, rows: Sequence[RowKey], ledger: TurnLedger, *, by_hand: bool = False) -> None:
        """Takes dropped rows back, wherever their row groups are."""
        self._reopening.revive(rows, by_hand=by_hand)
        self._barriers.reopen()
        self._drop_log.take_back(rows)
        self._settling.rows_revived()
        ledger.has_revived = True

    def _learn(self, learned: Mapping[str, int]) -> None:
        self._recording.learn(learned)
        for resource, limit in learned.items():
            self._journal.note("limit changed", resource, str(limit))

    def _steer(self, ledger: TurnLedger) -> None:
        """Does what people want of the run."""
        hands = RowHands(
            drop=lambda drops, _, table: self._recording.drop(drops, ledger, table),
            revive=lambda rows: self._revive(rows, ledger, by_hand=True),
        )
        self.control.apply(ledger, hands)

    def _follow(self) -> None:
        """Takes new rows of the run that is followed: seed rows of rows that are planned."""
        rows = self.following.take() if self.following is not None else 0
        if self.following is None or not rows:
            return
        self._settling.seed_grew(self.following.seed_rows)
        self._admission.seed_grew(self.following.seed_rows)
        self._journal.note("extended", "plan", f"{plural(rows, 'row')} of the run that is followed")
        self._admission.plan_grew()
        self._barriers.reopen()

    def _settle(
        self,
        changed: Iterable[int],
        ledger: TurnLedger,
        *,
        rows_admitted: bool,
        came_in: int = 0,
        rows_returned: bool = False,
    ) -> set[int]:
        """Evaluates what needs no task; returns the generators that were looked at. ``came_in``: how many rows did."""
        settled = self._settling.settle(changed, rows_admitted=rows_admitted, rows_returned=rows_returned)
        for number, cells in settled.spared.items():
            self._journal.count_cells("kept", self._layout.graph.generators[number].name, cells)
        ledger.note_stop(Stop.SKIP_RULE_FAILED, settled.stop)
        self._regenerate(settled.invalid, ledger)
        if settled.failed:
            if not self._stops_for(settled, came_in, ledger):
                self._recording.drop_cells(settled.failed, ledger)
        elif settled.looked_at and self._layout.has_batch:
            self._deferrals.delete_stale()
        return settled.looked_at

    def _stops_for(self, settled: Settled, came_in: int, ledger: TurnLedger) -> bool:
        """Whether so many of the rows that were evaluated failed that the run stops (F6)."""
        names = self._layout.graph.generators
        failures = [
            Failure(names[cell.generator].name, ((cell.row_group, cell.row_index),), cell.error_type, cell.message)
            for cell in settled.failed
            if cell.error_type is not None  # a row that was found invalid was evaluated well
        ]
        if not failures:
            return False
        if ledger.is_first:
            came_in = int(self._connection.execute(sql.active_row_count.text)[0][0])
        succeeded = settled.succeeded + max(0, came_in - len(failures))
        return self._stopping.judge_sample(succeeded, failures, ledger)

    def _regenerate(self, invalid: Sequence[InvalidCell], ledger: TurnLedger) -> None:
        """Has rows that were found invalid made again, as often as their column allows, and gives the others up."""
        if not invalid:
            return
        found = self._regeneration.take(invalid)
        ledger.outdated.update(found.outdated)
        journal = Attempts(self._invocation, to_epoch(ledger.now))
        for row in found.again:
            task = Task(row.generator, row.row_group, row.row_index, row.row_id, row.regenerations, None)
            journal.note_regeneration(task, row.message)
            self._journal.count_rows("regenerated", self._layout.graph.generators[row.generator].name)
        if found.again:
            self._recording.record_attempts(journal)
            self._deferrals.delete_stale()
            if not found.cleared.isdisjoint(self._layout.graph.barriers):
                self._barriers.reopen()
        drops = Rows(NEW_DROP)
        for row in found.given_up:
            times = f"{row.regenerations} regeneration{'s' if row.regenerations != 1 else ''}"
            message = f"not valid after {times}: {row.message}"
            drops.append(*row[:3], "invalid", None, clean(message), row.regenerations + 1, None)
        if drops:
            self._recording.drop(drops, ledger)

    def _may_complete(self, inbox: Inbox, changed: set[int], settled: set[int], ledger: TurnLedger) -> bool:
        """Can a row group have become complete? The last bit of its last row is that of a generator nobody needs."""
        leaves = self._barriers.leaves
        if ledger.is_first or ledger.dropped or not leaves.isdisjoint(settled):
            return True
        if self._barriers.open:
            return not leaves.isdisjoint(changed)
        return self._finishing.count_ended(task for task in inbox.ended if task[0] in leaves)

    def _finish(self, ledger: TurnLedger) -> None:
        finished = self._finishing.finish(ledger, only_emptied=bool(self._barriers.open))
        if finished:
            self._regeneration.forget_finished()
        held_back = self._barriers.hold_back()
        ledger.counts["resting"] += held_back
        if finished or held_back or ledger.dropped:
            self._admission.make_room()

    # Barriers ------------------------------------------------------------------------------------

    def _take_results(self, inbox: Inbox, ledger: TurnLedger) -> None:
        """Writes the result of a task over the whole dataset; one that cannot be used stops the run (R6)."""
        for outcome in inbox.over_dataset:
            node = self._layout.graph.generators[outcome.task.generator]
            values = outcome.values
            result = values.to_reader() if isinstance(values, pa.Table) else values
            passed = self._barriers.take_result(node, result, self._column_types, ledger.now)
            if isinstance(passed, BarrierFailed):
                inbox.attempts.note_failed_call(outcome, OutcomeKind.REJECTED, passed.error_type, passed.reason)
                ledger.note_stop(Stop.BARRIER_FAILED, passed)
                return
            if passed is not None:
                self._passed(node.name, passed, ledger)

    def _run_barrier(self, number: int, ledger: TurnLedger) -> None:
        """Runs the barrier the database can evaluate now. If its SQL fails, the run stops, nothing of it is written."""
        try:
            passed = self._barriers.run(number, ledger.now)
        except BarrierFailed as error:
            ledger.note_stop(Stop.BARRIER_FAILED, error)
            return
        self._passed(self._layout.graph.generators[number].name, passed, ledger)
        ledger.again = True

    def _passed(self, column: str, passed: Passed, ledger: TurnLedger) -> None:
        ledger.finished += passed.finished
        self._journal.note("barrier", column, passed.told)
        self._admission.make_room()

    # Tasks ---------------------------------------------------------------------------------------

    def _hand_out(self, free: Mapping[str, int], ledger: TurnLedger) -> None:
        """Pulls tasks, and lets row groups in as long as a resource could do more than there is (A3)."""
        unused = dict(free)
        for _ in range(_ROUNDS):
            for task in self._pull.pull(unused, ledger.now):
                unused[self._layout.graph.generators[task.generator].declaration.resource or ""] -= 1
                ledger.tasks.append(task)
            came_in = self._admission.find_work(unused, free, ledger)
            if not came_in.rows:
                break
            self._settle(set(), ledger, rows_admitted=True, came_in=came_in.rows, rows_returned=came_in.returned)
            if ledger.stop is not None:
                break
            self._finish(ledger)
        else:
            # What came in last was not asked for tasks yet, and nothing else may ever ask.
            ledger.came_in_last = True
        self._journal.admission_blocked(ledger.blocked_by)
        ledger.tasks, ledger.skipped = self._skipping.separate(ledger.tasks)

    # Where the run stands --------------------------------------------------------------------------

    def _conclude(self, free: Mapping[str, int], ledger: TurnLedger) -> None:
        """Notes where the run stands, and whether it is complete. Raises InternalError if it can never go on (F9)."""
        groups = count_row_groups(self._connection)
        deferred, not_before = self._deferrals.summary(ledger.now)
        has_groups_left = groups.working == 0 and (groups.due > 0 or self._has_groups_left())
        held = self._barriers.look(groups.working, groups.waiting + groups.due)
        awaits_more = self.following is not None and not self.following.is_over
        # A column over all rows waits until they are all there.
        ledger.ready_barrier = None if awaits_more else held.ready
        has_worked_off = groups.working == 0 and not (has_groups_left or ledger.skipped)
        ledger.complete = has_worked_off and not held.waits
        ledger.rests = has_worked_off and held.waits and self._is_shard
        if ledger.complete and ledger.stop is None and self._plan_missing(ledger):
            ledger.complete, has_groups_left = False, True
        elif ledger.stop_reason is Stop.TOO_FEW_ACCEPTED:
            ledger.complete = False
        if self.following is not None and ledger.complete and ledger.stop is None:
            ledger.complete = not awaits_more and self.following.stop is None
            if self.following.is_over and self.following.stop is not None:
                ledger.note_stop(Stop.NOTHING_TO_FOLLOW, self.following.stop)
        self._stopping.note(ledger)
        for kind, row_groups in ledger.counts.items():
            self._journal.count(kind, row_groups)
        self._journal.write(ledger.now, at_once=ledger.complete or ledger.rests)
        self._touch(ledger, is_patient=bool(deferred or groups.parked))
        ledger.again = (
            bool(ledger.skipped) or has_groups_left or ledger.came_in_last or ledger.ready_barrier is not None
        )
        could_take_any = bool(free) and all(count > 0 for count in free.values())
        has_more = (
            awaits_more or ledger.complete or ledger.rests or ledger.again or ledger.tasks or deferred or groups.parked
        )
        if could_take_any and ledger.stop is None and not has_more and not self._in_flight:
            raise InternalError(
                f"Nothing is ready, in flight or deferred, with {plural(groups.working, 'row group')} unfinished. "
                f"{self._contradiction()}"
            )
        wakes = [to_epoch(not_before)] if not_before is not None else []
        wakes += [self._stopping.deadline] if self._stopping.deadline is not None else []
        ledger.next_not_before = min(wakes, default=None)

    def _plan_missing(self, ledger: TurnLedger) -> bool:
        """Plans rows in the place of dropped ones if a number must survive (P6); whether it did."""
        try:
            rows = self._acceptance.plan_missing()
        except TooFewAccepted as error:
            ledger.note_stop(Stop.TOO_FEW_ACCEPTED, error)
            return False
        if rows:
            self._journal.note("extended", "plan", f"{plural(rows, 'more row')} tried")
            self._admission.plan_grew()
            self._barriers.reopen()
        return rows > 0

    def _has_groups_left(self) -> bool:
        next_row_group, row_groups = self._connection.execute(sql.cursor_summary.text)[0]
        return bool(next_row_group < row_groups)

    def _touch(self, ledger: TurnLedger, *, is_patient: bool) -> None:
        """Notes when the run moved on: by the second, and in every turn while something waits for a point in time."""
        now = ledger.now
        if ledger.complete:
            self._connection.execute(sql.finish_run.text, {"now": now})
            return
        is_due = self._touched_at is None or abs(now - self._touched_at) >= _TOUCH_INTERVAL
        if is_patient or is_due:
            self._connection.execute(sql.touch_run.text, {"now": now})
        if is_due:
            self.lags.write()
            self._touched_at = now

    def _contradiction(self) -> str:
        """What ``invariant_violation`` says (F9)."""
        found = self._connection.execute(sql.contradictions.text)
        if not found:
            return "The view invariant_violation is empty. Please report this with the run database."
        return "; ".join(f"{rule}: {subject} ({detail})" for rule, subject, detail in found)
