"""Set-wise work inside the turn: SQL generators, skips and spared cells, in topological order (R7, S1, S2, V8).

Only generators that can have something to do are looked at, and only when something they depend on
changed in this turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import duckdb

from rowmill.errors import GeneratorError, SqlTooCostly
from rowmill.graph.graph import GeneratorNode
from rowmill.spec.declaration import SampledValue, SeedColumn, SqlExpression, Strategy
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.catchable import catchable
from rowmill.store.layout.layout import Layout, place_of
from rowmill.store.layout.macros import create_sampler_macros
from rowmill.store.layout.sampling import unformatted_value
from rowmill.store.reshape.regeneration import InvalidCell
from rowmill.store.turn.attempts import clean
from rowmill.store.turn.sparing import Sparing
from rowmill.value.shown import with_values

sql = statements_of("turn/settle")

_EXPLAINED_ROWS = 20
_LONGEST_EXPLANATION_S = 5.0
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A row whose SQL could not be evaluated: it is dropped with this reason (F3, S4)."""

    generator: int
    row_group: int
    row_index: int
    error_type: str | None
    message: str
    reason: str = "rejected"


@dataclass
class Settled:
    """What one evaluation of the SQL generators and skips came to."""

    looked_at: set[int] = field(default_factory=set)
    """The generators that were looked at."""
    succeeded: int = 0
    """How many SQL cells were made."""
    failed: list[FailedCell] = field(default_factory=list)
    """Rows that failed, or are not valid. They are still there, the caller drops them."""
    invalid: list[InvalidCell] = field(default_factory=list)
    """Rows found invalid that are to be made again."""
    spared: dict[int, int] = field(default_factory=dict)
    """By generator, how many cells have their earlier value, as their inputs came out as before."""
    stop: GeneratorError | None = None
    """A failing skip rule that stops the run (``on_error: stop``); of several the first."""


class Settling:
    """Evaluates what needs no task. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout, seed_rows: int, rows: int) -> None:
        """``rows``: how many may be active, for the time their SQL may take."""
        self._rows = rows
        self._connection = connection
        self._layout = layout
        self._seed_rows = seed_rows
        self._nodes = layout.settled_in_turn
        self._settled = frozenset(node.number for node in layout.set_wise)
        self._sparing = Sparing(connection, layout)

    def seed_grew(self, seed_rows: int) -> None:
        """There are so many seed rows now."""
        self._seed_rows = seed_rows

    def rows_revived(self) -> None:
        """Rows came back that may have earlier values."""
        self._sparing.look()

    def settle(self, changed: Iterable[int], *, rows_admitted: bool, rows_returned: bool = False) -> Settled:
        """Runs the set-wise generators that follow ``changed`` ones (all of them after an admission).

        ``rows_returned``: rows came in that were made before, so that any column may be missing, also those an
        admission makes by itself.
        """
        settled = Settled()
        touched = set(changed)
        for node in self._sparing.with_spareable(self._layout.set_wise if rows_returned else self._nodes):
            if not (rows_admitted or rows_returned or not touched.isdisjoint(node.upstream)):
                continue
            if node.number in self._settled:
                self._settle_one(node, settled)
            spared = self._sparing.spare(node)
            if spared:
                settled.spared[node.number] = spared
            if spared or node.number in self._settled:
                touched.add(node.number)
                settled.looked_at.add(node.number)
        self._sparing.forget_decided()
        return settled

    def _settle_one(self, node: GeneratorNode, settled: Settled) -> None:
        pending = {
            "upstream_done": self._layout.contains("done", node.upstream),
            "not_done": self._layout.lacks("done", node.number),
        }
        if node.number in self._layout.skippable:
            self._settle_skips(node, pending, settled)
        if isinstance(node.declaration.sql, SeedColumn):
            self._connection.execute(
                sql.settle_seed_column.fill(
                    column=quote(node.columns[0].name),
                    seed_column=quote(node.declaration.sql.name),
                    set_done=self._layout.add("done", node.number, "a."),
                    not_done=self._layout.lacks("a.done", node.number),
                ),
                {"seed_rows": self._seed_rows},
            )
        elif node.declaration.strategy is Strategy.SQL:
            expression = self._layout.expression(node)
            slots = {
                "column": quote(node.columns[0].name),
                "expression": expression,
                "set_done": self._layout.add("done", node.number),
                **pending,
            }
            with allowance(self._connection, place_of(node), self._layout.own_sql(node), rows=self._rows):
                if node.declaration.regeneration is None:
                    settled.succeeded += int(self._connection.execute(sql.settle_expression.fill(**slots))[0][0])
                else:
                    self._judge(node, slots, settled)
            unsettled = self._connection.execute(sql.unsettled_rows.fill(**pending))
            settled.failed += self._explain(node, expression, unsettled, "SqlError")
            if node.declaration.drops_invalid:
                settled.failed += self._invalid(node)

    def _judge(self, node: GeneratorNode, slots: Mapping[str, str], settled: Settled) -> None:
        """Evaluates a verdict, and notes the rows that are not valid by it."""
        judged = self._connection.execute(sql.settle_verdict.fill(judged=_judged(node), **slots))
        settled.succeeded += len(judged)
        settled.invalid += [
            InvalidCell(node.number, row_group, row_index, _message(node, message or "not valid", values))
            for row_group, row_index, is_valid, message, values in judged
            if is_valid is False
        ]

    def _invalid(self, node: GeneratorNode) -> list[FailedCell]:
        """Rows whose verdict says that they are not valid; those that were found before are gone."""
        verdict = quote(node.columns[0].name)
        query = sql.invalid_rows.fill(
            all_done=self._layout.contains("done", [node.number]),
            predicate=f"not {verdict}.is_valid",
            expression=f"{verdict}.error_messages",
            judged=_judged(node),
        )
        return [
            FailedCell(node.number, row_group, row_index, None, _message(node, message, values), "invalid")
            for row_group, row_index, message, values in self._connection.execute(query)
        ]

    def _settle_skips(self, node: GeneratorNode, pending: dict[str, str], settled: Settled) -> None:
        slots = {
            "assignments": self._layout.assign_skip(node),
            "set_done": self._layout.add("done", node.number),
            "set_skipped": self._layout.add("skipped", node.number),
            **pending,
        }
        sources = [number for number in node.required if number in self._layout.skippable]
        if node.declaration.propagate_skip and sources:
            skipped = self._layout.intersects("skipped", sources)
            self._connection.execute(sql.settle_propagated_skip.fill(upstream_skipped=skipped, **slots))
        rule = node.declaration.skip
        if rule is None or rule.sql is None:
            return
        predicate = catchable(f"({rule.sql}\n)")
        statement = sql.settle_predicate_or_error_skip if rule.on_error == "skip" else sql.settle_predicate_skip
        with allowance(self._connection, f"Column {node.name!r} ({rule.place})", [rule.sql], rows=self._rows):
            self._connection.execute(statement.fill(predicate=predicate, **slots))
            if rule.on_error == "skip":
                return
            failing = self._connection.execute(sql.failed_predicates.fill(predicate=predicate, **pending))
        failed = self._explain(node, f"cast(({predicate}) as boolean)", failing, "SkipError")
        if failed and rule.on_error == "stop":
            where = f"row {failing[0][2]}, column {node.name!r}"
            error = GeneratorError(f"skip.when fails for {where}: {failed[0].message}", "SkipError")
            settled.stop = settled.stop or error
        else:
            settled.failed += failed

    def _explain(
        self, node: GeneratorNode, expression: str, rows: list[tuple[int, int, int]], kind: str
    ) -> list[FailedCell]:
        failed = []
        message = ""
        source = node.declaration.sql
        sampled = source if isinstance(source, SampledValue) and kind != "SkipError" else None
        for place, (row_group, row_index, row_id) in enumerate(rows):
            if place < _EXPLAINED_ROWS:
                if isinstance(source, SqlExpression) and kind != "SkipError":
                    kind, message = self._expression_reason(node, source.text, expression, row_id)
                elif sampled is None:
                    message = self._reason(expression, row_id)
                else:
                    kind, message = self._sampling_reason(sampled, node.name, row_id)
            failed.append(FailedCell(node.number, row_group, row_index, kind, clean(message)))
        return failed

    def _expression_reason(self, node: GeneratorNode, text: str, expression: str, row_id: int) -> tuple[str, str]:
        """Why a row has no value of an SQL expression: it fails, or what it gives does not fit the column (V3)."""
        row = self._connection.arrow(sql.values_of_row.text, {"row_id": row_id})
        with Connection(None, threads=1) as scratch:
            scratch.stage("failing_row", row)
            try:
                with _explaining(scratch, node.name, text):
                    value, of = scratch.execute(sql.value_and_type_for_row.fill(expression=f"({text}\n)"))[0]
            except SqlTooCostly as error:
                return "SqlError", str(error)
            except duckdb.Error as error:
                return "SqlError", str(error).strip().splitlines()[0]
        if value is None:
            return "SqlError", self._reason(expression, row_id)
        shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        column = node.columns[0]
        return "TypeMismatch", (
            f"Column {column.name!r} is {column.sql_type}; its sql gives {shown!a} ({of}). "
            f"Give the column the right dtype, or write the cast you want: cast(… as {column.sql_type})."
        )

    def _sampling_reason(self, value: SampledValue, column: str, row_id: int) -> tuple[str, str]:
        """Why a row has no sampled value: a condition or a call that fails, or bounds that were not met."""
        expression = unformatted_value(value, self._layout.seed, column)
        row = self._connection.arrow(sql.values_of_row.text, {"row_id": row_id})
        with Connection(None, threads=1) as scratch:
            create_sampler_macros(scratch, [expression])
            scratch.stage("failing_row", row)
            try:
                with _explaining(scratch, column, expression):
                    scratch.execute(sql.evaluate_for_row.fill(expression=expression))
            except SqlTooCostly as error:
                return "SqlError", str(error)
            except duckdb.Error as error:
                return "SqlError", str(error).strip().splitlines()[0]
        return "ConstraintNotMet", value.unmet

    def _reason(self, expression: str, row_id: int) -> str:
        """The engine's own words on why an expression fails for a row.

        Asked of a private in-memory database, since an error in the run database would abort the turn.
        """
        row = self._connection.arrow(sql.values_of_row.text, {"row_id": row_id})
        with Connection(None, threads=1) as scratch:
            scratch.stage("failing_row", row)
            try:
                with _explaining(scratch, "The expression", expression):
                    scratch.execute(sql.evaluate_for_row.fill(expression=expression))
            except SqlTooCostly as error:
                return str(error)
            except duckdb.Error as error:
                return str(error).strip().splitlines()[0]
        return "The expression failed among other rows, but not for this row alone."


def _explaining(scratch: Connection, what: str, expression: str) -> AbstractContextManager[None]:
    """What finding out why one row failed may take."""
    return allowance(scratch, what, [expression], longest_s=_LONGEST_EXPLANATION_S)


def _judged(node: GeneratorNode) -> str:
    """The values a verdict in SQL speaks of, as texts."""
    source = node.declaration.sql
    paths = source.judged if isinstance(source, SqlExpression) else ()
    return ", ".join(f"try(cast({'.'.join(map(quote, path))} as varchar))" for path in paths)


def _message(node: GeneratorNode, message: str, values: Sequence[str | None]) -> str:
    """What is wrong with a row by a verdict in SQL, with the values it speaks of."""
    source = node.declaration.sql
    paths = source.judged if isinstance(source, SqlExpression) else ()
    return clean(with_values(message, dict(zip(map(".".join, paths), values, strict=True))))
