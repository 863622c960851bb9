"""Every error Rowmill raises on purpose, as one tree.

    RowmillError
    ├── UsageError                a call that makes no sense (exit code 2)
    ├── WrongVersion              a library is installed in a version Rowmill is not made for (exit code 1)
    ├── SpecError                 the spec is wrong; lists every problem at once (exit code 2)
    │   └── SeedMissing           the seed data is not where the spec says
    ├── StateError                the run database is not as it must be
    │   ├── Locked                another process holds it (exit code 4, names the pid)
    │   ├── Incompatible          run database and spec do not fit (exit code 5)
    │   │   └── Untouched         but no value was made under what differs: a run takes the change over
    │   ├── Damaged               the file cannot be trusted (exit code 6)
    │   └── WriteFailed           a turn could not be committed: disk full, file gone (exit code 1)
    ├── ProviderError             a model endpoint said no
    │   ├── RateLimited           429: deferred, never counts against the attempt budget
    │   ├── Transient             time-out, 5xx, connection: deferred with back-off, counts
    │   │   └── Unavailable       the endpoint is away: it rests, and no attempt is used
    │   └── Rejected              the same request would fail again: the row is dropped
    │       └── RunStopping       every row would fail (authentication, unknown model): the run stops
    ├── GeneratorError            a generator's code raised, or returned what it must not: the row is dropped
    ├── QueryStopped              a reader's query took too long or too much, or was interrupted (exit code 1)
    ├── SqlTooCostly              SQL of the spec took too long or too much memory: the run stops (exit code 1)
    ├── BarrierFailed             a column over all rows failed: the run stops, nothing is dropped (exit code 1)
    ├── InternalError             a contradiction inside Rowmill (exit code 1)
    └── Interrupted               the user stopped the run (exit code 75, or 130 when interrupted twice)
        ├── BudgetReached         the run's budget of cost, tokens, requests or time is used up (exit code 75)
        ├── EndpointAway          an endpoint was away for longer than the run waits for it (exit code 75)
        └── WorkersAway           no worker was left for longer than the run waits for one (exit code 75)

Types decide what happens, texts never do. The dispatcher turns an exception of a generator into an
outcome by its type alone (:func:`rowmill.task.classify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowmill.secret import hidden


class RowmillError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with when nothing handles it."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, without secrets (:mod:`rowmill.secret`)."""
        return hidden(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever its type is made from: what a run in a pool of processes raises reaches its caller."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[RowmillError], args: tuple[Any, ...], state: dict[str, Any]) -> RowmillError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(RowmillError):
    """A command or call that makes no sense as given."""

    exit_code = 2


class WrongVersion(RowmillError):
    """A library is installed in a version that Rowmill is not made for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec: where (``columns.3.prompt``), and what to do about it."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.place})" if self.place else self.message


class SpecError(RowmillError):
    """The spec is wrong. Carries every problem found, in document order."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        if not problems:
            raise ValueError("a SpecError needs at least one problem")
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SeedMissing(SpecError):
    """There is no seed data where the spec says; a run that has its rows can go on without."""


class StateError(RowmillError):
    """The run database is not as it must be."""


class Locked(StateError):
    """Another process holds the run database ``path``. ``pid`` is None when the engine does not name it."""

    exit_code = 4

    def __init__(self, message: str, pid: int | None = None, path: Path | None = None) -> None:
        self.pid = pid
        self.path = path
        super().__init__(message)


class Incompatible(StateError):
    """The run database and the spec, or this version of Rowmill, do not fit."""

    exit_code = 5


class Untouched(Incompatible):
    """Spec and run database differ, but no value was made under what differs."""


class Damaged(StateError):
    """The run database cannot be trusted as it is."""

    exit_code = 6


class WriteFailed(StateError):
    """A transaction could not be committed. Everything acknowledged before it is safe."""


class ProviderError(RowmillError):
    """A model endpoint did not give an answer that can be used.

    ``input_tokens`` and ``output_tokens`` are what the request used all the same (a refusal is paid
    for too), ``cached_tokens`` and ``cache_write_tokens`` parts of the first; 0 when the endpoint does not say.
    ``finish_reason`` is what it said the answer ended for, ``note`` what of its usage could not be believed.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    finish_reason: str | None = None
    note: str | None = None


class RateLimited(ProviderError):
    """The endpoint asks to wait (429). ``retry_after_s`` is None when it does not say how long."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Transient(ProviderError):
    """Worth another attempt: time-out, 5xx, connection lost, answer cut off.

    ``error_type`` names the kind for people (``Timeout``, ``HTTP 503``, ``ConnectionReset``).
    ``retry_after_s`` is set when the endpoint said how long to wait (503 with ``Retry-After``).
    """

    def __init__(self, message: str, error_type: str = "Transient", retry_after_s: float | None = None) -> None:
        self.error_type = error_type
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Unavailable(Transient):
    """The endpoint is away: nobody listens, its name is not known, it is behind a 502, 503 or 504 (F2a).

    ``is_certain``: this cannot be about the one request.
    """

    def __init__(
        self, message: str, error_type: str, retry_after_s: float | None = None, *, is_certain: bool = False
    ) -> None:
        self.is_certain = is_certain
        super().__init__(message, error_type, retry_after_s)


class Rejected(ProviderError):
    """The same request would fail again: other 4xx, context too long, output that cannot be used."""

    def __init__(self, message: str, error_type: str = "Rejected") -> None:
        self.error_type = error_type
        super().__init__(message)


class RunStopping(Rejected):
    """Every row would fail (authentication, unknown model): the run stops and drops nothing."""


class GeneratorError(RowmillError):
    """A generator's own code raised, or returned something other than it declared."""

    def __init__(self, message: str, error_type: str = "GeneratorError") -> None:
        self.error_type = error_type
        super().__init__(message)


class QueryStopped(RowmillError):
    """A query beside a living run was cut off: over its time limit, too much memory, or nobody waits for it."""


class SqlTooCostly(RowmillError):
    """SQL of a spec took too long or needs too much memory: nothing of the step was written."""


class BarrierFailed(RowmillError):
    """A column that looks at all rows at once failed: the run stops, and no row is dropped for it."""

    def __init__(self, column: str, reason: str, error_type: str = "GeneratorError") -> None:
        self.column = column
        self.reason = reason
        self.error_type = error_type
        super().__init__(
            f"Column {column!r} looks at all rows at once, and failed: {reason.rstrip('.')}. No row was dropped and "
            "nothing is lost. Mend it, then run again: every other column goes on where it is."
        )


class InternalError(RowmillError):
    """Rowmill contradicts itself. Please report it with the printed contradiction."""


class Interrupted(RowmillError):
    """The user stopped the run; everything that arrived is committed."""

    exit_code = 75


class BudgetReached(Interrupted):
    """The budget of the spec is used up; everything that arrived is committed. Raise it and run again to go on."""


class EndpointAway(Interrupted):
    """An endpoint took no request for ``unavailable_after_s``. Nothing was dropped: when it is back, run again."""


class WorkersAway(Interrupted):
    """No worker was left for ``wait_s``. Nothing was dropped: when there is one again, run again."""
