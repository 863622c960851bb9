"""The event loop a run works on: asyncio's, which looks after few ready sockets at a time.

asyncio reads from every socket that is ready, wakes all who waited for what was read, and only then can they send what
comes next. With hundreds of requests in flight those that end together are sent together, so they end together again:
a convoy, in which each answer waits for those before it, for ever. A few at a time, and the first ones are sent before
the last ones are read: they are apart when they come back.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")

_READY_AT_A_TIME = 4
"""Measured with 512 requests of 200 ms in flight: 1 and 2 cost more CPU than they win, 16 is half-way to a convoy."""


class PatientSelector(selectors.DefaultSelector):
    """Reports what is ready a few at a time, in the order in which it got ready."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[selectors.SelectorKey, int]] = deque()
        self.idle_s = 0.0
        """How long it has waited because nothing was ready, in seconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, at most a few; waits up to ``timeout`` seconds (None: for ever) if nothing is."""
        few = self._next()
        if not few:
            began = time.monotonic() if timeout is None or timeout > 0 else None
            self._waiting.extend(super().select(timeout))
            if began is not None:
                self.idle_s += time.monotonic() - began
            few = self._next()
        return few

    def _next(self) -> list[tuple[selectors.SelectorKey, int]]:
        few: list[tuple[selectors.SelectorKey, int]] = []
        registered = self.get_map()
        while self._waiting and len(few) < _READY_AT_A_TIME:
            key, events = self._waiting.popleft()
            # Who was taken out or changed meanwhile is asked about again.
            if registered.get(key.fd) is key:
                few.append((key, events))
        return few


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's, with a selector that is patient; it knows how long it was idle."""

    def __init__(self) -> None:
        self._patient = PatientSelector()
        super().__init__(self._patient)

    def idle_s(self) -> float:
        """How long it has waited because there was nothing to do, in seconds."""
        return self._patient.idle_s


def run_on_event_loop(function: Callable[[], Awaitable[T]]) -> T:
    """Runs an asynchronous function on an event loop of its own; returns or raises what it does."""
    return anyio.run(function, backend_options={"loop_factory": EventLoop})
