"""Reopening a run that nobody works on: dropped rows come back, chosen cells are made again, the plan grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rowmill.counted import plural
from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.errors import UsageError
from rowmill.inspect.waiting import open_store
from rowmill.spec.nearest import did_you_mean
from rowmill.store.database.connection import Connection
from rowmill.store.file import engine_errors
from rowmill.store.file.usable import check_exists
from rowmill.store.layout.expression import ExpressionAnalyst
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.reopening import Reopening
from rowmill.store.run_store import RunStore

_DROPPED_ROW = {
    "row_id": "BIGINT",
    "row_group": "BIGINT",
    "row_index": "BIGINT",
    "column_name": "VARCHAR",
    "reason": "VARCHAR",
    "error_type": "VARCHAR",
    "message": "VARCHAR",
    "attempts": "INTEGER",
    "dropped_at": "TIMESTAMP",
    "source_line": "VARCHAR",
}
_EVERY_ROW = "true"


@dataclass(frozen=True, slots=True)
class Reopened:
    """What was reopened, or would be."""

    rows: int
    columns: tuple[str, ...] = ()
    """The generators whose cells are made again, in the order of the graph."""
    is_dry: bool = False

    def __str__(self) -> str:
        be = "would be made" if self.is_dry else "are made"
        return (
            f"{plural(self.rows, 'row')}: {', '.join(self.columns)} {be} again."
            if self.rows
            else "Nothing to make again."
        )


def retry_dropped(database: Path, where: str | None, now: float, *, dry_run: bool = False) -> Reopened:
    """Takes dropped rows back with every value they had; the next run tries them again.

    ``where``: an SQL condition over the columns of the views ``dropped_row`` and ``dropped_row_value``; None: all of
    them. Finished row groups come back for just those rows. What was found invalid is made again. ``now``: seconds
    since the epoch. Raises UsageError (a condition that makes no sense), Locked, Incompatible or Damaged.
    """
    with _opened(database) as (store, prepared):
        layout = Layout(prepared.graph, prepared.spec.seed)
        predicate = _condition(where, {**layout.dataset_types, **_DROPPED_ROW})
        reopening = Reopening(store.connection, layout)
        with engine_errors.mapped("reading the dropped rows"):
            rows = reopening.dropped_rows(predicate)
        if rows and not dry_run:
            with engine_errors.mapped("reviving dropped rows"), store.connection.transaction():
                reopening.revive(rows, by_hand=True)
                store.reopen("dropped rows were revived", now)
                store.note(
                    "revived", "dropped rows", plural(len(rows), "row") + (f" where {where}" if where else ""), now
                )
        return Reopened(len(rows), is_dry=dry_run)


def rerun(database: Path, column: str, where: str | None, now: float, *, dry_run: bool = False) -> Reopened:
    """Makes cells of a column again, and everything that depends on them; all other values stay.

    ``where``: an SQL condition over the columns of a row; None: every row that has the cell. Raises UsageError (no such
    column, a condition that makes no sense, chosen rows of an ordered column), Locked, Incompatible or Damaged.
    """
    with _opened(database) as (store, prepared):
        graph = prepared.graph
        known = [output.name for output in graph.outputs]
        if column not in known:
            raise UsageError(f"There is no column '{column}'.{did_you_mean(column, known)} It has: {', '.join(known)}.")
        number = graph.generator_of_column(column).number
        generators = sorted({number, *graph.downstream([number])})
        names = tuple(graph.generators[each].name for each in generators)
        layout = Layout(graph, prepared.spec.seed)
        reopening = Reopening(store.connection, layout)
        ordered = reopening.ordered(generators)
        if ordered and where is not None:
            raise UsageError(
                f"Column '{ordered[0]}' is made in order, row group by row group, so it can only be made again as a "
                "whole: leave --where out."
            )
        predicate = _condition(where, {"row_id": "BIGINT", "row_group": "BIGINT", **dict(layout.value_columns)})
        with engine_errors.mapped("reading the rows"):
            rows = reopening.made_rows(number, predicate)
        if rows and not dry_run:
            with engine_errors.mapped("reopening cells"), store.connection.transaction():
                reopening.make_again(generators, rows)
                store.reopen(f"column {column} is made again", now)
                detail = f"{plural(len(rows), 'row')} of {', '.join(names)}" + (f" where {where}" if where else "")
                store.note("rerun", column, detail, now)
        return Reopened(len(rows), names, is_dry=dry_run)


def extend(
    database: Path, records: int, row_group_size: int | None, now: float, *, dry_run: bool = False
) -> tuple[int, int]:
    """Plans more rows; returns the records before and after. The spec inside the database asks for them from now on.

    ``row_group_size``: of the new row groups; None: as in the spec. Raises UsageError for fewer records than planned
    (P2) and for a run that goes on until enough rows are accepted (P6), Locked, Incompatible or Damaged.
    """
    with _opened(database) as (store, prepared):
        if prepared.spec.accepted_records is not None:
            raise UsageError(
                f"{database} plans rows until {prepared.spec.accepted_records.accepted} are accepted, so it is not "
                "extended by hand. For more rows raise 'accepted' of 'records' in the spec, then: rowmill run SPEC "
                f"{database}"
            )
        seed = prepared.spec.seed_dataset
        if seed is not None and seed.follow:
            raise UsageError(
                f"{database} follows {seed.paths[0]} and has a row for each row of it: extend that one, then run both."
            )
        shard = store.shard()
        if shard is not None:
            raise UsageError(
                f"{database} is {shard}, and its rows are fixed. Merge the shards ('rowmill merge'), then extend what "
                "they make."
            )
        before = store.plan().rows
        size = row_group_size or prepared.spec.row_group_size
        if dry_run:
            store.plan().extended(records, size)
            return before, records
        spec = prepared.spec.model_copy(update={"records": records, "row_group_size": size})
        store.extend(records, size, now)
        store.update_spec(spec, now)
        return before, records


def prepare_inside(database: Path) -> Prepared:
    """The spec inside a run database. Raises UsageError, Locked, Incompatible or Damaged; reads only."""
    with Connection(database, read_only=True) as connection:
        store = RunStore.over(connection)
        if store.is_new:
            raise UsageError(f"{database} is empty: no run was ever started in it.")
        stored = store.stored_spec()
        return prepare_stored(stored.text, stored.directory, store.seed_columns())


@contextmanager
def _opened(database: Path) -> Iterator[tuple[RunStore, Prepared]]:
    check_exists(database)
    store = open_store(database)
    try:
        if store.is_new:
            raise UsageError(f"{database} is empty: no run was ever started in it.")
        stored = store.stored_spec()
        yield store, prepare_stored(stored.text, stored.directory, store.seed_columns())
    finally:
        store.close()


def _condition(where: str | None, columns: Mapping[str, str]) -> str:
    """A user's condition, found to be a scalar expression over these columns. Raises UsageError."""
    if where is None:
        return _EVERY_ROW
    analyst = ExpressionAnalyst()
    try:
        analysis = analyst.analyse(where)
        problem = analysis.problem
        unknown = [name for name in analysis.columns if name.lower() not in {known.lower() for known in columns}]
        if problem is None and unknown:
            problem = f"There is no column '{unknown[0]}'.{did_you_mean(unknown[0], columns)}"
            problem += f" There are: {', '.join(columns)}."
        problem = problem or analyst.binding_problem(f"cast(({where}\n) as boolean)", columns)
    finally:
        analyst.close()
    if problem is not None:
        raise UsageError(f"--where: {problem}")
    return f"coalesce(try(cast(({where}\n) as boolean)), false)"
