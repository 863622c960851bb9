"""Which rows a run database holds: the whole run, or a shard of it that is merged with the others later."""

from __future__ import annotations

import logging
from pathlib import Path

from rowmill.counted import plural
from rowmill.engine.preparation import Prepared
from rowmill.errors import Incompatible, UsageError
from rowmill.graph.graph import Graph
from rowmill.graph.plan import Plan
from rowmill.graph.shard import Shard, ShardOrder
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore

_log = logging.getLogger("rowmill.run")


def shard_of(prepared: Prepared, order: ShardOrder | None) -> Shard | None:
    """The shard that is asked for; None: the whole run. Raises UsageError if this spec cannot be cut like that."""
    if order is None:
        return None
    check_can_be_cut(prepared.spec, prepared.graph)
    return order.of(Plan.fresh(prepared.spec.planned_records, prepared.spec.row_group_size))


def say_budget(shard: Shard | None, spec: Spec) -> None:
    """Tells which part of a budget a shard may use."""
    bounds = (spec.run.max_cost_usd, spec.run.max_tokens, spec.run.max_requests)
    if shard is not None and any(bound is not None for bound in bounds):
        _log.info("The budget of the run is divided by rows: this shard may use %.3g %% of it", 100 * shard.share)


def default_database(spec: Spec, order: ShardOrder | None) -> Path:
    """Where a run goes that no file is named for: in the current directory, each shard in a file of its own."""
    return Path(f"{spec.name}.duckdb" if order is None else f"{spec.name}-{order.name}.duckdb")


def check_can_be_cut(spec: Spec, graph: Graph) -> None:
    """Raises UsageError if no rows of a run can be made without the others."""
    if spec.accepted_records is not None:
        raise UsageError(
            "A run that goes on until so many rows are accepted cannot be cut into shards: how many rows it tries "
            "follows from what became of all of them. Say a plain number of 'records', or run it whole."
        )
    if spec.seed_dataset is not None and spec.seed_dataset.follow:
        raise UsageError("A run that follows another cannot be cut into shards: nobody knows yet how many rows it has.")
    for node in graph.generators:
        if node.declaration.is_ordered:
            raise UsageError(
                f"Column '{node.name}' is made in order (ordered: true), each row group after the one before, so the "
                "run cannot be cut into shards. Take 'ordered' off it, or run it whole."
            )


def check_order(store: RunStore, order: ShardOrder | None, given: Prepared | None) -> None:
    """Raises Incompatible if the run database holds other rows than are asked for."""
    shard = store.shard()
    name = store.connection.path
    if order is not None and shard is None:
        raise Incompatible(f"{name} holds the whole run, not {order}. Name another file for the shard.")
    if shard is None:
        return
    if order is not None and not order.fits(shard):
        raise Incompatible(
            f"{name} is {shard}, not {order}. Without --shard and --rows it goes on with the rows it has; another "
            "shard needs a file of its own."
        )
    if given is not None:
        check_can_be_cut(given.spec, given.graph)
        if given.spec.planned_records != shard.records:
            raise Incompatible(
                f"{name} is {shard}, but the spec has {plural(given.spec.planned_records, 'record')}. A shard is not "
                f"extended: say 'records: {shard.records}', merge the shards, and extend what they make."
            )


def rest_reason(shard: Shard, graph: Graph) -> str:
    """Why a shard that has done what it can is not finished."""
    barrier = graph.generators[graph.barriers[0]].name
    return f"{shard} is done up to column '{barrier}', which looks at all rows: merge it with the other shards"
