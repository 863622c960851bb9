"""Merging: shards of a run become one run database, made beside them. They are only read.

The statements are those of ``merge.sql``. What a shard is, and whether shards fit together, is told by
:class:`ShardFacts`; who puts them together decides by that (:mod:`rowmill.engine.merging`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.graph.plan import Plan, PlanSegment
from rowmill.graph.shard import Shard
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout import schema
from rowmill.store.layout.layout import Layout

sql = statements_of("reshape/merge", "reshape/rebuild", "run", "turn/outcome")

MERGED_TABLES = (
    "finished_row_group", "admitted_row_group", "dataset_row", "active_row", "parked_row", "dropped_row_value",
    "finished_skip", "unannounced_row_group", "regeneration", "deferred_task", "event", "control_request",
    "earlier_row",
)  # fmt: skip
"""Tables of which each shard's rows are added as they are."""
SHARED_TABLES = ("generator", "column_def", "dependency", "seed_content", "seed_file", "older_rule")
"""Tables that are the same in every shard."""
_SEED_ROWS = "seed_row"
JOINED_TABLES = (
    "run", "spec_version", "plan_segment", "invocation", "commit_lag", "attempt", "task_trace", "usage_total",
    "dropped_row", "retired_generator", "answer", "resource", "refusal", "pause", "limit_by_hand", "schema_version",
    _SEED_ROWS,
)  # fmt: skip
"""Tables with a rule of their own. What is left has no row in a shard, or none in a whole: ``barrier``,
``generator_state``, ``shard``, ``worker``, ``worker_group``."""
_JOINED = (sql.merge_answers, sql.merge_resources, sql.merge_refusals, sql.merge_pause, sql.merge_limits_by_hand)
_GENERATOR_MAP = pa.schema([("generator", pa.int32()), ("renamed", pa.int32())])
_NEW_RETIRED = pa.schema([("generator", pa.int32()), ("name", pa.string())])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a shard is: a row of ``facts_of_shard``."""

    name: str
    state: str
    seed: int
    next_row_group: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    invocations: int
    finished: int
    waiting: int
    barriers: int
    older_rules: int


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """A shard, as far as it matters for putting it together with others."""

    path: Path
    shard: Shard
    progress: Progress
    segments: tuple[PlanSegment, ...]
    spec: str
    spec_directory: Path
    graph: tuple[tuple[Any, ...], ...]
    columns: tuple[tuple[Any, ...], ...]
    seed: tuple[tuple[Any, ...], ...]
    seed_columns: tuple[tuple[str, str], ...]

    @property
    def row_groups(self) -> int:
        """How many row groups it has."""
        return sum(segment.row_groups for segment in self.segments)

    @property
    def is_done(self) -> bool:
        """Whether it has done all it can without the others: its row groups are finished, or wait for a barrier."""
        return self.progress.finished + self.progress.waiting == self.row_groups

    @property
    def has_begun(self) -> bool:
        """Whether any of its row groups entered."""
        return bool(self.segments) and self.progress.next_row_group > self.segments[0].first_row_group

    @property
    def row_group_size(self) -> int | None:
        """Rows of its row groups; None if it has none."""
        return self.segments[0].row_group_size if self.segments else None


def read_progress(connection: Connection, source: str) -> Progress:
    """How far the shard attached under that name is."""
    return Progress(*connection.execute(sql.facts_of_shard.fill(source=quote(source)))[0])


def read_makings(connection: Connection, source: str) -> dict[str, tuple[tuple[Any, ...], ...]]:
    """What a shard was made by: its graph, its columns, its seed rows."""
    found = {"graph": sql.graph_of_shard, "columns": sql.columns_of_shard, "seed": sql.seed_of_shard}
    return {name: tuple(connection.execute(each.fill(source=quote(source)))) for name, each in found.items()}


class Merge:
    """One merge, of shards attached under names into a new database on the same connection."""

    def __init__(self, connection: Connection, shards: Mapping[str, ShardFacts], plan: Plan, layout: Layout) -> None:
        """``shards``: in the order of their rows, all made by the graph of ``layout``. ``plan``: of the whole."""
        self._connection = connection
        self._shards = shards
        self._plan = plan
        self._layout = layout

    def is_up_to_date(self) -> bool:
        """Whether all shards are still as they were when their facts were read."""
        return all(read_progress(self._connection, source) == facts.progress for source, facts in self._shards.items())

    def copy(self, now: datetime, *, detail: str) -> int:
        """Makes all tables and copies everything, in one transaction, then checkpoints; returns how many rows lack."""
        connection = self._connection
        first = next(iter(self._shards.values()))
        with connection.transaction():
            schema.create_tables(connection, self._layout, list(first.seed_columns), now)
            self._put_run()
            self._put_what_is_shared()
            self._put_calls()
            for source in self._shards:
                for table in MERGED_TABLES:
                    connection.execute(sql.merge_table.fill(table=table, source=quote(source)))
                for each in _JOINED:
                    connection.execute(each.fill(source=quote(source)))
                self._put_retained(source)
            missing = self._put_missing(now)
            connection.execute(
                sql.insert_event.text,
                {"now": now, "kind": "merged", "subject": "run database", "detail": detail[:2000]},
            )
        connection.checkpoint()
        return missing

    def _put_run(self) -> None:
        shards = list(self._shards.values())
        progress = [facts.progress for facts in shards]
        started = [each.started_at for each in progress if each.started_at is not None]
        finished = [each.finished_at for each in progress if each.finished_at is not None]
        rows = sum(facts.shard.rows for facts in shards)
        is_finished = rows == self._plan.rows and all(facts.progress.finished == facts.row_groups for facts in shards)
        state = "finished" if is_finished and started else "stopped" if started else "new"
        self._connection.execute(
            sql.merge_run.text,
            {
                "name": progress[0].name,
                "seed": progress[0].seed,
                "spec_directory": str(shards[0].spec_directory),
                "state": state,
                "reason": "merged from shards" if state == "stopped" else None,
                # A shard that began nothing stands at its first row group, and nobody need have begun those before it.
                "next_row_group": max((each.progress.next_row_group for each in shards if each.has_begun), default=0),
                "created_at": min(each.created_at for each in progress),
                "updated_at": max(each.updated_at for each in progress),
                "started_at": min(started, default=None),
                "finished_at": max(finished, default=max(each.updated_at for each in progress))
                if state == "finished"
                else None,
            },
        )

    def _put_what_is_shared(self) -> None:
        connection = self._connection
        first, facts = next(iter(self._shards.items()))
        tables = (*SHARED_TABLES, _SEED_ROWS) if facts.seed_columns else SHARED_TABLES
        for table in tables:
            connection.execute(sql.merge_table.fill(table=table, source=quote(first)))
        specs: dict[str, datetime] = {}
        for source in self._shards:
            for spec, accepted_at in connection.execute(sql.specs_of_shard.fill(source=quote(source))):
                specs[spec] = min(accepted_at, specs.get(spec, accepted_at))
        newest = facts.spec
        for spec in sorted(specs, key=lambda each: (each == newest, specs[each])):
            connection.execute(sql.insert_spec_version.text, {"spec": spec, "now": specs[spec]})
        for number, segment in enumerate(self._plan.segments):
            connection.execute(
                sql.insert_plan_segment.text,
                {
                    "segment": number,
                    "first_row_group": segment.first_row_group,
                    "row_groups": segment.row_groups,
                    "row_group_size": segment.row_group_size,
                    "first_row": segment.first_row,
                    "rows": segment.rows,
                },
            )

    def _put_calls(self) -> None:
        """Invocations, and what they called and dropped, under numbers that no other shard has."""
        connection = self._connection
        retired: dict[str, int] = {}
        before = 0
        for source, facts in self._shards.items():
            slots = {"source": quote(source)}
            mapped = [(number, number) for number in range(len(self._layout.graph.generators))]
            for number, name in connection.execute(sql.retired_of_shard.fill(**slots)):
                mapped.append((number, retired.setdefault(name, -1 - len(retired))))
            connection.stage("generator_map", _table(_GENERATOR_MAP, mapped))
            parameters = {"before": before}
            for table in ("invocation", "commit_lag"):
                connection.execute(sql.merge_invocations.fill(table=table, **slots), parameters)
            for table in ("attempt", "task_trace"):
                connection.execute(sql.merge_calls.fill(table=table, **slots), parameters)
            connection.execute(sql.merge_dropped_rows.fill(**slots))
            before += facts.progress.invocations
        connection.stage("new_retired", _table(_NEW_RETIRED, [(number, name) for name, number in retired.items()]))
        connection.execute(sql.rebuild_retired_generators.text)
        connection.execute(sql.total_attempts.text)

    def _put_retained(self, source: str) -> None:
        connection = self._connection
        there = {str(name) for (name,) in connection.execute(sql.retained_tables.text)}
        for (name,) in connection.execute(sql.retained_tables_of_shard.text, {"source": source}):
            keeping = sql.add_retained_of_shard if name in there else sql.keep_retained_of_shard
            connection.execute(keeping.fill(table=quote(name), source=quote(source)))

    def _put_missing(self, now: datetime) -> int:
        """Row groups that nobody began, below the cursor: they are due, and everything in them is to be made."""
        missing = self._connection.execute(sql.merge_missing_row_groups.text, {"now": now})
        if missing:
            empty_sets = self._layout.per_word("0::ubigint as done_#, 0::ubigint as skipped_#", ", ")
            self._connection.execute(
                sql.merge_missing_rows.fill(empty_sets=empty_sets),
                {"row_groups": [row_group for row_group, _ in missing]},
            )
        return sum(rows for _, rows in missing)


def _table(kind: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(kind.names, row, strict=True)) for row in rows], schema=kind)


def facts_of(
    connection: Connection,
    path: Path,
    shard: Shard,
    plan: Plan,
    spec: str,
    directory: Path,
    seed_columns: tuple[tuple[str, str], ...],
) -> ShardFacts:
    """The facts of the shard that is open on a connection of its own."""
    database = str(connection.execute(sql.opened_database.text)[0][0])
    return ShardFacts(
        path,
        shard,
        read_progress(connection, database),
        plan.segments,
        spec,
        directory,
        **read_makings(connection, database),
        seed_columns=seed_columns,
    )
