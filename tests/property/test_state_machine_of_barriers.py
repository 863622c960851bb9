"""A random life of a run database with barriers, compared with the set model after every step (R6, style 23).

The machine is that of test_state_machine.py. Row groups rest until a deduplication and a function over the dataset ran;
extensions open both again.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from barrier_model import BARRIERS, TASK, BarrierModel, placed
from budget import Budget
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from run_state import released, succeeded
from set_model import MAX_ATTEMPTS, Key, SetModel
from test_state_machine import MOST_RECORDS, RunMachine, bounds, live_long, made, sampled
from virtual_run import custom, expression, model, prepared, sampler

from rowmill.engine.preparation import Prepared
from rowmill.store.reshape import barrier
from rowmill.task import Outcome, Task

RATINGS = list(range(12))


def spec(records: int, size: int, max_rows: int, max_groups: int) -> Prepared:
    place = custom("d", made, ["rating"], generation_strategy="dataset", dtype="int", may_drop_rows=True)
    return prepared(
        sampler("rating", values=RATINGS),
        custom("a", made, ["rating"], model_aliases=["one"]),
        {"name": "u", "column_type": "deduplicate", "columns": ["rating"], "requires": ["a"]},
        custom("b", made, model_aliases=["two"]) | {"requires": ["u"]},
        place | {"requires": ["b"]},
        custom("c", made, ["d"]),
        expression("s", "len(c)"),
        custom("z", made, model_aliases=["two"]),
        models=[model("one"), model("two")],
        records=records,
        row_group_size=size,
        run=bounds(max_rows, max_groups),
    )


@pytest.fixture(scope="module")
def ratings() -> list[int]:
    return sampled(RATINGS)


@pytest.fixture(autouse=True)
def slices_of_three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier's result is written in several slices."""
    monkeypatch.setattr(barrier, "_SLICE_ROWS", 3)


class BarrierMachine(RunMachine):
    """One run with barriers, from creation on."""

    spec = staticmethod(spec)
    model_of: type[SetModel] = BarrierModel
    model: BarrierModel

    def __init__(self) -> None:
        super().__init__()
        self.was_extended = False

    @initialize(
        chance=st.integers(0, 1 << 16),
        records=st.integers(0, 9),
        size=st.integers(1, 4),
        max_rows=st.integers(4, 12),
        max_groups=st.integers(2, 4),
    )
    def create(self, chance: int, records: int, size: int, max_rows: int, max_groups: int) -> None:
        super().create(chance, records, size, max_rows, max_groups)

    # Steps ----------------------------------------------------------------------------------------

    @rule(turns=st.integers(1, 12))
    def the_run_goes_on(self, turns: int) -> None:
        """Far enough for barriers to run, and for what comes after them."""
        for _ in range(turns):
            if not self.model.is_complete():
                self.everything_in_flight_succeeds(60.0)

    @rule()
    def crash(self) -> None:
        self.close_rows()
        super().crash()

    def teardown(self) -> None:
        self.close_rows()
        super().teardown()

    def close_rows(self) -> None:
        """Lets go of what the call of a barrier reads: it keeps the file open."""
        if TASK in self.in_flight:
            self.in_flight[TASK].inputs.close()

    @precondition(lambda self: self.records < MOST_RECORDS - 10)
    @rule(more=st.integers(1, 7), size=st.integers(1, 4))
    def extend(self, more: int, size: int) -> None:
        super().extend(more, size)
        self.was_extended = True

    # What a step does -----------------------------------------------------------------------------

    def success(self, task: Task) -> Outcome:
        name = self.state.name(task.generator)
        if name != "d":
            return succeeded(task, f"c{task.row_id} {task.inputs['d']}" if name == "c" else f"{name}{task.row_id}")
        rows = task.inputs.table()
        given = dict(zip(rows["row_id"].to_pylist(), rows["rating"].to_pylist(), strict=True))
        assert given == self.model.seen_by("d")
        backwards = list(reversed(placed(given).items()))
        row_ids, places = [row_id for row_id, _ in backwards], [place for _, place in backwards]
        return succeeded(task, pa.table({"row_id": pa.array(row_ids, pa.int64()), "d": pa.array(places, pa.int64())}))

    def outcome(self, key: Key, kind: str, data: st.DataObject, now: float) -> Outcome:
        """A barrier that fails for good stops the run: that is not played here."""
        task = self.in_flight[key]
        if key == TASK and (kind == "rejected" or (kind == "transient" and task.attempts + 1 >= MAX_ATTEMPTS)):
            return released(task)
        return super().outcome(key, kind, data, now)

    def take(self, outcomes: list[Outcome], after_s: float, free: int | None) -> None:
        super().take(outcomes, after_s, free)
        self.was_extended = False
        if free is not None and self.model.ready_barrier() == "u":
            self.model.run_barrier("u")

    def apply(self, outcomes: list[Outcome], now: float) -> None:
        if TASK in self.state.keys(outcome.task for outcome in outcomes):
            self.close_rows()
        super().apply(outcomes, now)

    def follow_admission(self) -> None:
        """A1: resting row groups that have work to do come back, lowest first; then new ones enter."""
        states = dict(self.state.sql("select row_group, state from row_group"))
        due = sorted(filter(self.model.is_due, self.model.resting))
        came_back = [group for group in due if states[group] != "resting"]
        assert came_back == due[: len(came_back)]
        self.model.resting.difference_update(came_back)
        super().follow_admission()

    def outside(self) -> set[int]:
        return super().outside() | self.model.resting

    # What must hold after every step --------------------------------------------------------------

    @invariant()
    def barriers_are_open_until_they_saw_every_row(self) -> None:
        ready = self.model.ready_barrier()
        wanted = {name: "waiting" if name in self.model.open else "done" for name in BARRIERS}
        wanted |= {ready: "ready"} if ready else {}
        assert dict(self.state.sql("select column_name, state from barrier")) == wanted

    @invariant()
    def row_groups_are_in_one_state_each(self) -> None:
        parked = self.parked()
        wanted = {}
        for group in range(self.model.next_group):
            ids = self.model.groups[group]
            state = "resting" if group in self.model.resting else "parked" if group in parked else "active"
            state = "finished" if group in self.model.finished else state
            finished = sum(row_id in self.model.dataset for row_id in ids)
            dropped = sum(row_id in self.model.dropped for row_id in ids)
            wanted[group] = (state, ids.start, len(ids), finished, dropped)
        found = self.state.sql(
            "select row_group, state, first_row, row_count, rows_finished, rows_dropped from row_group"
        )
        assert {row[0]: row[1:] for row in found} == wanted
        due = self.state.sql("select row_group from state.admitted_row_group where state = 'due'")
        assert {group for (group,) in due} == set(filter(self.model.is_due, self.model.resting))

    @invariant()
    def admission_keeps_its_bounds_and_says_what_it_does(self) -> None:
        parked = self.parked()
        active = [group for group in self.model.active if group not in parked]
        rows = sum(row.group not in parked for row in self.model.working())
        assert len(active) <= self.max_groups
        # Rows a barrier gave up come back to active row groups too, which rest in the next turn.
        assert rows <= self.max_rows or len(active) == 1 or self.was_extended
        ((admit, reason, next_group),) = self.state.sql("select admit, reason, next_row_group from admission")
        due = sorted(filter(self.model.is_due, self.model.resting))
        if not due and self.model.next_group == len(self.model.groups):
            waits = "row groups wait for a barrier" if self.model.resting else "no group left"
            assert (admit, reason, next_group) == (False, waits, None)
            return
        assert next_group == (due[0] if due else self.model.next_group)
        at_rest = sum(row.group == next_group for row in self.model.rows.values())
        if active and rows + (at_rest if due else len(self.model.groups[next_group])) > self.max_rows:
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
            row_id = row["row_id"]
            place = self.model.value["d", row_id]
            after = f"c{row_id} {place}"
            made_up: dict[str, Any] = {"a": f"a{row_id}", "b": f"b{row_id}", "z": f"z{row_id}"}
            made_up |= {"u": True, "d": place, "c": after}
            assert row == {"row_id": row_id, "rating": self.ratings[row_id], **made_up, "s": len(after)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_with_barriers_agrees_with_the_rules_over_long_lives(ratings: list[int], budget: Budget) -> None:
    live_long(ratings, budget, BarrierMachine)
