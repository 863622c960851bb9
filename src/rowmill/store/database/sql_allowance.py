"""What SQL of a spec may use: time, and memory, for one statement over a slice of rows.

The engine's own memory limit does not count what a function builds (a list of 10⁹ numbers, a text of as many
characters), and it looks for an interrupt only between two batches of rows. So there are two bounds. A watching thread
interrupts a statement that takes too long, again and again until it heeds. And while SQL runs that may build something
large, the process has a limit of address space: an allocation that goes beyond fails at once, and the engine survives.
"""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import duckdb

from rowmill.errors import SqlTooCostly

LONGEST_S = 120.0
"""How long a statement may take, whatever it does …"""
ROW_S = 0.01
"""… and how much longer for each row it looks at."""
MOST_BYTES = 2 * 2**30
"""How much more memory the process may take meanwhile: this, or half of what the machine has left if that is less."""
_LEAST_BYTES = 2**30
_AGAIN_S = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CALL = re.compile(r"([a-z_]\w*)\s*\(", re.IGNORECASE)
_GROWS = re.compile(r"->|\blambda\b|\bfor\b", re.IGNORECASE)
_SMALL = frozenset(
    """
    abs and array_length between case cast ceil ceiling coalesce concat concat_ws contains cos date_part
    date_trunc day decimal else ends_with exp floor greatest hour if ifnull in instr is least left len length
    list_contains list_extract list_has ln log lower ltrim minute mod month not nullif numeric or pow power
    prefix regexp_extract regexp_matches right round rtrim second sign sin split sqrt starts_with
    strftime string_split strlen strpos struct_extract substr substring suffix tan then trim try try_cast upper
    varchar when year
    """.split()  # noqa: SIM905  one word a line says no more
)
"""Functions, and words before a parenthesis, of which nothing grows beyond what they are given."""


class Interruptible(Protocol):
    """A connection of which :meth:`interrupt` ends the running statement, from any thread."""

    def interrupt(self) -> None:
        """Ends it."""
        ...


def may_grow(texts: Iterable[str]) -> bool:
    """Whether SQL may build something that is much larger than its input."""
    return any(_GROWS.search(text) or any(name.lower() not in _SMALL for name in _CALL.findall(text)) for text in texts)


@contextmanager
def allowance(
    connection: Interruptible,
    what: str,
    texts: Iterable[str],
    *,
    rows: int = 0,
    longest_s: float | None = None,
    is_large: bool = False,
) -> Iterator[None]:
    """Bounds what a statement inside uses. Raises SqlTooCostly, which names ``what``, if it breaks a bound.

    ``texts``: the SQL of the spec in it. ``rows``: how many it looks at; ``longest_s``: its time in place of what they
    allow. ``is_large``: over a whole dataset, which the engine may sort and keep in memory as far as its own limit lets
    it.
    """
    allowed_s = time_for(rows) if longest_s is None else longest_s
    share, most_bytes = (1.0, None) if is_large else (0.5, MOST_BYTES)
    try:
        with bounded_time(connection, allowed_s) as watched, bounded_memory(texts, share, most_bytes):
            yield
    except duckdb.InterruptException as error:
        if not watched.has_fired:
            raise
        raise SqlTooCostly(f"{what}: the SQL took longer than {allowed_s:,.0f} s and was stopped. {_MEND}") from error
    except duckdb.InternalException as error:
        # The engine's own fault on odd SQL, such as a text beyond 4 GB; this connection is of no use any more.
        fault = str(error).strip().splitlines()[0]
        raise SqlTooCostly(f"{what}: the engine cannot evaluate the SQL: {fault}. {_MEND}") from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise SqlTooCostly(f"{what}: the SQL needs more memory than it may take. {_MEND}") from error


def time_for(rows: int) -> float:
    """How long a statement over so many rows may take, in seconds."""
    return LONGEST_S + rows * ROW_S


@contextmanager
def bounded_time(connection: Interruptible, longest_s: float) -> Iterator[Watched]:
    """Interrupts what a connection does inside once its time is up; the value tells whether that was so."""
    watched = _watch.begin(connection, longest_s)
    try:
        yield watched
    finally:
        _watch.end(watched)


@contextmanager
def bounded_memory(texts: Iterable[str], share: float, most_bytes: int | None = None) -> Iterator[None]:
    """Bounds how much more memory the process may take while SQL inside runs, which may be anybody's; not its time.

    ``share``: of what the machine has left; ``most_bytes``: not more than that, either.
    """
    has_limit = may_grow(texts) and _space.take(share, most_bytes)
    try:
        yield
    finally:
        if has_limit:
            _space.give_back()


_MEND = (
    "Nothing of this step was written; what was committed before is safe. Bound what it builds (the length of lists "
    "and texts, and of what levenshtein() and its kin compare), or let it see fewer rows at once (row_group_size, "
    "run.max_active_rows)."
)


class Watched:
    """One statement that is watched. ``has_fired``: its time was up."""

    def __init__(self, connection: Interruptible, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.has_fired = False


class _Watch:
    """A thread that interrupts statements after their time. It starts with the first one, and sleeps without any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: list[Watched] = []
        self._wakes_at: float | None = None
        self._thread: threading.Thread | None = None

    def begin(self, connection: Interruptible, longest_s: float) -> Watched:
        """Watches the statement that a connection is about to run."""
        watched = Watched(connection, time.monotonic() + longest_s)
        with self._changed:
            self._watched.append(watched)
            if self._thread is None or not self._thread.is_alive():  # the child of a fork has no thread
                self._thread = threading.Thread(target=self._run, name="rowmill-sql-watch", daemon=True)
                self._thread.start()
            elif self._wakes_at is None or watched.deadline < self._wakes_at:
                self._changed.notify()
        return watched

    def end(self, watched: Watched) -> None:
        """The statement has ended: from here on it is not interrupted."""
        with self._changed:
            self._watched.remove(watched)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watched in self._watched:
                    if watched.deadline <= now:
                        watched.has_fired = True
                        watched.deadline = now + _AGAIN_S
                        watched.connection.interrupt()
                self._wakes_at = min((watched.deadline for watched in self._watched), default=None)
                self._changed.wait(None if self._wakes_at is None else self._wakes_at - now)


class _Space:
    """The process's limit of address space, lowered as long as SQL that may grow runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def take(self, share: float, most_bytes: int | None) -> bool:
        """Lowers the limit, unless somebody did. False: this machine does not say how much is in use."""
        with self._lock:
            if not self._users:
                used, left = _used_bytes(), _available_bytes()
                if used is None or left is None:
                    return False
                more = max(_LEAST_BYTES, min(int(left * share), most_bytes or left))
                self._before = resource.getrlimit(resource.RLIMIT_AS)
                soft, hard = self._before
                if soft == resource.RLIM_INFINITY or used + more < soft:
                    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
            self._users += 1
        return True

    def give_back(self) -> None:
        """Sets the limit as it was, once nobody needs the lower one."""
        with self._lock:
            self._users -= 1
            if not self._users:
                resource.setrlimit(resource.RLIMIT_AS, self._before)


def _used_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    except (OSError, ValueError, IndexError):  # no Linux
        return None


def _available_bytes() -> int | None:
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        left = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):  # no Linux
        return None
    try:
        container = Path("/sys/fs/cgroup")
        most, taken = (int((container / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return left
    return min(left, max(0, most - taken))


_watch = _Watch()
_space = _Space()
