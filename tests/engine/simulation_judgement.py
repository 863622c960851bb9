"""What a simulated run that is complete is judged by: every row, every drop, every request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moody_endpoint import BrokenPromise

from rowmill.store.run_store import RunStore

if TYPE_CHECKING:
    from simulation import Simulation

_NOT_DONE = "select count(*) from state.admitted_row_group union all select count(*) from state.deferred_task"
_DROPS = "select row_id, column_name, reason, error_type, attempts from dropped_row"
_PAID_TWICE = """
    select generator, row_id, count(*)
    from attempt
    semi join state.dataset_row as d on attempt.row_id = d.row_id
    where outcome = 'succeeded' and model is not null
    group by all having count(*) > 1"""


def judge(simulation: Simulation, store: RunStore) -> None:
    """Judges a run that is complete: every row, every drop, every request."""
    world = simulation.world
    execute = store.connection.execute
    names, rows = store.connection.columns("from dataset")
    dropped = execute(_DROPS)
    ids = sorted([row[0] for row in rows] + [row[0] for row in dropped])
    if ids != list(range(world.records)):
        raise BrokenPromise(
            f"rows lost or there twice: {len(rows)} finished, {len(dropped)} dropped of {world.records}"
        )
    if any(count for (count,) in execute(_NOT_DONE)):
        raise BrokenPromise("K1: row groups or deferrals are left over")
    for row in rows:
        found = dict(zip(names, row, strict=True))
        expected = world.expected({"row_id": found["row_id"], "id": found["id"], "rating": found["rating"]})
        if expected != found:
            raise BrokenPromise(f"row {found['row_id']} is {found}, and should be {expected}")
    patience = world.settings.get("give_up_after_s")
    for row_id, column, reason, error_type, attempts in dropped:
        allowed = {"rejected": error_type is not None, "filtered": True, "given_up": patience is not None}
        allowed["retries_exhausted"] = attempts == world.settings["max_attempts"]
        if not allowed[reason] or (error_type == "RateLimited" and reason != "given_up"):
            raise BrokenPromise(f"row {row_id} was dropped for {column}: {reason}, {error_type}, {attempts} attempts")
    _judge_requests(simulation, store, [dict(zip(names, row, strict=True)) for row in rows])
    groups = -(-world.records // world.row_group_size)
    if world.has_callback and simulation.announced != set(range(groups)):
        raise BrokenPromise(f"K3: {len(simulation.announced)} of {groups} row groups were announced")


def _judge_requests(simulation: Simulation, store: RunStore, rows: Sequence[Mapping[str, Any]]) -> None:
    execute = store.connection.execute
    world = simulation.world
    ((requests,),) = execute("select coalesce(sum(requests), 0)::bigint from usage")
    if requests != simulation.committed_requests:
        raise BrokenPromise(f"D4: usage has {requests} requests, {simulation.committed_requests} were committed")
    if any(ending == "too many failures" for ending in simulation.endings):
        return  # rows the error window brought back may be asked for again
    paid_twice = execute(_PAID_TWICE)
    if paid_twice:
        raise BrokenPromise(f"D1: generated more than once: {paid_twice[:5]}")
    answers = simulation.answers() - simulation.lost_answers
    repeated = [prompt for prompt, times in answers.items() if times > 1]
    if repeated:
        raise BrokenPromise(f"D2: answered again after it was committed: {repeated[:5]}")
    for plan in world.columns:
        if plan.kind not in ("llm", "asked"):
            continue
        for row in rows:
            prompt = plan.prompt(row)
            was_asked = answers[prompt] == 1
            expected = world.expected({"id": row["id"], "rating": row["rating"]})
            is_made = expected is not None and row[plan.name] not in (None, "(skipped)")
            if was_asked != is_made:
                raise BrokenPromise(f"{plan.name} of row {row['row_id']} was answered {answers[prompt]} times")
