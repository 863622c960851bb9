"""A crash while a run is steered by hand: a request is applied whole or not at all, and who asks again is told so.

What a process that dies before or after a statement leaves behind (the file and its log) is opened, compared, and asked
again with the same key, as the asker does whose run has gone. Besides, real runs are killed by SIGKILL in the middle.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from run_state import RunState, rejected, succeeded, transient
from virtual_run import EPOCH, Row, custom, prepared, sampler
from watched_engine import watched_engine

from rowmill.inspect.opening import open_reader
from rowmill.inspect.place import live_place
from rowmill.inspect.steering import steer
from rowmill.store.reading.reader import Reader
from rowmill.store.run_store import RunStore
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest

Facts = dict[str, list[tuple[Any, ...]]]

_VERBS: Mapping[str, Mapping[str, Any]] = {
    "pause": {},
    "resume": {},
    "drain": {},
    "cancel": {},
    "limit": {"resource": "local", "calls": 2, "spec_calls": 64},
    "limit all": {"resource": None, "calls": 7, "spec_calls": 1024},
    "drop": {"rows": [[4, 9]], "reason": "bad source"},
    "retry_deferred": {"tasks": [["text", 1, 1], ["text", 2, 3]]},
    "retry_dropped": {"rows": [[0, 1], [1, 2], [2, 2]]},
}
_FACTS = {
    "pauses": "select paused_by from state.pause",
    "limits": "select resource, calls from state.limit_by_hand order by all",
    "resources": "select resource, configured_limit, learned_limit from resource order by all",
    "rows": "select row_id, row_group, text from state.live_row order by all",
    "dataset": "select row_id, text from state.dataset_row order by all",
    "dropped": "select row_id, reason, message from dropped_row order by all",
    "deferred": "select generator, row_group, row_index, not_before from deferred_task order by all",
    "groups": "select row_group, state, rows_finished, rows_dropped from row_group order by all",
    "events": "select kind from event where detail like '% By ann (pid 7).' order by all",
    "requests": "select request_id, verb, outcome, rows_affected from state.control_request order by all",
}


async def made(row: Row) -> str:
    return "made"


def _state(path: Path, verb: str) -> RunState:
    """A run with a finished row group and two it works on; each has a dropped row, two have a deferred task."""
    spec = prepared(sampler("rating"), custom("text", made, ["rating"]), records=12, row_group_size=4)
    state = RunState(spec, path)
    tasks = {(task.row_group, task.row_index): task for task in state.take().tasks}
    finished = [succeeded(tasks[0, index], "made") for index in (0, 2, 3)]
    deferred = [transient(tasks[key]) for key in ((1, 1), (2, 3))]
    state.take([*finished, *deferred, *(rejected(tasks[key]) for key in ((0, 1), (1, 2), (2, 2)))])
    assert state.sql("select state from row_group where row_group = 0") == [("finished",)]
    if verb == "resume":
        assert state.store.steer(_request("pause", key="before"), EPOCH).outcome == "applied"
    return state


def _request(verb: str, key: str = "the request") -> ControlRequest:
    return ControlRequest(key, verb.split()[0], _VERBS[verb], "ann (pid 7)", EPOCH)


def _facts(store: RunStore) -> Facts:
    assert store.connection.execute("from invariant_violation") == []
    return {name: store.connection.execute(query) for name, query in _FACTS.items()}


def _in_a_turn(state: RunState, verb: str) -> ControlAnswer:
    pending = state.turn.control.submit(_request(verb))
    state.take(free={})
    assert pending.done.is_set()
    assert pending.answer is not None
    return pending.answer


def _directly(state: RunState, verb: str) -> ControlAnswer:
    return state.store.steer(_request(verb), EPOCH + state.now_s)


@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("apply", [_in_a_turn, _directly], ids=["living", "stopped"])
def test_a_crash_at_any_statement_leaves_a_request_applied_whole_or_not_at_all(
    tmp_path: Path, apply: Callable[[RunState, str], ControlAnswer], verb: str
) -> None:
    database = tmp_path / "run.duckdb"
    left_behind: dict[tuple[bytes, bytes], list[str]] = {}
    is_watching = False

    def keep(where: str) -> None:
        if is_watching:
            log = database.with_name("run.duckdb.wal")
            content = database.read_bytes(), log.read_bytes() if log.exists() else b""
            left_behind.setdefault(content, []).append(where)

    with watched_engine(keep), _state(database, verb) as state:
        before = _facts(state.store)
        is_watching = True
        answer = apply(state, verb)
        keep("at the end")
        is_watching = False
        after = _facts(state.store)
    is_applied = answer.outcome == "applied"  # nothing works on a stopped run: there is nothing to drain or to cancel
    assert len(left_behind) == 1 + is_applied, "a request is one commit, or none if it changes nothing"
    assert (before["requests"] != after["requests"]) == is_applied
    for number, ((content, log), where) in enumerate(left_behind.items()):
        left = tmp_path / f"left_{number}.duckdb"
        left.write_bytes(content)
        left.with_name(left.name + ".wal").write_bytes(log)
        store = RunStore.open(left)
        found = _facts(store)
        assert found == (after if number else before), where
        for _ in range(2):  # asked again, and once more because that answer was lost too
            again = store.steer(_request(verb), EPOCH)
            if number:
                assert again == answer, where
            else:
                is_told_the_truth = again.outcome == ("already" if verb in {"drain", "cancel"} else "applied")
                assert (is_told_the_truth, again.rows) == (True, answer.rows), where
        asked_again = _facts(store)
        same = set(_FACTS) - ({"deferred"} if verb == "retry_deferred" else set())
        same -= {"groups"} if not number else set()  # a turn finishes the row group that lost its last row
        if verb not in {"drain", "cancel"} or number:
            assert {name: asked_again[name] for name in same} == {name: after[name] for name in same}, where
        is_recorded_now = not number and again.outcome == "applied"
        assert len(asked_again["requests"]) == len(found["requests"]) + is_recorded_now
        store.close()


# kill -9 ------------------------------------------------------------------------------------------

_KILLED_RUN = """
import os, signal, sys
import rowmill
from rowmill.store.turn.control import Control

def kills(name, is_before):
    original = getattr(Control, name)
    def call(self, *arguments):
        if is_before and (name != "committed" or arguments[0].requests):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *arguments)
        if not is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(Control, name, call)

{"received": lambda: kills("submit", False), "applied": lambda: kills("apply_one", False),
 "committed": lambda: kills("committed", True)}[sys.argv[1]]()
rowmill.run("waiting.yaml", "waiting.duckdb")
"""
_WAITING = """
name: waiting
records: 24
row_group_size: 8
seed: 3
models:
  - {alias: writer, provider: simulated, model: flaky, max_parallel_requests: 4,
     simulation: {latency_ms: 0, rejected: 0.4, transient: 0.6}}
columns:
  - {name: id, column_type: sampler, sampler_type: uuid}
  - {name: note, column_type: llm-text, model_alias: writer, prompt: "{{ id }}"}
run: {backoff_base_s: 5000.0, backoff_max_s: 5000.0, max_error_share: 1.0}
"""
_KEYS_OF_DROPPED = "select row_group, row_index from dropped_row"
_DEFERRED = "select generator, row_group, row_index, not_before from deferred_task order by all"
_KILLED_VERBS: Mapping[str, Mapping[str, Any]] = {
    "pause": {},
    "limit": {"resource": "simulated/flaky", "calls": 2, "spec_calls": 4},
    "drop": {"rows": [[0, 23]], "reason": "bad source"},
    "retry_dropped": {},
    "retry_deferred": {},
    "cancel": {},
    "drain": {},
}


def _settled(database: Path, working: subprocess.Popen[str]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Waits until every row is dropped or waits for another attempt; their keys, and until when they wait."""
    place, pause = live_place(database), threading.Event()
    for _ in range(6000):
        assert working.poll() is None
        if place.has_socket():
            with open_reader(database) as reader:
                dropped, deferred = (
                    [list(row.values()) for row in reader.table(query).to_pylist()]
                    for query in (_KEYS_OF_DROPPED, _DEFERRED)
                )
            if len(dropped) + len(deferred) == 24:
                return dropped, deferred
        pause.wait(0.02)
    raise AssertionError("the run does not come to rest")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("verb", "moment"),
    [
        *((verb, "applied") for verb in _KILLED_VERBS),
        ("drop", "received"),
        ("drop", "committed"),
        ("drain", "committed"),
    ],
)
def test_a_run_killed_between_a_request_and_its_answer_has_applied_it_whole_or_not_at_all(
    tmp_path: Path, sockets: Path, verb: str, moment: str
) -> None:
    """The asker opens the file then, asks again, and says what is true of it."""
    (tmp_path / "waiting.yaml").write_text(_WAITING)
    database = tmp_path / "waiting.duckdb"
    command_line = CommandLine(tmp_path, (sys.executable, "-c", _KILLED_RUN))
    working = command_line.start(moment)
    try:
        dropped, deferred = _settled(database, working)
        assert dropped
        assert deferred
        arguments = dict(_KILLED_VERBS[verb])
        if verb == "retry_dropped":
            arguments["rows"] = dropped
        if verb == "retry_deferred":
            arguments["tasks"] = [task[:3] for task in deferred]
        answer = steer(database, verb, arguments)
        assert working.wait(30) == -signal.SIGKILL
    finally:
        command_line.close()
    is_lost = moment != "committed" and verb in {"cancel", "drain"}
    assert answer.outcome == ("already" if is_lost else "applied")
    with Reader.open(database) as reader:
        assert reader.table("from invariant_violation").num_rows == 0

        def number(query: str) -> int:
            (value,) = reader.table(query).to_pylist()[0].values()
            return int(value)

        assert number("select count(*) from state.control_request") == (not is_lost)
        assert number("select count(*) from state.pause") == (verb == "pause")
        assert number("select count(*) from state.limit_by_hand") == (verb == "limit")
        by_hand = number("select count(*) from dropped_row where reason = 'by_hand'")
        assert by_hand == (len(deferred) if verb == "drop" else 0)
        left = {"drop": 24, "retry_dropped": 0}.get(verb, len(dropped))
        assert number("select count(*) from dropped_row") == left
        waiting = [list(row.values()) for row in reader.table(_DEFERRED).to_pylist()]
        assert waiting == ([] if verb == "drop" else deferred) or verb == "retry_deferred"
        assert verb != "retry_deferred" or not {task[3] for task in waiting} & {task[3] for task in deferred}
        assert number("select count(*) from event where kind = 'drain'") == (verb == "drain" and moment == "committed")
