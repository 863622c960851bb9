"""Steering a run by hand: requests become rows in the transaction that applies them.

On a living run the next turn applies them; on a stopped one the same code does, in a transaction of its own. A
request has a key its asker chose, so one that is repeated because its answer was lost is not applied again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_DROP, Rows, from_epoch
from rowmill.store.database.statements import statements_of
from rowmill.store.reshape.barrier import reopen_barriers
from rowmill.store.reshape.reopening import ROW_KEY, RowKey, revive
from rowmill.store.turn.control_request import MOST_ROWS, ControlAnswer, ControlRequest, PendingRequest
from rowmill.store.turn.dropping import ACTIVE, PARKED, give_up
from rowmill.store.turn.ledger import TurnLedger
from rowmill.task import Steering

sql = statements_of("run", "turn/control", "turn/outcome")

_HAND_DROP = pa.schema([("row_id", pa.int64())])
_HAND_RETRY = pa.schema([("generator", pa.string()), ("row_group", pa.int64()), ("row_index", pa.int64())])
_MOST_CALLS = 2**31 - 1
_MOST_RECORDED = 2000
"""Characters of a request's arguments that are kept: a million row numbers are not worth it."""


@dataclass(frozen=True, slots=True)
class HandSettings:
    """What people decided and the next invocation starts from."""

    paused_at: datetime | None = None
    paused_by: str | None = None
    limits: Mapping[str | None, int] = field(default_factory=dict)
    """Calls at once per resource; None: all tasks in flight."""

    def limited(self, configured: Mapping[str, int]) -> dict[str, int]:
        """The limits of the spec, lowered by hand."""
        return {name: min(limit, self.limits.get(name, limit)) for name, limit in configured.items()}


def read_hand_settings(connection: Connection) -> HandSettings:
    """What holds by hand. O(resources)."""
    pause = connection.execute(sql.read_pause.text)
    limits = dict(connection.execute(sql.limits_by_hand.text))
    paused_at, paused_by = pause[0] if pause else (None, None)
    return HandSettings(paused_at, paused_by, limits)


@dataclass(frozen=True, slots=True)
class RowHands:
    """How rows are given up and taken back: by a turn, which has to know of it, or directly where nothing works."""

    drop: Callable[[Rows, datetime, str], None]
    """Gives up rows of a table."""
    revive: Callable[[Sequence[RowKey]], None]
    """Takes dropped rows back."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """A request that is being applied."""

    request: ControlRequest
    now: datetime
    hands: RowHands

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.request.arguments


class Control:
    """Takes requests from any thread and applies them where the writer says."""

    def __init__(self, connection: Connection, *, is_living: bool) -> None:
        self._connection = connection
        self._is_living = is_living
        self._waiting: deque[PendingRequest] = deque()

    # From any thread ------------------------------------------------------------------------------

    def submit(self, request: ControlRequest) -> PendingRequest:
        """Puts a request in line for the next turn."""
        pending = PendingRequest(request)
        self._waiting.append(pending)
        return pending

    def withdraw(self, pending: PendingRequest) -> bool:
        """Takes a request out of the line again; False if a turn has it already."""
        try:
            self._waiting.remove(pending)
        except ValueError:
            return False
        return True

    # In the writer's thread -----------------------------------------------------------------------

    def apply(self, ledger: TurnLedger, hands: RowHands) -> None:
        """Applies what waits, inside the open transaction; the ledger notes what the dispatcher has to know."""
        while self._waiting:
            pending = self._waiting.popleft()
            ledger.requests.append(pending)
            pending.answer, change = self.apply_one(pending.request, ledger.now, hands)
            if change is not None:
                ledger.steering = change if ledger.steering is None else ledger.steering.followed_by(change)

    def committed(self, ledger: TurnLedger) -> None:
        """What was applied is durable: whoever asked may know."""
        self._settle(ledger, None)

    def failed(self, ledger: TurnLedger, error: BaseException) -> None:
        """The transaction is gone, and with it what was applied in it."""
        self._settle(ledger, error)

    @staticmethod
    def _settle(ledger: TurnLedger, error: BaseException | None) -> None:
        for pending in ledger.requests:
            if not pending.done.is_set():
                pending.error = error
                pending.done.set()

    def apply_one(
        self, request: ControlRequest, now: datetime, hands: RowHands | None = None
    ) -> tuple[ControlAnswer, Steering | None]:
        """Applies one request and records it; one that was applied before gets the answer it had.

        Without ``hands`` rows are dropped and taken back by the statements of a turn alone.
        """
        known = self._connection.execute(sql.known_control_request.text, {"request_id": request.key})
        if known:
            return ControlAnswer(*known[0]), None
        verb = _VERBS.get(request.verb)
        steering: Steering | None = None
        if verb is None:
            answer = ControlAnswer("refused", f"This Rowmill does not know '{request.verb}'.")
        else:
            try:
                answer, steering = verb(self, _Wish(request, now, hands or self._direct_hands()))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                answer = ControlAnswer("refused", f"The arguments of '{request.verb}' cannot be read: {error!r}.")
        arguments = json.dumps(request.arguments)
        if len(arguments) > _MOST_RECORDED:
            arguments = json.dumps({name: value for name, value in request.arguments.items() if name == "reason"})
        self._connection.execute(
            sql.insert_control_request.text,
            {
                "request_id": request.key,
                "verb": request.verb,
                "arguments": arguments,
                "requested_by": request.requested_by,
                "requested_at": from_epoch(request.requested_at),
                "now": now,
                "outcome": answer.outcome,
                "result": answer.message,
                "rows_affected": answer.rows,
            },
        )
        if answer.outcome == "applied":
            self._connection.execute(
                sql.insert_event.text,
                {
                    "now": now,
                    "kind": request.verb.replace("_", " "),
                    "subject": "run",
                    "detail": f"{answer.message} By {request.requested_by}.",
                },
            )
        return answer, steering

    # The verbs ------------------------------------------------------------------------------------

    def _pause(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        state = self._state()
        if state == "finished":
            return ControlAnswer("already", "The run is complete; there is nothing to pause."), None
        pause = self._connection.execute(sql.read_pause.text)
        if pause:
            at, by = pause[0]
            return ControlAnswer("already", f"Already paused, since {at:%Y-%m-%d %H:%M:%S} UTC, by {by}."), None
        self._connection.execute(sql.pause_run.text, {"now": wish.now, "requested_by": wish.request.requested_by})
        message = "Paused: running calls finish, nothing new starts until 'rowmill resume'."
        if not self._is_living:
            message = "Paused: 'rowmill run' will start nothing until 'rowmill resume'."
        return ControlAnswer("applied", message), Steering(paused=True)

    def _resume(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        if not self._connection.execute(sql.read_pause.text):
            return ControlAnswer("already", "Not paused: there is nothing to resume."), None
        self._connection.execute(sql.resume_run.text)
        message = "Resumed." if self._is_living else "Resumed: 'rowmill run' goes on with the run."
        return ControlAnswer("applied", message), Steering(paused=False)

    def _drain(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        if not self._is_living:
            return self._not_living(), None
        return ControlAnswer("applied", "Draining: running calls finish, then the run stops."), Steering(drain=True)

    def _cancel(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        if not self._is_living:
            return self._not_living(), None
        return ControlAnswer("applied", "Cancelled: running calls are cut off, the run stops."), Steering(cancel=True)

    def _not_living(self) -> ControlAnswer:
        is_complete = self._state() == "finished"
        message = "Already complete." if is_complete else "Already stopped: nothing works on the run."
        return ControlAnswer("already", message)

    def _limit(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        resource, calls = wish.arguments["resource"], wish.arguments["calls"]
        spec_calls = int(wish.arguments["spec_calls"])
        wanted = spec_calls if calls is None else int(calls)
        subject = resource or "all tasks in flight"
        spec_calls = min(spec_calls, _MOST_CALLS)
        if not 1 <= wanted <= _MOST_CALLS or (resource is not None and wanted > spec_calls):
            return ControlAnswer(
                "refused", f"The limit of {subject} must be from 1 to {spec_calls}, as the spec says."
            ), None
        before = dict(self._connection.execute(sql.limits_by_hand.text)).get(resource, spec_calls)
        if before == wanted:
            return ControlAnswer("already", f"The limit of {subject} is {wanted} already."), None
        self._connection.execute(sql.delete_limit_by_hand.text, {"resource": resource})
        if wanted != spec_calls:
            values = {"resource": resource, "calls": wanted, "now": wish.now, "requested_by": wish.request.requested_by}
            self._connection.execute(sql.insert_limit_by_hand.text, values)
        if resource is None:
            steering = Steering(max_in_flight=wanted)
        else:
            self._connection.execute(sql.set_configured_limit.text, {"resource": resource, "calls": wanted})
            steering = Steering(limits={resource: wanted})
        return ControlAnswer("applied", f"The limit of {subject} is {wanted} now, it was {before}."), steering

    def _drop(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        reason = str(wish.arguments["reason"])
        ranges = [(int(first), int(last)) for first, last in wish.arguments["rows"]]
        if sum(max(last - first + 1, 0) for first, last in ranges) > MOST_ROWS:
            return ControlAnswer("refused", f"More than {MOST_ROWS:,} rows at once; drop them in parts."), None
        rows = Rows(_HAND_DROP)
        for first, last in ranges:
            for row_id in range(first, last + 1):
                rows.append(row_id)
        self._connection.stage("hand_drop", rows.table())
        drops_from = {ACTIVE: Rows(NEW_DROP), PARKED: Rows(NEW_DROP)}
        for row_group, row_index, generator, attempts, is_parked in self._connection.execute(
            sql.rows_to_drop_by_hand.text
        ):
            drops = drops_from[PARKED if is_parked else ACTIVE]
            drops.append(generator, row_group, row_index, "by_hand", None, reason, attempts, None)
        for table, drops in drops_from.items():
            if drops:
                wish.hands.drop(drops, wish.now, table)
        count = sum(len(drops.rows) for drops in drops_from.values())
        if not count:
            return ControlAnswer("already", "None of these rows is being worked on: nothing was dropped."), None
        return ControlAnswer("applied", f"{count:,} {'row' if count == 1 else 'rows'} dropped.", count), None

    def _retry_deferred(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        tasks = Rows(_HAND_RETRY)
        for generator, row_group, row_index in wish.arguments["tasks"]:
            tasks.append(str(generator), int(row_group), int(row_index))
        self._connection.stage("hand_retry", tasks.table())
        count = len(self._connection.execute(sql.retry_deferred_tasks.text, {"now": wish.now}))
        if not count:
            return ControlAnswer("already", "None of these tasks waits: there is nothing to retry."), None
        noun = "task" if count == 1 else "tasks"
        return ControlAnswer("applied", f"{count:,} deferred {noun} ready again.", count), None

    def _retry_dropped(self, wish: _Wish) -> tuple[ControlAnswer, Steering | None]:
        wanted = Rows(ROW_KEY)
        for row_group, row_index in wish.arguments["rows"]:
            wanted.append(int(row_group), int(row_index))
        self._connection.stage("hand_revival", wanted.table())
        rows = [(group, index) for group, index in self._connection.execute(sql.dropped_rows_among.text)]
        if not rows:
            return ControlAnswer("already", "None of these rows is dropped: nothing to bring back."), None
        wish.hands.revive(rows)
        self._connection.execute(sql.reopen_run.text, {"reason": "dropped rows were revived", "now": wish.now})
        return ControlAnswer("applied", f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} back.", len(rows)), None

    def _direct_hands(self) -> RowHands:
        return RowHands(self._drop_directly, self._revive_directly)

    def _drop_directly(self, drops: Rows, now: datetime, table: str) -> None:
        give_up(self._connection, table, drops, now)
        self._connection.execute(sql.delete_stale_deferrals.text)

    def _revive_directly(self, rows: Sequence[RowKey]) -> None:
        revive(self._connection, rows, by_hand=True)
        reopen_barriers(self._connection)

    def _state(self) -> str:
        return str(self._connection.execute(sql.run_state.text)[0][1])


Verb = Callable[[Control, _Wish], tuple[ControlAnswer, Steering | None]]
_VERBS: Mapping[str, Verb] = {
    "pause": Control._pause,
    "resume": Control._resume,
    "drain": Control._drain,
    "cancel": Control._cancel,
    "limit": Control._limit,
    "drop": Control._drop,
    "retry_deferred": Control._retry_deferred,
    "retry_dropped": Control._retry_dropped,
}


def refuse(answer: ControlAnswer) -> None:
    """Raises UsageError if the answer is a refusal."""
    if answer.outcome == "refused":
        raise UsageError(answer.message)
