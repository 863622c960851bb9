"""The queries that run for readers: how many at once, how long, how much memory, and who is still there to listen.

A query waits its turn while others are at work, while serving has had its share of the processor, and while the engine
needs a moment without readers; whoever came first goes first. Waiting costs a query nothing of its time limit, but
nobody waits much longer than that limit. The threads that serve keep their priority: one that the system holds back
while it has the interpreter's lock would hold the writer back too.

A watcher looks at what runs a few times a second. It interrupts what is over its limit, what nobody waits for any more,
and what takes so much memory that the writer might lack it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rowmill.errors import QueryStopped, RowmillError
from rowmill.inspect.message import HolderGone
from rowmill.inspect.serving_share import CALL_CPU_S, LONGEST_PAUSE_S, ServingShare
from rowmill.store.database.connection import Connection
from rowmill.store.reading.snapshot import MemoryGauge, Snapshot

MAX_QUERIES = 8
"""Queries that are answered at once, with those whose readers take their time; others wait, within their time limit."""
MAX_WORKING = max(2, (os.cpu_count() or 1) // 2)
"""Queries the engine works on when another may begin."""
_WATCH_INTERVAL_S = 0.05
_IDLE_ROUNDS = 20
"""After so many looks at nothing the watcher sleeps until there is something: waking it takes time from the run."""
_LISTEN_INTERVAL_S = 0.25
"""How often a query that waits its turn looks whether somebody still waits for it."""
_MEASURE_INTERVAL_S = 0.2
_STALL_LIMIT_S = 60.0
"""How long a reader may take nothing of what is ready for it."""
_MEMORY_SHARE = 0.25
_MAX_SPILLED_BYTES = 8 * 2**30
_LONG_LOG_BYTES = 48 * 2**20
"""From here on new queries wait for a moment without any, in which the engine can fold its log into the file."""
_FOLD_PATIENCE_S = 0.5
_LEAST_PATIENCE_S = 3 * LONGEST_PAUSE_S
"""A query with a shorter time limit waits so long for its turn all the same: it cannot help what others used."""
_CLOSE_PATIENCE_S = 5.0
_ENDING = "The run that holds this database is ending."


class Listener(Protocol):
    """Whether somebody still waits for an answer; only asked while its call runs."""

    def is_cancelled(self) -> bool:
        """True when nobody does."""
        ...


class RunningQuery:
    """One query of a reader. Its time limit counts what the engine takes, not what the reader does with the rows."""

    def __init__(
        self, key: str, time_limit_s: float, clock: Callable[[], float], on_rest: Callable[[float], None]
    ) -> None:
        """``on_rest`` is told the CPU seconds of each piece of work."""
        self.key = key
        self.stopped_by: RowmillError | None = None
        self._clock = clock
        self._on_rest = on_rest
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
        cpu_began = time.thread_time()
        try:
            yield
        except BaseException:
            self._rest(cpu_began)
            with self._lock:
                self._raise_if_stopped()
            raise
        self._rest(cpu_began)

    def _rest(self, cpu_began: float) -> None:
        with self._lock:
            self._listener = None
            now = self._clock()
            self._time_left_s -= now - self._since
            self._since = now
        self._on_rest(time.thread_time() - cpu_began)

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
    """How many queries run now, how many were begun so far, and the CPU seconds of the threads that answered them."""

    running: int
    begun: int
    cpu_s: float


class Queries:
    """All queries that run for readers of one database, and the thread that watches them."""

    def __init__(self, instance: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._instance = instance
        self._clock = clock
        self._gauge = MemoryGauge(instance)
        self._running: dict[str, RunningQuery] = {}
        self._begun = 0
        self._cpu_s = 0.0
        self._lock = threading.Lock()
        self._allowance = ServingShare(clock)
        self._turns: deque[threading.Condition] = deque()
        """Those that wait, in the order they came; each is woken alone."""
        self._watched = threading.Condition(self._lock)
        self._is_idle = False
        self._is_closing = False
        self._watcher = threading.Thread(target=self._watch, name="rowmill-watcher", daemon=True)
        self._watcher.start()

    def begin(self, key: str, time_limit_s: float, listener: Listener) -> RunningQuery:
        """Waits for its turn and takes it. Raises QueryStopped when it does not come in time, HolderGone at the end."""
        query = RunningQuery(key, time_limit_s, self._clock, self._rested)
        give_up_at = self._clock() + max(time_limit_s, _LEAST_PATIENCE_S)
        with self._lock:
            turn = threading.Condition(self._lock)
            self._turns.append(turn)
            try:
                self._wait(turn, give_up_at, listener)
            finally:
                self._turns.remove(turn)
                self._wake_next()
            self._running[key] = query
            self._begun += 1
            self._allowance.spend(CALL_CPU_S)
            if self._is_idle:
                self._watched.notify()
        return query

    def _wait(self, turn: threading.Condition, give_up_at: float, listener: Listener) -> None:
        fold_until: float | None = None
        while True:
            now = self._clock()
            if self._is_closing:
                raise HolderGone(_ENDING)
            if listener.is_cancelled():
                raise QueryStopped("Nobody waits for the answer any more.")
            wait_s = _LISTEN_INTERVAL_S
            if self._turns[0] is turn:
                wait_s = min(self._hindered_s(), _LISTEN_INTERVAL_S)
                if not wait_s and self._log_bytes() >= _LONG_LOG_BYTES:
                    # With readers coming and going all the time the engine would never find the moment it needs.
                    if not self._running:
                        fold_until = fold_until if fold_until is not None else now + _FOLD_PATIENCE_S
                    if self._running or now <= (fold_until or now):
                        wait_s = _WATCH_INTERVAL_S
                if not wait_s:
                    return
            if now > give_up_at:
                raise QueryStopped(
                    f"{len(self._running)} queries run beside the run already, and {len(self._turns) - 1} more wait. "
                    "Try again in a while."
                )
            turn.wait(min(wait_s, max(give_up_at - now, 0.0) + 0.001))

    def _hindered_s(self) -> float:
        """Seconds until it is worth looking again whether the next may begin; 0 if it may."""
        if len(self._running) >= MAX_QUERIES:
            return _LISTEN_INTERVAL_S
        if sum(not query.is_resting() for query in self._running.values()) >= MAX_WORKING:
            return _LISTEN_INTERVAL_S
        return self._allowance.wait_s()

    def _wake_next(self) -> None:
        if self._turns:
            self._turns[0].notify()

    def _rested(self, cpu_s: float) -> None:
        with self._lock:
            self._cpu_s += cpu_s
            self._allowance.spend(cpu_s)
            self._wake_next()

    def end(self, query: RunningQuery) -> None:
        """Closes a query and gives its place back. Safe to call twice."""
        query.close()
        with self._lock:
            if self._running.get(query.key) is query:
                del self._running[query.key]
            self._wake_next()

    def interrupt(self, key: str) -> None:
        """Stops a query because its reader said so."""
        with self._lock:
            query = self._running.get(key)
        if query is not None:
            query.stop(QueryStopped("The query was interrupted."))

    def statistics(self) -> QueryStatistics:
        """A value that says what goes on."""
        with self._lock:
            return QueryStatistics(len(self._running), self._begun, self._cpu_s)

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
        idle_rounds = 0
        while True:
            with self._lock:
                if self._is_closing and not self._running:
                    return
                idle_rounds = 0 if self._running else idle_rounds + 1
                self._is_idle = idle_rounds > _IDLE_ROUNDS
                self._watched.wait(None if self._is_idle else _WATCH_INTERVAL_S)
                running = list(self._running.values())
            for query in running:
                query.watch()
                if query.stopped_by is not None:
                    query.stop(query.stopped_by)
                    if query.is_resting():
                        self.end(query)
            if running and self._clock() - measured_at >= _MEASURE_INTERVAL_S:
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
        with self._lock:
            self._is_closing = True
            self._watched.notify()
            for turn in self._turns:
                turn.notify()
        give_up_at = self._clock() + _CLOSE_PATIENCE_S
        while self._clock() < give_up_at:
            with self._lock:
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
