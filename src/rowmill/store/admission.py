"""Letting row groups in, in plan order and within bounds (A1, A2), and making their rows.

Everything SQL alone can make (seed values, samplers, expressions over them) is computed by the INSERT that
creates the rows. A user's expression that fails for a row leaves its bit clear there; settling finds it.
"""

from __future__ import annotations

from datetime import datetime

from rowmill.graph.graph import WORD_BITS
from rowmill.spec.declaration import SeedColumn, Strategy
from rowmill.spec.run_settings import RunSettings
from rowmill.store.connection import Connection, quote
from rowmill.store.layout import Layout
from rowmill.store.statements import statement

_ADMIT = statement("admit_row_groups")
_ADVANCE = statement("advance_cursor")
_INSERT_ROWS = statement("insert_active_rows")
_ROW = statement("admitted_row")
_ROW_WITH_SEED = statement("admitted_row_with_seed")
_LEVEL = statement("admitted_level")

_BULK_ROWS = 122_880
"""Rows admitted at once when no row waits for a task: one row group of the engine's storage."""


class Admission:
    """Admits row groups. Bound to one connection, one layout and the run's settings."""

    def __init__(self, connection: Connection, layout: Layout, settings: RunSettings, seed_rows: int) -> None:
        self._connection = connection
        self._seed_rows = seed_rows
        only_sql = all(node.declaration.strategy is Strategy.SQL for node in layout.graph.generators)
        # Groups that finish in the turn that admits them are never active when it commits, so A2 holds for any size.
        self._bounds = {
            "max_active_rows": max(settings.max_active_rows, _BULK_ROWS) if only_sql else settings.max_active_rows,
            "max_active_row_groups": _BULK_ROWS if only_sql else settings.max_active_row_groups,
        }
        self._insert = _INSERT_ROWS.fill(columns=layout.all_columns, source=self._source(layout))

    def admit(self, now: datetime) -> int:
        """Admits what fits and returns how many rows came in."""
        admitted = self._connection.execute(_ADMIT.text, {"now": now, **self._bounds})
        if not admitted:
            return 0
        first = min(row_group for row_group, _ in admitted)
        last = max(row_group for row_group, _ in admitted)
        self._connection.execute(_ADVANCE.text, {"next_row_group": last + 1})
        parameters = {"first_admitted": first}
        if self._seed_rows:
            parameters["seed_rows"] = self._seed_rows
        self._connection.execute(self._insert, parameters)
        return sum(rows for _, rows in admitted)

    def _source(self, layout: Layout) -> str:
        """The rows of admitted groups with all their SQL columns: one nested level per level of the graph."""
        source = (_ROW_WITH_SEED if self._seed_rows else _ROW).text
        made: set[str] = set()
        done: list[int] = []
        tried: list[int] = []
        for nodes in layout.admission_levels:
            values = []
            for node in nodes:
                name = node.columns[0].name
                made.add(name)
                if isinstance(node.declaration.sql, SeedColumn):
                    if node.declaration.sql.name != name:
                        values.append(f"{quote(node.declaration.sql.name)} as {quote(name)}")
                elif layout.can_fail(node):
                    tried.append(node.number)
                    attempted = quote(f"attempted_{node.number}")
                    values.append(f"try(struct_pack(v := {layout.expression(node)})) as {attempted}")
                    values.append(f"struct_extract({attempted}, 'v') as {quote(name)}")
                    continue
                else:
                    values.append(f"{layout.expression(node)} as {quote(name)}")
                done.append(node.number)
            if values:
                source = _LEVEL.fill(values=",\n  ".join(values), source=source)
        last = [f"{self._word(word, mask, tried)} as done_{word}" for word, mask in enumerate(layout.word_masks(done))]
        last += [f"0::ubigint as skipped_{word}" for word in range(layout.words)]
        last += [f"null as {quote(name)}" for name, _ in layout.value_columns if name not in made]
        if not layout.value_columns:
            last.append("null as no_columns")
        return _LEVEL.fill(values=",\n  ".join(last), source=source)

    @staticmethod
    def _word(word: int, mask: int, tried: list[int]) -> str:
        """A word of the done set of a new row: what cannot fail, and what was tried and did not."""
        bits = [f"{mask}::ubigint"]
        bits += [
            f"(case when {quote(f'attempted_{number}')} is null then 0 else {1 << (number % WORD_BITS)} end)::ubigint"
            for number in tried
            if number // WORD_BITS == word
        ]
        return " | ".join(bits)
