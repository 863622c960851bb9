"""Asking the file itself: the connection a reader has while no run works on the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from rowmill.errors import QueryStopped
from rowmill.inspect.interruptible_call import InterruptibleCall
from rowmill.store.database.connection import Connection
from rowmill.store.database.sql_allowance import bounded_memory
from rowmill.store.reading.reader import query_error

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

T = TypeVar("T")


class FreeFile:
    """A :class:`.Readable` whose queries end at Ctrl-C, and at a time limit if there is one.

    Any number of threads may ask at the same time. The engine by itself heeds Ctrl-C only now and then, and then in
    words of its own.
    """

    is_living = False

    def __init__(self, connection: Connection, time_limit_s: float | None) -> None:
        self.path: Path | None = connection.path
        self._connection = connection
        self._time_limit_s = time_limit_s
        self._changing = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._streams: WeakSet[Generator[pa.RecordBatch | None, None, None]] = WeakSet()
        self._is_closed = False

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """See :class:`.Readable`."""
        with self._borrowed() as connection:
            return self._asked(connection, lambda: connection.execute(sql, parameters), self._time_limit_s)

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """See :class:`.Readable`. Raises QueryStopped at the time limit."""
        with self._borrowed() as connection, _memory_of(sql, is_question):
            return self._asked(
                connection, lambda: connection.arrow(sql, parameters, is_question=is_question), self._time_limit_s
            )

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """See :class:`.Readable`. The time limit counts what the engine takes."""
        import pyarrow as pa

        with ExitStack() as stack:
            connection = stack.enter_context(self._borrowed())
            began = time.monotonic()
            with _memory_of(sql, is_question):
                reader = self._asked(
                    connection, lambda: connection.batches(sql, parameters, is_question=is_question), self._time_limit_s
                )
            took_s = time.monotonic() - began
            rows = self._read(connection, reader, took_s, partial(_memory_of, sql, is_question), stack.pop_all())
        next(rows)  # it has begun: so the connection is given back, also if nobody ever reads
        self._streams.add(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, rows)

    def _read(
        self,
        connection: Connection,
        reader: pa.RecordBatchReader,
        took_s: float,
        memory: Callable[[], AbstractContextManager[None]],
        until_read: ExitStack,
    ) -> Generator[pa.RecordBatch | None, None, None]:
        import pyarrow as pa

        with until_read, reader:
            yield None
            while True:
                time_left_s = None if self._time_limit_s is None else max(self._time_limit_s - took_s, 0.0)
                began = time.monotonic()
                try:
                    with memory():
                        batch = self._asked(connection, lambda: next(reader, None), time_left_s)
                except (OSError, pa.ArrowException, MemoryError) as error:
                    raise query_error(error) from error
                took_s += time.monotonic() - began
                if batch is None:
                    return
                yield batch

    def known_status(self) -> None:
        """Nothing: a file has to be read."""
        return

    def interrupt(self) -> None:
        """See :class:`.Readable`."""
        with self._changing:
            for connection in self._busy:
                connection.interrupt()

    def close(self) -> None:
        """See :class:`.Readable`. The file is let go when the last query of another thread has ended."""
        with self._changing:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for stream in tuple(self._streams):
            with suppress(ValueError):  # another thread is reading it, and ends it
                stream.close()
        for connection in idle:
            connection.close()
        self._connection.close()

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile: threads, and streams that are not read yet, each have one."""
        with self._changing:
            connection = self._idle.pop() if self._idle else self._connection.beside()
            self._busy.add(connection)
        try:
            yield connection
        finally:
            with self._changing:
                self._busy.discard(connection)
                is_closed = self._is_closed
                if not is_closed:
                    self._idle.append(connection)
            if is_closed:
                connection.close()

    def _asked(self, connection: Connection, call: Callable[[], T], time_left_s: float | None) -> T:
        if time_left_s is None and threading.current_thread() is not threading.main_thread():
            return call()
        asking = InterruptibleCall(call)
        try:
            asking.start()
            if asking.is_done_within(time_left_s):
                return asking.result()
        except KeyboardInterrupt:
            asking.stop(connection.interrupt)
            raise
        asking.stop(connection.interrupt)
        raise QueryStopped(
            f"The query was stopped: it took longer than {self._time_limit_s:g} s. It was asked while a run worked on "
            f"{self.path}, and would keep the next one from starting. Nobody works on the file now: asked again, it "
            "has no limit."
        )


def _memory_of(sql: str, is_question: bool) -> AbstractContextManager[None]:
    """What a query may take: a user's all that is left on the machine, and not more."""
    return bounded_memory([sql], share=1.0) if is_question else nullcontext()
