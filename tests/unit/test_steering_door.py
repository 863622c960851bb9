"""Whatever comes through the socket: no number, time or text in it harms a run or its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from run_state import RunState, request, succeeded
from virtual_run import llm, model, prepared

from rowmill.errors import UsageError
from rowmill.inspect.message import Question, decoded_request, encoded_request
from rowmill.inspect.steering import request_of
from rowmill.store.reading.details import read_details
from rowmill.store.reading.status import read_status

GOOD: dict[str, Any] = {
    "key": "k1", "verb": "pause", "arguments": {}, "requested_by": "me", "requested_at": 1_780_000_000.0,
}  # fmt: skip
LIMIT = {"resource": None, "calls": 8, "spec_calls": 1024}
HOSTILE: list[dict[str, Any]] = [
    *({"requested_at": value} for value in (1e308, -1e308, -1, float("nan"), float("inf"), 253402300800, 10**400)),
    *({"requested_at": value} for value in (None, "x", [], {})),
    *({field: "x" * 1_000_000} for field in ("key", "verb", "requested_by")),
    *({field: text} for field in ("key", "verb", "requested_by") for text in ("\ud800", "a\0b")),
    {"arguments": {"reason": "\udfff", "rows": [[0, 1]]}, "verb": "drop"},
    {"arguments": {"reason": "x" * 10**6, "rows": [[0, 1]]}, "verb": "drop"},
    {"arguments": {"reason": "r", "rows": [[0, 2**63]]}, "verb": "drop"},
    {"arguments": {"reason": "r", "rows": [[0, float("nan")]]}, "verb": "drop"},
    {"arguments": {**LIMIT, "calls": 10**30}, "verb": "limit"},
    {"arguments": {"a": [[[[[[[]]]]]]]}},
    {"arguments": 7},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: f"{hostile}"[:60])
def test_a_hostile_steering_message_is_refused_at_the_door(hostile: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        decoded_request(json.dumps({**GOOD, **hostile}).encode())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b'{"key": ' + b"9" * 5000 + b"}", b"null"])
def test_what_is_no_message_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(UsageError):
        decoded_request(content)
    with pytest.raises(UsageError):
        Question.decoded(content)


@pytest.mark.parametrize("limit_s", [float("nan"), "x", None, 10**400])
def test_a_hostile_time_limit_is_refused(limit_s: object) -> None:
    with pytest.raises(UsageError):
        Question.decoded(json.dumps({"key": "k", "sql": "x", "parameters": {}, "time_limit_s": limit_s}).encode())


def test_every_request_of_ours_passes() -> None:
    for verb, arguments in {
        "pause": {},
        "limit": LIMIT,
        "drop": {"rows": [[0, 3], [7, 7]], "reason": "ü \n 😀"},
        "retry_deferred": {"tasks": [["note", 1, -1]]},
    }.items():
        made = request_of(verb, arguments)
        assert decoded_request(encoded_request(made)) == made


@pytest.fixture
def state() -> RunState:
    return RunState(prepared(llm("note", "Write."), models=[model(limit=50)], records=40, row_group_size=10))


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("drop", {"rows": [[0, 10**15]], "reason": "all"}),
        ("limit", {**LIMIT, "calls": 2**40}),
        ("limit", {**LIMIT, "resource": "x", "calls": 2**40, "spec_calls": 2**62}),
        ("limit", {**LIMIT, "calls": -1}),
        ("retry_dropped", {"rows": [[10**30, 1]]}),
        ("retry_deferred", {"tasks": [["note", 10**30, 1]]}),
    ],
)
def test_arguments_out_of_bounds_are_refused_and_the_run_goes_on(
    state: RunState, verb: str, arguments: dict[str, Any]
) -> None:
    with state:
        tasks = state.take().tasks
        pending = state.turn.control.submit(request_of(verb, arguments))
        state.take([succeeded(tasks[0], "text")], after_s=1)
        assert pending.answer is not None
        assert pending.answer.outcome == "refused"
        assert state.violations() == []


Ask = Callable[[RunState], object]


@pytest.mark.parametrize("tokens", [2**62, 2**63 - 1])
@pytest.mark.parametrize("cost", [0.5, 1e308])
def test_attempts_of_any_size_that_are_stored_already_leave_every_view_readable(
    state: RunState, tokens: int, cost: float
) -> None:
    with state:
        tasks = state.of(state.take().tasks, "note")
        state.take([succeeded(task, "text", requests=[request(tokens=1)]) for task in tasks[:6]], after_s=1)
        state.sql(f"update state.attempt set input_tokens = {tokens}, output_tokens = {tokens}, cost_usd = {cost}")
        status = read_status(state.store.connection)
        assert status.input_tokens == 2**63 - 1
        assert read_details(state.store.connection, status, 2e9) is not None
        for view in ("usage", "run_status", "attempt", "invariant_violation", "progress", "resource", "invocation"):
            state.sql(f"from {view}")
        state.take([succeeded(tasks[7], "text", requests=[request(tokens=1)])], after_s=1)
