"""Rebuilding: a run database under another spec, made beside the old one, which is only read.

That is how a changed spec is accepted (the new file then takes the old one's place, in one rename) and how a run is
forked. Whatever happens on the way, the old file is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rowmill.graph.graph import Graph
from rowmill.spec.declaration import SeedColumn, Strategy
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.staging import from_epoch
from rowmill.store.database.statements import statements_of
from rowmill.store.layout import schema
from rowmill.store.layout.blueprint import Blueprint
from rowmill.store.layout.graph_tables import insert_graph
from rowmill.store.layout.layout import Layout
from rowmill.store.layout.seed_content import keep_seed_content, seed_content_of
from rowmill.store.layout.seed_reader import copy_seed, read_seed
from rowmill.store.reshape.barrier import reopen_barriers
from rowmill.store.reshape.change import Change
from rowmill.store.reshape.earlier import keep_earlier_rows
from rowmill.store.reshape.renumbering import Renumbering

sql = statements_of("reshape/rebuild", "run", "turn/outcome")
_RENUMBERED = [
    sql.rebuild_attempts,
    sql.rebuild_task_traces,
    sql.total_attempts,
    sql.rebuild_dropped_rows,
    sql.rebuild_generator_state,
    sql.rebuild_regenerations,
]
_ROW_GROUPS = [
    sql.rebuild_due_row_groups,
    sql.rebuild_active_row_groups,
    sql.rebuild_finished_row_groups,
]

COPIED_TABLES = (
    "spec_version", "invocation", "commit_lag", "plan_segment", "resource", "event", "unannounced_row_group", "answer",
    "control_request", "pause", "limit_by_hand", "refusal", "older_rule", "shard",
)  # fmt: skip
"""Tables that do not depend on the spec."""
SEED_TABLES = ("seed_content", "seed_file")
REBUILT_TABLES = (
    "run", "generator", "column_def", "dependency", "retired_generator", "attempt", "usage_total", "task_trace",
    "dropped_row", "generator_state", "regeneration", "active_row", "parked_row", "dropped_row_value", "dataset_row",
    "admitted_row_group", "finished_row_group", "finished_skip", "barrier", "seed_row", *SEED_TABLES,
    "schema_version", "deferred_task", "worker", "worker_group", "earlier_row",
)  # fmt: skip
"""Tables that do. Deferred tasks are left behind: what comes back has a fresh budget of attempts. So are workers."""

_GENERATOR_MAP = pa.schema([("generator", pa.int32()), ("renamed", pa.int32()), ("is_kept", pa.bool_())])
_NEW_RETIRED = pa.schema([("generator", pa.int32()), ("name", pa.string())])


class Rebuild:
    """One rebuild, from the database attached as ``source`` into a new one on the same connection."""

    def __init__(self, connection: Connection, blueprint: Blueprint, change: Change, *, purge: bool = False) -> None:
        """``change`` is what :func:`~rowmill.store.reshape.change.compare` said; ``purge`` gives retained values up."""
        self._connection = connection
        self._blueprint = blueprint
        self._change = change
        self._purge = purge
        self._layout = Layout(blueprint.graph, blueprint.spec.seed)
        stored = connection.execute(sql.source_generators.text)
        self._old = {str(name): int(number) for number, name, _, _ in stored}
        self._strategies = {name: strategy for _, name, strategy, _ in stored}
        self._fingerprints = {name: digest for _, name, _, digest in stored}
        self._renumbering = Renumbering(self._old)
        self._kept = [node for node in blueprint.graph.generators if node.name not in change.made_again]

    def is_up_to_date(self) -> bool:
        """Whether the source is still the database that was compared with the spec."""
        return self._fingerprints == dict(self._change.stored)

    def copy(self, now: float, *, event: str, detail: str, name: str | None = None) -> None:
        """Makes all tables and copies everything, in one transaction, then checkpoints.

        ``name``: what the copy is called if the spec gives it no name of its own, but that of the source.
        """
        spec = self._blueprint.spec
        if name is not None and self._connection.execute(sql.source_name.text) == [(spec.name,)]:
            spec = spec.model_copy(update={"name": name})
        moment = from_epoch(now)
        connection = self._connection
        seed_file = self._blueprint.seed_file
        seed_rows = read_seed(seed_file) if seed_file is not None and self._reads_seed_again() else None
        with connection.transaction():
            schema.create_tables(connection, self._layout, self._seed_columns(), moment)
            connection.execute(
                sql.rebuild_run.text,
                {
                    "name": spec.name,
                    "seed": self._blueprint.spec.seed,
                    "spec_directory": str(self._blueprint.spec_directory),
                    "lacks_values": not self._change.is_free,
                    "now": moment,
                },
            )
            version = int(connection.execute(sql.newest_spec_version.text)[0][0])
            for table in COPIED_TABLES:
                connection.execute(sql.rebuild_table.fill(table=table))
            connection.execute(sql.insert_spec_version.text, {"spec": spec.to_json(), "now": moment})
            insert_graph(connection, self._blueprint.graph, self._layout)
            self._copy_seed_rows(seed_rows)
            self._copy_renumbered()
            self._copy_rows()
            keep_earlier_rows(connection, self._layout, self._change, self._renumbering, version)
            if not self._purge:
                self._retain(version)
            events = [(event, "spec", detail[:2000])]
            events += [("values kept", name, "made before what makes them changed") for name in self._change.kept]
            for kind, subject, told in events:
                parameters = {"now": moment, "kind": kind, "subject": subject, "detail": told}
                connection.execute(sql.insert_event.text, parameters)
        connection.checkpoint()

    def _copy_seed_rows(self, seed_rows: pa.Table | None) -> None:
        """The seed rows inside the source, unless the seed dataset is another one: then the rows just read."""
        seed_file = self._blueprint.seed_file
        if self._blueprint.spec.seed_dataset is None:
            return
        if seed_file is None or seed_rows is None:
            for table in ("seed_row", *SEED_TABLES):
                self._connection.execute(sql.rebuild_table.fill(table=table))
            return
        content = seed_content_of(self._connection, seed_file, seed_rows)
        copy_seed(self._connection, seed_file, seed_rows, self._blueprint.spec.seed)
        keep_seed_content(self._connection, seed_file, content)

    def _seed_columns(self) -> list[tuple[str, str]]:
        """Name and type of the columns of the seed rows; those inside the source if the spec came from there, too."""
        if self._blueprint.seed_file is not None:
            return list(self._blueprint.seed_file.columns)
        if self._blueprint.spec.seed_dataset is None:
            return []
        return [(name, sql_type) for name, sql_type in self._connection.execute(sql.source_seed_columns.text)]

    def _reads_seed_again(self) -> bool:
        is_seed = {
            node.name for node in self._blueprint.graph.generators if isinstance(node.declaration.sql, SeedColumn)
        }
        if self._change.seeds is not None:
            return True
        seed_file = self._blueprint.seed_file
        is_kept = seed_file is not None and seed_file.is_kept
        return not is_kept and not is_seed.isdisjoint({*self._change.made_again, *self._change.kept})

    def _copy_renumbered(self) -> None:
        """Attempts, drops and states of generators, under the numbers these have now."""
        connection = self._connection
        numbers = {node.name: node.number for node in self._blueprint.graph.generators}
        retired = [(int(number), str(name)) for number, name in connection.execute(sql.source_retired_generators.text)]
        for name in self._change.removed:
            retired.append((-1 - len(retired), name))
        mapped = [(number, number, False) for number, _ in retired if number not in self._old.values()]
        places = {name: number for number, name in retired}
        kept = {node.name for node in self._kept}
        for name, number in self._old.items():
            mapped.append((number, numbers[name] if name in numbers else places[name], name in kept))
        connection.stage("new_retired", _table(_NEW_RETIRED, retired))
        connection.stage("generator_map", _table(_GENERATOR_MAP, mapped))
        connection.execute(sql.rebuild_retired_generators.text)
        for each in _RENUMBERED:
            connection.execute(each.text)

    def _copy_rows(self) -> None:
        finished = "parked_row" if not self._change.is_free else "dataset_row"
        targets = {
            "dataset_row": finished,
            "active_row": "parked_row",
            "parked_row": "parked_row",
            "dropped_row_value": "dropped_row_value",
        }
        values = ", ".join(self._values())
        for table, target in targets.items():
            self._connection.execute(
                sql.rebuild_rows.fill(target=target, table=table, columns=self._layout.all_columns, values=values)
            )
        for each in _ROW_GROUPS:
            self._connection.execute(each.text)
        self._connection.execute(sql.rebuild_barriers.text)
        again = self._change.made_again
        barriers = (self._blueprint.graph.generators[number] for number in self._blueprint.graph.barriers)
        reopen_barriers(self._connection, [node.number for node in barriers if node.name in again])
        if self._layout.skippable:
            self._connection.execute(
                sql.rebuild_finished_skips.fill(is_skipped_of_a=self._layout.view_slots["is_skipped_of_a"])
            )

    def _values(self) -> list[str]:
        """What each column of a wide table takes from the source, in the order of the new layout."""
        kept = {output.name for node in self._kept for output in node.columns}
        values = ["a.row_group", "a.row_index", "a.row_id"]
        for word in range(self._layout.words):
            values += [self._renumbering.moved(kind, word, self._kept) for kind in ("done", "skipped")]
        values += [
            f"a.{quote(name)}" if name in kept else f"cast(null as {sql_type})"
            for name, sql_type in self._layout.value_columns
        ]
        return values

    # Values the new spec would lose -------------------------------------------------------------------

    def _retain(self, version: int) -> None:
        """Keeps what calls made for columns that are removed or made again, under "column@version"."""
        connection = self._connection
        for (name,) in connection.execute(sql.source_retained_tables.text):
            connection.execute(sql.keep_retained_table.fill(table=quote(name)))
        lost = {*self._change.removed, *self._change.made_again} & self._old.keys()
        names = {number: name for name, number in self._old.items()}
        for column, number in connection.execute(sql.source_columns.text):
            name = names[number]
            if name in lost and self._strategies[name] != Strategy.SQL:
                word, bit = Graph.bit(number)
                is_made = f"(a.done_{word} & {bit}::ubigint) <> 0"
                connection.execute(
                    sql.retain_column.fill(table=quote(f"{column}@{version}"), column=quote(column), is_made=is_made)
                )


def purge_retained(connection: Connection) -> list[str]:
    """Gives the values kept from earlier specs up for good; returns the names of their tables."""
    names = [str(name) for (name,) in connection.execute(sql.retained_tables.text)]
    with connection.transaction():
        for name in names:
            connection.execute(sql.purge_retained_table.fill(table=quote(name)))
    connection.checkpoint()
    return names


def _table(kind: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(kind.names, row, strict=True)) for row in rows], schema=kind)
