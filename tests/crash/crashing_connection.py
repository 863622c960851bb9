"""A connection that crashes where a test says: before or after its n-th statement.

It counts everything that reaches the engine: statements, begin, commit and rollback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, Self

from rowmill.store.database.connection import Connection

_COUNTED = frozenset({"execute", "sql", "begin", "commit"})
"""A rollback is not: it is what the crash itself sets off."""


class SimulatedCrash(BaseException):
    """The process is gone. No ``except Exception`` may notice."""


class CrashPoint:
    """Where the next crash is: ``before`` or ``after`` the n-th statement from now on.

    ``raised`` is what happens there: a SimulatedCrash, or an error of the engine. ``for_good``: nothing works
    after it either. Statements in ``passing`` are let through without being counted.
    """

    def __init__(
        self,
        number: int,
        *,
        after: bool = False,
        raised: BaseException | None = None,
        for_good: bool = False,
        passing: Set[str] = frozenset(),
    ) -> None:
        self.left = number
        self.passing = passing
        self.after = after
        self.for_good = for_good
        self.raised = raised or SimulatedCrash(f"{'after' if after else 'before'} statement {number}")


class _CountingEngine:
    """The engine's connection, with a look at every statement before and after it."""

    def __init__(self, engine: Any, owner: CrashingConnection) -> None:
        self._engine = engine
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        return self._counted(name, attribute) if name in _COUNTED else attribute

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            owner = self._owner
            what = " ".join(str(arguments[0]).split()) if name in {"execute", "sql"} else name
            owner.statements += 1
            if owner.observe is not None:
                owner.observe(f"before {what}")
            crash = owner.crash if owner.crash is not None and what not in owner.crash.passing else None
            if crash is not None:
                crash.left -= 1
                if (crash.left == 0 or (crash.left < 0 and crash.for_good)) and not crash.after:
                    raise owner.take_crash(what)
            result = function(*arguments, **keywords)
            if name == "commit":
                owner.commits += 1
                if owner.on_commit is not None:
                    owner.on_commit()
            if owner.observe is not None:
                owner.observe(f"after {what}")
            if crash is not None and crash.left == 0:
                if name == "begin":
                    # Nobody rolls back what was begun but never entered; a dead process would not need to.
                    self._engine.rollback()
                raise owner.take_crash(what)
            return result

        return call


class CrashingConnection(Connection):
    """A connection to ``path`` with a :class:`CrashPoint` at most."""

    def __init__(self, path: Path | None) -> None:
        self.statements = 0
        self.commits = 0
        self.crash: CrashPoint | None = None
        self.crashed_at: str | None = None
        self.on_commit: Callable[[], None] | None = None
        """Called as soon as a commit is durable, before anybody else learns of it."""
        self.observe: Callable[[str], None] | None = None
        """Called before and after every statement."""
        super().__init__(path, threads=1)
        self._engine: Any = _CountingEngine(self._engine, self)

    def take_crash(self, what: str) -> BaseException:
        """Uses the crash up; from then on the connection works again (a dead one is simply not used)."""
        assert self.crash is not None
        raised = self.crash.raised
        if not self.crash.for_good:
            self.crash = None
        self.crashed_at = self.crashed_at or what
        return raised

    def forget_staged(self) -> None:
        """Forgets registered tables, whose names a rollback may have taken away: for trying a step again."""
        for name in list(self._staged):
            self.unstage(name)

    def close(self) -> None:
        """Closes it; a process that died folds no log into its file."""
        self.has_written = self.has_written and self.crashed_at is None
        super().close()

    def __enter__(self) -> Self:
        return self

    def count(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """The one number a query answers."""
        return int(self.execute(sql, parameters)[0][0])
