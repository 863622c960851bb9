"""Whole runs in virtual time: the real engine, database and dispatcher on trio's autojumping clock.

Hours of cool-downs pass in milliseconds, and the same run always takes the same virtual time. Only async
functions and the simulated provider may work in it: a thread would live in real time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import trio
from copied_tables import new_store
from trio.testing import MockClock

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.engine.ending import RunReport
from rowmill.engine.invocation import Progress, work
from rowmill.engine.preparation import Prepared, prepare
from rowmill.engine.writer import InlineWriter
from rowmill.errors import RowmillError
from rowmill.graph.shard import ShardOrder
from rowmill.spec.spec import Spec
from rowmill.store.run_store import RunStore
from rowmill.task import FinishedRowGroup

EPOCH = 1_700_000_000.0
"""The wall-clock time at which virtual time starts."""

Row = dict[str, Any]
Function = Callable[..., Awaitable[Any]]


def sampler(name: str = "rating", values: Sequence[object] = (1, 2, 3, 4, 5), **fields: Any) -> dict[str, Any]:
    """A column of type ``sampler``: nothing to wait for."""
    return {
        "name": name,
        "column_type": "sampler",
        "sampler_type": "category",
        "params": {"values": list(values)},
        **fields,
    }


def expression(name: str, sql: str, dtype: str = "int", **fields: Any) -> dict[str, Any]:
    """A column of type ``expression`` in SQL."""
    return {"name": name, "column_type": "expression", "sql": sql, "dtype": dtype, **fields}


def custom(name: str, function: Function, requires: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
    """A column made by an async function of this process."""
    return {
        "name": name,
        "column_type": "custom",
        "generator_function": function,
        "required_columns": list(requires),
        **fields,
    }


def llm(name: str, prompt: str, alias: str = "writer", **fields: Any) -> dict[str, Any]:
    """A column of type ``llm-text``."""
    return {"name": name, "column_type": "llm-text", "model_alias": alias, "prompt": prompt, **fields}


def model(alias: str = "writer", limit: int = 4, **fields: Any) -> dict[str, Any]:
    """A simulated model; behaviour in ``simulation``."""
    return {
        "alias": alias,
        "provider": "simulated",
        "model": fields.pop("model", alias),
        "max_parallel_requests": limit,
        **fields,
    }


def prepared(
    *columns: Mapping[str, Any],
    records: int = 4,
    row_group_size: int = 2,
    models: Sequence[Mapping[str, Any]] = (),
    directory: Path | None = None,
    **fields: Any,
) -> Prepared:
    """A spec of these columns, found good. ``fields`` are fields of the spec (``seed``, ``run``, …)."""
    data = {
        "name": "virtual",
        "records": records,
        "row_group_size": row_group_size,
        "models": list(models),
        "columns": list(columns),
        **fields,
    }
    return prepare(Spec.from_data(data), directory)


@dataclass
class Finished:
    """What is left of an invocation when it is over: how it ended, and the database to look into."""

    store: RunStore
    report: RunReport | None
    error: BaseException | None
    took_s: float
    groups: list[FinishedRowGroup] = field(default_factory=list)

    def sql(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.store.connection.execute(query, parameters or None)

    def dataset(self) -> list[dict[str, Any]]:
        """The finished rows, in their order."""
        names, rows = self.store.connection.columns("from dataset")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def column(self, name: str) -> list[Any]:
        """The values of one column of the finished rows, in their order."""
        return [row[name] for row in self.dataset()]

    def violations(self) -> list[tuple[Any, ...]]:
        """What ``invariant_violation`` says; always nothing."""
        return self.sql("from invariant_violation")


def run(
    spec: Prepared,
    database: Path | None = None,
    *,
    starts_at_s: float = 0.0,
    on_row_group_finished: Callable[[FinishedRowGroup], None] | None = None,
    on_progress: Progress | None = None,
    on_dispatcher: Callable[[Dispatcher], None] | None = None,
    expects_error: bool = False,
    shard: ShardOrder | None = None,
) -> Finished:
    """One invocation in virtual time, on a file (created, or gone on with) or in memory.

    ``starts_at_s`` is how many seconds after :data:`EPOCH` it starts. What it raises is raised, unless
    ``expects_error``: then it is in the result. The database stays open for the test to look into.
    """
    store = RunStore.open(database) if database is not None and database.exists() else new_store(spec, database)
    groups: list[FinishedRowGroup] = []

    def note(group: FinishedRowGroup) -> None:
        groups.append(group)
        if on_row_group_finished is not None:
            on_row_group_finished(group)

    async def main() -> Finished:
        def wall_clock() -> float:
            return EPOCH + starts_at_s + anyio.current_time() - begun

        begun = anyio.current_time()
        report, failure = None, None
        try:
            report = await work(
                store,
                InlineWriter(),
                spec,
                wall_clock=wall_clock,
                environ={},
                on_row_group_finished=note,
                on_progress=on_progress,
                on_dispatcher=on_dispatcher,
                shard=shard,
            )
        except RowmillError as error:
            if not expects_error:
                store.close()
                raise
            failure = error
        except BaseException:
            store.close()
            raise
        return Finished(store, report, failure, anyio.current_time() - begun, groups)

    clock = MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


class Concurrency:
    """Counts how many calls run at once; ``async with`` it inside the function to be watched."""

    def __init__(self) -> None:
        self.running = 0
        self.greatest = 0
        self.calls = 0

    async def __aenter__(self) -> None:
        self.calls += 1
        self.running += 1
        self.greatest = max(self.greatest, self.running)

    async def __aexit__(self, *_: object) -> None:
        self.running -= 1
