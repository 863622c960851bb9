"""What somebody wants of a run, and what became of it: values that travel to whoever holds the file."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rowmill.spec.name import text_problem

MOST_ROWS = 10_000_000
"""Rows that one request may name."""
_LONGEST_NAME = 200
_LONGEST_TEXT = 10_000
_DEEPEST = 4
_LATEST = 253_402_300_800.0
"""The year 10000, in seconds since the epoch: no calendar of ours goes on."""
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody wants of a run. ``arguments`` are plain JSON values, by verb:

    pause, resume, drain, cancel: none. limit: ``resource`` (null: all in flight), ``calls`` (null: as the spec says),
    ``spec_calls``. drop: ``rows`` (ranges of row_id, both ends included), ``reason``. retry_deferred: ``tasks``
    (generator, row group, row index or -1). retry_dropped: ``rows`` (row group, row index).
    """

    key: str
    verb: str
    arguments: Mapping[str, Any]
    requested_by: str
    requested_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """What became of a request: ``applied``, ``already`` (it was so before) or ``refused``; in words; how many rows."""

    outcome: str
    message: str
    rows: int = 0

    def __str__(self) -> str:
        return self.message


@dataclass
class PendingRequest:
    """A request on its way to the next turn."""

    request: ControlRequest
    answer: ControlAnswer | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


def request_problem(request: ControlRequest) -> str | None:
    """What is wrong with a request that no run could keep: numbers, times and texts without bounds; None if nothing."""
    for name, text, longest in (
        ("key", request.key, _LONGEST_NAME),
        ("verb", request.verb, _LONGEST_NAME),
        ("requested_by", request.requested_by, 5 * _LONGEST_NAME),
    ):
        if len(text) > longest or text_problem(text):
            return f"'{name}' must be a text of at most {longest} characters that can be stored."
    if not 0 <= request.requested_at < _LATEST:  # false for NaN too
        return "'requested_at' must be a time, in seconds since 1970."
    problem = _value_problem(dict(request.arguments), _DEEPEST)
    return f"The arguments of '{request.verb}' hold {problem}." if problem else None


def _value_problem(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return "a text that cannot be stored" if len(value) > _LONGEST_TEXT or text_problem(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, int):
        return None if -_LARGEST <= value < _LARGEST else "a number of more than 64 bits"
    if isinstance(value, (dict, list, tuple)):
        if depth == 0:
            return "values nested too deeply"
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        return next((found for each in value if (found := _value_problem(each, depth - 1))), None)
    return None if value is None else "something that is no JSON value"
