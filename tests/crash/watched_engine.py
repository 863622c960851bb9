"""A look at every statement any connection of this process to a file sends to the engine, before and after it.

For verbs that open their connections themselves. It stands where Python calls the engine: everything of ours is real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

_WATCHED = frozenset({"execute", "sql", "begin", "commit"})

Look = Callable[[str], None]


class _WatchedEngine:
    def __init__(self, engine: Any, look: Look) -> None:
        self._engine = engine
        self._look = look

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if name == "cursor":
            return lambda: _WatchedEngine(attribute(), self._look)
        if name not in _WATCHED:
            return attribute

        def call(*arguments: Any, **keywords: Any) -> Any:
            what = " ".join(str(arguments[0]).split()) if name in {"execute", "sql"} else name
            self._look(f"before {what}")
            result = attribute(*arguments, **keywords)
            self._look(f"after {what}")
            return result

        return call


@contextmanager
def watched_engine(look: Look) -> Iterator[None]:
    """Calls ``look`` before and after every statement inside the block."""
    connect = duckdb.connect

    def watched(path: str, *arguments: Any, **keywords: Any) -> Any:
        engine = connect(path, *arguments, **keywords)
        # What only analyses SQL in memory writes nothing.
        return engine if path == ":memory:" else _WatchedEngine(engine, look)

    setattr(duckdb, "connect", watched)  # noqa: B010  its type is more exact than ours
    try:
        yield
    finally:
        setattr(duckdb, "connect", connect)  # noqa: B010
