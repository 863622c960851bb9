"""Asking the file itself: the connection a reader has while no run works on the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rowmill.errors import QueryStopped
from rowmill.inspect.errand import Errand
from rowmill.store.database.connection import Connection

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

T = TypeVar("T")


class FreeFile:
    """A :class:`.Readable` whose queries end at Ctrl-C, and at a time limit if there is one.

    The engine by itself heeds Ctrl-C only now and then, and then in words of its own.
    """

    def __init__(self, connection: Connection, time_limit_s: float | None) -> None:
        self.path: Path | None = connection.path
        self._connection = connection
        self._time_limit_s = time_limit_s

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """See :class:`.Readable`."""
        return self._asked(lambda: self._connection.execute(sql, parameters), self._time_limit_s)

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """See :class:`.Readable`. Raises QueryStopped at the time limit."""
        return self._asked(lambda: self._connection.arrow(sql, parameters, is_question=is_question), self._time_limit_s)

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """See :class:`.Readable`. The time limit counts what the engine takes."""
        import pyarrow as pa

        began = time.monotonic()
        reader = self._asked(
            lambda: self._connection.batches(sql, parameters, is_question=is_question), self._time_limit_s
        )
        took_s = time.monotonic() - began
        return pa.RecordBatchReader.from_batches(reader.schema, self._read(reader, took_s))

    def _read(self, reader: pa.RecordBatchReader, took_s: float) -> Iterator[pa.RecordBatch]:
        with reader:
            while True:
                time_left_s = None if self._time_limit_s is None else max(self._time_limit_s - took_s, 0.0)
                began = time.monotonic()
                batch = self._asked(lambda: next(reader, None), time_left_s)
                took_s += time.monotonic() - began
                if batch is None:
                    return
                yield batch

    def known_status(self) -> None:
        """Nothing: a file has to be read."""
        return

    def interrupt(self) -> None:
        """See :class:`.Readable`."""
        self._connection.interrupt()

    def close(self) -> None:
        """See :class:`.Readable`."""
        self._connection.close()

    def _asked(self, call: Callable[[], T], time_left_s: float | None) -> T:
        if time_left_s is None and threading.current_thread() is not threading.main_thread():
            return call()
        errand = Errand(call)
        try:
            errand.start()
            if errand.is_done_within(time_left_s):
                return errand.result()
        except KeyboardInterrupt:
            errand.stop(self._connection.interrupt)
            raise
        errand.stop(self._connection.interrupt)
        raise QueryStopped(
            f"The query was stopped: it took longer than {self._time_limit_s:g} s. It was asked while a run worked on "
            f"{self.path}, and would keep the next one from starting. Nobody works on the file now: asked again, it "
            "has no limit."
        )
