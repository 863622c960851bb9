"""The outcomes of one turn as Arrow tables: what was a list of Python values becomes columns for SQL.

Values are checked against their column's type here (V3): one that does not fit turns its outcome into a drop
with reason ``rejected``, and the rest of the turn goes on. A batch result is attached by ``row_index``,
never by position (R5).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import pyarrow as pa

from rowmill.counted import plural
from rowmill.deferral import asked_wait_s, backoff_s, cool_down_s
from rowmill.errors import BarrierFailed, Transient, Unavailable
from rowmill.graph.graph import GeneratorNode, Graph
from rowmill.source_line import source_line
from rowmill.spec.declaration import LOCAL_RESOURCES
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.column_types import ColumnTypes
from rowmill.store.database.staging import (
    NEW_COOLING,
    NEW_DEFERRAL,
    NEW_DROP,
    NEW_STATE,
    TASK_KEY,
    Rows,
    from_epoch,
)
from rowmill.store.reshape.regeneration import InvalidCell
from rowmill.store.turn.attempts import Attempts, clean, error_text
from rowmill.store.turn.error_window import Failure
from rowmill.store.turn.outages import Outages, away_for_too_long
from rowmill.task import InvalidRow, Outcome, OutcomeKind, TaskKey, error_type


@dataclass
class Inbox:
    """What one turn has to write, sorted by what happens to it."""

    graph: Graph
    settings: RunSettings
    column_types: ColumnTypes
    invocation: int
    now: float
    live_rows: Callable[[int, int], list[int]]
    """The live, unskipped rows of (row group, generator): what a batch task stands for."""

    values: dict[int, pa.Table] = field(default_factory=dict)
    """Per generator: row_group, row_index, value_0, …"""
    ended: list[TaskKey] = field(default_factory=list)
    """The tasks of all outcomes."""
    undeferred: Rows = field(default_factory=lambda: Rows(TASK_KEY))
    """Tasks that were deferred before, and ended."""
    skipped: Rows = field(default_factory=lambda: Rows(TASK_KEY))
    deferrals: Rows = field(default_factory=lambda: Rows(NEW_DEFERRAL))
    drops: Rows = field(default_factory=lambda: Rows(NEW_DROP))
    cooling: Rows = field(default_factory=lambda: Rows(NEW_COOLING))
    states: Rows = field(default_factory=lambda: Rows(NEW_STATE))
    attempts: Attempts = field(init=False)
    results: list[Failure | None] = field(default_factory=list)
    """Successes (None) and failures that drop their rows, in the order they arrived, for the error window (F6)."""
    _successes: list[Outcome] = field(default_factory=list)
    """Those that ``results`` tell of, in the same order."""
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Endpoints that refused a call (429): kind and message of the error."""
    refused_locally: dict[int, datetime] = field(default_factory=dict)
    """Generators of local work that were rate limited: when the first of these tasks may start again."""
    succeeded: frozenset[int] = frozenset()
    """Generators of which a call succeeded."""
    answered: set[str] = field(default_factory=set)
    """Resources that answered one."""
    invalid: list[InvalidCell] = field(default_factory=list)
    """Verdicts that rows are not valid and to be made again."""
    outdated: frozenset[TaskKey] = frozenset()
    """Cells that were asked for of values taken back since: what came of them is not taken."""
    outages: Outages = field(default_factory=Outages)
    """What the invocation knows of endpoints that are away."""
    _unavailable: list[tuple[Outcome, Unavailable]] = field(default_factory=list)
    stop: Outcome | None = None
    """The first outcome that stops the run, if any."""
    over_dataset: list[Outcome] = field(default_factory=list)
    """Results of tasks over the whole dataset: one at most, unless late ones arrive (R6)."""

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.invocation, self.now)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Sorts outcomes into the tables.

        Nearly all are successes, thousands in a turn: what they have in common is done once for all of a generator.
        """
        succeeded: dict[int, list[Outcome]] = defaultdict(list)
        barriers = self.graph.barriers
        for outcome in outcomes:
            if outcome.requests or outcome.error is not None:
                self.attempts.note(outcome)
            number = outcome.task.generator
            if outcome.kind is OutcomeKind.SUCCEEDED and number not in barriers and not self._is_outdated(outcome):
                succeeded[number].append(outcome)
                self._successes.append(outcome)
                self.results.append(None)
            else:
                self._take_other(outcome, is_barrier=number in barriers)
        self.succeeded = frozenset(succeeded)
        for number, group in succeeded.items():
            self._note_successes(number, group)
        for outcome, error in self._unavailable:  # after all answers of this turn are known
            self._defer_unavailable(outcome, error)
        for number, group in succeeded.items():
            node = self.graph.generators[number]
            if group[0].task.row_index is None:
                self._take_batches(node, group)
            else:
                self._take_cells(node, group)

    def _note_successes(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """Takes note of what tasks of one generator ended with a result."""
        self.ended += [outcome.task.key for outcome in outcomes]
        for task in [outcome.task for outcome in outcomes if outcome.task.deferrals]:
            self.undeferred.append(*task.key)
        if self.outages.has_failed:
            for outcome in outcomes:
                self.outages.ended(outcome.task.key)
        answered_at = [outcome.started_at for outcome in outcomes if _is_answered(outcome)]
        if answered_at:
            self._note_answer(number, max(answered_at))

    def _take_other(self, outcome: Outcome, *, is_barrier: bool) -> None:
        """Takes what is no result to be written into rows."""
        task = outcome.task
        if _is_answered(outcome):
            self._note_answer(task.generator, outcome.started_at)
        if self._is_outdated(outcome):
            outcome = outcome._replace(kind=OutcomeKind.RELEASED)
        if is_barrier:
            outcome = self._without_drops(outcome)
        kind = outcome.kind
        self.ended.append(task.key)
        ends = kind in (OutcomeKind.SUCCEEDED, OutcomeKind.SKIPPED) or (is_barrier and kind is OutcomeKind.STOP)
        if ends and task.deferrals:
            self.undeferred.append(*task.key)
        if kind is OutcomeKind.SUCCEEDED:
            self.over_dataset.append(outcome)
        elif kind is OutcomeKind.SKIPPED:
            self.skipped.append(*task.key)
        elif kind is not OutcomeKind.RELEASED:
            self._take_failure(outcome)

    def _note_answer(self, number: int, started_at: float) -> None:
        """Takes note that the resource of a generator answered; ``started_at``: the latest of the calls."""
        resource = str(self.graph.generators[number].declaration.resource)
        self.answered.add(resource)
        if resource not in LOCAL_RESOURCES:
            self.outages.answered(resource, started_at)

    def _is_outdated(self, outcome: Outcome) -> bool:
        """Was this cell asked for of values that were taken back? Of a batch, single rows are: see ``live_rows``."""
        if not self.outdated:
            return False
        return outcome.task.key in self.outdated and outcome.kind not in (OutcomeKind.STOP, OutcomeKind.RATE_LIMITED)

    # Failures ------------------------------------------------------------------------------------

    def _without_drops(self, outcome: Outcome) -> Outcome:
        """The outcome of a task over the whole dataset: a failure that would drop its rows stops the run (R6)."""
        task, error = outcome.task, outcome.error
        if outcome.kind is OutcomeKind.TRANSIENT and task.attempts + 1 < self.settings.max_attempts:
            return outcome
        if isinstance(error, Unavailable) and self._resource_of(outcome) not in LOCAL_RESOURCES:
            return outcome
        if outcome.kind not in (OutcomeKind.TRANSIENT, OutcomeKind.REJECTED) or error is None:
            return outcome
        text = error_text(error)
        if outcome.kind is OutcomeKind.TRANSIENT:
            text = f"{text} (after {task.attempts + 1} attempts)"
        failed = BarrierFailed(self.graph.generators[task.generator].name, text, error_type(error))
        failed.__cause__ = error
        return outcome._replace(kind=OutcomeKind.STOP, error=failed)

    def _take_failure(self, outcome: Outcome) -> None:
        error = outcome.error or RuntimeError("no error given")
        if outcome.kind is OutcomeKind.STOP:
            self.stop = self.stop or outcome
        elif outcome.kind is OutcomeKind.RATE_LIMITED:
            self._defer_rate_limited(outcome, error)
        elif isinstance(error, Unavailable) and self._resource_of(outcome) not in LOCAL_RESOURCES:
            self._unavailable.append((outcome, error))
        elif outcome.kind is OutcomeKind.TRANSIENT:
            self._defer_transient(outcome, error)
        else:
            attempts, line = outcome.task.attempts + 1, source_line(error)
            failure = self._drop(outcome, "rejected", error_type(error), error_text(error), attempts, line)
            self.results.append(failure)

    def _defer_rate_limited(self, outcome: Outcome, error: BaseException) -> None:
        """A rate-limited task never uses up its attempts (F1): ``attempts`` stays what it was."""
        task = outcome.task
        until = from_epoch(self.now + cool_down_s(error, self.settings.rate_limit_cooldown_s))
        resource = self.graph.generators[task.generator].declaration.resource
        self._defer(outcome, error, task.attempts, until)
        if resource not in LOCAL_RESOURCES:
            self.cooling.append(resource, until, f"rate limited: {error_text(error)[:200]}")
            self.refused[str(resource)] = error_type(error), error_text(error)
        else:
            self.refused_locally[task.generator] = min(until, self.refused_locally.get(task.generator, until))

    def _resource_of(self, outcome: Outcome) -> str | None:
        return self.graph.generators[outcome.task.generator].declaration.resource

    def _defer_unavailable(self, outcome: Outcome, error: Unavailable) -> None:
        """A task whose endpoint is away keeps its attempts, and waits with the endpoint (F2a)."""
        resource = str(self._resource_of(outcome))
        finding = self.outages.failed(resource, outcome.task.key, error, self.now)
        wait = backoff_s(self.settings.backoff_base_s, self.settings.backoff_max_s, 1, f"{outcome.task.key}")
        until = from_epoch(self.now + wait if finding.rests_until is None else finding.rests_until)
        if finding.is_counted:
            self._defer_transient(outcome, error)
        else:
            self._defer(outcome, error, outcome.task.attempts, until)
        if finding.rests_until is None:
            return
        since = f"{from_epoch(finding.since):%H:%M:%S} UTC"
        self.cooling.append(resource, until, f"away since {since}: {error_text(error)[:200]}")
        if self.now - finding.since >= self.settings.unavailable_after_s:
            away = away_for_too_long(resource, finding.since, self.settings.unavailable_after_s, error_text(error))
            self.stop = self.stop or outcome._replace(kind=OutcomeKind.STOP, error=away)

    def _defer_transient(self, outcome: Outcome, error: BaseException) -> None:
        task = outcome.task
        failures = task.attempts + 1
        declaration = self.graph.generators[task.generator].declaration
        if failures >= (declaration.max_attempts or self.settings.max_attempts):
            line = source_line(error)
            text = error_text(error)
            self.results.append(self._drop(outcome, "retries_exhausted", error_type(error), text, failures, line))
            return
        key = f"{task.generator}:{task.row_group}:{task.row_index}:{failures}"
        base_s = declaration.backoff_base_s or self.settings.backoff_base_s
        wait = backoff_s(base_s, self.settings.backoff_max_s, failures, key)
        if isinstance(error, Transient):
            wait = max(wait, asked_wait_s(error.retry_after_s, 0.0))
        self._defer(outcome, error, failures, from_epoch(self.now + wait))

    def _defer(self, outcome: Outcome, error: BaseException, attempts: int, not_before: datetime) -> None:
        self.deferrals.append(*outcome.task.key, error_type(error), error_text(error), attempts, not_before)

    def _drop(
        self, outcome: Outcome, reason: str, kind: str, message: str, attempts: int, line: str | None = None
    ) -> Failure:
        """Drops the rows of a task; returns the failure, for the error window."""
        task = outcome.task
        indices = [task.row_index] if task.row_index is not None else self.live_rows(task.row_group, task.generator)
        for index in indices:
            self.drops.append(task.generator, task.row_group, index, reason, kind, message, attempts, line)
        rows = tuple((task.row_group, index) for index in indices)
        return Failure(self.graph.generators[task.generator].name, rows, kind, message)

    # Results -------------------------------------------------------------------------------------

    def _take_cells(self, node: GeneratorNode, outcomes: Sequence[Outcome]) -> None:
        width = len(node.declaration.outputs)
        if InvalidRow in {type(outcome.values) for outcome in outcomes}:
            outcomes = [judged for outcome in outcomes if (judged := self._judged(node, outcome)) is not None]
        if {len(outcome.values) for outcome in outcomes} - {width}:
            outcomes = [outcome for outcome in outcomes if self._has_right_width(outcome, width)]
        columns = self._arrays(node, outcomes)
        if columns is None:
            outcomes = [outcome for outcome in outcomes if self._fits(node, outcome)]
            columns = self._arrays(node, outcomes)
            assert columns is not None, "values that fit one by one fit together"
        tasks = [outcome.task for outcome in outcomes]
        self._put(node, [task.row_group for task in tasks], [task.row_index for task in tasks], columns)

    def _judged(self, node: GeneratorNode, outcome: Outcome) -> Outcome | None:
        """The outcome with its plain values; None for a row that was judged and is to be dropped.

        The call succeeded: an invalid row is no failure (F6).
        """
        found = outcome.values
        if not isinstance(found, InvalidRow):
            return outcome
        _, row_group, row_index, *_ = outcome.task
        assert row_index is not None, "a verdict is about one row"
        if node.declaration.regeneration is not None:
            self.invalid.append(InvalidCell(node.number, row_group, row_index, clean(found.message)))
            return outcome._replace(values=found.values)
        self.drops.append(node.number, row_group, row_index, "invalid", None, clean(found.message), 0, None)
        return None

    def _has_right_width(self, outcome: Outcome, width: int) -> bool:
        if len(outcome.values) == width:
            return True
        message = f"The generator returned {plural(len(outcome.values), 'value')}, {width} are declared."
        self._reject(outcome, "GeneratorError", message)
        return False

    def _arrays(self, node: GeneratorNode, outcomes: Sequence[Outcome]) -> list[pa.Array] | None:
        arrays = []
        for position, output in zip(node.kept, node.columns, strict=True):
            array = self.column_types.to_array(output.name, [outcome.values[position] for outcome in outcomes])
            if array is None:
                return None
            arrays.append(array)
        return arrays

    def _fits(self, node: GeneratorNode, outcome: Outcome) -> bool:
        for position, output in zip(node.kept, node.columns, strict=True):
            value = outcome.values[position]
            if not self.column_types.fits(output.name, value):
                self._reject(outcome, "TypeMismatch", self.column_types.misfit(output.name, value))
                return False
        return True

    def _take_batches(self, node: GeneratorNode, outcomes: Sequence[Outcome]) -> None:
        """Attaches each batch result to its rows by ``row_index`` (R5)."""
        groups: list[int] = []
        indices: list[int] = []
        parts: list[list[pa.Array]] = []
        for outcome in outcomes:
            task = outcome.task
            live = self.live_rows(task.row_group, task.generator)
            checked = self._checked_batch(node, outcome, live)
            if checked is None:
                continue
            if node.declaration.is_ordered and not self._keep_state(outcome):
                continue
            given, columns = checked
            missing = sorted(set(live) - set(given))
            for index in missing:
                message = f"{node.declaration.name} returned no row for it."
                self.drops.append(task.generator, task.row_group, index, "filtered", None, message, 0, None)
            groups += [task.row_group] * len(given)
            indices += given
            parts.append(columns)
        columns = [
            pa.concat_arrays([part[position] for part in parts]) if parts else self.column_types.empty(output.name)
            for position, output in enumerate(node.columns)
        ]
        self._put(node, groups, indices, columns)

    def _keep_state(self, outcome: Outcome) -> bool:
        """Takes the state an ordered generator wants back; false after rejecting one that is no plain JSON (R10)."""
        try:
            text = json.dumps(outcome.state, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            self._reject(outcome, "GeneratorError", f"The returned state cannot be kept as JSON: {error}")
            return False
        self.states.append(outcome.task.generator, outcome.task.row_group, text)
        return True

    def _checked_batch(
        self, node: GeneratorNode, outcome: Outcome, live: Sequence[int]
    ) -> tuple[list[int], list[pa.Array]] | None:
        """Row indices and output columns of a batch result, or None after rejecting it."""
        table: pa.Table = outcome.values
        problem = None
        names = [output.name for output in node.columns]
        absent = [name for name in ("row_index", *names) if name not in table.column_names]
        if absent:
            problem = f"The returned table has no column {', '.join(map(repr, absent))}."
            self._reject(outcome, "GeneratorError", problem)
            return None
        given = table.column("row_index").to_pylist()
        sent = set(outcome.task.inputs.column("row_index").to_pylist())
        foreign = [index for index in given if index not in sent]
        if foreign:
            problem = (
                f"The returned table has row_index {foreign[0]!r}, which was not among the "
                f"{plural(len(sent), 'row')} given."
            )
        elif len(set(given)) != len(given):
            problem = "The returned table has the same row_index more than once."
        elif len(given) < len(sent) and not node.declaration.may_drop_rows:
            problem = (
                f"The returned table has {len(given):,} of {plural(len(sent), 'row')}. "
                "Return every row_index given, or declare that the generator may drop rows."
            )
        if problem:
            self._reject(outcome, "GeneratorError", problem)
            return None
        wanted = set(live)
        keep = [position for position, index in enumerate(given) if index in wanted]
        if len(keep) < len(given):
            table, given = table.take(pa.array(keep, type=pa.int64())), [given[position] for position in keep]
        columns = []
        for output in node.columns:
            values = table.column(output.name)
            array = self.column_types.checked(output.name, values)
            if array is None:
                self._reject(outcome, "TypeMismatch", self.column_types.first_misfit(output.name, values))
                return None
            columns.append(array)
        return given, columns

    def _reject(self, outcome: Outcome, kind: str, message: str) -> None:
        """A call that succeeded failed after all: its result cannot be used."""
        self.attempts.note_failed_call(outcome, OutcomeKind.REJECTED, kind, message)
        failure = self._drop(outcome, "rejected", kind, message, outcome.task.attempts + 1)
        self.results[self._place_of[outcome.task.key]] = failure

    @cached_property
    def _place_of(self) -> dict[TaskKey, int]:
        """Where ``results`` tell of each task that succeeded. Asked for when they tell of all outcomes."""
        places = [place for place, result in enumerate(self.results) if result is None]
        return {outcome.task.key: place for outcome, place in zip(self._successes, places, strict=True)}

    def _put(
        self, node: GeneratorNode, groups: Sequence[int], indices: Sequence[int | None], columns: Sequence[pa.Array]
    ) -> None:
        if groups:
            self.values[node.number] = pa.table(
                {
                    "row_group": pa.array(groups, type=pa.int64()),
                    "row_index": pa.array(indices, type=pa.int64()),
                    **{f"value_{position}": column for position, column in zip(node.kept, columns, strict=True)},
                }
            )


def _is_answered(outcome: Outcome) -> bool:
    """Did the endpoint answer a request of this call, whatever became of the call? A call without any is one itself."""
    if outcome.requests:
        return any(request.error_type is None and not request.is_reused for request in outcome.requests)
    return outcome.kind is OutcomeKind.SUCCEEDED
