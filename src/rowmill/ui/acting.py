"""Steering from the page: what somebody wants is counted first, and done when they give the key of that count."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.inspect.limits import limit_of
from rowmill.inspect.selection import deferred_tasks, dropped_rows, live_rows, parsed_ranges
from rowmill.inspect.steering import steer

_KEY_LASTS_S = 300.0
_MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class Count:
    """What a verb would do."""

    words: str
    key: str | None
    """Says yes to it; None where there is nothing to do."""


@dataclass(frozen=True, slots=True)
class _Ready:
    do: Callable[[], str]
    until: float


class Steering:
    """Verbs of one run, each in two steps. Used by one thread at a time."""

    def __init__(
        self,
        database: Path,
        clock: Callable[[], float] = time.monotonic,
        letting_go: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """``letting_go``: within it this process does not hold the file for reading."""
        self._database = database
        self._letting_go = letting_go
        self._clock = clock
        self._ready: dict[str, _Ready] = {}

    def count(self, verb: str, wish: Mapping[str, str]) -> Count:
        """How much a verb would change. Raises UsageError for a verb or a selection that makes no sense."""
        counting = {
            "pause": self._simple,
            "resume": self._simple,
            "drain": self._simple,
            "limit": self._limit,
            "retry": self._retry,
            "hurry": self._hurry,
            "rerun": self._rerun,
            "drop": self._drop,
        }.get(verb)
        if counting is None:
            raise UsageError(f"The page knows no verb '{verb}'.")
        with self._letting_go():
            words, do = counting(verb, wish)
        if do is None:
            return Count(words, None)
        now = self._clock()
        self._ready = {key: ready for key, ready in self._ready.items() if ready.until > now}
        while len(self._ready) >= _MOST_KEYS:
            del self._ready[next(iter(self._ready))]
        key = secrets.token_urlsafe(18)
        self._ready[key] = _Ready(do, now + _KEY_LASTS_S)
        return Count(words, key)

    def do(self, key: str) -> str:
        """Does what was counted, once; says what became of it. Raises UsageError for an unknown or an old key."""
        ready = self._ready.pop(key, None)
        if ready is None or ready.until <= self._clock():
            raise UsageError("This was done already, or was asked too long ago: count again. Nothing was changed.")
        with self._letting_go():
            return ready.do()

    def _simple(self, verb: str, _wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        words = {
            "pause": "What runs finishes and is kept; nothing new starts until the run is resumed.",
            "resume": "A paused run goes on.",
            "drain": "What runs finishes and is kept; then the process ends. 'rowmill run' goes on later.",
        }[verb]
        return words, lambda: steer(self._database, verb).message

    def _limit(self, _verb: str, wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        name, number = wish.get("resource") or None, wish.get("calls", "").strip()
        calls = None if number == "spec" else int(number) if number.isdecimal() else 0
        if calls is not None and not 1 <= calls < 2**31:
            raise UsageError(f"The limit must be a whole number from 1, or 'spec', not '{number}'.")
        found = limit_of(self._database, name)
        arguments = {"resource": found.resource, "calls": calls, "spec_calls": found.calls}
        what = found.resource or "all tasks together"
        most = calls if calls is not None else found.calls
        words = f"At most {plural(most, 'call')} of {what} at once; the spec says {found.calls}."
        return words, lambda: steer(self._database, "limit", arguments).message

    def _retry(self, _verb: str, wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        rows = dropped_rows(self._database, wish.get("where") or None)
        if not rows:
            return "No dropped row is meant.", None
        words = f"{plural(len(rows), 'dropped row')} would come back; what they lack is generated again."
        return words, lambda: steer(self._database, "retry_dropped", {"rows": rows}).message

    def _hurry(self, _verb: str, wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        tasks = deferred_tasks(self._database, wish.get("where") or None)
        if not tasks:
            return "No deferred task is meant.", None
        words = f"{plural(len(tasks), 'deferred task')} would be ready at once."
        return words, lambda: steer(self._database, "retry_deferred", {"tasks": tasks}).message

    def _rerun(self, _verb: str, wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        from rowmill.engine.reopening import rerun

        column, where = wish.get("column", ""), wish.get("where") or None
        found = rerun(self._database, column, where, time.time(), dry_run=True)
        if not found.rows:
            return f"No row that is meant has a cell of column '{column}'.", None

        def do() -> str:
            done = rerun(self._database, column, where, time.time())
            return f"{plural(done.rows, 'row')} wait for {', '.join(done.columns)}: 'rowmill run' makes them again."

        return f"{', '.join(found.columns)} of {plural(found.rows, 'row')} would be made again.", do

    def _drop(self, _verb: str, wish: Mapping[str, str]) -> tuple[str, Callable[[], str] | None]:
        where, row_ids = wish.get("where") or None, wish.get("rows") or None
        if (where is None) == (row_ids is None):
            raise UsageError("Say which rows: numbers (3,17,100-199) or a condition, not both.")
        ranges = parsed_ranges(row_ids) if row_ids is not None else None
        found = live_rows(self._database, where=where, ranges=ranges)
        count = sum(last - first + 1 for first, last in found)
        if not count:
            return "No row that is worked on is meant.", None
        arguments = {"rows": found, "reason": wish.get("reason") or "dropped by hand"}
        words = f"{plural(count, 'live row')} would be dropped, with the calls that run for them."
        return words, lambda: steer(self._database, "drop", arguments).message
