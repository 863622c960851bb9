"""Barriers: generators that look at all rows at once (R6).

While a barrier is open, row groups come as far as they can without it and wait. When all wait, the first open one
runs: in the database, or as a task. What it decided is written in one transaction: its values, its drops, and which row
groups have work to do now. It is written slice by slice, so that memory holds a slice of the rows. Rows of an extended
run that are in the dataset already take part again; what comes after the barrier is only made again for those of which
its values changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import BarrierFailed, InternalError, SqlTooCostly
from rowmill.graph.graph import GeneratorNode
from rowmill.spec.declaration import Deduplicate, KeepOfDataset
from rowmill.store.database.column_types import ColumnTypes
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.dataset_rows import DatasetRows
from rowmill.store.reshape.dataset_sql import decision
from rowmill.store.reshape.reopening import follow_rows
from rowmill.task import FinishedRowGroup

sql = statements_of("reshape/barrier", "reshape/regeneration", "turn/finish", "turn/row_groups")

_SLICE_ROWS = 50_000
_LEAST_ROW_ID, _GREATEST_ROW_ID = -(2**63), 2**63 - 1


def reopen_barriers(connection: Connection, changed: Iterable[int] = ()) -> list[int]:
    """Opens barriers again that have not seen all rows, and those that ``changed``; returns their numbers.

    Call it in the transaction that extends the plan, revives rows, or clears done bits of live rows. Rows these
    barriers dropped come back with the values they had, so that the next run decides over all rows; row groups that
    are held become due, or wait, as their rows need it.
    """
    stale = sorted({*changed, *(number for (number,) in connection.execute(sql.stale_barriers.text))})
    if stale:
        barriers = {"generators": stale}
        connection.execute(sql.reopen_barriers.text, barriers)
        connection.execute(sql.delete_deferred_barriers.text, barriers)
        connection.execute(sql.activate_returning_rows.text, barriers)
        connection.execute(sql.park_returning_rows.text, barriers)
        connection.execute(sql.delete_returned_values.text, barriers)
        connection.execute(sql.delete_returned_drops.text, barriers)
        follow_rows(connection)
    connection.execute(sql.look_at_row_groups_again.text)
    return stale


class Passed(NamedTuple):
    """What came of a barrier that ran."""

    told: str
    """For people."""
    finished: list[FinishedRowGroup]
    """Row groups it finished, because none of their rows was left; lowest first."""


class Held(NamedTuple):
    """Whether rows wait for open barriers."""

    waits: bool
    """There are rows that only wait for one."""
    ready: int | None = None
    """The barrier to be evaluated in the database next."""


class Barriers:
    """The barriers of one graph, and what rows need while they are open. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout, *, announces: bool) -> None:
        """``announces``: row groups a barrier finishes are remembered until they were announced (K3)."""
        self._connection = connection
        self._layout = layout
        self._announces = announces
        self._types = dict(layout.value_columns)
        self.open: tuple[int, ...] = ()
        """Numbers of the barriers that have not run over all rows that are there."""
        self.leaves: frozenset[int] = frozenset()
        """Generators with whose outcome a row group becomes complete: no other one that is needed comes after them.

        While a barrier is open again, those after it are among them: their last call may end when all else is done.
        """
        self.look_again()

    def look_again(self) -> None:
        """Reads which barriers are open, and what rows need meanwhile."""
        graph = self._layout.graph
        closed = (
            {number for (number,) in self._connection.execute(sql.closed_barriers.text)} if graph.barriers else set()
        )
        self.open = tuple(number for number in graph.barriers if number not in closed)
        needed = frozenset(graph.needed(self.open))
        self.leaves = frozenset(
            n.number for n in graph.generators if not needed.intersection(graph.dependents(n.number))
        )
        self._to_hold_back = sql.row_groups_to_hold_back.fill(all_done=self._layout.contains("done", sorted(needed)))

    def reopen(self) -> None:
        """Opens barriers again after rows came back in this transaction (see :func:`reopen_barriers`)."""
        if self._layout.graph.barriers:
            reopen_barriers(self._connection)
            self.look_again()

    def hold_back(self) -> int:
        """Active row groups that can come no further before the open barriers ran wait; returns how many."""
        if not self.open:
            return 0
        found = [row_group for (row_group,) in self._connection.execute(self._to_hold_back)]
        if found:
            row_groups = {"row_groups": found}
            self._connection.execute(sql.hold_rows_back.fill(columns=self._layout.all_columns), row_groups)
            self._connection.execute(sql.hold_row_groups_back.text, row_groups)
            self._connection.execute(sql.delete_deferrals_of_held.text, row_groups)
            self._connection.execute(sql.delete_finished_rows.text, row_groups)
        return len(found)

    def look(self, working: int, held: int) -> Held:
        """Whether there are rows that only wait for an open barrier, and which one the database can evaluate now.

        ``working``: how many row groups are active or parked; ``held``: how many wait or are due.
        """
        if not self.open or working:
            return Held(False)
        ready = [number for (number,) in self._connection.execute(sql.ready_barrier.text)]
        evaluated = [number for number in ready if not self._layout.graph.generators[number].is_task]
        return Held(bool(ready) or held > 0, evaluated[0] if evaluated else None)

    def generator_rows(self, node: GeneratorNode, inputs: Sequence[str] | None = None) -> str:
        """The SQL of the rows a barrier looks at, with the columns it reads."""
        names = node.inputs if inputs is None else inputs
        return sql.barrier_rows.fill(
            inputs=", ".join(f"a.{quote(name)}" for name in names) or "null as no_inputs",
            columns=self._layout.all_columns,
            is_done=self._layout.contains("done", [node.number]),
            is_later=self._layout.one_of("d.generator", self._after(node)),
            upstream_done=self._layout.contains("a.done", node.upstream),
            is_skipped=self._layout.intersects("a.skipped", [node.number]),
        )

    def _after(self, node: GeneratorNode) -> list[int]:
        """Generators that only work on rows that came past this barrier; others may have dropped a row since."""
        graph = self._layout.graph
        before = graph.needed(number for number in graph.barriers if number >= node.number)
        return sorted({other.number for other in graph.generators} - {*before, node.number})

    # Running ---------------------------------------------------------------------------------------

    def run(self, number: int, now: datetime) -> Passed:
        """Runs the barrier of that number, which is ready, in a transaction of its own.

        Raises BarrierFailed if its SQL fails for the rows that are there; then nothing is written.
        """
        node = self._layout.graph.generators[number]
        with self._connection.transaction():
            self._skip_rows(node)
            slices = self._slices(self.generator_rows(node))
            self._decide(node)
            passed = self._apply(
                node, (self._connection.arrow(sql.decided_slice.text, slice_) for slice_ in slices), now
            )
            self._connection.execute(sql.clear_decided.text)
        self.look_again()
        return passed

    def _decide(self, node: GeneratorNode) -> None:
        source = node.declaration.dataset_sql
        parameters = {"message": source.message} if isinstance(source, KeepOfDataset) else None
        deciding = decision(node, self.generator_rows(node), self._types, self._layout.casts.get(node.number))
        try:
            rows = self._bounds(self.generator_rows(node))[2]
            with allowance(self._connection, node.name, [deciding], rows=rows, is_large=True):
                self._connection.execute(deciding, parameters)
        except SqlTooCostly as error:
            raise BarrierFailed(node.name, str(error), "SqlError") from error
        except duckdb.Error as error:
            if not engine_errors.is_fault_of_sql(error):
                raise
            raise BarrierFailed(node.name, str(error).strip().splitlines()[0], "SqlError") from error

    def take_result(
        self, node: GeneratorNode, result: pa.RecordBatchReader, column_types: ColumnTypes, now: datetime
    ) -> BarrierFailed | Passed | None:
        """Writes what a barrier's task returned, in the caller's transaction; returns what came of it.

        A result that does not fit its rows or the types of its columns is returned as the error it is, and nothing of
        it is written. None: the barrier cannot run (any more), the result is discarded (R9).
        """
        if (node.number,) not in self._connection.execute(sql.ready_barrier.text):
            return None
        checked = _CheckedResult(node, result, column_types)
        self._connection.stage_stream("barrier_result", checked.reader())
        self._connection.execute(sql.take_result.text)
        self._connection.unstage("barrier_result")
        rows = self.generator_rows(node)
        slices = self._slices(rows)
        failed = checked.problem or self._misfit(node, rows, slices)
        outcome: BarrierFailed | Passed
        if failed:
            outcome = BarrierFailed(node.name, failed)
        else:
            values = ", ".join(f"b.value_{position}" for position in node.kept)
            deciding = sql.decide_by_result.fill(generator_rows=rows, values=values)
            parameters = {"message": f"{node.name} returned no row for it."}
            decided = (self._connection.arrow(deciding, parameters | slice_) for slice_ in slices)
            outcome = self._apply(node, decided, now)
            self.look_again()
        self._connection.execute(sql.clear_returned.text)
        return outcome

    def task_rows(self, number: int) -> DatasetRows:
        """The rows a barrier's task looks at, for the call that is about to start."""
        node = self._layout.graph.generators[number]
        self._skip_rows(node)
        rows = self.generator_rows(node)
        first, last, row_count = self._bounds(rows)
        inputs = ",\n  ".join(f"r.{quote(name)}" for name in node.inputs)
        query = sql.dataset_task_rows.fill(generator_rows=rows, inputs=inputs or "null as no_inputs")
        schema = self._connection.arrow(query, {"first_row": 0, "last_row": -1}).schema
        return DatasetRows(self._connection, query, schema, (first, last), row_count)

    def _bounds(self, rows: str) -> tuple[int, int, int]:
        first, last, row_count = self._connection.execute(sql.dataset_bounds.fill(generator_rows=rows))[0]
        return first or 0, last or 0, row_count

    def _slices(self, rows: str) -> list[dict[str, int]]:
        """Ranges of row ids, each with some of the rows, that cover all there can be."""
        first, last, row_count = self._bounds(rows)
        width = max(_SLICE_ROWS, (last - first + 1) * _SLICE_ROWS // max(row_count, 1))
        starts = [_LEAST_ROW_ID, *range(first + width, last + 1, width)]
        ends = [*(start - 1 for start in starts[1:]), _GREATEST_ROW_ID]
        return [{"first_row": start, "last_row": end} for start, end in zip(starts, ends, strict=True)]

    def _skip_rows(self, node: GeneratorNode) -> None:
        sources = [number for number in node.required if number in self._layout.skippable]
        if node.declaration.propagate_skip and sources:
            self._connection.execute(
                sql.skip_rows_of_barrier.fill(
                    assignments=self._layout.assign_skip(node),
                    set_done=self._layout.add("done", node.number),
                    set_skipped=self._layout.add("skipped", node.number),
                    upstream_done=self._layout.contains("done", node.upstream),
                    not_done=self._layout.lacks("done", node.number),
                    upstream_skipped=self._layout.intersects("skipped", sources),
                )
            )

    def _misfit(self, node: GeneratorNode, rows: str, slices: Sequence[Mapping[str, int]]) -> str | None:
        """Why the rows of a result are not those that were given, or None."""
        finding = sql.result_problem.fill(generator_rows=rows)
        missing, missing_row = 0, None
        for slice_ in slices:
            lacking, lacking_row, foreign, foreign_row, repeated, repeated_row = self._connection.execute(
                finding, slice_
            )[0]
            if foreign:
                among = plural(self._bounds(rows)[2], "row")
                return f"It returned row_id {foreign_row}, which was not among the {among} given."
            if repeated:
                return f"It returned row_id {repeated_row} more than once."
            missing += lacking
            missing_row = lacking_row if missing_row is None else missing_row
        if missing and not node.declaration.may_drop_rows:
            given = self._bounds(rows)[2]
            return (
                f"It returned {given - missing} of {given} rows (row_id {missing_row} is missing). Return every row_id "
                "given, or declare that it may drop rows (may_drop_rows: true)."
            )
        return None

    def _apply(self, node: GeneratorNode, slices: Iterable[pa.Table], now: datetime) -> Passed:
        """Writes a decision: values and drops, the row groups they touch, and that the barrier is closed."""
        execute = self._connection.execute
        rows_in = rows_out = 0
        for decided in slices:
            rows_in += decided.num_rows
            rows_out += decided.column("keep").to_pylist().count(True)
            self._write(node, decided, now)
        finished = self._regroup(now)
        execute(sql.forget_barrier.text, {"generator": node.number})
        execute(
            sql.close_barrier.text, {"generator": node.number, "now": now, "rows_in": rows_in, "rows_out": rows_out}
        )
        execute(sql.look_at_row_groups_again.text)
        return Passed(f"{rows_out:,} of {plural(rows_in, 'row')} passed", finished)

    def _write(self, node: GeneratorNode, decided: pa.Table, now: datetime) -> None:
        """Writes what was decided about a slice of the rows. Raises InternalError if a row would be there twice."""
        execute = self._connection.execute
        layout = self._layout
        columns, is_new = layout.all_columns, layout.is_new(node)
        reason = "duplicate" if isinstance(node.declaration.dataset_sql, Deduplicate) else "filtered"
        self._connection.stage("barrier_decision", decided)
        execute(sql.delete_overruled_drops.text)
        execute(sql.record_decided_drops.text, {"generator": node.number, "reason": reason, "now": now})
        execute(sql.keep_decided_values.fill(columns=columns))
        execute(sql.delete_decided_parked.text)
        execute(sql.delete_decided_finished.text)
        changed = self._connection.arrow(sql.note_changed_rows.fill(is_new=is_new))
        if changed.num_rows:
            self._connection.stage("barrier_change", changed)
            execute(sql.move_changed_rows.fill(columns=columns))
            execute(sql.delete_changed_finished.text)
            execute(sql.delete_changed_drops.text)
            execute(sql.delete_changed_drop_values.text)
        ((written,),) = execute(sql.write_decided_rows.fill(decided=layout.decided(node), is_new=is_new))
        ((replaced,),) = execute(sql.delete_undecided_rows.fill(is_new=is_new))
        if written != replaced:
            raise InternalError(f"{node.name}: {written} rows passed the barrier, {replaced} were replaced by them.")

    def _regroup(self, now: datetime) -> list[FinishedRowGroup]:
        """Row groups follow their rows: those that have work to do come back, those without a row left are finished."""
        execute = self._connection.execute
        emptied = {
            "row_groups": [row_group for (row_group,) in execute(sql.finish_emptied_row_groups.text, {"now": now})]
        }
        execute(sql.forget_admitted_row_groups.text, emptied)
        follow_rows(self._connection)
        execute(sql.count_rows_of_finished_row_groups.text)
        if self._layout.skippable:
            execute(sql.forget_finished_skips.text)
            execute(sql.count_finished_skips.fill(is_skipped_of_a=self._layout.view_slots["is_skipped_of_a"]))
        if not emptied["row_groups"]:
            return []
        execute(sql.forget_regenerations.text)
        if self._announces:
            execute(sql.note_unannounced.text, emptied)
        return [FinishedRowGroup(*row) for row in execute(sql.finished_facts.text, emptied)]


class _CheckedResult:
    """A result on its way into the database, batch by batch: row ids and values of the right types (V3)."""

    def __init__(self, node: GeneratorNode, result: pa.RecordBatchReader, column_types: ColumnTypes) -> None:
        self._node = node
        self._result = result
        self._column_types = column_types
        self.problem: str | None = None
        """Why the result cannot be used; the stream ends at the first such batch."""

    def reader(self) -> pa.RecordBatchReader:
        """The stream: row_id and value_0, value_1, …"""
        named = zip(self._node.kept, self._node.columns, strict=True)
        values = [(f"value_{position}", self._column_types.empty(output.name).type) for position, output in named]
        schema = pa.schema([("row_id", pa.int64()), *values])
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterable[pa.RecordBatch]:
        names = ["row_id", *(output.name for output in self._node.columns)]
        absent = [name for name in names if name not in self._result.schema.names]
        if absent:
            self.problem = f"The returned table has no column {', '.join(map(repr, absent))}."
            return
        for batch in self._result:
            arrays: list[Any] = []
            for name in names:
                array = self._checked(name, pa.chunked_array([batch.column(name)]))
                if array is None:
                    return
                arrays.append(array)
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _checked(self, name: str, values: pa.ChunkedArray) -> pa.Array | None:
        if name == "row_id":
            if not pa.types.is_integer(values.type) or values.null_count:
                self.problem = f"Its row_id is {values.type}, or null for some row; return the row_id given."
                return None
            return values.cast(pa.int64()).combine_chunks()
        array = self._column_types.checked(name, values)
        if array is None:
            self.problem = self._column_types.first_misfit(name, values)
        return array
