"""The values that travel between the state engine and the dispatcher: tasks out, outcomes back.

They are named tuples because tens of thousands are made each second. Nothing here knows SQL, HTTP,
templates or anyio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from rowmill import errors

TaskKey = tuple[int, int, int]
"""Generator, row group and row index: how the run database tells tasks apart."""
WHOLE_ROW_GROUP = -1
"""The row index of a task that takes a row group as a whole."""


class Task(NamedTuple):
    """One call to make. (generator, row group, row index) is the only identity this work has (R8).

    ``inputs`` is a mapping from column name to value for a cell task, a ``pyarrow.Table`` with the
    columns ``row_index``, ``row_id`` and the input columns for a batch task.
    """

    generator: int
    """The generator's number: its bit in the done set, its position in ``Graph.generators``."""
    row_group: int
    row_index: int | None
    """None for a batch task."""
    row_id: int | None
    attempts: int
    """Failed attempts so far that count against ``max_attempts``; rate-limited ones do not."""
    inputs: Any
    state: Any = None
    """What the last call of an ordered generator returned to be handed back (R10)."""
    deferrals: int = 0
    """How often it was deferred before, whatever for. Its row in ``deferred_task`` goes when the task ends."""
    regenerations: int = 0
    """How often its value was made before, and found invalid: the request that makes it must differ."""

    @property
    def key(self) -> TaskKey:
        """Which task it is."""
        return self.generator, self.row_group, WHOLE_ROW_GROUP if self.row_index is None else self.row_index


class Request(NamedTuple):
    """One request a call made to a model endpoint: a row of ``attempt``, successful or not."""

    model: str
    started_at: float
    """Seconds since the epoch."""
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    error_type: str | None
    message: str | None
    """The error; of a request that succeeded a note on what was odd about its answer."""
    is_reused: bool = False
    """No request was made: the answer was kept from an earlier one, and cost nothing."""
    answers: tuple[tuple[int, str], ...] = ()
    """What to keep of it if its task succeeds (``reuse_answers``): answers, each with what stands for its question."""
    finish_reason: str | None = None
    """What the endpoint said its answer ended for; ``length``: at its limit (V7)."""
    cached_tokens: int = 0
    """Of ``input_tokens`` those that the server had in its cache."""
    cache_write_tokens: int = 0
    """Of ``input_tokens`` those that it wrote into its cache."""


class OutcomeKind(StrEnum):
    """How a task ended. Errors are sorted into these by type, never by text."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    REJECTED = "rejected"
    STOP = "stop"
    """Every row would fail: stop the run, drop nothing."""
    RELEASED = "released"
    """Handed out but never started, or cancelled when the invocation ended: simply ready again."""


class Outcome(NamedTuple):
    """What became of a task.

    ``values`` of a succeeded cell task: one value per output of the generator, in the order of
    ``Generator.outputs``. Of a batch task: a ``pyarrow.Table`` with ``row_index`` and the outputs.
    """

    kind: OutcomeKind
    task: Task
    values: Any = None
    error: BaseException | None = None
    requests: Sequence[Request] = ()
    started_at: float = 0.0
    duration_ms: float = 0.0
    state: Any = None
    """What an ordered generator wants back on its next call; plain JSON values (R10)."""
    worker: str = "local"
    """Where the call ran (T1)."""


class InvalidRow(NamedTuple):
    """What a cell generator returns for a row it could judge but that is not to be kept: dropped as ``invalid``, or
    made again if the column's declaration says so."""

    values: Sequence[Any]
    message: str
    """What is wrong with the row."""


class FinishedRowGroup(NamedTuple):
    """A row group that is done for ever: how many of its rows are in the dataset, how many were dropped."""

    row_group: int
    rows_finished: int
    rows_dropped: int


class Steering(NamedTuple):
    """What people decided and the dispatcher has to obey; None and empty: unchanged."""

    paused: bool | None = None
    limits: Mapping[str, int] = {}
    """Calls at once per resource."""
    max_in_flight: int | None = None
    drain: bool = False
    cancel: bool = False

    def followed_by(self, later: Steering) -> Steering:
        """Both as one."""
        return Steering(
            self.paused if later.paused is None else later.paused,
            {**self.limits, **later.limits},
            self.max_in_flight if later.max_in_flight is None else later.max_in_flight,
            self.drain or later.drain,
            self.cancel or later.cancel,
        )


class TurnResult(NamedTuple):
    """What a turn hands back: work to do, and where the run stands."""

    tasks: list[Task]
    finished: list[FinishedRowGroup]
    next_not_before: float | None
    """When the earliest task that is deferred beyond this turn becomes ready, seconds since the epoch."""
    again: bool
    """Another turn has work to do at once, without waiting for an outcome."""
    complete: bool
    """Every row group is finished; of a shard, as far as it can be without the others."""
    stop: BaseException | None = None
    """What stops the run: every row would fail, or too many did (F3, F6)."""
    dropped: frozenset[tuple[int, int]] = frozenset()
    """(row group, row index) of the rows this turn dropped: their other tasks need not go on (F5)."""
    steering: Steering | None = None
    """What this turn took in of people's wishes."""
    outdated: frozenset[tuple[int, int, int]] = frozenset()
    """(generator, row group, row index) of tasks whose inputs this turn took back: they need not go on either."""


def classify(error: BaseException) -> OutcomeKind:
    """Sorts an exception of a generator's call into an outcome kind, by its type (F1, F2, F3)."""
    if isinstance(error, errors.RateLimited):
        return OutcomeKind.RATE_LIMITED
    if isinstance(error, (errors.Transient, TimeoutError)):
        return OutcomeKind.TRANSIENT
    if isinstance(error, (errors.RunStopping, errors.WriteFailed)):  # F7: a full disk is no fault of the row's
        return OutcomeKind.STOP
    return OutcomeKind.REJECTED


def error_type(error: BaseException) -> str:
    """The short name of an error's kind, as stored in ``attempt`` and ``dropped_row``."""
    if isinstance(error, TimeoutError):
        return "Timeout"
    try:
        name = getattr(error, "error_type", None)
    except Exception:  # noqa: BLE001  a user's error may fail at anything
        name = None
    name = name if isinstance(name, str) and name else type(error).__name__
    return name[:100].encode("utf-8", "backslashreplace").decode("utf-8")


Row = Mapping[str, Any]
