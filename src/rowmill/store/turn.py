"""The turn: one transaction that moves the run on.

Outcomes in; values, skips, deferrals, drops and attempts written; set-wise generators evaluated;
complete row groups finished; row groups admitted; ready tasks marked in flight; then the commit, then
the tasks out. Either all of it happened or nothing. Each part has its own module beside this one:

    inbox       what arrived, as Arrow tables; which failure defers and which drops   (F1, F2, F3, R5, V3)
    settling    SQL generators and skips                                              (R7, S1, S2)
    finishing   complete row groups leave                                             (K1, K2)
    admission   the next row groups enter                                             (A1, A2)
    pull        ready tasks go out                                                    (R3, R4, F4, C3, C4)

Time comes in as a parameter; nothing here looks at a clock or draws a random number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import duckdb

from rowmill.errors import InternalError, RowmillError
from rowmill.spec.run_settings import RunSettings
from rowmill.store import engine_errors
from rowmill.store.admission import Admission
from rowmill.store.connection import Connection
from rowmill.store.finishing import Finishing
from rowmill.store.inbox import NEW_DROP, Inbox, Rows, from_epoch, to_epoch
from rowmill.store.layout import Layout
from rowmill.store.pull import Pull
from rowmill.store.settling import FailedCell, Settling
from rowmill.store.statements import statement
from rowmill.store.typing import arrow_types
from rowmill.task import FinishedRowGroup, Outcome, OutcomeKind, Task, TurnResult

_WRITE_VALUES = statement("write_values")
_WRITE_SKIPS = statement("write_skips")
_CLEAR_IN_FLIGHT = statement("clear_in_flight")
_CLEAR_DEFERRED = statement("clear_deferred")
_MERGE_DEFERRED = statement("merge_deferred")
_TO_GIVE_UP = statement("tasks_to_give_up")
_RECORD_DROPS = statement("record_drops")
_KEEP_DROPPED_VALUES = statement("keep_dropped_values")
_DELETE_DROPPED = statement("delete_dropped_rows")
_DELETE_STALE = statement("delete_stale_deferrals")
_DELETE_ORPHANED = statement("delete_orphaned_batch_deferrals")
_INSERT_ATTEMPTS = statement("insert_attempts")
_LIVE_ROWS = statement("live_rows_of_group")
_COOL = statement("cool_resources")
_SUMMARY = statement("task_summary")
_TOUCH = statement("touch_run")
_FINISH_RUN = statement("finish_run")
_CONTRADICTIONS = statement("contradictions")

SkipCondition = Callable[[Mapping[str, object]], bool]


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
        skip_conditions: Mapping[int, SkipCondition] | None = None,
    ) -> None:
        """``skip_conditions``: per generator with a Jinja ``skip.when``, whether a row's cell is skipped (S1)."""
        self._connection = connection
        self._layout = layout
        self._settings = settings
        self._invocation = invocation
        self._types = arrow_types(connection, layout.value_columns)
        self._settling = Settling(connection, layout)
        self._finishing = Finishing(connection, layout)
        self._admission = Admission(connection, layout, settings, seed_rows)
        self._pull = Pull(connection, layout)
        self._skip_conditions = dict(skip_conditions or {})
        self._pending: list[Outcome] = []
        self._first = True

    def take(self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float) -> TurnResult:
        """One turn: everything the outcomes mean, and up to ``free`` new tasks per resource.

        ``now`` is seconds since the epoch. An empty ``free`` writes outcomes without letting anything new
        in: that is how a run ends. Raises WriteFailed or InternalError; then nothing of the turn is written.
        """
        arrived = [*self._pending, *outcomes]
        try:
            with self._connection.transaction():
                result, skipped = self._move_on(arrived, free, now)
        except duckdb.Error as error:
            raise engine_errors.turn_error(error, "taking a turn") from error
        finally:
            self._connection.clear_staged()
        self._pending = skipped
        self._first = False
        return result

    def _move_on(
        self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float
    ) -> tuple[TurnResult, list[Outcome]]:
        moment = from_epoch(now)
        inbox = Inbox(self._layout.graph, self._settings, self._types, self._invocation, now, self._live_rows)
        inbox.take(outcomes)
        changed = self._write(inbox, moment)
        changed |= self._settle(changed, moment, rows_admitted=self._first)
        finished = self._finishing.finish(moment) if outcomes or self._first else []
        admitted = 0
        if free or self._has_no_tasks:
            admitted = self._admission.admit(moment)
            if admitted:
                self._settle(set(), moment, rows_admitted=True)
                finished += self._finishing.finish(moment)
        tasks = self._pull.pull(free, moment)
        tasks, skipped = self._separate_skipped(tasks)
        result = self._result(tasks, skipped, finished, inbox.stop, moment, free)
        return result, skipped

    # Outcomes ------------------------------------------------------------------------------------

    def _write(self, inbox: Inbox, now: datetime) -> set[int]:
        """Writes the inbox; returns the generators that got values or skips."""
        execute = self._connection.execute
        changed = set(inbox.values)
        for number, table in inbox.values.items():
            self._connection.stage(f"outcome_{number}", table)
            node = self._layout.graph.generators[number]
            execute(
                _WRITE_VALUES.fill(
                    outcome=f"outcome_{number}",
                    assignments=self._layout.assign_values(node),
                    set_done=self._layout.add("done", number, "a."),
                    not_done=self._layout.lacks("a.done", number),
                )
            )
        if inbox.skipped:
            changed |= self._write_skips(inbox.skipped)
        if inbox.done:
            self._connection.stage("done_task", inbox.done.table())
            execute(_CLEAR_IN_FLIGHT.text)
            execute(_CLEAR_DEFERRED.text)
        if inbox.attempts:
            self._connection.stage("new_attempt", inbox.attempts.table())
            execute(_INSERT_ATTEMPTS.text)
        if inbox.cooling:
            self._connection.stage("new_cooling", _latest_per_resource(inbox.cooling).table())
            execute(_COOL.text)
        if inbox.drops:
            self._drop(inbox.drops, now)
        if inbox.deferrals:
            self._connection.stage("new_deferral", inbox.deferrals.table())
            execute(_MERGE_DEFERRED.text, {"now": now})
            self._give_up(now)
        return changed

    def _write_skips(self, skipped: Rows) -> set[int]:
        self._connection.stage("skipped_task", skipped.table())
        numbers = {row[0] for row in skipped.rows}
        for number in sorted(numbers):
            node = self._layout.graph.generators[number]
            self._connection.execute(
                _WRITE_SKIPS.fill(
                    assignments=self._layout.assign_skip(node),
                    set_done=self._layout.add("done", number, "a."),
                    set_skipped=self._layout.add("skipped", number, "a."),
                    not_done=self._layout.lacks("a.done", number),
                ),
                {"generator": number},
            )
        return numbers

    def _drop(self, drops: Rows, now: datetime) -> None:
        self._connection.stage("new_drop", drops.table())
        self._connection.execute(_RECORD_DROPS.text, {"now": now})
        self._connection.execute(_KEEP_DROPPED_VALUES.text)
        self._connection.execute(_DELETE_DROPPED.text)
        self._connection.execute(_DELETE_STALE.text)
        self._connection.execute(_DELETE_ORPHANED.text)

    def _give_up(self, now: datetime) -> None:
        """Drops rows whose tasks were deferred longer than ``give_up_after_s`` (F1; default: never)."""
        patience = self._settings.give_up_after_s
        if patience is None:
            return
        drops = Rows(NEW_DROP)
        since = now - timedelta(seconds=patience)
        for number, row_group, row_index, attempts, kind, message in self._connection.execute(
            _TO_GIVE_UP.text, {"deferred_before": since, "now": now}
        ):
            indices = [row_index] if row_index >= 0 else self._live_rows(row_group, number)
            for index in indices:
                drops.append(number, row_group, index, "given_up", kind, message, attempts)
        if drops:
            self._drop(drops, now)

    def _live_rows(self, row_group: int, generator: int) -> list[int]:
        query = _LIVE_ROWS.fill(not_done=self._layout.lacks("a.done", generator))
        return [index for (index,) in self._connection.execute(query, {"row_group": row_group})]

    def _settle(self, changed: Iterable[int], now: datetime, *, rows_admitted: bool) -> set[int]:
        settled, failed = self._settling.settle(changed, rows_admitted=rows_admitted)
        if failed:
            self._drop(_drops_of(failed), now)
        return settled

    # Tasks ---------------------------------------------------------------------------------------

    @property
    def _has_no_tasks(self) -> bool:
        return not self._pull.has_generators

    def _separate_skipped(self, tasks: list[Task]) -> tuple[list[Task], list[Outcome]]:
        """Splits pulled tasks into those to hand out and those whose Jinja ``skip.when`` is true (S1).

        The skipped ones are outcomes of the next turn, like any other; a condition that fails rejects its row (S4).
        """
        if not self._skip_conditions:
            return tasks, []
        wanted: list[Task] = []
        skipped: list[Outcome] = []
        for task in tasks:
            condition = self._skip_conditions.get(task.generator)
            if condition is None:
                wanted.append(task)
                continue
            settled = [outcome for cell in _cells_of(task) if (outcome := _skip_outcome(cell, condition)) is not None]
            if not settled:
                wanted.append(task)
                continue
            skipped += settled
            if task.row_index is None:
                # The rest of the row group is pulled again, without the skipped rows (S5).
                skipped.append(Outcome(OutcomeKind.RELEASED, task))
        return wanted, skipped

    def _result(
        self,
        tasks: list[Task],
        skipped: list[Outcome],
        finished: list[FinishedRowGroup],
        stop: Outcome | None,
        now: datetime,
        free: Mapping[str, int],
    ) -> TurnResult:
        summary = self._connection.execute(_SUMMARY.text, {"now": now})
        groups, in_flight, deferred, not_before, has_groups_left = summary[0]
        complete = groups == 0 and not has_groups_left and not skipped
        self._connection.execute((_FINISH_RUN if complete else _TOUCH).text, {"now": now})
        again = bool(skipped) or (not complete and has_groups_left and self._has_no_tasks)
        could_take_any = bool(free) and all(count > 0 for count in free.values())
        if could_take_any and not (complete or again or in_flight or deferred):
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
        )

    def _contradiction(self) -> str:
        """What ``invariant_violation`` says (F9)."""
        found = self._connection.execute(_CONTRADICTIONS.text)
        if not found:
            return "The view invariant_violation is empty. Please report this with the run database."
        return "; ".join(f"{rule}: {subject} ({detail})" for rule, subject, detail in found)


def _cells_of(task: Task) -> list[Task]:
    """The task itself, or the rows of a batch task as if they were tasks of their own."""
    if task.row_index is not None:
        return [task]
    return [
        Task(task.generator, task.row_group, row["row_index"], row["row_id"], task.attempts, row)
        for row in task.inputs.to_pylist()
    ]


def _skip_outcome(task: Task, condition: SkipCondition) -> Outcome | None:
    try:
        return Outcome(OutcomeKind.SKIPPED, task) if condition(task.inputs) else None
    except RowmillError as error:
        return Outcome(OutcomeKind.REJECTED, task, error=error)


def _drops_of(failed: Iterable[FailedCell]) -> Rows:
    drops = Rows(NEW_DROP)
    for cell in failed:
        drops.append(cell.generator, cell.row_group, cell.row_index, "rejected", cell.error_type, cell.message, 1)
    return drops


def _latest_per_resource(cooling: Rows) -> Rows:
    latest: dict[str, tuple[object, ...]] = {}
    for row in cooling.rows:
        known = latest.get(row[0])
        if known is None or known[1] < row[1]:
            latest[row[0]] = row
    rows = Rows(cooling.schema)
    rows.rows = list(latest.values())
    return rows
