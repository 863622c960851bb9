"""Workers elsewhere can be looked at while they work and afterwards: the view, the status, the plan, metrics (W5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from run_state import RunState, moment
from virtual_run import EPOCH

import rowmill
from rowmill import RunDatabase
from rowmill.cli.overview import facts
from rowmill.engine.elsewhere import PlannedGroup, planned_groups
from rowmill.engine.preparation import prepare
from rowmill.errors import SpecError
from rowmill.spec.executor import ProcessesExecutor, executor_settings
from rowmill.spec.spec import Spec
from rowmill.store.reading.details import read_details
from rowmill.store.reading.status import Status, WorkersStatus, read_status
from rowmill.store.turn.workers import MOST_ENDED_WORKERS
from rowmill.worker import GroupFacts, WorkerEvent, WorkerFacts, WorkerNews

READY = WorkerFacts(
    "default-1", "default", "processes", "ready", 17, "here", "", EPOCH + 1, EPOCH + 8, None, 3, 40, 0
)  # fmt: skip
LOST = READY._replace(name="default-2", state="lost", ended_at=EPOCH + 9, in_flight=0, calls_lost=5, reason="SIGKILL")
GROUP = GroupFacts("default", "processes", 2, None, None)
SIZE = {"name": "size", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}


@pytest.fixture
def state(state_of: Callable[..., RunState]) -> RunState:
    state = state_of(SIZE)
    state.store.say_alive()
    return state


def _status(state: RunState) -> Status:
    status = read_status(state.store.connection)
    return replace(status, details=read_details(state.store.connection, status, EPOCH + 10))


def test_a_worker_is_shown_as_it_stands_while_the_run_works_and_as_ended_afterwards(state: RunState) -> None:
    state.store.note_workers(WorkerNews((), [READY, LOST], [GROUP]))
    shown = (
        "select name, state, in_flight, done, calls_lost, joined_at, heard_at, ended_at, reason from worker order by 1"
    )
    assert state.sql(shown) == [
        ("default-1", "ready", 3, 40, 0, moment(1), moment(8), None, None),
        ("default-2", "lost", 0, 40, 5, moment(1), moment(8), moment(9), "SIGKILL"),
    ]
    state.store.end("drained", EPOCH + 20)
    assert [row[1:3] for row in state.sql(shown)] == [("ended", 0), ("lost", 0)]
    assert state.sql(shown)[0][7] == moment(20)


def test_what_is_told_again_of_a_worker_takes_the_place_of_what_was_told_before(state: RunState) -> None:
    state.store.note_workers(WorkerNews((), [READY], [GROUP]))
    state.store.note_workers(WorkerNews((), [READY._replace(done=41)]))
    assert state.sql("select name, done from worker") == [("default-1", 41)]


def test_of_workers_that_ended_the_last_thousand_are_kept(state: RunState) -> None:
    lost = [
        LOST._replace(name=f"default-{number}", ended_at=EPOCH + number) for number in range(2, MOST_ENDED_WORKERS + 12)
    ]
    state.store.note_workers(WorkerNews((), [READY, *lost]))
    ((kept, oldest),) = state.sql("select count(*), min(ended_at) from worker where state = 'lost'")
    assert (kept, oldest) == (MOST_ENDED_WORKERS, moment(12))
    assert state.sql("select state from worker where name = 'default-1'") == [("ready",)]


def test_events_of_workers_are_kept_with_the_time_at_which_they_happened(state: RunState) -> None:
    state.store.note_workers(WorkerNews([WorkerEvent(EPOCH + 3, "worker lost", "default-2", "SIGKILL")]))
    told = state.sql("""select "at", kind, subject, detail from event where kind like 'worker%'""")
    assert told == [(moment(3), "worker lost", "default-2", "SIGKILL")]


def test_the_status_says_how_many_workers_are_there(state: RunState) -> None:
    state.store.note_workers(WorkerNews((), [READY, LOST], [GROUP]))
    status = _status(state)
    assert status.details is not None
    assert status.details.workers == (WorkersStatus("default", "processes", 2, 1, 3, 80, 1, None, None),)
    said = {fact.label: fact.text for fact in facts(status, datetime.fromtimestamp(EPOCH + 10, UTC))}
    assert said["workers"] == "default (processes): 1 of 2 ready, 1 lost"


def test_w5_the_status_says_since_when_no_worker_is_left_and_until_when_the_run_waits(state: RunState) -> None:
    state.store.note_workers(WorkerNews((), [LOST], [GROUP._replace(empty_since=EPOCH + 9, waits_until=EPOCH + 609)]))
    (told,) = [
        each for each in facts(_status(state), datetime.fromtimestamp(EPOCH + 10, UTC)) if each.label == "workers"
    ]
    since, until = (f"{moment(seconds):%H:%M:%S} UTC" for seconds in (9, 609))
    assert told.text == f"default (processes): none of 2 is left since {since}, 1 lost; the run waits until {until}"
    assert told.is_warning


def test_a_run_that_has_ended_and_one_in_one_process_have_no_workers_in_their_status(state: RunState) -> None:
    assert _status(state).details is not None
    assert _status(state).details.workers == ()  # type: ignore[union-attr]
    state.store.note_workers(WorkerNews((), [READY], [GROUP]))
    state.store.end("drained", EPOCH + 20)
    assert _status(state).details.workers == ()  # type: ignore[union-attr]


def _spec(**column: object) -> Spec:
    loud = {"name": "loud", "column_type": "custom", "generator_function": "functions:loud", "dtype": "str"}
    return Spec.from_data(
        {
            "records": 4,
            "run": {"max_local_workers": 3},
            "columns": [SIZE, {**loud, "required_columns": ["size"], **column},
                        {"name": "once", "column_type": "deduplicate", "columns": ["loud"]}],
        }
    )  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text("def loud(row) -> str:\n    return str(row['size'])\n")
    return tmp_path


def test_a_plan_says_which_group_makes_which_column_and_how_many_threads_it_has(directory: Path) -> None:
    settings = executor_settings({"kind": "processes", "workers": 2, "groups": {"gpu": {"workers": 1}}})
    assert isinstance(settings, ProcessesExecutor)
    found = planned_groups(prepare(_spec(), directory), settings)
    assert found == [PlannedGroup("default", 2, 3, ("loud",))]
    found = planned_groups(prepare(_spec(worker_group="gpu"), directory), settings)
    assert found == [PlannedGroup("gpu", 1, 3, ("loud",))]
    with pytest.raises(SpecError, match="no group of workers 'gpus'"):
        planned_groups(prepare(_spec(worker_group="gpus"), directory), settings)


def test_a_run_leaves_who_made_its_calls(directory: Path) -> None:
    data = json.loads(_spec().to_json())
    rowmill.run(data, directory / "run.duckdb", directory=directory, executor={"kind": "processes", "workers": 1})
    with RunDatabase.open(directory / "run.duckdb") as database:
        (worker,) = database.sql("from worker").to_pylist()
    assert {key: worker[key] for key in ("name", "worker_group", "kind", "state", "in_flight", "invocation")} == {
        "name": "default-1",
        "worker_group": "default",
        "kind": "processes",
        "state": "ended",
        "in_flight": 0,
        "invocation": 1,
    }
    assert worker["done"] >= 1
    assert worker["pid"]
    assert worker["joined_at"] <= worker["heard_at"] <= worker["ended_at"]
