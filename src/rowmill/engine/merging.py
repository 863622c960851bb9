"""Merging shards: run databases that each hold some row groups of one run become the run database of the whole.

The shards are only read. The whole is made beside its place, in one transaction, and gets its name when it is durable:
a process that is killed in between leaves nothing but an unfinished file, which the next one removes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rowmill.counted import plural
from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.engine.sharding import check_can_be_cut
from rowmill.errors import Incompatible, Locked, SpecError, UsageError
from rowmill.generators.file_directory import link_files
from rowmill.graph.plan import Plan
from rowmill.store.database.connection import Connection
from rowmill.store.database.held_file import sync_directory, sync_file
from rowmill.store.database.staging import from_epoch
from rowmill.store.file import engine_errors
from rowmill.store.file.database_file import create_private_file
from rowmill.store.file.usable import check_usable
from rowmill.store.layout.layout import Layout
from rowmill.store.reading.status import Status, read_status
from rowmill.store.reshape.merge import Merge, ShardFacts, facts_of
from rowmill.store.run_store import RunStore
from rowmill.unfinished_file import CHANGED, unfinished

_MEMORY_MIB = 256
_MEMORY_OF_COLUMN_MIB = 2
"""What the engine may hold in memory, and more for each column: copying takes little, all else are pages that it would
keep for later."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge."""

    status: Status
    """Of the run database that was made."""
    shards: int
    missing: tuple[tuple[int, int], ...] = ()
    """Rows that none of the shards holds: the first of each hole, and the one after its last."""
    unfinished: tuple[Path, ...] = ()
    """Shards that had more to do."""


def merge(target: Path, shards: Sequence[Path], now: float, *, allow_holes: bool = False) -> Merged:
    """Makes ``target``, the run database of the whole, of all ``shards`` of a run.

    ``allow_holes``: also if rows are missing, or shards are unfinished; a run of ``target`` makes the rest. ``now``:
    seconds since the epoch. Raises UsageError (no shard, holes, overlaps, ``target`` exists), Incompatible (made from
    different specs), Locked (something works on one), Damaged or WriteFailed; then there is no ``target``.
    """
    taken = UsageError(f"{target} exists already. Name a new file for the whole, or remove that one first.")
    check_usable(target)
    if target.exists() or target.is_symlink():
        raise taken
    found = sorted((_read(path) for path in _different(shards)), key=lambda each: _place(each))
    plan = _whole_plan(found)
    _check_fit(found, plan)
    holes = _holes(found)
    unfinished_shards = [facts for facts in found if not facts.is_done]
    if not allow_holes:
        _refuse_holes(holes, unfinished_shards)
    first = found[0]
    prepared = _prepared(first)
    sources = {f"shard_{number}": facts for number, facts in enumerate(found, start=1)}
    detail = f"{plural(len(found), 'shard')}: " + "; ".join(f"{facts.path.name} ({facts.shard})" for facts in found)
    with unfinished(target, CHANGED) as made:
        create_private_file(made)
        files = {name: facts.path for name, facts in sources.items()}
        memory_mib = _MEMORY_MIB + _MEMORY_OF_COLUMN_MIB * len(first.columns)
        with (
            Connection(made, sources=files, memory_mib=memory_mib) as connection,
            engine_errors.mapped("merging the shards"),
        ):
            merging = Merge(connection, sources, plan, Layout(prepared.graph, prepared.spec.seed))
            if not merging.is_up_to_date():
                raise Locked("A shard was changed by another process just now. Try again.")
            merging.copy(from_epoch(now), detail=detail)
            status = read_status(connection)
            made.chmod(first.path.stat().st_mode & 0o777)
            sync_file(made)
            # Still holding the shards, so that no file of theirs goes away.
            link_files([facts.path for facts in found], target)
            try:
                os.link(made, target)
            except FileExistsError:
                raise taken from None
    sync_directory(target.resolve().parent)
    return Merged(status, len(found), tuple(holes), tuple(facts.path for facts in unfinished_shards))


def _different(shards: Sequence[Path]) -> list[Path]:
    if not shards:
        raise UsageError("No shard was named: rowmill merge WHOLE SHARD SHARD …")
    seen: dict[Path, Path] = {}
    for path in shards:
        if path.resolve() in seen:
            raise UsageError(f"{path} is named twice.")
        seen[path.resolve()] = path
    return list(shards)


def _read(path: Path) -> ShardFacts:
    """What a file holds. Raises UsageError if it is no shard, Locked, Incompatible or Damaged."""
    check_usable(path)
    if not path.exists():
        raise UsageError(f"There is no run database {path}.")
    with Connection(path, read_only=True) as connection, engine_errors.mapped(f"looking at {path}"):
        store = RunStore.over(connection)
        if store.is_new:
            raise UsageError(f"{path} is empty: no run was ever started in it. Run the shard, then merge.")
        shard = store.shard()
        if shard is None:
            raise UsageError(
                f"{path} holds a whole run, not a shard of one: only what 'rowmill run SPEC --shard I/N' or '--rows "
                "A..B' made is merged."
            )
        store.check_plan()
        stored = store.stored_spec()
        return facts_of(connection, path, shard, store.plan(), stored.text, stored.directory, store.seed_columns())


def _place(facts: ShardFacts) -> tuple[int, int]:
    return facts.shard.first_row, facts.shard.end_row


def _whole_plan(found: Sequence[ShardFacts]) -> Plan:
    """The plan the shards are parts of."""
    sizes = [facts.row_group_size for facts in found if facts.row_group_size is not None]
    return Plan.fresh(found[0].shard.records, sizes[0] if sizes else 1)


def _check_fit(found: Sequence[ShardFacts], plan: Plan) -> None:
    """Raises Incompatible if the shards are not parts of one run."""
    first = found[0]
    for facts in found:
        if facts.shard.records != first.shard.records:
            raise Incompatible(
                f"{facts.path} is {facts.shard}, but {first.path} is {first.shard}: they are parts of runs of "
                "different size."
            )
        why = _difference(first, facts)
        if why is not None:
            raise Incompatible(
                f"{facts.path} was not made as {first.path} was: {why}. Only shards of one run are merged; "
                "'rowmill run SPEC SHARD --accept-changes' makes a shard one of the spec that is right."
            )
        if facts.shard.cut(plan) != facts.segments:
            raise Incompatible(
                f"{facts.path} is cut into row groups of {facts.row_group_size}, {first.path} into row groups of "
                f"{first.row_group_size}. Make the shards with the same row_group_size."
            )
        if facts.progress.barriers:
            raise Incompatible(f"A column over all rows ran in {facts.path} without the other shards' rows.")


def _difference(one: ShardFacts, other: ShardFacts) -> str | None:
    """What shapes values and is not the same in both."""
    if one.progress.seed != other.progress.seed:
        return f"its seed is {other.progress.seed}, not {one.progress.seed}"
    if one.seed != other.seed or one.seed_columns != other.seed_columns:
        return "its seed data has other rows"
    if one.progress.older_rules != other.progress.older_rules:
        return "one of them was begun by an older Rowmill, which cast values to the types of their columns"
    graphs = ({name: rest for name, *rest in facts.graph} for facts in (one, other))
    mine, theirs = graphs
    for name in (*mine, *theirs):
        if name not in theirs:
            return f"it has no column '{name}'"
        if name not in mine:
            return f"its column '{name}' is new"
        if mine[name] != theirs[name]:
            return f"its column '{name}' is made in another way, or stands at another place"
    if one.columns != other.columns:
        return "its columns have other types, or others are marked 'drop'"
    return None


def _holes(found: Sequence[ShardFacts]) -> list[tuple[int, int]]:
    """The rows nobody has. Raises UsageError for rows that two shards have."""
    holes, reached, before = [], 0, None
    for facts in found:
        first, end = _place(facts)
        if first == end:
            continue
        if before is not None and first < reached:
            raise UsageError(
                f"{before.path} ({before.shard}) and {facts.path} ({facts.shard}) overlap: rows {first:,} to "
                f"{min(end, reached) - 1:,} are in both. Leave one of them out."
            )
        if first > reached:
            holes.append((reached, first))
        reached, before = end, facts
    records = found[0].shard.records
    return [*holes, (reached, records)] if reached < records else holes


def _refuse_holes(holes: Sequence[tuple[int, int]], unfinished_shards: Sequence[ShardFacts]) -> None:
    problems = []
    if holes:
        rows = ", ".join(f"{first:,}..{end:,}" for first, end in holes[:5])
        problems.append(f"no shard holds rows {rows}" + (f" and {len(holes) - 5} more such holes" if holes[5:] else ""))
    for facts in unfinished_shards[:5]:
        done = facts.progress.finished + facts.progress.waiting
        problems.append(f"{facts.path} has done {done:,} of {plural(facts.row_groups, 'row group')}")
    if unfinished_shards[5:]:
        problems.append(f"{plural(len(unfinished_shards) - 5, 'more shard')} are unfinished")
    if problems:
        raise UsageError(
            f"This is not the whole run: {'; '.join(problems)}. Finish the shards ('rowmill run SHARD') and name all "
            "of them, or merge what is there with --allow-holes: 'rowmill run WHOLE' then makes the rest."
        )


def _prepared(first: ShardFacts) -> Prepared:
    """The spec inside the shards. Raises UsageError if it cannot be used here."""
    try:
        prepared = prepare_stored(first.spec, first.spec_directory, first.seed_columns)
    except SpecError as error:
        raise UsageError(
            f"The spec inside {first.path} cannot be used here, nothing was changed: {error}. Put back what it needs "
            f"(its directory is {first.spec_directory}), then try again."
        ) from error
    check_can_be_cut(prepared.spec, prepared.graph)
    makings = [(node.name, node.number) for node in prepared.graph.generators]
    if makings != [(name, number) for name, number, *_ in first.graph]:
        raise Incompatible(
            f"The functions in {first.spec_directory} make other columns than those of {first.path}. Put back the code "
            "the shards were made with, then try again."
        )
    return prepared
