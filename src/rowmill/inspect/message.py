"""What travels over the socket: queries as tickets, actions, and errors that arrive as what they were."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from rowmill import errors
from rowmill.errors import RowmillError
from rowmill.store.reading.status import Status
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest, request_problem

LIVING = "living"
"""The action that says who answers. No argument; answers a :class:`Living`."""
INTERRUPT = "interrupt"
"""The action that stops a query. Argument: its key."""

STATUS = "status"
"""The action that says where the run stands. No argument; answers a :class:`~rowmill.store.reading.status.Status`."""

CONTROL = "control"
"""The action that steers the run. Argument: a request; answers what became of it, once it is durable."""

DEFAULT_TIME_LIMIT_S = 30.0
LONGEST_TIME_LIMIT_S = 3600.0
_TIME = "utc"
_UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What reading a message raises that nobody of ours has made."""


class HolderGone(errors.StateError):
    """Nobody answers any more: the run has ended, or its process."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query: the content of a ticket."""

    key: str
    """Chosen by the asker, to interrupt it."""
    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    time_limit_s: float = DEFAULT_TIME_LIMIT_S

    def encoded(self) -> bytes:
        """As bytes. Raises TypeError for parameters that JSON cannot hold."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Question:
        """From bytes. Raises UsageError for what :meth:`encoded` cannot have made."""
        try:
            values = json.loads(content)
            question = cls(str(values["key"]), str(values["sql"]), dict(values["parameters"]), values["time_limit_s"])
            limit_s = float(question.time_limit_s)
            if math.isnan(limit_s):
                raise ValueError("the time limit is no number")
            question.sql.encode()
        except _UNREADABLE as error:
            raise errors.UsageError("The question could not be read: it is of another version of Rowmill.") from error
        return cls(question.key, question.sql, question.parameters, min(max(limit_s, 0.01), LONGEST_TIME_LIMIT_S))


@dataclass(frozen=True, slots=True)
class Living:
    """Who answers: the process, and the file it works on as (device, inode)."""

    pid: int
    version: str
    device: int
    inode: int

    def encoded(self) -> bytes:
        """As bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Living:
        """From bytes. Raises ValueError, TypeError or KeyError for anything else; later versions may say more."""
        values = json.loads(content)
        return cls(values["pid"], values["version"], values["device"], values["inode"])


def encoded_request(request: ControlRequest) -> bytes:
    """A request on its way to the run."""
    return json.dumps(asdict(request)).encode()


def decoded_request(content: bytes) -> ControlRequest:
    """The request again. Raises UsageError for what :func:`encoded_request` cannot have made."""
    try:
        values = json.loads(content)
        request = ControlRequest(
            str(values["key"]),
            str(values["verb"]),
            dict(values["arguments"]),
            str(values["requested_by"]),
            float(values["requested_at"]),
        )
    except _UNREADABLE as error:
        raise errors.UsageError("The request could not be read: it is of another version of Rowmill.") from error
    problem = request_problem(request)
    if problem is not None:
        raise errors.UsageError(f"The request is refused, and nothing was changed. {problem}")
    return request


def encoded_answer(answer: ControlAnswer) -> bytes:
    """An answer on its way back."""
    return json.dumps(asdict(answer)).encode()


def decoded_answer(content: bytes) -> ControlAnswer:
    """The answer again."""
    values = json.loads(content)
    return ControlAnswer(values["outcome"], values["message"], values["rows"])


def encoded_status(status: Status) -> bytes:
    """A status on its way to the asker; its times are marked, to be times again there."""
    return json.dumps(asdict(status), default=_marked).encode()


def decoded_status(content: bytes) -> Status:
    """The status again. Raises ValueError, TypeError or KeyError for what another version has made."""
    return Status.from_values(json.loads(content, object_hook=_unmarked))


def _marked(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    raise TypeError(f"no JSON for {type(value).__name__}")


def _unmarked(values: dict[str, Any]) -> object:
    return datetime.fromisoformat(values[_TIME]) if values.keys() == {_TIME} else values


def encoded_error(error: RowmillError) -> bytes:
    """An error on its way to the asker."""
    return json.dumps({"error": type(error).__name__, "message": str(error)}).encode()


def decoded_error(content: bytes) -> RowmillError | None:
    """The error again, of the same type; None if the bytes are no error of ours."""
    try:
        values = json.loads(content)
        kind = getattr(errors, str(values["error"]), RowmillError)
        if not (isinstance(kind, type) and issubclass(kind, RowmillError)) or kind is errors.SpecError:
            kind = RowmillError
        return kind(str(values["message"]))
    except (ValueError, TypeError, KeyError):
        return None
