"""Tasks, outcomes and errors as the plain values that travel, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from rowmill import errors
from rowmill.errors import GeneratorError, RowmillError
from rowmill.remote.messages import CallData, EndingData, ErrorData
from rowmill.secret import hidden
from rowmill.source_line import LINE_ELSEWHERE, said_by, source_line
from rowmill.task import Outcome, OutcomeKind, Request, Task, error_type

_FACTS = ("retry_after_s", "is_certain", "input_tokens", "output_tokens", "finish_reason", "note")
_OWN = ("rowmill.", "pyarrow.", "numpy.", "builtins", "pandas.")
_SCALARS = frozenset({type(None), bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, UUID})
_KINDS = {kind.value: kind for kind in OutcomeKind}
_KINDS_OF_ERRORS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, RowmillError)
}


class RemoteError(Exception):
    """What a user's code raised in a worker: its kind and its text."""

    def __init__(self, message: str, error_type: str) -> None:
        self.error_type = error_type
        super().__init__(message)


def call_data(call: int, tasks: Sequence[Task]) -> CallData:
    """A call as it travels."""
    first = tasks[0]
    rows = [
        (task.row_index, task.row_id, task.attempts, task.inputs, task.deferrals, task.regenerations) for task in tasks
    ]
    return CallData(call, first.generator, first.row_group, first.state, rows)


def tasks_of(call: CallData) -> list[Task]:
    """The tasks of a call that arrived."""
    return [
        Task(call.generator, call.row_group, index, row_id, attempts, inputs, call.state, deferrals, regenerations)
        for index, row_id, attempts, inputs, deferrals, regenerations in call.rows
    ]


def error_data(error: BaseException) -> ErrorData:
    """An error as data, without secrets."""
    name = type(error).__name__
    known = type(error) is _KINDS_OF_ERRORS.get(name)
    facts = {fact: value for fact in _FACTS if known and (value := getattr(error, fact, None))}
    if (line := source_line(error)) is not None:
        facts[LINE_ELSEWHERE] = line
    if isinstance(error, TimeoutError):
        name, known = "TimeoutError", True
    return ErrorData(name if known else "", error_type(error), hidden(said_by(error)), facts)


def error_of(data: ErrorData) -> BaseException:
    """The error that data describe: one that sorts, reads and counts the same."""
    error = _made_of(data)
    for fact, value in data.facts.items():
        setattr(error, fact, value)
    return error


def _made_of(data: ErrorData) -> BaseException:
    if data.name == "TimeoutError":
        return TimeoutError(data.message)
    kind = _KINDS_OF_ERRORS.get(data.name)
    if kind is None:
        return RemoteError(data.message, data.error_type)
    if kind is errors.SpecError or issubclass(kind, errors.SpecError):
        return errors.SpecError([errors.Problem("", data.message)])
    if kind is errors.BarrierFailed:
        return GeneratorError(data.message, data.error_type)
    error: Any = kind(data.message, data.error_type) if kind is errors.Unavailable else kind(data.message)
    if hasattr(error, "error_type"):
        error.error_type = data.error_type
    made: BaseException = error
    return made


def ending_data(call: int, outcomes: Sequence[Outcome]) -> EndingData:
    """How a call ended, as it travels. What cannot travel fails its row, and no other."""
    first = outcomes[0]
    results = [_result(outcome) for outcome in outcomes]
    requests = [tuple(request) for request in first.requests]
    return EndingData(call, first.started_at, first.duration_ms, requests, results, first.state)


def _result(outcome: Outcome) -> tuple[str, Any, ErrorData | None]:
    if outcome.error is not None:
        return outcome.kind.value, None, error_data(outcome.error)
    values = outcome.values
    refusal = None if isinstance(values, pa.Table) else _refusal(values)
    if refusal is not None:
        return OutcomeKind.REJECTED.value, None, error_data(GeneratorError(refusal, "ValueError"))
    return outcome.kind.value, values, None


def _refusal(values: Any) -> str | None:
    """Why values may not travel; None if they may."""
    try:
        foreign = _foreign(values)
    except RecursionError:
        return "A value holds itself, or values in values without end. No column can hold it."
    if foreign is None:
        return None
    return f"A value of type {foreign} is none that a column can hold. Return plain Python values."


def _foreign(value: Any) -> str | None:
    """The name of a type in a value that the driver may not know; None if there is none."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if isinstance(value, dict):
        parts: Any = (*value.keys(), *value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    else:
        parts = ()
    if not f"{kind.__module__}.".startswith(_OWN) and kind.__module__ != "builtins":
        return f"{kind.__module__.partition('@')[0]}.{kind.__qualname__}"
    return next((found for part in parts if (found := _foreign(part)) is not None), None)


def outcomes_of(ending: EndingData, tasks: Sequence[Task], worker: str, clock_offset_s: float) -> list[Outcome]:
    """The outcomes of a call whose ending arrived, on the driver's clock."""
    started_at = ending.started_at + clock_offset_s
    requests = [Request(*request) for request in ending.requests]
    if clock_offset_s:
        requests = [request._replace(started_at=request.started_at + clock_offset_s) for request in requests]
    return [
        Outcome(
            _KINDS[kind],
            task,
            values,
            None if error is None else error_of(error),
            requests if place == 0 else (),
            started_at,
            ending.duration_ms,
            ending.state,
            worker,
        )
        for place, (task, (kind, values, error)) in enumerate(zip(tasks, ending.results, strict=True))
    ]
