"""A whole run whose every state on disk is kept, some of them gone on with: they end as the run itself did (D1).

Turns are taken inline, so a copy taken at a statement is what a process leaves behind that dies there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from budget import Budget
from crashing_connection import CrashingConnection
from scenario import contradictions

from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared
from rowmill.engine.writer import InlineWriter
from rowmill.store.run_store import RunStore


def _work(database: Path, prepared: Prepared, observe: Callable[[str], None] | None = None) -> None:
    with CrashingConnection(database) as connection:
        connection.observe = observe
        store = RunStore.over(connection)
        anyio.run(partial(work, store, InlineWriter(), prepared, wall_clock=time.time, environ={}))
        connection.observe = None


def outcome(database: Path) -> dict[str, Any]:
    with CrashingConnection(database) as connection:
        assert contradictions(connection) == []
        return {
            "dataset": connection.execute("from dataset order by row_id"),
            "dropped": connection.execute("select row_id, column_name, reason from dropped_row order by row_id"),
            "groups": connection.execute(
                "select row_group, state, first_row, row_count, rows_finished from row_group order by row_group"
            ),
            "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
        }


def _paid(database: Path) -> Counter[tuple[str, int]]:
    """How often each cell was asked for, as far as that was committed."""
    with CrashingConnection(database) as connection:
        return Counter(
            {
                (generator, row_id): count
                for generator, row_id, count in connection.execute(
                    "select generator, row_id, count(*) from attempt where model is not null group by all"
                )
            }
        )


def run_and_die_everywhere(
    database: Path, specs: Sequence[Prepared], budget: Budget, seconds: float, *, least: int
) -> dict[str, Any]:
    """Runs one spec after the other, then goes on from states they passed through: as many as there is time for.

    Each ends with the same outcome, which is returned, and paid for the same cells as often.
    """
    left_behind: dict[tuple[bytes, bytes], tuple[int, str]] = {}
    part = 0

    def keep(where: str) -> None:
        log = database.with_name(f"{database.name}.wal")
        left_behind.setdefault((database.read_bytes(), log.read_bytes() if log.exists() else b""), (part, where))

    for part, prepared in enumerate(specs):  # noqa: B007  read by keep
        _work(database, prepared, keep)
    expected = outcome(database)
    paid = _paid(database)
    assert len(left_behind) > 20
    chosen = budget.some_of(list(left_behind.items()), seconds, least=least)
    for number, ((content, log), (crashed_in, where)) in enumerate(chosen):
        left = database.with_name(f"left_{number}.duckdb")
        left.write_bytes(content)
        if log:
            left.with_name(left.name + ".wal").write_bytes(log)
        for prepared in specs[crashed_in:]:
            _work(left, prepared)
        assert outcome(left) == expected, where
        assert _paid(left) == paid, f"{where}: something that was committed was paid for again"
        left.unlink()
    return expected
