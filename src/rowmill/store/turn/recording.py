"""Recording: what arrived is written into the run database. Values, skips, deferrals, drops, attempts, limits.

Everything here is written so that doing it twice changes nothing (R9): values only enter live rows whose bit is
clear, a row is dropped once, a deferral replaces the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from rowmill.spec.declaration import Strategy
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.column_types import ColumnTypes
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_DROP, Rows
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.turn.attempts import Attempts
from rowmill.store.turn.deferrals import Deferrals
from rowmill.store.turn.drop_log import DropLog
from rowmill.store.turn.dropping import ACTIVE, give_up
from rowmill.store.turn.inbox import Inbox
from rowmill.store.turn.ledger import TurnLedger
from rowmill.store.turn.patience import GivenUp, Patience
from rowmill.store.turn.settling import FailedCell

sql = statements_of("turn/answer", "turn/outcome")

_TOTALLED_TOGETHER = 20_000
"""Attempts that are summed up together: so many at most are added up each time somebody asks for the usage."""
_WRITTEN_TOGETHER = 2_000
"""Results of several generators that are written by one statement: more are faster written generator by generator."""
_WIDEST_TOGETHER = 64
"""Columns a statement for all generators may have."""
_NEW_LIMIT = pa.schema([("resource", pa.string()), ("learned_limit", pa.int32())])


class Recording:
    """Writes what arrived. Bound to one connection, one layout and the run's settings."""

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        settings: RunSettings,
        column_types: ColumnTypes,
        deferrals: Deferrals,
        drop_log: DropLog,
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._deferrals = deferrals
        self._drop_log = drop_log
        self._patience = Patience(connection, layout, settings.give_up_after_s)
        self._no_outcomes = _no_outcomes(layout, column_types)
        self._untotalled = _TOTALLED_TOGETHER  # at least: what earlier invocations left is not known

    def write(self, inbox: Inbox, ledger: TurnLedger) -> set[int]:
        """Writes all of an inbox; returns the generators that got values or skips."""
        execute = self._connection.execute
        changed = set(inbox.values)
        together = self._no_outcomes
        if (
            len(inbox.values) > 1
            and together is not None
            and sum(table.num_rows for table in inbox.values.values()) <= _WRITTEN_TOGETHER
        ):
            self._write_together(inbox.values, together)
        else:
            for number, table in inbox.values.items():
                self._write_values(number, table)
        if inbox.skipped:
            changed |= self._write_skips(inbox.skipped)
        if inbox.undeferred:
            self._deferrals.end(inbox.undeferred)
        if inbox.attempts:
            self.record_attempts(inbox.attempts)
        if inbox.attempts.answers:
            self._connection.stage("new_answer", inbox.attempts.kept_answers().table())
            execute(sql.keep_answers.text)
        if inbox.states:
            self._connection.stage("new_state", inbox.states.table())
            execute(sql.keep_generator_state.text)
        if inbox.cooling:
            self._connection.stage("new_cooling", _latest_per_resource(inbox.cooling).table())
            execute(sql.cool_resources.text)
        if inbox.drops:
            self.drop(inbox.drops, ledger)
        if inbox.deferrals:
            self._deferrals.add(inbox.deferrals, ledger.now)
        self._give_up(list(self._patience.exhausted(inbox, ledger.now)), ledger)
        return changed

    def record_attempts(self, attempts: Attempts) -> None:
        """Journals requests and failed calls (R9)."""
        if self._untotalled >= _TOTALLED_TOGETHER:
            # Before this turn's attempts are inserted: until the commit they have no row numbers of their own.
            self._connection.execute(sql.total_attempts.text)
            self._untotalled = 0
        self._connection.stage("new_attempt", attempts.table())
        self._connection.execute(sql.insert_attempts.text)
        self._untotalled += len(attempts)

    def _write_values(self, number: int, table: pa.Table) -> None:
        self._connection.stage(f"outcome_{number}", table)
        self._connection.execute(
            sql.write_values.fill(
                outcome=f"outcome_{number}",
                assignments=self._layout.assign_values(self._layout.graph.generators[number]),
                set_done=self._layout.add("done", number, "a."),
                not_done=self._layout.lacks("a.done", number),
            )
        )

    def _write_together(self, values: Mapping[int, pa.Table], none: pa.Table) -> None:
        """Writes the results of several generators in one statement."""
        nodes = [self._layout.graph.generators[number] for number in sorted(values)]
        # All columns, whoever made something in this turn: a staged table keeps its schema.
        parts = [none]
        for node in nodes:
            table = values[node.number]
            names = ["row_group", "row_index", *(output.name for output in node.columns)]
            bits = [
                pa.repeat(pa.scalar(mask, pa.uint64()), table.num_rows)
                for mask in self._layout.word_masks([node.number])
            ]
            words = [f"done_{word}" for word in range(self._layout.words)]
            parts.append(pa.Table.from_arrays([*table.columns, *bits], names=[*names, *words]))
        self._connection.stage("outcome_together", pa.concat_tables(parts, promote_options="default"))
        self._connection.execute(
            sql.write_values_together.fill(
                assignments=self._layout.assign_together(nodes),
                merged=self._layout.merge_together(nodes),
                set_done=self._layout.per_word("done_# = a.done_# | o.done_#", ", "),
            )
        )

    def _write_skips(self, skipped: Rows) -> set[int]:
        self._connection.stage("skipped_task", skipped.table())
        numbers = {row[0] for row in skipped.rows}
        for number in sorted(numbers):
            node = self._layout.graph.generators[number]
            self._connection.execute(
                sql.write_skips.fill(
                    assignments=self._layout.assign_skip(node),
                    set_done=self._layout.add("done", number, "a."),
                    set_skipped=self._layout.add("skipped", number, "a."),
                    not_done=self._layout.lacks("a.done", number),
                ),
                {"generator": number},
            )
        return numbers

    # Giving rows up --------------------------------------------------------------------------------

    def drop(self, drops: Rows, ledger: TurnLedger, table: str = ACTIVE) -> None:
        """Gives rows up with their reason; what they hold is kept beside them."""
        self._drop_log.take(drops)
        give_up(self._connection, table, drops, ledger.now)
        self._deferrals.delete_stale()
        ledger.dropped.update((row[1], row[2]) for row in drops.rows)

    def drop_cells(self, failed: Iterable[FailedCell], ledger: TurnLedger) -> None:
        """Gives up the rows of cells that could not be evaluated in SQL (F3, S4)."""
        drops = Rows(NEW_DROP)
        for cell in failed:
            attempts = 1 if cell.error_type is not None else 0
            key = cell.generator, cell.row_group, cell.row_index
            drops.append(*key, cell.reason, cell.error_type, cell.message, attempts, None)
        self.drop(drops, ledger)

    def _give_up(self, tasks: Iterable[GivenUp], ledger: TurnLedger) -> None:
        """Drops the rows of tasks with which patience is at an end (F1)."""
        drops = Rows(NEW_DROP)
        for number, row_group, row_index, attempts, kind, message in tasks:
            indices = [row_index] if row_index >= 0 else self.live_rows(row_group, number)
            for index in indices:
                drops.append(number, row_group, index, "given_up", kind, message, attempts, None)
        if drops:
            self.drop(drops, ledger)

    def live_rows(self, row_group: int, generator: int) -> list[int]:
        """Row indices of the live rows of a row group that the generator has not done: what a batch task stands for."""
        query = sql.live_rows_of_group.fill(not_done=self._layout.lacks("a.done", generator))
        parameters = {"row_group": row_group, "generator": generator}
        return [index for (index,) in self._connection.execute(query, parameters)]

    def learn(self, limits: Mapping[str, int]) -> None:
        """Keeps what was learned of the resources for the next invocation (C2)."""
        rows = Rows(_NEW_LIMIT)
        for resource, limit in limits.items():
            rows.append(resource, limit)
        self._connection.stage("new_limit", rows.table())
        self._connection.execute(sql.learn_limits.text)


def _no_outcomes(layout: Layout, column_types: ColumnTypes) -> pa.Table | None:
    """The staged table of results of several generators, empty; None if there are too many columns for it to pay."""
    columns = [
        output.name for node in layout.graph.generators if node.strategy is not Strategy.SQL for output in node.columns
    ]
    if len(columns) > _WIDEST_TOGETHER:
        return None
    return pa.table(
        {
            "row_group": pa.array([], type=pa.int64()),
            "row_index": pa.array([], type=pa.int64()),
            **{name: column_types.empty(name) for name in columns},
            **{f"done_{word}": pa.array([], type=pa.uint64()) for word in range(layout.words)},
        }
    )


def _latest_per_resource(cooling: Rows) -> Rows:
    latest: dict[str, tuple[object, ...]] = {}
    for row in cooling.rows:
        known = latest.get(row[0])
        if known is None or known[1] < row[1]:
            latest[row[0]] = row
    rows = Rows(cooling.schema)
    rows.rows = list(latest.values())
    return rows
