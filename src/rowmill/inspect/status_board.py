"""The status of a living run, read once for all who ask at the same time.

A status takes ten statements, and people watch with ``status --watch`` on several screens. So it is read a few times a
second at most, its details once a second; in between everybody gets what was read last, and when that was. A query
always sees the moment it was asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from rowmill.inspect.message import HolderGone, encoded_status
from rowmill.inspect.serving_share import SHARE
from rowmill.store.database.connection import Connection
from rowmill.store.reading.snapshot import Snapshot
from rowmill.store.reading.status import Details, Status

T = TypeVar("T")

STATUS_FRESH_S = 0.25
DETAILS_FRESH_S = 1.0
"""So old may an answer be; older only if reading it more often would cost more than serving may."""


class _Reading(Generic[T]):
    """What was read last, and whether it is good enough still."""

    def __init__(self, read: Callable[[Snapshot], T], fresh_s: float, clock: Callable[[], float]) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._clock = clock
        self._found: T | None = None
        self._good_until = 0.0
        self.count = 0
        self.cpu_s = 0.0

    def forget(self) -> None:
        self._found = None

    def is_good(self) -> bool:
        return self._found is not None and self._clock() < self._good_until

    def value(self, snapshot: Snapshot) -> T:
        """The last one while it is good, else a new one."""
        if self._found is not None and self.is_good():
            return self._found
        began, cpu_began = self._clock(), time.thread_time()
        self._found = self._read(snapshot)
        took_s = time.thread_time() - cpu_began
        self.count += 1
        self.cpu_s += took_s
        self._good_until = began + max(self._fresh_s, took_s / SHARE)
        return self._found


@dataclass(frozen=True, slots=True)
class BoardStatistics:
    """How often the status was read from the database, and the CPU seconds of that."""

    readings: int
    cpu_s: float


class StatusBoard:
    """Where the run stands. Asked from any thread."""

    def __init__(
        self,
        instance: Connection,
        running_calls: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``instance``: an open connection to the database; ``running_calls``: how many run now, per resource."""
        self._instance = instance
        self._running_calls = running_calls
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._status: _Reading[Status] = _Reading(Snapshot.status, STATUS_FRESH_S, clock)
        self._details: _Reading[Details] = _Reading(self._read_details, DETAILS_FRESH_S, clock)
        self._content = b""
        self._is_closed = False

    def content(self) -> bytes:
        """The status, encoded to be sent. Raises HolderGone once the run is ending."""
        with self._lock:
            if self._is_closed:
                raise HolderGone("The run that holds this database is ending.")
            if not self._status.is_good():
                self._read()
            return self._content

    def _read(self) -> None:
        snapshot = Snapshot(self._instance, self._running_calls())
        try:
            status = self._status.value(snapshot)
            read_at = datetime.fromtimestamp(self._wall_clock(), UTC).replace(tzinfo=None)
            details = replace(self._details.value(snapshot), read_at=read_at)
            self._content = encoded_status(replace(status, details=details))
        finally:
            snapshot.close()

    def _read_details(self, snapshot: Snapshot) -> Details:
        return snapshot.details(self._status.value(snapshot), self._wall_clock())

    def forget(self) -> None:
        """The run was steered: whoever asks from now on sees it."""
        with self._lock:
            self._status.forget()
            self._details.forget()

    def statistics(self) -> BoardStatistics:
        """How often it was read, and what that cost."""
        parts = self._status, self._details
        return BoardStatistics(self._status.count, sum(part.cpu_s for part in parts))

    def close(self) -> None:
        """Waits for a reading that goes on; there will be no other."""
        with self._lock:
            self._is_closed = True
