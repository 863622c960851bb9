"""The page's door to a run database: reading within bounds of time and memory, and steering.

A file that no run works on is held only while a question is answered, so the page never keeps a run from starting. A
run that works answers itself. What a question may take is watched from here: a free file has no bounds of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from rowmill.errors import QueryStopped, RowmillError
from rowmill.inspect.opening import open_reader
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.reader import Reader
from rowmill.ui.threads import in_thread

sql = statements_of("reading/snapshot")

T = TypeVar("T")

QUESTION_S = 20.0
"""So long a question of the page may take."""
MOST_MEMORY_BYTES = 2 * 2**30
"""So much the engine may take for the page's questions on a free file, all together."""
_PLACES = 4
_WATCH_S = 0.2
_OPENING_PATIENCE_S = 25.0
"""Beyond its limit: how long opening may wait for a run that begins or ends."""


class Door:
    """One run database, asked by any number of pages at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places = asyncio.Semaphore(_PLACES)
        self._steering = asyncio.Lock()

    async def ask(self, question: Callable[[Reader], T], limit_s: float = QUESTION_S) -> T:
        """What ``question`` finds, asked in a thread with a reader of its own.

        Raises QueryStopped at ``limit_s`` or when it takes too much memory, and what opening and asking raise.
        """
        async with self._places:
            return await _Asking(self.path, question, limit_s).answer()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody reads meanwhile: a process that reads a free file cannot write to it too."""
        async with self._steering:
            for _ in range(_PLACES):
                await self._places.acquire()
            try:
                yield
            finally:
                for _ in range(_PLACES):
                    self._places.release()


class _Asking(Generic[T]):
    """One question on its way."""

    def __init__(self, path: Path, question: Callable[[Reader], T], limit_s: float) -> None:
        self._path = path
        self._question = question
        self._limit_s = limit_s
        self._reader: Reader | None = None
        self._stopped_by: RowmillError | None = None
        self._began: float | None = None
        self._measuring = threading.Lock()
        """Held while another thread looks at what the question takes: its reader stays open so long."""

    def _work(self) -> T:
        with open_reader(self._path, self._limit_s) as reader:
            self._reader = reader
            self._began = time.monotonic()
            try:
                if self._stopped_by is not None:
                    raise self._stopped_by
                return self._question(reader)
            except RowmillError:
                if self._stopped_by is not None:
                    raise self._stopped_by from None  # the engine's own words for it say nothing
                raise
            finally:
                with self._measuring:
                    self._reader = None

    async def answer(self) -> T:
        opened_by = time.monotonic() + _OPENING_PATIENCE_S
        work: asyncio.Task[T] = asyncio.ensure_future(in_thread(self._work))
        try:
            while not (await asyncio.wait({work}, timeout=_WATCH_S))[0]:
                if self._stopped_by is not None:
                    self._interrupt()  # again: what began after the first one does not know of it
                elif self._began is None:
                    if time.monotonic() > opened_by:
                        raise QueryStopped(f"{self._path} could not be opened in {_OPENING_PATIENCE_S:.0f} s.")
                elif time.monotonic() - self._began > self._limit_s:
                    self._stop(QueryStopped(f"The question was stopped: it took longer than {self._limit_s:g} s."))
                elif await in_thread(self._takes_too_much):
                    self._stop(QueryStopped("The question was stopped: it needs more than 2 GiB of memory."))
            return work.result()
        finally:
            if not work.done():
                self._stop(QueryStopped("Nobody waits for the answer any more."))
                work.add_done_callback(_heeded)

    def _takes_too_much(self) -> bool:
        with self._measuring:
            reader = self._reader
            if reader is None or reader.is_living:
                return False  # a run watches over its readers itself
            found = reader.table(sql.memory_of_queries.text).to_pylist()[0]
        return bool(found["memory_bytes"] > MOST_MEMORY_BYTES)

    def _stop(self, reason: RowmillError) -> None:
        self._stopped_by = reason
        self._interrupt()

    def _interrupt(self) -> None:
        reader = self._reader
        if reader is not None:
            reader.interrupt()


def _heeded(work: asyncio.Task[Any]) -> None:
    if not work.cancelled():
        work.exception()  # nobody waits for it
