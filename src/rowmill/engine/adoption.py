"""A spec and a run database come together: the database is made, or found to fit, and takes over what is new."""

from __future__ import annotations

from dataclasses import replace

from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.engine.sharding import check_order, say_budget, shard_of
from rowmill.errors import UsageError
from rowmill.graph.graph import Graph
from rowmill.graph.shard import ShardOrder
from rowmill.inspect.steering import request_of
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore


def open_run(store: RunStore, prepared: Prepared | None, order: ShardOrder | None, now: float) -> Prepared:
    """Creates the tables, or checks that spec and database fit, and changes nothing; returns what to work with."""
    if store.is_new:
        if prepared is None:
            raise UsageError(f"{store.connection.path} is empty. Name the spec to create the run database.")
        shard = shard_of(prepared, order)
        store.create(replace(prepared.blueprint(), shard=shard), now)
        say_budget(shard, prepared.spec)
        return prepared
    stored = store.stored_spec()
    store.check_plan()
    store.check_after_crash()
    check_order(store, order, prepared)
    if prepared is None:
        inside = prepare_stored(stored.text, stored.directory, store.seed_columns())
        store.check_code(inside.spec, inside.graph)
        return inside
    store.plan().extended(_wanted_rows(store, prepared.spec), prepared.spec.row_group_size)
    store.check_fits(prepared.spec, prepared.graph, prepared.seed_file)
    return prepared


def _wanted_rows(store: RunStore, spec: Spec) -> int:
    """How many rows the plan is to have under a spec; a shard has those it has."""
    if store.shard() is not None:
        return store.plan().rows
    return spec.planned_records if spec.accepted_records is None else max(spec.planned_records, store.plan().rows)


def _lacks_accepted(store: RunStore, spec: Spec) -> bool:
    """Whether fewer rows were accepted than the spec asks for (P6)."""
    return spec.accepted_records is not None and spec.accepted_records.accepted > store.rows_finished()


def is_all_there(store: RunStore, given: Prepared | None) -> bool:
    """Whether the run is finished, and the spec that was given asks for nothing more."""
    if not store.is_finished():
        return False
    if given is None:
        return True
    return _wanted_rows(store, given.spec) == store.plan().rows and not _lacks_accepted(store, given.spec)


def adopt(store: RunStore, given: Prepared | None, graph: Graph, now: float, *, resume: bool) -> None:
    """What the spec that was given, and found to fit, asks for is so from now on: more rows, other settings."""
    store.renew_fingerprints(graph)
    if given is not None:
        store.extend(_wanted_rows(store, given.spec), given.spec.row_group_size, now)
        if _lacks_accepted(store, given.spec):
            store.reopen_for_more(now)
        store.update_spec(given.spec, now)
        if given.seed_file is not None:
            store.keep_seed_marks(given.seed_file)
    if resume:
        store.steer(request_of("resume"), now)
