"""The writer: the one thread on which everything about a run database happens.

The database never waits for the event loop, and the event loop never for the database, unless it is asked to stand
still because both are quicker so.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_STAND_S = 0.050
"""The loop stands still no longer than this, whatever the database does: calls have time-outs."""


class StoreWriter(Protocol):
    """Runs functions that touch the run database, one at a time, in the order they were asked for."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs ``function`` and returns or raises what it does. Cannot be cancelled half-way."""
        ...

    async def call_alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`call`, and the event loop stands still while ``function`` runs, for 50 ms at most."""
        ...


class InlineWriter:
    """Runs functions at once, on the caller's thread: for a virtual clock, which must not pass meanwhile."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`StoreWriter`."""
        return function(*args, **kwargs)

    async def call_alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`StoreWriter`."""
        return function(*args, **kwargs)


class _Job:
    __slots__ = ("done", "error", "function", "has_run", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done = anyio.Event()
        self.has_run: threading.Event | None = None
        """Whom a loop waits for that stands still."""
        self.result: Any = None
        self.error: BaseException | None = None


class WriterThread:
    """A :class:`StoreWriter` with a thread of its own, for the length of an ``async with``."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: _Job | None = None

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`StoreWriter`."""
        result: T = await self._result(_Job(lambda: function(*args, **kwargs)))
        return result

    async def call_alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`StoreWriter`."""
        job = _Job(lambda: function(*args, **kwargs))
        with anyio.CancelScope(shield=True):
            # A loop that stands still hears nothing of the jobs before, and the thread waits until they are heard of.
            while self._last is not None and not self._last.done.is_set():
                await self._last.done.wait()
        job.has_run = threading.Event()
        result: T = await self._result(job)
        return result

    async def _result(self, job: _Job) -> Any:
        self._last = job
        self._jobs.put(job)
        if job.has_run is not None:
            job.has_run.wait(_LONGEST_STAND_S)
        with anyio.CancelScope(shield=True):
            await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def _work(self, token: Any) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.function()
            except BaseException as error:  # noqa: BLE001  handed to whoever waits for the job
                job.error = error
            if job.has_run is not None:
                job.has_run.set()
            from_thread.run_sync(job.done.set, token=token)

    async def __aenter__(self) -> WriterThread:
        self._thread = threading.Thread(target=self._work, args=(current_token(),), name="rowmill-writer")
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        assert self._thread is not None, "entered before left"
        self._thread.join()
