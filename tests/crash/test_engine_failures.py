"""The engine fails, or the process dies, somewhere in a run: the run stops with the reason and loses nothing (F7)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import duckdb
import pytest
from budget import Budget
from crashing_connection import CrashingConnection, CrashPoint, SimulatedCrash
from scenario import DRAINED_AFTER_TURNS, Driver, Specs, contradictions, new_world, outcome_of, write_specs

from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import InlineWriter
from rowmill.errors import RowmillError, WriteFailed
from rowmill.store.run_store import RunStore

T = TypeVar("T")

_STEPS = ("create", "extend", "update_spec", "begin", "turn", "end")


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


class _FailingDriver(Driver):
    """Lets each statement of the first steps of each kind fail where it comes first."""

    def __init__(self, database: Path, specs: Specs) -> None:
        super().__init__(database, specs, new_world(specs))
        self.raised: dict[str, list[tuple[str, BaseException]]] = {name: [] for name in _STEPS}
        self._steps_done = dict.fromkeys(_STEPS, 0)

    def step(self, name: str, function: Callable[[], T]) -> T:
        if name in _STEPS and self._steps_done[name] < (4 if name == "turn" else 3):
            self._steps_done[name] += 1
            while (
                raised := self._failure(function, {where for where, _ in self.raised[name]} - {"commit"})
            ) is not None:
                self.raised[name].append(raised)
                if raised[0] == "commit":
                    break
        return function()

    def _failure(self, function: Callable[[], Any], passing: set[str]) -> tuple[str, BaseException] | None:
        self.connection.crashed_at = None
        self.connection.crash = CrashPoint(
            1, raised=duckdb.IOException("IO Error: No space left on device"), passing=passing
        )
        try:
            with self.trying():
                function()
        except Exception as error:  # noqa: BLE001  looked at by the tests
            assert self.connection.crashed_at is not None
            return self.connection.crashed_at, error
        self.connection.crash = None
        return None


@pytest.fixture(scope="module")
def raised(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, BaseException]]]:
    """Per step, at which statement the engine failed and what the caller got."""
    with _FailingDriver(tmp_path_factory.mktemp("failing") / "run.duckdb", specs) as driver:
        driver.drive(drained_after_turns=DRAINED_AFTER_TURNS)
        assert contradictions(driver.connection) == []
    return driver.raised


@pytest.mark.slow
@pytest.mark.parametrize("step", _STEPS)
def test_a_statement_that_the_engine_cannot_write_is_a_failed_write(
    step: str, raised: dict[str, list[tuple[str, BaseException]]]
) -> None:
    failures = raised[step]
    assert failures
    assert [(where, type(error).__name__) for where, error in failures if not isinstance(error, WriteFailed)] == []
    assert all("No space left on device" in str(error) for _, error in failures)
    assert all(isinstance(error.__cause__, duckdb.Error) for _, error in failures)


# A whole run, with its dispatcher -----------------------------------------------------------------------------


_DISPATCHED = """
name: dispatched
records: 60
row_group_size: 8
models:
  - {alias: writer, provider: simulated, model: flaky, max_parallel_requests: 8,
     simulation: {latency_ms: 0, transient: 0.1, rejected: 0.05, rate_limited: 0.02, retry_after_s: 0.01}}
columns:
  - {name: kind, column_type: sampler, sampler_type: category, params: {values: [a, b]}}
  - {name: id, column_type: sampler, sampler_type: uuid}
  - {name: draft, column_type: llm-text, model_alias: writer, prompt: "{{ id }}", skip: {when: "kind = 'b'"}}
  - {name: length, column_type: expression, sql: "length(draft)", dtype: int}
  - {name: review, column_type: llm-text, model_alias: writer, prompt: "{{ draft }}"}
# A new process meets the simulated endpoint's moods anew: attempts must not run out of that.
run: {backoff_base_s: 0.01, max_active_row_groups: 3, max_attempts: 20}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("dispatched") / "spec.yaml"
    path.write_text(_DISPATCHED)
    return prepare(path)


def _work(connection: CrashingConnection, prepared: Prepared) -> None:
    """One invocation over an open connection; whatever ends it comes out as it is."""
    store = RunStore.over(connection)
    anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))


def _outcome(connection: CrashingConnection) -> dict[str, Any]:
    outcome = outcome_of(connection)
    del outcome["skipped"]
    return outcome


@pytest.fixture(scope="module")
def uninterrupted(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What the dispatched run ends with, and how many statements it takes."""
    with CrashingConnection(tmp_path_factory.mktemp("uninterrupted") / "run.duckdb") as connection:
        _work(connection, prepared)
        return _outcome(connection), connection.statements


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("seconds", "least"), [(0, 3), pytest.param(4, 5, marks=pytest.mark.slow)])
def test_a_crash_at_some_statement_of_a_dispatched_run_comes_out_and_the_next_run_goes_on(
    tmp_path: Path,
    budget: Budget,
    prepared: Prepared,
    uninterrupted: tuple[dict[str, Any], int],
    seconds: float,
    least: int,
) -> None:
    expected, statements = uninterrupted
    # How many turns a run takes differs from run to run: the last statements are not there in each.
    for number in budget.some_of(range(1, statements * 9 // 10), seconds, least=least):
        database = tmp_path / f"{number}.duckdb"
        connection = CrashingConnection(database)
        connection.crash = CrashPoint(number, after=number % 2 == 0, for_good=True)
        with pytest.raises(SimulatedCrash):
            _work(connection, prepared)
        connection.close()
        with CrashingConnection(database) as connection:
            if connection.count("select count(*) from duckdb_views() where view_name = 'invariant_violation'"):
                assert contradictions(connection) == [], number
            _work(connection, prepared)
            assert contradictions(connection) == [], number
            assert _outcome(connection) == expected, number
        database.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [duckdb.IOException, duckdb.FatalException])
def test_an_engine_that_is_dead_ends_the_run_with_the_reason_it_died_of(
    tmp_path: Path, prepared: Prepared, uninterrupted: tuple[dict[str, Any], int], kind: type[duckdb.Error]
) -> None:
    _, statements = uninterrupted
    wrong = []
    for number in range(5, statements - 60, statements // 5):
        database = tmp_path / f"{number}.duckdb"
        connection = CrashingConnection(database)
        raised = kind("No space left on device")
        connection.crash = CrashPoint(number, raised=raised, for_good=True)
        try:
            _work(connection, prepared)
        except Exception as error:  # noqa: BLE001  collected
            if isinstance(error, WriteFailed) and "No space left on device" in str(error):
                continue
            wrong.append((number, connection.crashed_at, type(error).__name__))
        else:
            wrong.append((number, connection.crashed_at, "no error"))
        finally:
            with suppress(duckdb.Error, RowmillError):
                connection.close()
    assert wrong == []
