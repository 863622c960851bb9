"""The queries that run for readers: how many at once, how long, how much memory, and who is still there to listen.

A watcher looks at them a few times a second. It interrupts what is over its limit, what nobody waits for any more, and
what takes so much memory that the writer might lack it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rowmill.errors import QueryStopped, RowmillError
from rowmill.inspect.message import HolderGone
from rowmill.store.connection import Connection
from rowmill.store.snapshot import MemoryGauge, Snapshot

MAX_QUERIES = 8
"""Queries that run at once; others wait, within their time limit."""
_WATCH_INTERVAL_S = 0.05
_MEASURE_INTERVAL_S = 0.2
_STALL_LIMIT_S = 60.0
"""How long a reader may take nothing of what is ready for it."""
_MEMORY_SHARE = 0.25
_MAX_SPILLED_BYTES = 8 * 2**30
_LONG_LOG_BYTES = 48 * 2**20
"""From here on new queries wait for a moment without any, in which the engine can fold its log into the file."""
_FOLD_PATIENCE_S = 0.5
_CLOSE_PATIENCE_S = 5.0
_ENDING = "The run that holds this database is ending."


class Listener(Protocol):
    """Whether somebody still waits for an answer; only asked while its call runs."""

    def is_cancelled(self) -> bool:
        """True when nobody does."""
        ...


class RunningQuery:
    """One query of a reader. Its time limit counts what the engine takes, not what the reader does with the rows."""

    def __init__(self, key: str, time_limit_s: float, clock: Callable[[], float]) -> None:
        self.key = key
        self.stopped_by: RowmillError | None = None
        self._clock = clock
        self._time_limit_s = time_limit_s
        self._time_left_s = time_limit_s
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._snapshot: Snapshot | None = None
        self._since = clock()

    @contextmanager
    def working(self, listener: Listener) -> Iterator[None]:
        """The engine works on it. Raises what stopped it meanwhile in place of the engine's own words."""
        with self._lock:
            self._raise_if_stopped()
            self._listener = listener
            self._since = self._clock()
        try:
            yield
        except BaseException:
            self._rest()
            with self._lock:
                self._raise_if_stopped()
            raise
        self._rest()

    def _rest(self) -> None:
        with self._lock:
            self._listener = None
            now = self._clock()
            self._time_left_s -= now - self._since
            self._since = now

    def _raise_if_stopped(self) -> None:
        if self.stopped_by is not None:
            raise self.stopped_by

    def has(self, snapshot: Snapshot) -> None:
        """From now on there is something to interrupt and to close."""
        with self._lock:
            self._snapshot = snapshot
            self._raise_if_stopped()

    def watch(self) -> None:
        """Stops it if it is over time, nobody listens, or its reader has stopped reading."""
        with self._lock:
            took_s = self._clock() - self._since
            if self._listener is None:
                if took_s > _STALL_LIMIT_S:
                    self._stop(QueryStopped(f"Nothing of the answer was read for {_STALL_LIMIT_S:.0f} s."))
            elif self._listener.is_cancelled():
                self._stop(QueryStopped("Nobody waits for the answer any more."))
            elif took_s > self._time_left_s:
                self._stop(
                    QueryStopped(
                        f"The query was stopped: it took longer than {self._time_limit_s:g} s beside the run that "
                        "works on this database. Ask for less, or allow more (rowmill sql --time-limit SECONDS)."
                    )
                )

    def stop(self, reason: RowmillError) -> None:
        """Interrupts it; whoever waits for it gets ``reason``."""
        with self._lock:
            self._stop(reason)

    def _stop(self, reason: RowmillError) -> None:
        if self.stopped_by is None:
            self.stopped_by = reason
        if self._snapshot is None:
            return
        if self._listener is not None:
            # Also when it was stopped before: what it does now may have begun after that interrupt.
            self._snapshot.interrupt()
        else:
            self._snapshot.close()
            self._snapshot = None

    def is_resting(self) -> bool:
        """True while the engine does not work on it."""
        with self._lock:
            return self._listener is None

    def close(self) -> None:
        """Lets its snapshot go; called by the thread that worked on it."""
        with self._lock:
            if self._snapshot is not None:
                self._snapshot.close()
                self._snapshot = None


@dataclass(frozen=True, slots=True)
class QueryStatistics:
    """How many queries run now, and how many were begun so far."""

    running: int
    begun: int


class Queries:
    """All queries that run for readers of one database, and the thread that watches them."""

    def __init__(self, instance: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._instance = instance
        self._clock = clock
        self._gauge = MemoryGauge(instance)
        self._running: dict[str, RunningQuery] = {}
        self._begun = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._watcher = threading.Thread(target=self._watch, name="rowmill-watcher", daemon=True)
        self._watcher.start()

    def begin(self, key: str, time_limit_s: float, listener: Listener) -> RunningQuery:
        """Waits for a place and takes it. Raises QueryStopped when there is none in time, HolderGone when it ends."""
        query = RunningQuery(key, time_limit_s, self._clock)
        give_up_at = self._clock() + time_limit_s
        fold_until: float | None = None
        with self._changed:
            while True:
                now = self._clock()
                if self._is_closing:
                    raise HolderGone(_ENDING)
                if listener.is_cancelled():
                    raise QueryStopped("Nobody waits for the answer any more.")
                if now > give_up_at:
                    raise QueryStopped(f"{MAX_QUERIES} queries run beside the run already. Try again in a while.")
                if len(self._running) < MAX_QUERIES:
                    if self._log_bytes() < _LONG_LOG_BYTES:
                        break
                    # With readers coming and going all the time the engine would never find the moment it needs.
                    if not self._running:
                        fold_until = fold_until if fold_until is not None else now + _FOLD_PATIENCE_S
                        if now > fold_until:
                            break
                self._changed.wait(_WATCH_INTERVAL_S)
            self._running[key] = query
            self._begun += 1
            self._changed.notify_all()
        return query

    def end(self, query: RunningQuery) -> None:
        """Closes a query and gives its place back. Safe to call twice."""
        query.close()
        with self._changed:
            if self._running.get(query.key) is query:
                del self._running[query.key]
            self._changed.notify_all()

    def interrupt(self, key: str) -> None:
        """Stops a query because its reader said so."""
        with self._changed:
            query = self._running.get(key)
        if query is not None:
            query.stop(QueryStopped("The query was interrupted."))

    def statistics(self) -> QueryStatistics:
        """A value that says what goes on."""
        with self._changed:
            return QueryStatistics(len(self._running), self._begun)

    def _log_bytes(self) -> int:
        path = self._instance.path
        if path is None:
            return 0
        try:
            return Path(f"{path}.wal").stat().st_size
        except OSError:
            return 0  # no log: everything is in the file

    def _watch(self) -> None:
        measured_at = self._clock()
        while True:
            with self._changed:
                while not self._running and not self._is_closing:
                    self._changed.wait()
                if self._is_closing and not self._running:
                    return
                running = list(self._running.values())
                self._changed.wait(_WATCH_INTERVAL_S)
            for query in running:
                query.watch()
                if query.stopped_by is not None:
                    query.stop(query.stopped_by)
                    if query.is_resting():
                        self.end(query)
            if self._clock() - measured_at >= _MEASURE_INTERVAL_S:
                measured_at = self._clock()
                self._watch_memory(running)

    def _watch_memory(self, running: list[RunningQuery]) -> None:
        memory_bytes, spilled_bytes = self._gauge.measure()
        if memory_bytes > _MEMORY_SHARE * self._gauge.limit_bytes or spilled_bytes > _MAX_SPILLED_BYTES:
            for query in running:
                query.stop(
                    QueryStopped(
                        "The query was stopped: it needs too much memory or disk beside the run that works on this "
                        "database. Ask for less, or stop the run first (it goes on later)."
                    )
                )

    def close(self) -> None:
        """Stops all queries and waits until they let the database go."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        give_up_at = self._clock() + _CLOSE_PATIENCE_S
        while self._clock() < give_up_at:
            with self._changed:
                running = list(self._running.values())
            if not running:
                break
            for query in running:
                query.stop(HolderGone(_ENDING))
                if query.is_resting():
                    self.end(query)
            time.sleep(0.005)
        self._watcher.join(_CLOSE_PATIENCE_S)
        self._gauge.close()
