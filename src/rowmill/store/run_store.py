"""A run database as the process that works on it sees it: created, opened, signed into, signed out of.

Creation is one transaction: a crash before its commit leaves a file without tables, which the next
invocation simply makes anew.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import Damaged, Incompatible, InternalError, Untouched
from rowmill.graph.graph import Graph
from rowmill.graph.plan import Plan, PlanSegment
from rowmill.graph.shard import Shard
from rowmill.spec.declaration import SampledValue, SamplerCall
from rowmill.spec.spec import Spec
from rowmill.store.database.column_types import arrow_schema
from rowmill.store.database.connection import STORAGE_ROWS, Connection, quote
from rowmill.store.database.staging import from_epoch, to_epoch
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.file.database_file import create_private_file
from rowmill.store.file.usable import check_usable
from rowmill.store.layout import schema
from rowmill.store.layout.blueprint import Blueprint
from rowmill.store.layout.graph_tables import insert_graph
from rowmill.store.layout.implicit_cast import implicit_casts
from rowmill.store.layout.layout import Layout
from rowmill.store.layout.macros import create_sampler_macros
from rowmill.store.layout.seed_content import keep_new_marks, keep_seed_content, seed_content_of
from rowmill.store.layout.seed_reader import SeedFile, copy_seed, count_seed_rows, read_seed
from rowmill.store.reshape.barrier import reopen_barriers
from rowmill.store.reshape.change import compare, renew_fingerprints
from rowmill.store.turn.acceptance import Acceptance
from rowmill.store.turn.control import Control, HandSettings, read_hand_settings
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest
from rowmill.store.turn.drop_log import DropLog
from rowmill.store.turn.following import Following
from rowmill.store.turn.skipping import SkipCondition
from rowmill.store.turn.turn import Turn
from rowmill.store.turn.workers import keep_workers
from rowmill.unfinished_file import CHANGED, remove_left_behind
from rowmill.version import VERSION
from rowmill.worker import WorkerNews

_log = logging.getLogger("rowmill.run")

sql = statements_of("reading/status", "run", "layout/seed")


@dataclass(frozen=True, slots=True)
class StoredSpec:
    """The newest spec inside a run database."""

    text: str
    """JSON, as ``Spec.to_json`` wrote it."""
    directory: Path


@dataclass(frozen=True, slots=True)
class ResourceMemory:
    """What is known of a resource from before: calls at once it may and was found to take, and until when it rests."""

    configured_limit: int
    learned_limit: int
    cooling_until: float | None
    """Seconds since the epoch; may be past."""


class _NotApplied(Exception):
    """A request changed nothing: the transaction that would record it is rolled back."""


class RunStore:
    """The one writer of a run database. Every method belongs to the same thread."""

    def __init__(self, connection: Connection, *, is_new: bool) -> None:
        self._connection = connection
        self.is_new = is_new
        self._invocation: int | None = None
        self._drop_log: DropLog | None = None
        self._turn: Turn | None = None

    @classmethod
    def open(cls, path: Path) -> RunStore:
        """Opens ``path`` for working on it; a file that is not there is created, with mode 0600.

        Raises Locked (another process holds it), Damaged, Incompatible (not a run database, or of a newer
        version) or UsageError (no such directory, no right to write).
        """
        check_usable(path)
        if not path.exists() or path.stat().st_size == 0:
            create_private_file(path.resolve())  # also where a link leads to
        store = cls.over(Connection(path))
        for removed in remove_left_behind(path.resolve(), CHANGED):
            _log.info("Removed %s, which a process that is gone left half made", removed)
        return store

    @classmethod
    def in_memory(cls) -> RunStore:
        """A run database that is gone when it is closed."""
        return cls.over(Connection(None))

    @classmethod
    def over(cls, connection: Connection) -> RunStore:
        """A store over an open connection. Raises Damaged or Incompatible, and closes the connection then."""
        try:
            is_new = schema.is_new(connection)
            if not is_new:
                schema.check_version(connection)
        except duckdb.Error as error:
            connection.close()
            raise engine_errors.opening_error(error, connection.path or Path(":memory:")) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, is_new=is_new)

    # Creating and comparing -------------------------------------------------------------------------

    def create(self, blueprint: Blueprint, now: float) -> None:
        """Makes the tables and puts spec, graph, plan and seed rows in, all in one transaction."""
        moment = from_epoch(now)
        layout = Layout(blueprint.graph, blueprint.spec.seed)
        seed_file = blueprint.seed_file
        seed_rows = read_seed(seed_file) if seed_file is not None else None
        plan = Plan.fresh(blueprint.spec.planned_records, blueprint.spec.row_group_size)
        segments = plan.segments if blueprint.shard is None else blueprint.shard.cut(plan)
        with engine_errors.mapped("creating the run database"):
            with self._connection.transaction():
                self._create_tables(layout, list(seed_file.columns) if seed_file else [], moment)
                if seed_file is not None and seed_rows is not None:
                    content = seed_content_of(self._connection, seed_file, seed_rows)
                    copy_seed(self._connection, seed_file, seed_rows, blueprint.spec.seed)
                    keep_seed_content(self._connection, seed_file, content)
                self._connection.execute(
                    sql.insert_run.text,
                    {
                        "name": blueprint.spec.name,
                        "seed": blueprint.spec.seed,
                        "spec_directory": str(blueprint.spec_directory),
                        "next_row_group": segments[0].first_row_group if segments else 0,
                        "now": moment,
                    },
                )
                self._connection.execute(
                    sql.insert_spec_version.text, {"spec": blueprint.spec.to_json(), "now": moment}
                )
                insert_graph(self._connection, blueprint.graph, layout)
                self._insert_segments(segments, 0)
                if blueprint.shard is not None:
                    self._connection.execute(sql.insert_shard.text, asdict(blueprint.shard))
            self._connection.checkpoint()
        self.is_new = False

    def _create_tables(self, layout: Layout, seed_columns: list[tuple[str, str]], moment: datetime) -> None:
        schema.create_tables(self._connection, layout, seed_columns, moment)

    def _insert_segments(self, segments: Sequence[PlanSegment], first: int) -> None:
        for position, segment in enumerate(segments, start=first):
            self._connection.execute(
                sql.insert_plan_segment.text,
                {
                    "segment": position,
                    "first_row_group": segment.first_row_group,
                    "row_groups": segment.row_groups,
                    "row_group_size": segment.row_group_size,
                    "first_row": segment.first_row,
                    "rows": segment.rows,
                },
            )

    def stored_spec(self) -> StoredSpec:
        """The spec the run goes on with. Raises Damaged if there is none."""
        with engine_errors.mapped("reading the spec"):
            rows = self._connection.execute(sql.newest_spec.text)
        if not rows:
            raise Damaged(
                f"{self._connection.path} holds no spec: its creation did not finish. "
                f"'rowmill doctor {self._connection.path}' checks the rest."
            )
        return StoredSpec(rows[0][0], Path(rows[0][1]))

    def seed_columns(self) -> tuple[tuple[str, str], ...]:
        """Name and SQL type of the columns of the seed rows inside the database."""
        try:
            return tuple((name, sql_type) for name, sql_type in self._connection.execute(sql.seed_columns.text))
        except duckdb.CatalogException:  # no such table: a spec without seed data
            return ()

    def plan(self) -> Plan:
        """The plan, checked against itself (P4). Raises Damaged if it contradicts itself."""
        with engine_errors.mapped("reading the plan"):
            segments = tuple(PlanSegment(*row) for row in self._connection.execute(sql.plan_segments.text))
        shard = self.shard()
        if shard is None or not segments:
            return Plan(segments)
        return Plan(segments, segments[0].first_row_group, shard.first_row)

    def shard(self) -> Shard | None:
        """Which rows of a whole run this database holds; None: it is the whole."""
        with engine_errors.mapped("reading which shard it is"):
            try:
                rows = self._connection.execute(sql.read_shard.text)
            except duckdb.CatalogException:  # no such table: it was made by an older Rowmill
                return None
        return Shard(*rows[0]) if rows else None

    def check_plan(self) -> None:
        """Raises Damaged if the plan contradicts itself or the row groups there are (P4)."""
        self.plan()
        with engine_errors.mapped("counting the row groups"):
            cursor, planned, first, active, held, finished = self._connection.execute(sql.plan_and_row_groups.text)[0]
        if cursor > planned or cursor - first != active + held + finished:
            raise Damaged(
                f"The plan of {self._connection.path} and its row groups contradict each other: {cursor - first} of "
                f"{planned - first} "
                f"were admitted, but {active} are active, {held} wait or are due and {finished} are finished. "
                "'rowmill doctor' says more."
            )

    def check_after_crash(self) -> None:
        """Raises Damaged if nobody signed out and the rows that are worked on contradict each other (D5).

        The same time however many rows are finished; ``rowmill doctor`` looks at those too.
        """
        with engine_errors.mapped("looking for contradictions"):
            if not self._connection.execute(sql.was_left_open.text)[0][0]:
                return
            found = self._connection.execute(sql.contradictions_of_unfinished_rows.text)
        if found:
            said = "; ".join(f"{rule}: {subject} ({detail})" for rule, subject, detail in found)
            raise Damaged(
                f"{self._connection.path} contradicts itself since a process that worked on it died: {said}. Going on "
                f"could lose rows, so nothing was changed. 'rowmill doctor {self._connection.path}' says more."
            )

    def check_fits(self, spec: Spec, graph: Graph, seed_file: SeedFile | None = None) -> None:
        """Raises Incompatible if this database was made from a spec, or seed data, that shapes values differently."""
        change = compare(self._connection, spec, graph, seed_file)
        if change.is_untouched:
            raise Untouched(f"Nothing was made yet under what changed: {'; '.join(change.lines())}.")
        if change:
            raise Incompatible(
                f"{self._connection.path} was made from another spec: {'; '.join(change.lines())}. "
                f"{change.price()} Nothing was changed. "
                "'--accept-changes' goes on with the new spec; the old spec, or another file for "
                "a new dataset, leave this one as it is."
            )

    def extend(self, records: int, row_group_size: int, now: float) -> int:
        """Appends a plan segment if ``records`` is more than planned (P1, P2); returns how many rows were added.

        Raises UsageError for a target below the current one.
        """
        plan = self.plan()
        extended = plan.extended(records, row_group_size)
        if extended is plan:
            return 0
        with engine_errors.mapped("extending the plan"), self._connection.transaction():
            self._insert_segments(extended.segments[len(plan.segments) :], len(plan.segments))
            self.reopen("extended", now)
            self.note("extended", "plan", f"from {plan.rows} to {plural(records, 'record')}", now)
        return extended.rows - plan.rows

    def check_code(self, spec: Spec, graph: Graph) -> None:
        """Raises Incompatible if the spec inside this database would now make other values: its functions changed."""
        change = compare(self._connection, spec, graph)
        if change.is_untouched:
            raise Untouched(f"Nothing was made yet under what changed: {'; '.join(change.lines())}.")
        if change:
            path = self._connection.path
            raise Incompatible(
                f"{path} was made with other code than there is now: {'; '.join(change.lines())}. "
                f"{change.price()} Nothing was changed. "
                f"Put the code back as it was, or: 'rowmill run {path} --accept-changes' goes on "
                "with the code of now."
            )

    def renew_fingerprints(self, graph: Graph) -> None:
        """After :meth:`check_fits`: from now on generators are known as this Rowmill knows them."""
        renew_fingerprints(self._connection, graph)

    def update_spec(self, spec: Spec, now: float) -> None:
        """Keeps ``spec`` as the newest one if it differs from the stored one (settings, limits, records)."""
        text = spec.to_json()
        if text != self.stored_spec().text:
            with engine_errors.mapped("keeping the spec"), self._connection.transaction():
                self._connection.execute(sql.insert_spec_version.text, {"spec": text, "now": from_epoch(now)})

    def keep_seed_marks(self, seed_file: SeedFile) -> None:
        """Remembers seed files that :meth:`check_fits` had to read: next time they need not be."""
        with engine_errors.mapped("keeping the marks of the seed files"):
            keep_new_marks(self._connection, seed_file)

    # An invocation ----------------------------------------------------------------------------------

    def begin(self, limits: Mapping[str, int], now: float) -> dict[str, ResourceMemory]:
        """Signs this process in and returns what earlier ones learned of the resources (C2)."""
        moment = from_epoch(now)
        with engine_errors.mapped("signing in"), self._connection.transaction():
            self._connection.execute(sql.close_crashed_invocations.text, {"now": moment})
            rows = self._connection.execute(
                sql.begin_invocation.text,
                {"pid": os.getpid(), "host": socket.gethostname(), "version": VERSION, "now": moment},
            )
            self._invocation = int(rows[0][0])
            self._connection.execute(sql.defer_by_clock_of_today.text, {"now": moment})
            self._connection.execute(sql.cool_by_clock_of_today.text, {"now": moment})
            memory = self._resource_memory()
            if any(known.cooling_until is not None for known in memory.values()):
                # Only who was asked for patience can be refusing.
                self._connection.execute(sql.put_off_refusals.text, {"now": moment})
            if any(name not in memory or memory[name].configured_limit != limit for name, limit in limits.items()):
                self._set_limits(limits)
                memory = self._resource_memory()
            self._connection.execute(sql.start_run.text, {"now": moment})
        return memory

    def _set_limits(self, limits: Mapping[str, int]) -> None:
        names = sorted(limits)
        table = pa.table(
            {
                "resource": pa.array(names, type=pa.string()),
                "configured_limit": pa.array([limits[name] for name in names], type=pa.int32()),
            }
        )
        self._connection.stage("new_resource", table)
        self._connection.execute(sql.upsert_resource.text)
        self._connection.unstage("new_resource")

    def _resource_memory(self) -> dict[str, ResourceMemory]:
        return {
            resource: ResourceMemory(configured, learned, to_epoch(until) if until is not None else None)
            for resource, configured, learned, until in self._connection.execute(sql.resource_memory.text)
        }

    def note_rest(self, resource: str, rests_for_s: float | None, reason: str | None, now: float) -> None:
        """Writes down that a resource rests for so long, and why; None: it does not rest any more."""
        until = from_epoch(now + rests_for_s) if rests_for_s is not None else None
        with engine_errors.mapped("noting that a server rests"), self._connection.transaction():
            parameters = {"resource": resource, "until": until, "reason": reason}
            self._connection.execute(sql.note_rest.text, parameters)
            what = "server rests" if until is not None else "server is back"
            self.note(what, resource, reason or "", now)

    def say_alive(self) -> None:
        """From now on the views, asked here, know that a process works on the run."""
        self._connection.execute(sql.say_alive.text)

    def casts_values(self) -> bool:
        """Whether the run keeps to an older rule: what does not fit its column's type is rounded or cut to it."""
        return bool(self._connection.execute(sql.older_rule.text)[0][0])

    def taken_source_rows(self, column: str) -> list[int]:
        """Which rows of the run that is followed are seed rows, by the seed column that says it."""
        return [row for (row,) in self._connection.execute(sql.taken_source_rows.fill(column=quote(column)))]

    def arrow_types(self, graph: Graph) -> dict[str, pa.DataType]:
        """The Arrow type in which the engine hands over each column of a spec."""
        columns = [(output.name, output.sql_type) for node in graph.generators for output in node.columns]
        return {field.name: field.type for field in arrow_schema(self._connection, columns)}

    @engine_errors.mapped("preparing the turns")
    def turn(
        self,
        spec: Spec,
        graph: Graph,
        skip_conditions: Mapping[int, SkipCondition] | None = None,
        *,
        announces: bool = False,
        follows: bool = False,
    ) -> Turn:
        """The turn of this invocation. Call :meth:`begin` first."""
        if self._invocation is None:
            raise RuntimeError("begin() comes before turn()")
        if _works_on_few_rows(spec, graph):
            self._connection.use_one_thread()
        layout = Layout(graph, spec.seed, {} if self.casts_values() else implicit_casts(self._connection, graph))
        self._drop_log = DropLog(layout)
        sampled = [node for node in graph.generators if isinstance(node.declaration.sql, (SamplerCall, SampledValue))]
        create_sampler_macros(self._connection, map(layout.expression, sampled))
        has_seed = any(node.declaration.column_type == "seed-dataset" for node in graph.generators)
        self._turn = Turn(
            self._connection,
            layout,
            spec.run,
            invocation=self._invocation,
            acceptance=Acceptance(self._connection, spec.accepted_records, spec.row_group_size),
            # Rows that are followed may not be there yet; nothing is planned without them.
            seed_rows=max(count_seed_rows(self._connection), int(follows)) if has_seed else 0,
            following=Following(self._connection, count_seed_rows(self._connection), spec.row_group_size)
            if follows
            else None,
            skip_conditions=skip_conditions,
            announces=announces,
            drop_log=self._drop_log,
            is_shard=self.shard() is not None,
        )
        return self._turn

    def end(self, reason: str, now: float) -> None:
        """Signs this process out. The run is ``stopped`` with the reason unless it is finished."""
        moment = from_epoch(now)
        if self._drop_log is not None:
            self._drop_log.say()
        with engine_errors.mapped("signing out"), self._connection.transaction():
            if self._turn is not None:
                self._turn.lags.write()
                self._connection.clear_staged()
            self._connection.execute(sql.stop_run.text, {"reason": reason, "now": moment})
            self._connection.execute(
                sql.end_invocation.text, {"invocation": self._invocation, "reason": reason, "now": moment}
            )

    def hand_settings(self) -> HandSettings:
        """What people decided for the run: a pause, limits."""
        with engine_errors.mapped("reading what was decided by hand"):
            return read_hand_settings(self._connection)

    def steer(self, request: ControlRequest, now: float) -> ControlAnswer:
        """Applies a request to the run, on which nothing works. One that is not applied leaves the file as it is."""
        control = Control(self._connection, is_living=False)
        with suppress(_NotApplied), engine_errors.mapped("steering the run"), self._connection.transaction():
            answer, _ = control.apply_one(request, from_epoch(now))
            if answer.outcome != "applied":
                raise _NotApplied
        return answer

    def is_finished(self) -> bool:
        """True when every row group of the plan is finished."""
        with engine_errors.mapped("reading the run's state"):
            return bool(self._connection.execute(sql.run_state.text)[0][1] == "finished")

    def rows_finished(self) -> int:
        """How many rows the dataset holds."""
        with engine_errors.mapped("counting the dataset's rows"):
            return int(self._connection.execute(sql.acceptance_summary.text)[0][0])

    def reopen_for_more(self, now: float) -> None:
        """A finished run goes on because more rows are to be accepted (P6)."""
        with engine_errors.mapped("reopening the run"), self._connection.transaction():
            self.reopen("more rows are to be accepted", now)

    def reopen(self, reason: str, now: float) -> None:
        """A finished run has more to do, and so have its barriers. Belongs into the caller's transaction."""
        self._connection.execute(sql.reopen_run.text, {"reason": reason, "now": from_epoch(now)})
        reopen_barriers(self._connection)

    def note(self, kind: str, subject: str, detail: str, now: float) -> None:
        """Writes an event. Belongs into the caller's transaction."""
        parameters = {"now": from_epoch(now), "kind": kind, "subject": subject, "detail": detail}
        self._connection.execute(sql.insert_event.text, parameters)

    def note_workers(self, news: WorkerNews) -> None:
        """Writes down what is new of workers elsewhere, and what happened to them."""
        if self._invocation is None:
            raise InternalError("workers were told of before the invocation began")
        with engine_errors.mapped("noting where the workers stand"), self._connection.transaction():
            for event in news.events:
                self.note(event.kind, event.subject, event.detail, event.at)
            keep_workers(self._connection, self._invocation, news)

    @property
    def connection(self) -> Connection:
        """The connection, for reading on the same thread."""
        return self._connection

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()


def _works_on_few_rows(spec: Spec, graph: Graph) -> bool:
    """Whether all statements of a turn stay within the rows the engine gives to one thread anyway."""
    has_tasks = any(node.is_task for node in graph.generators)
    most_rows = max(spec.run.max_active_rows, spec.row_group_size)
    return has_tasks and not graph.barriers and most_rows <= STORAGE_ROWS
