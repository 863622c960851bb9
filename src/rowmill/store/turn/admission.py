"""Letting row groups in: in plan order, within bounds, when there is a use for them (A1 to A5), and parking (A7).

Everything SQL alone can make (seed values, samplers, expressions over them) is computed by the INSERT that
creates the rows. A user's expression that fails for a row leaves its bit clear there; settling finds it.

The order in which work is found for a resource that could do more: parked row groups that wait for it come back,
lowest first; else, unless deferral blocks it, row groups that are due come back, then new ones enter; if the bounds
stand in the way, row groups that only wait for cooling resources are parked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from rowmill.graph.graph import WORD_BITS
from rowmill.spec.declaration import SeedColumn, Strategy
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.connection import STORAGE_ROWS, Connection, quote
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout, place_of
from rowmill.store.turn.ledger import TurnLedger
from rowmill.store.turn.refusals import Refusals

sql = statements_of("turn/admission", "turn/finish", "turn/row_groups")

_BULK_ROWS = STORAGE_ROWS
"""Rows admitted at once when no row waits for a task."""

_NO_ROOM = frozenset({"max rows", "max groups", "max parked rows"})
"""Reasons of the bounds on rows and row groups (A2)."""
_DEFERRED = "deferred tasks"
_REFUSALS = _NO_ROOM | {_DEFERRED}
"""Reasons for which row groups that are left do not enter; with any other one there is none."""

_NEW_PARKING = pa.schema([("row_group", pa.int64()), ("parked_for", pa.list_(pa.string()))])


class _DeferralVerdict(NamedTuple):
    """Whether deferred tasks block admission, and until when the first cooling resource rests (None: none does)."""

    blocks: bool
    cools_until: datetime | None


class CameIn(NamedTuple):
    """What a search for work brought into the working set."""

    rows: int
    """At least one if any row group came in."""
    returned: bool = False
    """Row groups that were due came back: any SQL column may be missing in them."""


class RowGroupCounts(NamedTuple):
    """How many admitted row groups are in which state: see ``row_groups.sql``."""

    active: int
    parked: int
    waiting: int
    due: int
    parked_rows: int
    """Rows of those that are parked."""
    parked_for: list[str]
    """What these wait for: resources, and local generators by their key."""

    @property
    def working(self) -> int:
        """Those that are not held back by a barrier and did not come back."""
        return self.active + self.parked


def count_row_groups(connection: Connection) -> RowGroupCounts:
    """Counts admitted row groups; by the connection of the process that works on the run."""
    return RowGroupCounts(*connection.recall(sql.row_group_summary.text, "state.admitted_row_group")[0])


class Admission:
    """Brings row groups into the working set. Bound to one connection, one layout and the run's settings."""

    def __init__(
        self, connection: Connection, layout: Layout, settings: RunSettings, seed_rows: int, refusals: Refusals
    ) -> None:
        self._connection = connection
        self._refusals = refusals
        self._seed_rows = seed_rows
        self._max_parked_rows = settings.max_parked_rows
        called = (Strategy.CELL, Strategy.BATCH)
        self._only_sql = not any(node.strategy in called for node in layout.graph.generators)
        # Groups that finish in the turn that admits them are never active when it commits, so A2 holds for any size.
        self._bounds = {
            "max_active_rows": max(settings.max_active_rows, _BULK_ROWS)
            if self._only_sql
            else settings.max_active_rows,
            "max_active_row_groups": _BULK_ROWS if self._only_sql else settings.max_active_row_groups,
        }
        own = [node for nodes in layout.admission_levels for node in nodes if layout.own_sql(node)]
        self._own_sql = [text for node in own for text in layout.own_sql(node)]
        self._places = " or ".join(place_of(node) for node in own)
        self._insert = sql.insert_active_rows.fill(columns=layout.all_columns, source=self._source(layout))
        self._used_up_at: int | None = None
        """How many row groups the plan had when none of them was left."""
        self._refused_by: str | None = None
        """Why the next row group may not enter: holds until room is made, or until deferral blocks it no more."""
        self._deferral_verdict: _DeferralVerdict | None = None
        self._roots = connection.execute(sql.root_generators.text)

    def seed_grew(self, seed_rows: int) -> None:
        """There are so many seed rows now."""
        self._seed_rows = seed_rows

    def plan_grew(self) -> None:
        """Tells that there are row groups again that were not admitted."""
        self._refused_by = None

    @property
    def _row_groups(self) -> RowGroupCounts:
        return count_row_groups(self._connection)

    @property
    def _planned(self) -> int:
        """How many row groups the plan has; it may have been extended since the last turn."""
        return int(self._connection.recall(sql.planned_row_groups.text, "state.plan_segment")[0][0])

    @property
    def has_due(self) -> bool:
        """Whether row groups that came back have work to do."""
        return self._row_groups.due > 0

    def find_work(self, unused: Mapping[str, int], free: Mapping[str, int], ledger: TurnLedger) -> CameIn:
        """Brings rows in for resources that could do more (A3); the ledger notes what stood in the way.

        ``unused``: per resource how many tasks it could still take after the pull; ``free``: how many it could before.
        """
        ledger.blocked_by = None
        if self._only_sql:
            return self._bring_in(_BULK_ROWS, ledger)
        wanted = {resource: count for resource, count in unused.items() if count > 0}
        if ledger.was_refused:
            ledger.was_refused = False
            self._park(ledger)
        came_back = self._unpark(wanted, ledger)
        if came_back:
            return CameIn(came_back)
        # As many again as this turn was asked for: the next one then finds its work without a second pull.
        demand = self._demand({resource: count + free.get(resource, 0) for resource, count in wanted.items()})
        if not demand and self._row_groups.active:
            if self._refusals and self._deferral_blocks(ledger.now):
                ledger.blocked_by = _DEFERRED
            return CameIn(0)
        came_in = self._let_in(demand, ledger)
        if ledger.blocked_by in _NO_ROOM and not self._deferral_blocks(ledger.now) and self._park(ledger):
            came_back = self._unpark(wanted, ledger)
            came_in = CameIn(came_back) if came_back else self._let_in(demand, ledger)
        return came_in

    def _demand(self, wanted: Mapping[str, int]) -> int:
        """How many tasks a resource wants that a row group brings: any that is due, else those it starts with."""
        if self.has_due:
            return max(wanted.values(), default=0)
        starting = (wanted.get(resource, 0) for number, resource in self._roots if number not in self._refusals)
        return max(starting, default=0)

    def _let_in(self, wanted_rows: int, ledger: TurnLedger) -> CameIn:
        """Row groups that are due, or new ones, unless something refuses them; the ledger notes what (A5)."""
        ledger.blocked_by = None
        if self._used_up_at == self._planned and not self.has_due:
            return CameIn(0)
        if self._refused_by == _DEFERRED and not self._deferral_blocks(ledger.now):
            self._refused_by = None
        if self._refused_by is None or not self._row_groups.active:
            came_in = self._bring_in(max(wanted_rows, 1), ledger)
            reason = None if came_in.rows else self._why_none(ledger.now)
            self._refused_by = reason if reason in _REFUSALS else None
            if reason is not None and self._refused_by is None:
                self._used_up_at = self._planned
            if self._refused_by is None:
                return came_in
        ledger.blocked_by = self._refused_by
        return CameIn(0)

    def _why_none(self, now: datetime) -> str | None:
        """Why no row group came in, in the words of the view ``admission``."""
        facts = {**self._bounds, "max_parked_rows": self._max_parked_rows}
        reason = self._connection.execute(
            sql.why_no_row_group_enters.text, {**facts, "deferral_blocks": self._deferral_blocks(now)}
        )
        return None if reason[0][0] is None else str(reason[0][0])

    def make_room(self) -> None:
        """Tells that a row group or a row left the working set."""
        if self._refused_by in _NO_ROOM:
            self._refused_by = None

    def deferrals_changed(self, changed: bool) -> None:
        """Tells that deferrals or cool-downs came or went in this turn."""
        if changed:
            self._deferral_verdict = None

    def _deferral_blocks(self, now: datetime) -> bool:
        """Whether a new row group would bring no work independent of deferred tasks (A4).

        The answer holds until deferrals change or the first resource stops cooling down.
        """
        verdict = self._deferral_verdict
        if verdict is None or (verdict.cools_until is not None and now >= verdict.cools_until):
            # The views of cooling resources look at the time of the last turn, which is this one from here on.
            self._connection.execute(sql.touch_run.text, {"now": now})
            verdict = _DeferralVerdict(*self._connection.execute(sql.deferral_blocks_admission.text, {"now": now})[0])
            self._deferral_verdict = verdict
        return verdict.blocks

    def _something_cools(self, now: datetime) -> bool:
        self._deferral_blocks(now)
        cools = self._deferral_verdict is not None and self._deferral_verdict.cools_until is not None
        return cools or bool(self._refusals)

    def _bring_in(self, wanted_rows: int, ledger: TurnLedger) -> CameIn:
        """Lets about ``wanted_rows`` rows in: row groups that are due first, else new ones."""
        came_back = self._return(wanted_rows, ledger)
        return CameIn(came_back, returned=True) if came_back else CameIn(self._admit(wanted_rows, ledger))

    def _asked(self, wanted_rows: int, now: datetime) -> dict[str, object]:
        """What the statements that let row groups in are told."""
        blocks = not self._only_sql and self._deferral_blocks(now)
        return {"wanted_rows": wanted_rows, "deferral_blocks": blocks, **self._bounds}

    def _return(self, wanted_rows: int, ledger: TurnLedger) -> int:
        """Brings back row groups that are due, lowest first; returns how many rows came."""
        if not self.has_due:
            return 0
        found = self._connection.execute(sql.due_row_groups.text, self._asked(wanted_rows, ledger.now))
        if not found:
            return 0
        came_back = {"row_groups": [row_group for (row_group,) in found]}
        self._connection.execute(sql.return_row_groups.text, came_back)
        rows = int(self._connection.execute(sql.unpark_rows.text, came_back)[0][0])
        self._connection.execute(sql.delete_unparked_rows.text, came_back)
        ledger.counts["returned"] += len(found)
        return rows

    def _admit(self, wanted_rows: int, ledger: TurnLedger) -> int:
        """Admits about ``wanted_rows`` rows if the bounds allow, and returns how many came in (A1, A2)."""
        admitted = self._connection.execute(
            sql.admit_row_groups.text, {"now": ledger.now, **self._asked(wanted_rows, ledger.now)}
        )
        if not admitted:
            return 0
        ledger.counts["admitted"] += len(admitted)
        first = min(row_group for row_group, _ in admitted)
        last = max(row_group for row_group, _ in admitted)
        self._connection.execute(sql.advance_cursor.text, {"next_row_group": last + 1})
        parameters = {"first_admitted": first}
        if self._seed_rows:
            parameters["seed_rows"] = self._seed_rows
        row_count = sum(int(rows) for _, rows in admitted)
        with self._allowance(row_count):
            self._connection.execute(self._insert, parameters)
        return row_count

    def _allowance(self, rows: int) -> AbstractContextManager[None]:
        """What the spec's SQL in the INSERT may use; without any nothing is watched."""
        if not self._own_sql:
            return nullcontext()
        return allowance(self._connection, self._places, self._own_sql, rows=rows)

    # Parking -------------------------------------------------------------------------------------

    def _park(self, ledger: TurnLedger) -> int:
        """Parks row groups that only wait for cooling resources, and returns how many (A7)."""
        if self._row_groups.parked_rows >= self._max_parked_rows or not self._something_cools(ledger.now):
            return 0
        parkable = self._connection.execute(sql.parkable_row_groups.text, {"now": ledger.now})
        if not parkable:
            return 0
        parking = Rows(_NEW_PARKING)
        for row_group, resources in parkable:
            parking.append(row_group, resources)
        self._connection.stage("new_parking", parking.table())
        self._connection.execute(sql.park_row_groups.text)
        self._connection.execute(sql.park_rows.text)
        self._connection.execute(sql.delete_parked_from_active.text)
        ledger.counts["parked"] += len(parkable)
        self.make_room()
        return len(parkable)

    def _unpark(self, wanted: Mapping[str, int], ledger: TurnLedger) -> int:
        """Brings back parked row groups that wait for these resources, lowest first (A7).

        Returns how many rows came, 1 for groups without any, 0 if no group came.
        """
        rooms = {key: room for key in self._row_groups.parked_for if (room := self._room(key, wanted, ledger.now))}
        if not rooms:
            return 0
        parameters = {
            "keys": [key for key in rooms if not self._refusals.refuses(key)],
            "asked_again": [key for key in rooms if self._refusals.refuses(key)],
            "wanted_rows": max(rooms.values()),
            "now": ledger.now,
            **self._bounds,
        }
        row_groups = [
            row_group for (row_group,) in self._connection.execute(sql.unparkable_row_groups.text, parameters)
        ]
        if not row_groups:
            return 0
        came_back = {"row_groups": row_groups}
        self._connection.execute(sql.unpark_row_groups.text, came_back)
        rows = int(self._connection.execute(sql.unpark_rows.text, came_back)[0][0])
        self._connection.execute(sql.delete_unparked_rows.text, came_back)
        ledger.counts["unparked"] += len(row_groups)
        # One of which no row is left has to be looked at, too: it is complete.
        return max(rows, 1)

    def _room(self, key: str, wanted: Mapping[str, int], now: datetime) -> int:
        """How many rows are wanted of row groups that are parked for a key: a resource, or a local generator."""
        resource = self._refusals.resource_of(key)
        if resource is None:
            return wanted.get(key, 0)
        return self._refusals.room(key, wanted.get(resource, 0), now)

    # Making rows ---------------------------------------------------------------------------------

    def _source(self, layout: Layout) -> str:
        """The rows of admitted groups with all their SQL columns: one nested level per level of the graph."""
        source = (sql.admitted_row_with_seed if self._seed_rows else sql.admitted_row).text
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
                    attempted = _attempted(node.number)
                    values.append(f"try(struct_pack(v := {layout.expression(node)})) as {attempted}")
                    values.append(f"struct_extract({attempted}, 'v') as {quote(name)}")
                    continue
                else:
                    values.append(f"{layout.expression(node)} as {quote(name)}")
                done.append(node.number)
            if values:
                source = sql.admitted_level.fill(values=",\n  ".join(values), source=source)
        last = [f"{self._word(word, mask, tried)} as done_{word}" for word, mask in enumerate(layout.word_masks(done))]
        last += [f"0::ubigint as skipped_{word}" for word in range(layout.words)]
        last += [f"null as {quote(name)}" for name, _ in layout.value_columns if name not in made]
        if not layout.value_columns:
            last.append("null as no_columns")
        return sql.admitted_level.fill(values=",\n  ".join(last), source=source)

    @staticmethod
    def _word(word: int, mask: int, tried: list[int]) -> str:
        """A word of the done set of a new row: what cannot fail, and what was tried and did not."""
        bits = [f"{mask}::ubigint"]
        bits += [
            f"(case when {_attempted(number)} is null then 0 else {1 << (number % WORD_BITS)} end)::ubigint"
            for number in tried
            if number // WORD_BITS == word
        ]
        return " | ".join(bits)


def _attempted(number: int) -> str:
    """A helper column of the INSERT; no column of a spec can have a control character in its name."""
    return quote(f"\x1f{number}")
