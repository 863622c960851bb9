"""The server of a living run: answers queries over Arrow Flight on a Unix socket, read-only.

Flight brings its own threads; the event loop and the writer's thread do nothing for a reader. Whoever may open the
socket may ask, and that is its owner alone: the socket has mode 0600 in a directory of mode 0700.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
from pyarrow import flight

from rowmill.errors import RowmillError, UsageError
from rowmill.inspect.message import (
    CONTROL,
    INTERRUPT,
    LIVING,
    STATUS,
    HolderGone,
    Living,
    Question,
    decoded_request,
    encoded_answer,
    encoded_error,
)
from rowmill.inspect.place import LivePlace
from rowmill.inspect.query import Queries, QueryStatistics, RunningQuery
from rowmill.inspect.serving_share import Turnstile
from rowmill.inspect.status_board import BoardStatistics, StatusBoard
from rowmill.store.database.connection import Connection
from rowmill.store.database.sql_allowance import bounded_memory
from rowmill.store.file.database_file import file_identity
from rowmill.store.reading.reader import query_error
from rowmill.store.reading.snapshot import Snapshot
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest
from rowmill.version import VERSION

_SHUTDOWN_PATIENCE_S = 2.0
_kept_servers: list[flight.FlightServerBase] = []
"""Servers a reader that neither reads nor goes away keeps from shutting down: destroying one would wait for it."""

Steer = Callable[[ControlRequest, Callable[[], bool]], ControlAnswer]
"""Has a request applied by the next turn and returns what became of it; asks meanwhile whether the server closes."""
RunningCalls = Callable[[], Mapping[str, int]]
"""How many calls run now, per resource. Asked from any thread."""


class _Service(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """The methods a client can call; each runs in a thread of Flight's."""

    def __init__(
        self, place: LivePlace, instance: Connection, living: Living, running_calls: RunningCalls, steer: Steer
    ) -> None:
        self._instance = instance
        self._living = living
        self._running_calls = running_calls
        self._steer = steer
        self.is_closing = False
        self.queries = Queries(instance)
        self.board = StatusBoard(instance, running_calls)
        self.turnstile = Turnstile()
        super().__init__(place.location)

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        """Answers a query with a stream of record batches."""
        with _errors_travel():
            question = Question.decoded(ticket.ticket)
            query = self.queries.begin(question.key, question.time_limit_s, context)
            try:
                with query.working(context), _memory_of(question):
                    snapshot = Snapshot(self._instance, self._running_calls())
                    query.has(snapshot)
                    rows = snapshot.batches(question.sql, question.parameters)
            except BaseException:
                self.queries.end(query)
                raise
        stream = self._stream(query, question, rows, context)
        next(stream)  # it has begun: so it is closed, and the query ended, also if nobody ever reads
        return flight.GeneratorStream(rows.schema, stream)

    def _stream(
        self, query: RunningQuery, question: Question, rows: pa.RecordBatchReader, context: flight.ServerCallContext
    ) -> Iterator[pa.RecordBatch | None]:
        try:
            yield None
            with _errors_travel():
                while True:
                    try:
                        with query.working(context), _memory_of(question):
                            batch = rows.read_next_batch()
                    except StopIteration:
                        return
                    except (OSError, pa.ArrowException, MemoryError) as error:
                        raise query_error(error) from error
                    yield batch
        finally:
            self.queries.end(query)

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[flight.Result]:
        """Answers an action of :mod:`rowmill.inspect.message`."""
        with _errors_travel():
            if action.type == LIVING:
                yield flight.Result(self._living.encoded())
            elif action.type == STATUS:
                self.turnstile.pass_through()
                yield flight.Result(self.board.content())
            elif action.type == INTERRUPT:
                self.queries.interrupt(action.body.to_pybytes().decode())
            elif action.type == CONTROL:
                request = decoded_request(action.body.to_pybytes())
                answer = self._steer(request, lambda: self.is_closing)
                self.board.forget()
                yield flight.Result(encoded_answer(answer))
            else:
                raise UsageError(f"The run that holds this database (Rowmill {VERSION}) does not know '{action.type}'.")


class _errors_travel:  # noqa: N801  reads as a statement
    """Errors of ours go to the asker as what they are; any other ends the call, and stays out of the run."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HolderGone):
            raise flight.FlightUnavailableError(str(error)) from error
        if isinstance(error, RowmillError):
            raise flight.FlightServerError(str(error), extra_info=encoded_error(error)) from error


class LiveServer:
    """Serves one open run database until it is closed."""

    def __init__(self, place: LivePlace, instance: Connection, running_calls: RunningCalls, steer: Steer) -> None:
        """Begins to serve on the socket of ``place``. ``instance`` is a connection of its own, closed with the server.

        Raises OSError or pyarrow.ArrowException if the socket cannot be made.
        """
        self._place = place
        self._instance = instance
        device, inode = file_identity(instance.file or Path()) or (0, 0)
        self._service = _Service(place, instance, Living(os.getpid(), VERSION, device, inode), running_calls, steer)
        try:
            place.socket.chmod(0o600)
        except OSError:
            self.close()
            raise

    def statistics(self) -> QueryStatistics:
        """How many queries run, and ran."""
        return self._service.queries.statistics()

    def status_statistics(self) -> BoardStatistics:
        """How often the status was read for those who asked."""
        return self._service.board.statistics()

    def close(self) -> None:
        """Interrupts what runs, removes the socket and lets the database go; waits a few seconds at most."""
        self._place.socket.unlink(missing_ok=True)
        self._service.is_closing = True
        self._service.board.close()
        self._service.turnstile.open()
        self._service.queries.close()
        ending = threading.Thread(target=self._service.shutdown, name="rowmill-shutdown", daemon=True)
        ending.start()
        ending.join(_SHUTDOWN_PATIENCE_S)
        if ending.is_alive():
            _kept_servers.append(self._service)
        self._instance.close()


def _memory_of(question: Question) -> AbstractContextManager[None]:
    """What a query may take of what is left on the machine: the run has to go on beside it."""
    return bounded_memory([question.sql], share=0.5)
