"""A random life of a run database, compared with the set model after every step (style 23).

The machine plays dispatcher, clock, crash and user: it takes turns with made-up outcomes, lets time pass, reopens the
file, and extends the plan. ready_task, cell, progress, row_group, admission and the dataset agree with the model after
every step, and invariant_violation is always empty.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from budget import Budget
from hypothesis import HealthCheck, Phase, assume, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from run_state import PLENTY, RunState, rate_limited, rejected, released, succeeded, transient
from set_model import MAX_ATTEMPTS, Key, SetModel
from virtual_run import EPOCH, custom, expression, model, prepared, run, sampler

from rowmill.engine.preparation import Prepared
from rowmill.store.database.staging import to_epoch
from rowmill.task import Outcome, OutcomeKind, Task

MOST_RECORDS = 60
OUTCOMES = ("succeed", "succeed", "succeed", "transient", "rate_limited", "rejected", "released")


async def made(row: object) -> str:
    raise AssertionError("the machine makes the outcomes; nothing is called")


def spec(records: int, size: int, max_rows: int, max_groups: int) -> Prepared:
    return prepared(
        sampler("rating", values=[1, 2, 3]),
        custom("a", made, ["rating"], model_aliases=["one"], skip={"when": "rating = 1"}),
        custom("b", made, ["a"]),
        custom("w", made, ["b"], generation_strategy="batch"),
        expression("s", "len(b)"),
        custom("z", made, model_aliases=["two"]),
        models=[model("one"), model("two")],
        records=records,
        row_group_size=size,
        run=bounds(max_rows, max_groups),
    )


def bounds(max_rows: int, max_groups: int) -> dict[str, Any]:
    """Those a life plays with, and none on failures."""
    return {
        "max_attempts": MAX_ATTEMPTS,
        "max_active_rows": max_rows,
        "max_active_row_groups": max_groups,
        "max_error_share": 1.0,
        "error_window": 1_000_000,
    }


def sampled(values: list[int]) -> list[int]:
    """What the sampler makes of each row: the same in every run of this seed (V1)."""
    with closing(run(prepared(sampler("rating", values=values), records=MOST_RECORDS)).store) as store:
        return [value for (value,) in store.connection.execute("select rating from dataset order by row_id")]


@pytest.fixture(scope="module")
def ratings() -> list[int]:
    return sampled([1, 2, 3])


class RunMachine(RuleBasedStateMachine):
    """One run, from creation on. The short test does not shrink a failure (that takes minutes); the long one does."""

    ratings: list[int]
    spec = staticmethod(spec)
    model_of: type[SetModel] = SetModel

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="rowmill-machine-"))
        self.in_flight: dict[Key, Task] = {}
        self.cooling: dict[str, float] = {}
        self.last_turn_s = 0.0
        self.calls = 0

    @initialize(
        chance=st.integers(0, 1 << 16),
        records=st.integers(0, 12),
        size=st.integers(1, 4),
        max_rows=st.integers(1, 8),
        max_groups=st.integers(1, 4),
    )
    def create(self, chance: int, records: int, size: int, max_rows: int, max_groups: int) -> None:
        assume(chance)  # of all lives the simplest one comes first: the same step again and again, in a run of no rows
        self.records, self.size = records, size
        self.max_rows, self.max_groups = max_rows, max_groups
        self.state = RunState(self.spec(records, size, max_rows, max_groups), self.directory / "run.duckdb")
        self.model = self.model_of(self.ratings)
        self.model.extend(records, size)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()
        shutil.rmtree(self.directory)

    # Steps ----------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        after_s=st.sampled_from([0.0, 0.1, 1.0, 30.0, 200.0]),
        free=st.sampled_from([0, 1, 3, PLENTY, PLENTY]),
    )
    def take_a_turn(self, data: st.DataObject, after_s: float, free: int) -> None:
        now = self.state.now_s + after_s
        chosen = (
            data.draw(st.lists(st.sampled_from(sorted(self.in_flight, key=str)), unique=True, max_size=8))
            if self.in_flight
            else []
        )
        outcomes = [self.outcome(key, data.draw(st.sampled_from(OUTCOMES)), data, now) for key in chosen]
        self.take(outcomes, after_s, free)

    @rule(after_s=st.sampled_from([0.0, 60.0]))
    def everything_in_flight_succeeds(self, after_s: float) -> None:
        self.take([self.success(task) for task in self.in_flight.values()], after_s, PLENTY)

    @precondition(lambda self: self.in_flight)
    @rule()
    def nothing_new_is_let_in_while_a_run_drains(self) -> None:
        before = self.model.next_group
        self.take([released(task) for task in self.in_flight.values()], 0.0, None)
        assert self.model.next_group == before
        assert not self.in_flight

    @rule()
    def crash(self) -> None:
        self.state.crash()
        self.in_flight.clear()

    @precondition(lambda self: self.records < MOST_RECORDS - 10)
    @rule(more=st.integers(1, 7), size=st.integers(1, 4))
    def extend(self, more: int, size: int) -> None:
        self.records += more
        self.size = size
        self.state.store.extend(self.records, size, EPOCH + self.state.now_s)
        self.model.extend(self.records, size)
        self.crash()

    # What a step does -----------------------------------------------------------------------------

    def success(self, task: Task) -> Outcome:
        if task.row_index is None:
            indices = task.inputs.column("row_index").to_pylist()[::-1]
            return succeeded(task, pa.table({"row_index": indices, "w": [f"w{index}" for index in indices]}))
        return succeeded(task, f"{self.state.name(task.generator)}{task.row_id}")

    def outcome(self, key: Key, kind: str, data: st.DataObject, now: float) -> Outcome:
        task = self.in_flight[key]
        if kind == "rate_limited":
            return rate_limited(task, data.draw(st.sampled_from([0.0, 5.0, 100.0])))
        failures = {"transient": transient, "rejected": rejected, "released": released}
        return failures[kind](task) if kind in failures else self.success(task)

    def take(self, outcomes: list[Outcome], after_s: float, free: int | None) -> None:
        now = self.state.now_s + after_s
        capacity = {}
        if free is not None:
            capacity = {name: 0 if self.cooling.get(name, 0.0) > now else free for name in self.state.prepared.limits}
        was_outside, next_group = self.outside(), self.model.next_group
        result = self.state.take(outcomes, after_s=after_s, free=capacity)
        self.last_turn_s = now
        self.apply(outcomes, now)
        self.follow_admission()
        came_in = {*range(next_group, self.model.next_group), *(was_outside - self.outside())}
        self.check_hand_out(result.tasks, capacity, now, came_in if result.again else set())
        assert result.complete == self.model.is_complete()

    def apply(self, outcomes: list[Outcome], now: float) -> None:
        keys = [self.state.keys([outcome.task])[0] for outcome in outcomes]
        pairs = list(zip(keys, outcomes, strict=True))
        for key, outcome in pairs:
            del self.in_flight[key]
            if outcome.kind is OutcomeKind.SUCCEEDED:
                self.model.succeed(key)
        for key, outcome in pairs:
            if outcome.kind is OutcomeKind.REJECTED:
                self.model.drop(key, "rejected")
            elif outcome.kind is OutcomeKind.TRANSIENT and outcome.task.attempts + 1 >= MAX_ATTEMPTS:
                self.model.drop(key, "retries_exhausted")
        for key, outcome in pairs:
            if outcome.kind is OutcomeKind.RATE_LIMITED:
                retry_after = getattr(outcome.error, "retry_after_s", 0.0)
                self.model.defer(key, outcome.task.attempts, now + retry_after)
                resource = self.state.prepared.graph.generators[outcome.task.generator].declaration.resource or ""
                self.cooling[resource] = max(self.cooling.get(resource, 0.0), now + retry_after)
            elif outcome.kind is OutcomeKind.TRANSIENT and outcome.task.attempts + 1 < MAX_ATTEMPTS:
                self.model.defer(key, outcome.task.attempts + 1, self.jittered(key, outcome.task.attempts + 1, now))
        self.model.settle()

    def jittered(self, key: Key, failures: int, now: float) -> float:
        """The wait the database chose, if it is one F2 allows."""
        name, group, index = key
        found = self.state.sql(
            "select not_before from deferred_task where generator = $name and coalesce(row_group, -1) = $group and"
            " row_index is not distinct from $index",
            name=name,
            group=group,
            index=index,
        )
        if not found:
            return now
        wait = to_epoch(found[0][0]) - EPOCH - now
        ceiling = min(60.0, 1.0 * 2 ** (failures - 1))
        assert 0.5 * ceiling - 1e-3 <= wait <= ceiling + 1e-3
        return to_epoch(found[0][0]) - EPOCH

    def follow_admission(self) -> None:
        """A1, A2: how many groups enter is A3's to say; their order and the bounds are rules."""
        ((next_group,),) = self.state.sql("select next_row_group from state.run")
        assert next_group >= self.model.next_group
        self.model.admit(next_group)

    def check_hand_out(self, tasks: list[Task], capacity: dict[str, int], now: float, came_in: set[int]) -> None:
        """Only what is ready and nobody has; no more than is free; if less than is free, nothing is left.

        Of row groups that ``came_in`` in a turn that asks for another one at once something may be left for that.
        """
        parked = self.parked()
        available = {key for key in self.model.ready(now) if key not in self.in_flight and key[1] not in parked}
        keys = self.state.keys(tasks)
        assert len(set(keys)) == len(keys)
        assert set(keys) <= available
        for key, task in zip(keys, tasks, strict=True):
            self.in_flight[key] = task
            assert task.attempts == self.model.deferred.get(key, (0, 0.0))[0]
        for resource, free in capacity.items():
            of_resource = {
                name
                for name in self.model.upstream
                if self.state.prepared.graph.generator_of_name(name).declaration.resource == resource
            }
            taken = [key for key in keys if key[0] in of_resource]
            left = [
                key
                for key in available
                if key[0] in of_resource and key not in self.in_flight and key[1] not in came_in
            ]
            assert len(taken) <= free
            assert not left or len(taken) == free

    def outside(self) -> set[int]:
        """The row groups that were admitted and are not worked on: they can come in again."""
        return self.parked()

    def parked(self) -> set[int]:
        return {group for (group,) in self.state.sql("select row_group from row_group where state = 'parked'")}

    # What must hold after every step --------------------------------------------------------------

    @invariant()
    def invariant_violation_is_empty(self) -> None:
        assert self.state.violations() == []

    @invariant()
    def the_frontier_is_that_of_the_model(self) -> None:
        parked = self.parked()
        wanted = {key for key in self.model.ready(self.last_turn_s) if key[1] not in parked}
        assert self.state.ready() == wanted

    @invariant()
    def every_cell_is_in_the_state_of_the_model(self) -> None:
        parked = self.parked()
        wanted: dict[tuple[int, str], str] = {}
        for row in self.model.working():
            if row.group not in parked:
                wanted |= {
                    (row.row_id, name): self.model.cell(row, name, self.last_turn_s) for name in self.model.generators
                }
        for group in set(self.model.active) - parked:
            dropped = [row_id for row_id in self.model.groups[group] if row_id in self.model.dropped]
            wanted |= {(row_id, name): "dropped" for row_id in dropped for name in self.model.generators}
        found = self.state.sql("select row_id, column_name, state from cell")
        assert {(row_id, name): cell for row_id, name, cell in found} == wanted
        assert len(found) == len(wanted)

    @invariant()
    def progress_counts_what_the_model_counts(self) -> None:
        counts = self.state.sql("select column_name, cells, done, skipped, dropped, deferred, waiting from progress")
        assert {name: tuple(self.model.progress(name).values()) for name in self.model.generators} == {
            name: tuple(found) for name, *found in counts
        }

    @invariant()
    def row_groups_are_in_one_state_each(self) -> None:
        parked = self.parked()
        wanted = {}
        for group in range(self.model.next_group):
            ids = self.model.groups[group]
            state = "finished" if group in self.model.finished else "parked" if group in parked else "active"
            dropped = sum(row_id in self.model.dropped for row_id in ids)
            wanted[group] = (state, ids.start, len(ids), len(ids) - dropped if state == "finished" else 0, dropped)
        found = self.state.sql(
            "select row_group, state, first_row, row_count, rows_finished, rows_dropped from row_group"
        )
        assert {row[0]: row[1:] for row in found} == wanted
        assert parked.isdisjoint(key[1] for key in self.in_flight if self.model.has_inputs(key))

    @invariant()
    def admission_keeps_its_bounds_and_says_what_it_does(self) -> None:
        parked = self.parked()
        active = [group for group in self.model.active if group not in parked]
        rows = sum(row.group not in parked for row in self.model.rows.values())
        assert len(active) <= self.max_groups
        assert rows <= self.max_rows or len(active) == 1
        ((admit, reason, next_group),) = self.state.sql("select admit, reason, next_row_group from admission")
        if self.model.next_group == len(self.model.groups):
            assert (admit, reason, next_group) == (False, "no group left", None)
        else:
            assert next_group == self.model.next_group
            if active and rows + len(self.model.groups[next_group]) > self.max_rows:
                assert (admit, reason) == (False, "max rows")
            elif len(active) >= self.max_groups:
                assert (admit, reason) == (False, "max groups")
            elif not active and not parked:
                assert admit

    @invariant()
    def the_dataset_holds_the_rows_of_finished_groups_with_their_own_values(self) -> None:
        rows = self.state.dataset()
        assert [row["row_id"] for row in rows] == sorted(self.model.dataset)
        for row in rows:
            row_id, rating = row["row_id"], self.ratings[row["row_id"]]
            index = row_id - next(ids.start for ids in self.model.groups.values() if row_id in ids)
            made_up: dict[str, Any] = {"a": f"a{row_id}", "b": f"b{row_id}", "w": f"w{index}", "s": len(f"b{row_id}")}
            if rating == 1:
                made_up = dict.fromkeys(made_up)
            assert row == {"row_id": row_id, "rating": rating, **made_up, "z": f"z{row_id}"}

    @invariant()
    def dropped_and_deferred_are_those_of_the_model(self) -> None:
        assert self.state.dropped() == self.model.dropped
        found = self.state.sql(
            "select generator, coalesce(row_group, -1), row_index, attempts, not_before from deferred_task"
        )
        assert {row[:3]: row[3] for row in found} == {
            key: attempts for key, (attempts, _) in self.model.deferred.items()
        }
        for name, group, index, _, not_before in found:
            assert to_epoch(not_before) - EPOCH == pytest.approx(self.model.deferred[name, group, index][1], abs=1e-3)


def live(
    ratings: list[int], examples: int, steps: int, *, of: int | None = None, machine: type[RunMachine] = RunMachine
) -> None:
    """Lives so many lives, each of so many steps: always the same ones, or those of a seed."""
    machine.ratings = ratings
    run_state_machine_as_test(
        machine if of is None else seed(of)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=of is None,
            database=None,
            phases=(Phase.explicit, Phase.generate) if of is None else tuple(Phase),
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.timeout(180)
def test_the_run_database_agrees_with_the_rules_after_every_step(ratings: list[int]) -> None:
    live(ratings, examples=4, steps=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_run_database_agrees_with_the_rules_over_long_lives(ratings: list[int], budget: Budget) -> None:
    live_long(ratings, budget, RunMachine)


def live_long(ratings: list[int], budget: Budget, machine: type[RunMachine]) -> None:
    """Lives of many steps, one after the other, as long as there is time."""
    for number in budget.rounds(8.0, least=2):
        live(ratings, examples=1, steps=30, of=budget.seed + number, machine=machine)
