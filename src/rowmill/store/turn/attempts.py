"""Attempts: every request a call made, and every call that failed, as rows of ``state.attempt`` (D4).

A request costs something whatever becomes of its row, so it is recorded even if the row is gone (R9).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa

from rowmill.secret import hidden
from rowmill.source_line import said_by, same_everywhere, source_line
from rowmill.store.database.staging import NEW_ANSWER, NEW_ATTEMPT, TASK_KEY, Rows, to_microseconds
from rowmill.task import Outcome, OutcomeKind, Request, Task, error_type

_MESSAGE_LENGTH = 1000
_LONGEST_PLACE = 200
_REUSED = "reused"
"""The outcome of a request that was not made, as its answer was kept."""
_REGENERATED = "regenerated"
"""The outcome of a verdict that has its row made again."""


class Attempts:
    """The attempts of one turn, kept as they come: they become columns all at once."""

    def __init__(self, invocation: int, now: float) -> None:
        self._tasks: list[Task] = []
        self._outcomes: list[str] = []
        self._requests: list[Request] = []
        self.answers: dict[int, str] = {}
        """Answers to keep, by their key: those of calls that succeeded."""
        self._invocation = invocation
        self._now = now

    def __len__(self) -> int:
        return len(self._requests)

    def note(self, outcome: Outcome) -> None:
        """Records the requests of an outcome; of a failure that was none of a request's, the failed call itself too."""
        last = len(outcome.requests) - 1
        has_succeeded = outcome.kind is OutcomeKind.SUCCEEDED
        for position, request in enumerate(outcome.requests):
            if has_succeeded and request.answers:
                for key, answer in request.answers:
                    self.answers.setdefault(key, answer)
            if request.is_reused:
                kind = _REUSED
            elif request.error_type is None:
                kind = OutcomeKind.SUCCEEDED
            else:
                kind = outcome.kind if position == last else OutcomeKind.TRANSIENT
            self._append(outcome.task, kind, request)
        if outcome.error is not None and (last < 0 or outcome.requests[last].error_type is None):
            self.note_failed_call(outcome, outcome.kind, error_type(outcome.error), error_text(outcome.error))

    def kept_answers(self) -> Rows:
        """The answers to keep, as rows of a staged table."""
        rows = Rows(NEW_ANSWER)
        for key, answer in self.answers.items():
            rows.append(Decimal(key), answer)
        return rows

    def note_failed_call(self, outcome: Outcome, kind: OutcomeKind, error: str, message: str) -> None:
        """Records a call that failed without a request, or whose result could not be used."""
        started_at = outcome.started_at or self._now
        self._append(outcome.task, kind, Request("", started_at, outcome.duration_ms, 0, 0, None, error, message))

    def note_regeneration(self, task: Task, message: str) -> None:
        """Records that a row was found invalid and is made again; ``task.attempts`` says how often it was before."""
        request = Request("", self._now, 0.0, 0, 0, None, "InvalidRow", message)
        self._append(task, _REGENERATED, request)

    def _append(self, task: Task, kind: str, request: Request) -> None:
        self._tasks.append(task)
        self._outcomes.append(kind)
        self._requests.append(request)

    def table(self) -> pa.Table:
        """All of them as a staged table. There is one at least."""
        told = dict(zip(Request._fields, zip(*self._requests, strict=True), strict=True))
        values = {
            **told,
            **dict(zip(TASK_KEY.names, zip(*[task.key for task in self._tasks], strict=True), strict=True)),
            "invocation": [self._invocation] * len(self),
            "row_id": [task.row_id for task in self._tasks],
            "attempt": [task.attempts + 1 for task in self._tasks],
            "outcome": self._outcomes,
            "message": [None if message is None else clean(message) for message in told["message"]],
            "model": [None if request.is_reused else request.model or None for request in self._requests],
            "started_at": [to_microseconds(seconds) for seconds in told["started_at"]],
        }
        return pa.Table.from_arrays(
            [pa.array(values[kind.name], type=kind.type) for kind in NEW_ATTEMPT], schema=NEW_ATTEMPT
        )


def answers_to_keep(outcome: Outcome) -> Iterator[tuple[int, str]]:
    """The answers of an outcome's requests that may be used again: only of a call that succeeded."""
    if outcome.kind is OutcomeKind.SUCCEEDED:
        for request in outcome.requests:
            yield from request.answers


def clean(text: str, behind: str = "") -> str:
    """Text as it may be stored: without secrets and lone surrogates, not longer than people read.

    ``behind`` stands at its end, also of one that is shortened.
    """
    text, longest = same_everywhere(hidden(text)), _MESSAGE_LENGTH - len(behind)
    shortened = (text if len(text) <= longest else text[: longest - 1] + "…") + behind
    return shortened.encode("utf-8", "backslashreplace").decode("utf-8")


def error_text(error: BaseException) -> str:
    """What an error says, and where in a user's code it was raised."""
    said, line = said_by(error), source_line(error)
    return clean(said, f" ({line[-_LONGEST_PLACE:]})" if line is not None and line not in said else "")
