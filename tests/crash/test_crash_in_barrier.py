"""A crash at any statement of a run with barriers, before, in and after them, and of what opens them again (D1, R6).

Statement by statement: two paid columns with a deduplication and a function over the dataset between them, then an
extension. The file is brought to where the barrier is about to run; from there each crash starts from a copy of it.
And a whole run and its extension, gone on with from states they passed through.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from budget import Budget
from crashing_connection import CrashingConnection, CrashPoint, SimulatedCrash
from every_state import run_and_die_everywhere
from run_state import PLENTY, released
from scenario import copy_of_database
from virtual_run import EPOCH, custom, expression, prepared, sampler

from rowmill.engine.preparation import Prepared, prepare
from rowmill.store.reshape import barrier as barriers
from rowmill.store.run_store import RunStore
from rowmill.task import Outcome, OutcomeKind, Task

RECORDS, EXTENDED = 12, 18


async def made(row: object) -> str:
    raise AssertionError("the test plays the dispatcher")


def spec(records: int) -> Prepared:
    """draft → unique (in the database) → place (a function over the dataset) → label; and review after unique."""
    return prepared(
        sampler("word", values=["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]),
        custom("draft", made, ["word"]),
        {"name": "unique", "column_type": "deduplicate", "columns": ["draft"]},
        custom("place", made, ["draft"], generation_strategy="dataset", dtype="int") | {"requires": ["unique"]},
        expression("label", "'place ' || place", "str"),
        custom("review", made, ["draft"]) | {"requires": ["unique"]},
        records=records,
        row_group_size=3,
    )


@pytest.fixture(autouse=True)
def slices_of_ten_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier's result is written in several slices."""
    monkeypatch.setattr(barriers, "_SLICE_ROWS", 10)


SPECS = {records: spec(records) for records in (RECORDS, EXTENDED)}


class Process:
    """One process that works on the file, until it is killed or done."""

    def __init__(self, path: Path, records: int, asked: Counter[tuple[str, int]]) -> None:
        self.path = path
        self.prepared = SPECS[records]
        self.records = records
        self.asked = asked
        self.connection = CrashingConnection(path)
        self.store = RunStore.over(self.connection)
        self.now = EPOCH

    def open(self) -> None:
        """Creates or extends the run, and signs in."""
        if self.store.is_new:
            self.store.create(self.prepared.blueprint(), self.now)
        self.store.extend(self.records, 3, self.now)
        self.store.begin(self.prepared.limits, self.now)
        self.turn = self.store.turn(self.prepared.spec, self.prepared.graph)

    def answer(self, task: Task) -> Outcome:
        name = self.prepared.graph.generators[task.generator].name
        if task.row_group < 0:
            rows = task.inputs.table()
            task.inputs.close()
            order = sorted(rows["draft"].to_pylist(), reverse=True)
            places = [order.index(draft) for draft in rows["draft"].to_pylist()]
            return Outcome(OutcomeKind.SUCCEEDED, task, pa.table({"row_id": rows["row_id"], "place": places}))
        assert task.row_id is not None
        self.asked[name, task.row_id] += 1
        return Outcome(OutcomeKind.SUCCEEDED, task, [f"{name} {next(iter(task.inputs.values()))}"])

    def take(self, outcomes: list[Outcome], free: int = PLENTY) -> list[Task]:
        capacity = dict.fromkeys(self.prepared.limits, free) if free else {}
        self.result = self.turn.take(outcomes, capacity, self.now)
        self.turn.tidy()
        return self.result.tasks

    def work(self, until: Callable[[], bool] = lambda: False) -> None:
        """Takes turns until the run is complete, or until something is so; what is in flight then is given back."""
        tasks = self.take([])
        while not self.result.complete and not until():
            tasks = self.take([self.answer(task) for task in tasks])
        if tasks:
            self.take([released(task) for task in tasks], free=0)

    def barriers(self) -> dict[str, str]:
        return dict(self.connection.execute("select column_name, state from barrier"))

    def outcome(self) -> dict[str, Any]:
        return {
            "dataset": self.connection.execute("from dataset"),
            "dropped": self.connection.execute("select row_id, reason, message from dropped_row order by all"),
            "groups": self.connection.execute(
                "select row_group, state, rows_finished, rows_dropped from row_group order by all"
            ),
            "status": self.connection.execute("select state, rows_finished, rows_dropped from run_status"),
            "barriers": self.connection.execute("select * exclude (completed_at) from barrier"),
        }


@contextmanager
def process(path: Path, records: int, asked: Counter[tuple[str, int]] | None = None) -> Iterator[Process]:
    one = Process(path, records, Counter() if asked is None else asked)
    try:
        yield one
    finally:
        one.connection.crash = None
        one.connection.close()


def stopped_before(barrier: str, path: Path, records: int, asked: Counter[tuple[str, int]]) -> None:
    """Works on the run until that barrier is about to run, and stops there."""
    with process(path, records, asked) as one:
        one.open()
        if barrier == "unique":
            # Outcomes are committed, and nothing more is handed out: the database does not run the barrier.
            while one.barriers()["unique"] != "ready":
                one.take([one.answer(task) for task in one.take([])], free=0)
        else:
            one.work(until=lambda: one.barriers()["place"] == "ready")
        assert one.barriers()[barrier] == "ready"
        assert one.connection.execute("from invariant_violation") == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What runs become that nobody interrupts, by records."""
    found = {}
    for records in (RECORDS, EXTENDED):
        with process(tmp_path_factory.mktemp("whole") / "run.duckdb", records) as one:
            one.open()
            one.work()
            found[records] = one.outcome()
    assert len(found[EXTENDED]["dataset"]) > len(found[RECORDS]["dataset"]), "the seed must bring new words"
    return found


Stage = tuple[Path, Counter[tuple[str, int]]]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Stage]:
    """A file for each barrier that is about to run, first and after an extension, and what was asked until then."""
    directory = tmp_path_factory.mktemp("stages")
    found: dict[tuple[str, int], Stage] = {}
    for barrier in ("unique", "place"):
        for records in (RECORDS, EXTENDED):
            path = directory / f"{barrier}{records}.duckdb"
            asked: Counter[tuple[str, int]] = Counter()
            if records == EXTENDED:
                with process(path, RECORDS, asked) as one:
                    one.open()
                    one.work()
            stopped_before(barrier, path, records, asked)
            found[barrier, records] = path, asked
    path, asked = directory / "finished.duckdb", Counter()
    with process(path, RECORDS, asked) as one:
        one.open()
        one.work()
    found["finished", RECORDS] = path, asked
    return found


def run_barrier(one: Process, crash: CrashPoint | None) -> None:
    """Takes the turn in which the barrier runs."""
    one.open()
    if one.barriers()["unique"] == "done":
        tasks = [task for task in one.take([]) if task.row_group < 0]
        outcomes = [one.answer(task) for task in tasks]
        one.connection.crash, one.connection.statements = crash, 0
        one.take(outcomes)
    else:
        one.connection.crash, one.connection.statements = crash, 0
        one.take([])


def extend(one: Process, crash: CrashPoint | None) -> None:
    """Plans more rows."""
    one.connection.crash, one.connection.statements = crash, 0
    one.store.extend(EXTENDED, 3, one.now)


def crash_everywhere(
    doing: Callable[[Process, CrashPoint | None], None],
    stage: Stage,
    records: int,
    expected: dict[str, Any],
    directory: Path,
    budget: Budget,
) -> None:
    """Crashes before statements, as many as there is time for, and lets another process finish."""
    source, asked_before = stage
    counted = directory / "counted.duckdb"
    shutil.copyfile(source, counted)
    with process(counted, records) as one:
        doing(one, None)
        statements = one.connection.statements
    for number in budget.some_of(range(1, statements + 1), 3.0, least=5):
        crashed, path = directory / f"crashed{number}.duckdb", directory / f"run{number}.duckdb"
        shutil.copyfile(source, crashed)
        asked = asked_before.copy()
        with process(crashed, records, asked) as one:
            with pytest.raises(SimulatedCrash):
                doing(one, CrashPoint(number, for_good=True))
            copy_of_database(crashed, path)
        with process(path, EXTENDED if records == EXTENDED else records, asked) as other:
            assert other.connection.execute("from invariant_violation") == [], number
            other.open()
            other.work()
            assert other.outcome() == expected, number
            assert other.connection.execute("from invariant_violation") == [], number
        assert set(asked.values()) <= {1}, f"a committed result was asked for again after a crash at {number}"
        crashed.unlink()
        path.unlink()


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.parametrize("barrier", ["unique", "place"])
@pytest.mark.parametrize("records", [RECORDS, EXTENDED], ids=["first", "extended"])
def test_a_crash_at_any_statement_of_a_barrier_loses_nothing(
    barrier: str,
    records: int,
    stages: dict[tuple[str, int], Stage],
    whole: dict[int, dict[str, Any]],
    tmp_path: Path,
    budget: Budget,
) -> None:
    crash_everywhere(run_barrier, stages[barrier, records], records, whole[records], tmp_path, budget)


@pytest.mark.slow
def test_a_crash_at_any_statement_of_what_opens_barriers_again_loses_nothing(
    stages: dict[tuple[str, int], Stage], whole: dict[int, dict[str, Any]], tmp_path: Path, budget: Budget
) -> None:
    crash_everywhere(extend, stages["finished", RECORDS], EXTENDED, whole[EXTENDED], tmp_path, budget)


_SORTED_OUT = """
name: sorted-out
records: {records}
row_group_size: 3
seed: 2
models:
  - {{alias: writer, provider: simulated, model: quick, max_parallel_requests: 4, simulation: {{latency_ms: 0}}}}
columns:
  - {{name: kind, column_type: sampler, sampler_type: category, params: {{values: [a, b, c, d, e, f]}}}}
  - {{name: note, column_type: llm-text, model_alias: writer, prompt: "About {{{{ kind }}}}"}}
  - {{name: unique, column_type: deduplicate, columns: [note], drop: true}}
  - {{name: answer, column_type: llm-text, model_alias: writer, prompt: "More of {{{{ note }}}}", requires: [unique]}}
  - {{name: place, column_type: rank, order_by: "answer desc"}}
  - {{name: words, column_type: expression, sql: "place * 2", dtype: int}}
"""
_RECORDS = (8, 13)


@pytest.fixture(scope="module")
def sorted_out(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    directory = tmp_path_factory.mktemp("specs")
    found = []
    for records in _RECORDS:
        path = directory / f"sorted_{records}.yaml"
        path.write_text(_SORTED_OUT.format(records=records))
        found.append(prepare(path))
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seconds", "least"), [(5, 6)])
@pytest.mark.slow
def test_a_run_with_barriers_that_dies_at_any_statement_ends_as_if_it_had_not(
    tmp_path: Path, budget: Budget, sorted_out: list[Prepared], seconds: float, least: int
) -> None:
    expected = run_and_die_everywhere(tmp_path / "run.duckdb", sorted_out, budget, seconds, least=least)
    assert {reason for _, _, reason in expected["dropped"]} == {"duplicate"}
    assert expected["dataset"]
