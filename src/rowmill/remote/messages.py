"""What travels between the driver and a worker: plain values in frames of bytes.

A worker speaks first. :class:`Hello` is JSON, so that any two versions of Rowmill understand that much of each other;
a worker that does not fit is refused before it is told anything (W6). All later frames are pickles of tuples: the
name of a message and its fields. Errors are data, never a user's exception objects. Keys are in :class:`Open` alone,
which is never logged and never shown (W8).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rowmill.errors import InternalError

PROTOCOL = 4
"""Raised whenever a message changes."""

CallId = int
"""Which call: unique within an invocation (W1)."""


class Hello(NamedTuple):
    """A worker is there. The first frame it sends."""

    protocol: int
    version: str
    """Of Rowmill."""
    python: str
    """Implementation and minor version: ``cpython 3.11``."""
    pid: int
    host: str
    node: str = ""
    """The node of a cluster it runs on; empty where there are none."""


class Open(NamedTuple):
    """What a worker needs to make calls. The first frame it gets."""

    worker: str
    """Its name: for logs, and the ``worker`` of what it makes."""
    spec: str
    """As JSON; secrets are ``${NAME}`` in it."""
    directory: str
    """Where relative paths and ``module:function`` names start, on the driver; a link may put another in its place."""
    generators: Mapping[int, str]
    """The generators it is to have, and their columns. A worker of a group has those of the group."""
    several_rows: frozenset[int]
    """Those called with several rows."""
    environ: Mapping[str, str]
    """The environment variables the spec names: keys. They are in no ``repr``."""
    functions: Mapping[str, bytes] = {}
    """Columns whose function no worker could import by its name: the function itself, as cloudpickle wrote it."""
    resources: Mapping[int, str] = {}
    """What each generator's calls take a place of: those of a resource begin in the order in which they came."""
    arrow_types: Mapping[str, Any] = {}
    casts_values: bool = False
    log_level: int = 20

    def __repr__(self) -> str:
        """Without keys: it may get into a traceback."""
        return f"Open(worker={self.worker!r}, generators={dict(self.generators)!r})"


class Ready(NamedTuple):
    """The worker has bound its generators and takes calls."""

    digests: Mapping[str, str]
    """Per column what shapes its values, the source of its functions included (W6)."""


class Failed(NamedTuple):
    """The worker cannot go on. The last frame it sends."""

    kind: Literal["open", "internal"]
    """``open``: it could not be made ready, which is the spec's or the user's matter. ``internal``: Rowmill's."""
    error: ErrorData
    trace: str = ""


class ErrorData(NamedTuple):
    """An error without its object."""

    name: str
    """Its class, if it is one of :mod:`rowmill.errors`; else empty."""
    error_type: str
    message: str
    facts: Mapping[str, Any] = {}
    """Further attributes: of errors of providers where they differ from their defaults; the line of a user's code."""


class CallData(NamedTuple):
    """One call to make."""

    call: CallId
    generator: int
    row_group: int
    state: Any
    rows: Sequence[tuple[int | None, int | None, int, Any, int, int]]
    """Per task: row index, row_id, attempts, inputs, deferrals, regenerations."""


class EndingData(NamedTuple):
    """How a call ended."""

    call: CallId
    started_at: float
    """Seconds since the epoch, on the worker's clock."""
    duration_ms: float
    requests: Sequence[tuple[Any, ...]]
    """:class:`~rowmill.task.Request` as plain tuples, on the worker's clock."""
    results: Sequence[tuple[str, Any, ErrorData | None]]
    """Per task: kind of its outcome, values, error."""
    state: Any = None


class Question(NamedTuple):
    """Something only the driver can tell or do: look up a kept answer, keep or read a file."""

    question: int
    kind: Literal["find_answers", "write_file", "read_file"]
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """The answer to a :class:`Question`."""

    question: int
    value: Any
    error: ErrorData | None = None


class Work(NamedTuple):
    """To a worker: calls to make, calls nobody waits for any more, answers to what it asked, limits from now on."""

    calls: Sequence[CallData] = ()
    cancels: Sequence[CallId] = ()
    answers: Sequence[Answer] = ()
    limits: Mapping[str, int] = {}
    """Servers of models, and how many requests this worker may have under way at each (C6); and resources, and how many
    calls of each it runs at once (W9). At a limit that falls it gives back what waits, but for plain functions."""


class Results(NamedTuple):
    """From a worker: what ended since the last one. Sent at least every :data:`BEAT_S`: so silence means something."""

    endings: Sequence[EndingData] = ()
    questions: Sequence[Question] = ()
    running: int = 0
    """Calls it is working on."""
    clock: float = 0.0
    """Seconds since the epoch when this was sent, on the worker's clock."""
    logs: Sequence[tuple[str, int, str, Mapping[str, Any]]] = ()
    """Records of its log, without secrets: logger, level, message, further fields."""


class Drain(NamedTuple):
    """To a worker: let go of everything and end. Nobody waits for its calls."""


BEAT_S = 0.5
"""The longest time between two frames of a worker whose event loop turns."""

ToWorker = Open | Work | Drain
FromWorker = Hello | Ready | Failed | Results

_MESSAGES: dict[str, type[Any]] = {kind.__name__: kind for kind in (Open, Work, Drain, Ready, Failed, Results)}
_MANY: dict[str, Callable[[Any], Any]] = {"Work": CallData._make, "Results": EndingData._make}
"""Messages whose first field holds plain tuples while they travel, and what these are."""
_HELLO = b"rowmill "


def encode(message: ToWorker | FromWorker) -> bytes:
    """A message as a frame. Raises what pickle raises for a value that cannot travel."""
    if isinstance(message, Hello):
        return _HELLO + json.dumps(message._asdict()).encode()
    name, fields = type(message).__name__, [*message]
    if name in _MANY:
        # Thousands a second: pickle writes a plain tuple in a fifth of the time it takes for one with names.
        fields[0] = [*map(tuple, fields[0])]
    return pickle.dumps((name, *fields), 5)


def decode(frame: bytes) -> ToWorker | FromWorker:
    """The message in a frame. Raises InternalError for what is none."""
    try:
        if frame.startswith(_HELLO):
            told = json.loads(frame.removeprefix(_HELLO))
            return Hello(**{name: told[name] for name in Hello._fields if name in told})
        name, *fields = pickle.loads(frame)  # from the other end of our own link
        if name in _MANY:
            fields[0] = [*map(_MANY[name], fields[0])]
        message: ToWorker | FromWorker = _MESSAGES[name](*fields)
    except Exception as error:  # pickle raises anything
        raise InternalError(f"A frame of {len(frame)} bytes is no message: {type(error).__name__}") from error
    return message
