"""Lanes: the calls of a worker that share a limit, those that run and those that wait for one of them to end."""

from __future__ import annotations

import math
import time
from collections import deque

import anyio

from rowmill.remote.messages import CallData
from rowmill.task import Request


class Seat:
    """A coroutine that makes one call after another. Its cancel scope is its whole life."""

    __slots__ = ("_called", "data", "journal", "scope")

    def __init__(self, data: CallData) -> None:
        self.scope = anyio.CancelScope()
        self.data = data
        """The call it makes, or made last."""
        self.journal: list[Request] = []
        """Requests of that call that have ended."""
        self._called: anyio.Event | None = None

    def call(self, data: CallData) -> None:
        """It waits for a call; this is the one."""
        self.data = data
        assert self._called is not None, "it waits"
        self._called.set()

    async def wait(self) -> None:
        """Until it is called."""
        self._called = anyio.Event()
        await self._called.wait()


class Lane:
    """Calls of one resource. They begin in the order in which they came, so many at once as the limit says (W9)."""

    def __init__(self, limit: float = math.inf, *, keeps: bool = False) -> None:
        """``keeps``: what waits is never given back."""
        self.limit = limit
        self.idle: list[Seat] = []
        """Those that wait for a call."""
        self.running = 0
        self._waiting: deque[CallData] = deque()
        self._keeps = keeps
        self._moved_at = 0.0
        """When a call came or began, on the monotonic clock."""

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    def add(self, data: CallData) -> None:
        """A call came."""
        if not self._waiting:
            self._moved_at = time.monotonic()
        self._waiting.append(data)

    def next_call(self) -> CallData | None:
        """The call that begins now, if one may."""
        if not self._waiting or self.running >= self.limit:
            return None
        self.running += 1
        data = self._waiting.popleft()
        if self._waiting:
            self._moved_at = time.monotonic()
        return data

    def set_limit(self, limit: int) -> list[CallData]:
        """Keeps to another limit from now on. If it is lower, returns the calls that have waited in vain."""
        falls, self.limit = limit < self.limit, limit
        return self._give_back() if falls else []

    def withdraw(self, calls: set[int]) -> list[CallData]:
        """Takes out those of these calls that wait."""
        gone = [data for data in self._waiting if data.call in calls]
        for data in gone:
            self._waiting.remove(data)
        return gone

    def stuck(self, for_s: float) -> list[CallData]:
        """Takes out all that waits if nothing has begun for so long."""
        return self._give_back() if self._waiting and time.monotonic() - self._moved_at >= for_s else []

    def _give_back(self) -> list[CallData]:
        if self._keeps:
            return []
        gone, self._waiting = list(self._waiting), deque()
        return gone
