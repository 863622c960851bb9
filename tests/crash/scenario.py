"""A run in which everything happens that can happen to a row, driven turn by turn without a dispatcher.

Eleven rows in groups of three, an invocation that is drained, one that completes, then an extension by three rows
in groups of two. What the endpoints answer depends on the row and on how often they were asked, and is remembered
across crashes, as real endpoints would.
"""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa
from copied_database import copy_of_database as copy_of_database
from crashing_connection import CrashingConnection

from rowmill.engine.binding import skip_conditions
from rowmill.engine.preparation import Prepared, prepare
from rowmill.errors import ProviderError, RateLimited, Rejected, Transient
from rowmill.store.database.connection import Connection
from rowmill.store.run_store import RunStore
from rowmill.store.turn.turn import Turn
from rowmill.task import Outcome, OutcomeKind, Request, Task, TurnResult, classify

T = TypeVar("T")

_SPEC = """
name: scenario
records: {records}
row_group_size: {row_group_size}
seed: 5
models:
  - {{alias: writer, provider: simulated, model: writer, max_parallel_requests: 6}}
  - {{alias: editor, provider: simulated, model: editor, max_parallel_requests: 6}}
seed_dataset: {{path: cities.csv}}
columns:
  - {{name: city, column_type: seed-dataset}}
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b]}}}}
  - {{name: label, column_type: expression, sql: "upper(city) || '-' || kind"}}
  - {{name: draft, column_type: llm-text, model_alias: writer, prompt: "{{{{ label }}}}",
      skip: {{when: "city = 'Oslo'"}}}}
  - {{name: amount, column_type: expression, sql: "cast(split_part(draft, '#', 2) as int)", dtype: int}}
  - {{name: review, column_type: llm-text, model_alias: editor, prompt: "{{{{ draft }}}}", with_trace: true,
      skip: {{when: "{{{{ city == 'Bergen' }}}}", value: none needed}}}}
  - {{name: mark, column_type: custom, generator_function: "marking:mark", may_drop_rows: true, propagate_skip: false,
      required_columns: [label, amount, review]}}
  - {{name: verdict, column_type: expression, sql: "coalesce(review, 'skipped') || ' ' || mark", propagate_skip: false}}
run:
  max_active_row_groups: 3
  max_attempts: 2
  backoff_base_s: 0.5
"""
_MARKING = """
import pyarrow as pa

def mark(rows: pa.Table, params) -> str:
    return {"row_index": rows["row_index"], "mark": rows["label"]}
"""
_CITIES = "city\nBergen\nParis\nOslo\nRome\nLima\n"

DRAINED_AFTER_TURNS = 4

_RATE_LIMITED = {("draft", 1): 1, ("review", 8): 1}
_TRANSIENT = {("draft", 3): 1, ("draft", 6): 99, ("mark", 1): 1}
_REJECTED = {("draft", 11), ("review", 4), ("mark", 3)}
_FILTERED = {0}


@dataclass
class World:
    """The endpoints, and what the database has acknowledged so far. Outlives every crash."""

    names: Sequence[str]
    """The generators by number."""
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    now: float = 1_800_000_000.0
    acknowledged: dict[tuple[str, int], Any] = field(default_factory=dict)
    """Results that were committed, by column and row."""
    attempts: int = 0
    """Requests that were committed."""
    requests: int = 0
    unacknowledged: list[Outcome] = field(default_factory=list)
    """What the turn under way writes if it commits."""

    def ask(self, task: Task) -> Outcome:
        """What becomes of a task. No committed result may be asked for again."""
        name = self.names[task.generator]
        key = (name, task.row_group if task.row_index is None else _row_id(task))
        self.asked[key] += 1
        self.requests += 1
        for row_id in self._rows(task):
            assert (name, row_id) not in self.acknowledged, f"{name} of row {row_id} was committed, and asked for again"
        error = self._failure(key)
        kind, message = (type(error).__name__, str(error)) if error is not None else (None, None)
        request = Request(name, self.now, 1.0, 10, 5, None, kind, message)
        if error is not None:
            return Outcome(classify(error), task, None, error, [request], self.now, 1.0)
        return Outcome(OutcomeKind.SUCCEEDED, task, self._values(name, task), None, [request], self.now, 1.0)

    def _failure(self, key: tuple[str, int]) -> ProviderError | None:
        if self.asked[key] <= _RATE_LIMITED.get(key, 0):
            return RateLimited("slow down", 0.5)
        if self.asked[key] <= _TRANSIENT.get(key, 0):
            return Transient("try again", "HTTP 503")
        return Rejected("never") if key in _REJECTED else None

    @staticmethod
    def _values(name: str, task: Task) -> Any:
        if task.row_index is None:
            kept = [place for place, row_id in enumerate(task.inputs["row_id"].to_pylist()) if row_id not in _FILTERED]
            rows = task.inputs.take(kept)
            marks = [f"mark of {label}" for label in rows["label"].to_pylist()]
            return pa.table({"row_index": rows["row_index"], "mark": marks})
        row_id = _row_id(task)
        if name == "draft":
            # No number for one row: its SQL expression fails.
            return [f"draft of {task.inputs['label']}#{'x' if row_id == 13 else row_id}"]
        return [f"review of {task.inputs['draft']}", "[]"]

    @staticmethod
    def _rows(task: Task) -> list[int]:
        if task.row_index is not None:
            return [_row_id(task)]
        return list(task.inputs["row_id"].to_pylist())

    def acknowledge(self) -> None:
        """The turn under way was committed."""
        for outcome in self.unacknowledged:
            self.attempts += len(outcome.requests)
            if outcome.kind is not OutcomeKind.SUCCEEDED:
                continue
            name, task = self.names[outcome.task.generator], outcome.task
            if task.row_index is not None:
                self.acknowledged[name, _row_id(task)] = outcome.values[0]
                continue
            row_ids = dict(zip(task.inputs["row_index"].to_pylist(), self._rows(task), strict=True))
            for index, mark in zip(*(outcome.values[c].to_pylist() for c in ("row_index", "mark")), strict=True):
                self.acknowledged[name, row_ids[index]] = mark
        self.unacknowledged = []

    def after_the_crash(self) -> World:
        """The same world, known to a new process."""
        world = copy.copy(self)
        world.asked, world.acknowledged, world.unacknowledged = self.asked.copy(), dict(self.acknowledged), []
        return world


def _row_id(task: Task) -> int:
    assert task.row_id is not None
    return task.row_id


@dataclass(frozen=True)
class Specs:
    """The spec as the run begins, and as it is extended."""

    first: Prepared
    extended: Prepared


def write_specs(directory: Path) -> Specs:
    """Writes the specs and what belongs to them into ``directory``."""
    (directory / "cities.csv").write_text(_CITIES)
    (directory / "marking.py").write_text(_MARKING)
    (directory / "first.yaml").write_text(_SPEC.format(records=11, row_group_size=3))
    (directory / "extended.yaml").write_text(_SPEC.format(records=14, row_group_size=2))
    return Specs(prepare(directory / "first.yaml"), prepare(directory / "extended.yaml"))


def new_world(specs: Specs) -> World:
    """A world in which nobody asked anything yet."""
    return World([node.name for node in specs.first.graph.generators])


class Driver:
    """Drives the scenario in a database, from whatever state it is in to its end; each invocation opens it anew."""

    def __init__(self, database: Path, specs: Specs, world: World) -> None:
        self.database = database
        self.specs = specs
        self.world = world
        self.connection = self._connect()
        self._turn: Turn | None = None

    def _connect(self) -> CrashingConnection:
        connection = CrashingConnection(self.database)
        connection.on_commit = self.world.acknowledge
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def step(self, name: str, function: Callable[[], T]) -> T:
        """Does one thing of the scenario; a test may do it again and again."""
        return function()

    def drive(self, *, drained_after_turns: int | None = None) -> None:
        """Runs the first spec to its end, then the extended one."""
        if drained_after_turns is not None:
            self._invocation(self.specs.first, drained_after_turns)
        self._invocation(self.specs.first)
        self._invocation(self.specs.extended)

    def _invocation(self, prepared: Prepared, last_turn: int | None = None) -> None:
        world = self.world
        spec = prepared.spec
        self.connection.close()
        self._turn = None
        self.connection = self._connect()
        store = self.step("open", lambda: RunStore.over(self.connection))
        if store.is_new:
            self.step("create", lambda: store.create(prepared.blueprint(), world.now))
        if store.plan().rows > spec.planned_records:
            return
        store.stored_spec()
        store.check_fits(spec, prepared.graph)
        self.step("extend", lambda: store.extend(spec.planned_records, spec.row_group_size, world.now))
        self.step("update_spec", lambda: store.update_spec(spec, world.now))
        if store.is_finished():
            return
        self.step("begin", lambda: store.begin(prepared.limits, world.now))
        conditions = skip_conditions(prepared.graph)
        self._turn = self.step("prepare", lambda: store.turn(spec, prepared.graph, conditions))
        ending = self._turns(prepared, last_turn)
        self.step("end", lambda: store.end(ending, world.now))

    def _turns(self, prepared: Prepared, last_turn: int | None) -> str:
        """Takes turns until the run is complete or the last turn has come. Some tasks stay in flight over a turn."""
        running: deque[Task] = deque()
        outcomes: list[Outcome] = []
        turns = 0
        while True:
            free = dict(prepared.limits)
            for task in running:
                free[prepared.graph.generators[task.generator].declaration.resource or ""] -= 1
            result = self._take(outcomes, free)
            turns += 1
            if result.complete:
                return "complete"
            running.extend(result.tasks)
            if turns == last_turn:
                released = [Outcome(OutcomeKind.RELEASED, task) for task in running]
                self._take(released, {})
                return "drained"
            outcomes = [self.world.ask(running.popleft()) for _ in range(max(len(running) - 1, min(len(running), 1)))]
            self.world.now += 0.25
            if not outcomes and result.next_not_before is not None:
                self.world.now = max(self.world.now, result.next_not_before)

    def _take(self, outcomes: list[Outcome], free: dict[str, int]) -> TurnResult:
        self.world.unacknowledged = list(outcomes)

        def turn() -> TurnResult:
            result = self._the_turn().take(outcomes, free, self.world.now)
            self._the_turn().tidy()
            return result

        return self.step("turn", turn)

    def _the_turn(self) -> Turn:
        assert self._turn is not None
        return self._turn

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A step that fails may be tried again: what it leaves behind in memory is forgotten.

        In a real process a failed turn is the last one.
        """
        original = self._turn
        if original is not None:
            shared = (original._connection, original._layout, original._settings)
            self._turn = copy.deepcopy(original, {id(part): part for part in shared})
        try:
            yield
        finally:
            self._turn = original
            self.connection.forget_staged()


def contradictions(connection: Connection) -> list[tuple[Any, ...]]:
    """What ``invariant_violation`` says."""
    return connection.execute("from invariant_violation")


def outcome_of(connection: Connection) -> dict[str, Any]:
    """The finished dataset, and what became of the other rows: the same after any number of crashes."""
    return {
        "dataset": connection.execute("from dataset order by row_id"),
        "dropped": connection.execute(
            "select row_id, column_name, reason, error_type from dropped_row order by row_id"
        ),
        "groups": connection.execute(
            "select row_group, state, first_row, row_count, rows_finished, rows_dropped from row_group order by all"
        ),
        "skipped": connection.execute("select column_name, done, skipped, dropped from progress order by column_name"),
        "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
    }


def written_results(connection: Connection) -> dict[tuple[str, int], Any]:
    """Every result of a call that the database holds, by column and row."""
    found: dict[tuple[str, int], Any] = {}
    numbers = dict(connection.execute("select name, generator from state.generator where strategy <> 'sql'"))
    for table in ("active_row", "parked_row", "dataset_row", "dropped_row_value"):
        for name, number in numbers.items():
            bit = 1 << number
            rows = connection.execute(
                f"select row_id, {name} from state.{table} where (done_0 & {bit}) <> 0 and (skipped_0 & {bit}) = 0"
            )
            for row_id, value in rows:
                assert (name, row_id) not in found, f"{name} of row {row_id} is there twice"
                found[name, row_id] = value
    return found
