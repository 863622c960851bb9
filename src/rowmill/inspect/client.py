"""Asking a living run: the connection a reader has when another process holds the file."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import flight

from rowmill.errors import RowmillError, StateError, UsageError
from rowmill.inspect.interruptible_call import InterruptibleCall
from rowmill.inspect.message import (
    CONTROL,
    DEFAULT_TIME_LIMIT_S,
    INTERRUPT,
    LIVING,
    STATUS,
    HolderGone,
    Living,
    Question,
    decoded_answer,
    decoded_error,
    decoded_status,
    encoded_request,
)
from rowmill.inspect.place import LivePlace, live_place
from rowmill.store.file.database_file import file_identity
from rowmill.store.reading.status import Status
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest
from rowmill.value.kind import is_json
from rowmill.value.python_value import python_values

T = TypeVar("T")
_HANDSHAKE_S = 10.0


class LiveConnection:
    """A :class:`.Readable` whose answers come from the process that holds the file."""

    is_living = True

    def __init__(self, database: Path, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> None:
        """Connects to the run that holds ``database``. ``time_limit_s``: of each query.

        Raises HolderGone if nobody answers, or who answers works on another file.
        """
        self.path = database
        self._place: LivePlace = live_place(database)
        self._time_limit_s = time_limit_s
        self._running: set[str] = set()
        if not self._place.has_socket():
            raise HolderGone(f"Nobody answers for {database}.")
        self._client = flight.connect(self._place.location)
        try:
            self.living = self._handshake()
        except BaseException:
            self._client.close()
            raise
        if (self.living.device, self.living.inode) != file_identity(database):
            self._client.close()
            raise HolderGone(f"Who answers for {database} works on another file.")

    def _handshake(self) -> Living:
        options = flight.FlightCallOptions(timeout=_HANDSHAKE_S)
        action = flight.Action(LIVING, b"")
        answers = self._ask(lambda: list(self._client.do_action(action, options)))
        try:
            return Living.decoded(answers[0].body.to_pybytes())
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise HolderGone("Who answers is no run of Rowmill.") from error

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """See :class:`.Readable`."""
        table = self.arrow(sql, parameters)
        return list(zip(*map(_as_from_a_file, table.columns), strict=True))

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """See :class:`.Readable`; the holder takes every query for a user's and checks it.

        Raises what the query raises there, or HolderGone.
        """
        question = self._question(sql, parameters)
        return self._asked(question, lambda: self._client.do_get(_ticket(question)).read_all())

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """See :class:`.Readable`. Closing the reader, or dropping it, stops the query."""
        question = self._question(sql, parameters)
        reader = self._asked(question, lambda: self._client.do_get(_ticket(question)))
        return pa.RecordBatchReader.from_batches(reader.schema, self._chunks(question, reader))

    def known_status(self) -> Status | None:
        """The status as the holder last read it: what it tells everybody who asks at about this moment."""
        try:
            answers = self._ask(lambda: list(self._client.do_action(flight.Action(STATUS, b""))))
            return decoded_status(answers[0].body.to_pybytes())
        except (UsageError, ValueError, TypeError, KeyError):
            return None  # a holder of another version: its views say it

    def _chunks(self, question: Question, reader: flight.FlightStreamReader) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                try:
                    chunk = self._asked(question, reader.read_chunk)
                except StopIteration:
                    return
                except HolderGone as error:
                    raise StateError("The run ended while these rows were on their way. Ask again.") from error
                yield chunk.data
        finally:
            reader.cancel()

    def _question(self, sql: str, parameters: Mapping[str, Any] | None) -> Question:
        return Question(secrets.token_hex(8), sql, parameters or {}, self._time_limit_s)

    def _asked(self, question: Question, call: Callable[[], T]) -> T:
        self._running.add(question.key)
        try:
            return self._ask(call)
        except KeyboardInterrupt:
            self._interrupt(question.key)
            raise
        finally:
            self._running.discard(question.key)

    def _ask(self, call: Callable[[], T]) -> T:
        """Makes a call in a thread, because Ctrl-C does not reach one that waits inside Flight."""
        if threading.current_thread() is not threading.main_thread():
            return _translated(call)
        asking = InterruptibleCall(lambda: _translated(call))
        asking.start()
        asking.is_done_within(None)
        return asking.result()

    def _interrupt(self, key: str) -> None:
        options = flight.FlightCallOptions(timeout=_HANDSHAKE_S)
        with suppress(pa.ArrowException, OSError):  # who is gone needs no interrupting
            list(self._client.do_action(flight.Action(INTERRUPT, key.encode()), options))

    def steer(self, request: ControlRequest) -> ControlAnswer:
        """Has a request applied by the run; returns when that is durable. Raises what prevented it, or HolderGone."""
        action = flight.Action(CONTROL, encoded_request(request))
        return decoded_answer(self._ask(lambda: list(self._client.do_action(action)))[0].body.to_pybytes())

    def interrupt(self) -> None:
        """Stops the running queries, from another thread."""
        for key in tuple(self._running):
            self._interrupt(key)

    def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        self._client.close()


def _ticket(question: Question) -> flight.Ticket:
    return flight.Ticket(question.encoded())


def _translated(call: Callable[[], T]) -> T:
    """What ``call`` returns; Flight's errors as what they mean."""
    try:
        return call()
    except flight.FlightError as error:
        raise _meaning(error) from error


def _meaning(error: flight.FlightError) -> RowmillError:
    sent = decoded_error(error.extra_info) if getattr(error, "extra_info", None) else None
    if sent is not None:
        return sent
    gone = flight.FlightUnavailableError, flight.FlightCancelledError, flight.FlightTimedOutError
    if isinstance(error, gone):
        return HolderGone("The process that held the run database does not answer any more.")
    return StateError(f"The process that holds the run database could not answer: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _as_from_a_file(column: pa.ChunkedArray) -> list[Any]:
    """The values as :meth:`.Connection.execute` gives them: JSON is its text."""
    return list(column.to_pylist()) if is_json(column.type) else python_values(column)
