"""Where the time of a turn goes, and how long results wait for one: clocks around the store's own methods."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from statistics import median
from typing import Any

from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import all_statements
from rowmill.store.run_store import RunStore
from rowmill.store.turn.turn import Turn
from rowmill.task import Outcome, TurnResult

_SLOT = re.compile(r"\\\{[a-z_]+\\\}")
BEGIN, COMMIT = "(begin)", "(commit)"


class TurnClock:
    """How long each turn took, in seconds, and how long each result waited from its arrival to its commit (D2)."""

    def __init__(self) -> None:
        self.turns: list[float] = []
        self._lags: Counter[int] = Counter()
        """Results by whole tenths of milliseconds: the memory of a long run is measured, not that of its clock."""

    def attach(self, store: RunStore) -> None:
        """Times every turn that ``store`` makes from now on."""
        make = store.turn

        def timed(*args: Any, **kwargs: Any) -> Turn:
            turn = make(*args, **kwargs)
            turn.take = self._around(turn.take)  # type: ignore[method-assign]
            return turn

        store.turn = timed  # type: ignore[method-assign]

    def _around(self, take: Callable[..., TurnResult]) -> Callable[..., TurnResult]:
        def timed(outcomes: Sequence[Outcome], *args: Any, **kwargs: Any) -> TurnResult:
            started = time.perf_counter()
            try:
                return take(outcomes, *args, **kwargs)
            finally:
                self.turns.append(time.perf_counter() - started)
                now = time.time()
                self._lags.update(int((now - each.started_at) * 10_000 - each.duration_ms * 10) for each in outcomes)

        return timed

    @property
    def median_ms(self) -> float:
        """The median turn."""
        return median(self.turns) * 1000 if self.turns else 0.0

    @property
    def longest_ms(self) -> float:
        """The longest turn."""
        return max(self.turns, default=0.0) * 1000

    def lag_ms(self, share: float) -> float:
        """Within how many milliseconds that share of the results was committed."""
        wanted = share * self._lags.total()
        counts = sorted(self._lags.items())
        passed = accumulate(count for _, count in counts)
        return next((lag / 10 for (lag, _), sofar in zip(counts, passed, strict=True) if sofar >= wanted), 0.0)


class StatementClock:
    """Seconds and calls per statement name of one connection."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._is_paused = False

    def attach(self, connection: Connection) -> None:
        """Times every statement of ``connection`` from now on."""
        connection.execute = self._around(connection.execute)  # type: ignore[method-assign]
        connection.arrow = self._around(connection.arrow)  # type: ignore[method-assign]
        transaction = connection.transaction

        @contextmanager
        def timed() -> Iterator[None]:
            entered = time.perf_counter()
            with transaction():
                self._add(BEGIN, entered)
                yield
                leaving = time.perf_counter()
            self._add(COMMIT, leaving)

        connection.transaction = timed  # type: ignore[method-assign]

    def clear(self) -> None:
        """Forgets what was measured so far."""
        self.seconds.clear()
        self.calls.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Statements in this block are not counted."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def _around(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def timed(sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
            started = time.perf_counter()
            try:
                return execute(sql, parameters)
            finally:
                self._add(sql, started)

        return timed

    def _add(self, what: str, started: float) -> None:
        if self._is_paused:
            return
        self.seconds[what] += time.perf_counter() - started
        self.calls[what] += 1

    def by_name(self) -> dict[str, tuple[float, int]]:
        """Seconds and calls per statement name, the costliest first."""
        found: dict[str, tuple[float, int]] = {}
        for text, seconds in self.seconds.items():
            name = text if text in (BEGIN, COMMIT) else statement_name(text)
            known_seconds, known_calls = found.get(name, (0.0, 0))
            found[name] = known_seconds + seconds, known_calls + self.calls[text]
        return dict(sorted(found.items(), key=lambda item: -item[1][0]))


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """A pattern per statement, those with most fixed text first: a slot takes any text."""
    statements = sorted(all_statements().values(), key=lambda s: -len(_SLOT.sub("", re.escape(s.text))))
    return [(s.name, re.compile(_SLOT.sub("(?s:.*)", re.escape(s.text)))) for s in statements]


@cache
def statement_name(sql: str) -> str:
    """The name of the statement that ``sql`` was made from."""
    return next((name for name, pattern in _patterns() if pattern.fullmatch(sql)), "(unknown)")
