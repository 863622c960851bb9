"""A run database whose state a test writes by hand, in SQL, to ask the views and the turn what they make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from copied_tables import new_store
from virtual_run import EPOCH

from rowmill.engine.binding import skip_conditions
from rowmill.engine.preparation import Prepared
from rowmill.errors import RateLimited, Rejected, Transient
from rowmill.spec.declaration import Strategy
from rowmill.store.database.staging import from_epoch
from rowmill.store.run_store import RunStore
from rowmill.store.turn.turn import Turn
from rowmill.task import Outcome, OutcomeKind, Request, Task, TurnResult

TaskKey = tuple[str, int, int | None]
"""Generator name, row group (-1 for a barrier), row index (None for those and a batch): the only identity (R8)."""
PLENTY = 100_000


def moment(seconds: float) -> datetime:
    """The time so many seconds after the run began, as the database keeps it."""
    return from_epoch(EPOCH + seconds)


class RunState:
    """One run database, its spec, and short words for changing and reading it. Close it, or use ``with``."""

    def __init__(self, prepared: Prepared, path: Path | None = None) -> None:
        self.prepared = prepared
        self.path = path
        self.now_s = 0.0
        self.store = new_store(prepared, path)
        self.store.create(prepared.blueprint(), EPOCH)
        self._begin()

    def _opened(self) -> RunStore:
        return RunStore.in_memory() if self.path is None else RunStore.open(self.path)

    def _begin(self) -> None:
        self.store.begin(self.prepared.limits, EPOCH + self.now_s)
        self.turn: Turn = self.store.turn(self.prepared.spec, self.prepared.graph, skip_conditions(self.prepared.graph))

    def crash(self) -> None:
        """The process dies and another one opens the file: what was in memory is gone."""
        self.store.close()
        self.store = self._opened()
        self._begin()

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> RunState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sql(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.store.connection.execute(query, parameters or None)

    def number(self, name: str) -> int:
        """The number of a generator."""
        return self.prepared.graph.generator_of_name(name).number

    def name(self, number: int) -> str:
        """The name of a generator."""
        return self.prepared.graph.generators[number].name

    # Writing state by hand ------------------------------------------------------------------------

    def write_row_group(self, row_group: int = 0) -> None:
        """Makes a row group active, its rows done by nobody; the ones before it count as admitted too."""
        plan = self.store.plan()
        first, size = plan.offset_of(row_group), plan.size_of(row_group)
        self.sql(
            "insert into state.admitted_row_group (row_group, first_row, row_count, admitted_at) values"
            " ($group, $first, $size, $now)",
            group=row_group,
            first=first,
            size=size,
            now=moment(0),
        )
        words = ", ".join(f"0 as done_{word}, 0 as skipped_{word}" for word in range(self.prepared.graph.words))
        self.sql(
            f"insert into state.active_row by name select $group as row_group, i as row_index, $first + i as"
            f" row_id, {words}"
            " from range($size) as r(i)",
            group=row_group,
            first=first,
            size=size,
        )
        self.sql("update state.run set next_row_group = greatest(next_row_group, $next)", next=row_group + 1)

    def write_done(self, name: str, *row_ids: int, skipped: bool = False) -> None:
        """Sets the generator's bit for these rows (all live ones if none is given)."""
        word, bit = self.prepared.graph.bit(self.number(name))
        for kind in ("done", "skipped") if skipped else ("done",):
            where = f"where row_id in ({', '.join(map(str, row_ids))})" if row_ids else ""
            self.sql(f"update state.active_row set {kind}_{word} = {kind}_{word} | {bit} {where}")

    def write_drop(self, name: str, *row_ids: int) -> None:
        """Gives rows up."""
        for row_id in row_ids:
            self.sql(
                "insert into state.dropped_row select row_id, row_group, row_index, $generator, 'rejected',"
                " 'ValueError', 'no', 1,"
                " $now, null from state.active_row where row_id = $row_id",
                generator=self.number(name),
                row_id=row_id,
                now=moment(0),
            )
            self.sql("delete from state.active_row where row_id = $row_id", row_id=row_id)

    def write_deferral(
        self, name: str, row_group: int, row_index: int | None, until_s: float, attempts: int = 1
    ) -> None:
        """Defers a task until so many seconds after the run began."""
        self.sql(
            "insert into state.deferred_task values ($generator, $group, $index, $attempts, 'Timeout',"
            " 'slow', $until, $now, $now, $attempts)",
            generator=self.number(name),
            group=row_group,
            index=-1 if row_index is None else row_index,
            attempts=attempts,
            until=moment(until_s),
            now=moment(0),
        )

    def write_time(self, seconds: float) -> None:
        """The last turn was so many seconds after the run began."""
        self.sql("update state.run set updated_at = $now", now=moment(seconds))

    # Reading --------------------------------------------------------------------------------------

    def ready(self) -> set[TaskKey]:
        """What the view ready_task shows. Fails if a task is there twice."""
        rows = self.sql("select generator, coalesce(row_group, -1), row_index from ready_task")
        assert len(set(rows)) == len(rows), f"tasks twice in the frontier: {rows}"
        return set(rows)

    def cells(self, column: str) -> dict[int, str]:
        """What the view cell shows of a column, by row_id."""
        rows = self.sql("select row_id, state from cell where column_name = $column", column=column)
        assert len(dict(rows)) == len(rows), f"cells twice: {rows}"
        return dict(rows)

    def progress(self, column: str) -> dict[str, int]:
        """The line of the view progress for a column."""
        names, rows = self.store.connection.columns("from progress where column_name = $column", {"column": column})
        (row,) = rows
        return dict(zip(names, row, strict=True))

    def dataset(self) -> list[dict[str, Any]]:
        """The finished rows, in the order of the view."""
        names, rows = self.store.connection.columns("from dataset")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def dropped(self) -> dict[int, str]:
        """Reason of every dropped row."""
        return dict(self.sql("select row_id, reason from dropped_row"))

    def violations(self) -> list[tuple[Any, ...]]:
        """What invariant_violation says."""
        return self.sql("from invariant_violation")

    # Turns ----------------------------------------------------------------------------------------

    def take(
        self, outcomes: Sequence[Outcome] = (), *, after_s: float = 0.0, free: int | Mapping[str, int] = PLENTY
    ) -> TurnResult:
        """A turn, ``after_s`` seconds after the last one. ``free`` of every resource, or per resource."""
        self.now_s += after_s
        capacity = dict.fromkeys(self.prepared.limits, free) if isinstance(free, int) else dict(free)
        result = self.turn.take(outcomes, capacity, EPOCH + self.now_s)
        self.turn.tidy()
        return result

    def keys(self, tasks: Iterable[Task]) -> list[TaskKey]:
        """The identities of tasks."""
        return [(self.name(task.generator), task.row_group, task.row_index) for task in tasks]

    def of(self, tasks: Iterable[Task], name: str) -> list[Task]:
        """The tasks of one generator."""
        return [task for task in tasks if self.name(task.generator) == name]

    def is_batch(self, task: Task) -> bool:
        """Whether the task stands for a row group."""
        return self.prepared.graph.generators[task.generator].strategy is Strategy.BATCH


def succeeded(task: Task, *values: object, requests: Sequence[Request] = ()) -> Outcome:
    """The task's call returned these values, one per output (a table for a batch task)."""
    return Outcome(
        OutcomeKind.SUCCEEDED, task, values[0] if task.row_index is None else list(values), requests=requests
    )


def transient(task: Task, **fields: Any) -> Outcome:
    """A failure worth another attempt."""
    return Outcome(OutcomeKind.TRANSIENT, task, error=Transient("no answer", "Timeout"), **fields)


def rate_limited(task: Task, retry_after_s: float | None = None) -> Outcome:
    """A 429."""
    return Outcome(OutcomeKind.RATE_LIMITED, task, error=RateLimited("slow down", retry_after_s))


def rejected(task: Task, error: BaseException | None = None, **fields: Any) -> Outcome:
    """A failure that would happen again."""
    return Outcome(OutcomeKind.REJECTED, task, error=error or Rejected("bad request", "HTTP 400"), **fields)


def released(task: Task) -> Outcome:
    """Handed out, never started."""
    return Outcome(OutcomeKind.RELEASED, task)


def request(model: str = "writer", error: str | None = None, tokens: int = 10, cost: float | None = None) -> Request:
    """A request that was made of a model."""
    return Request(model, EPOCH, 12.5, tokens, 2 * tokens, cost, error, error and "it said so")
