"""Where a run stands, as one value: the views ``run_status``, ``progress`` and ``resource``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Self

from rowmill import notebook
from rowmill.figures import share
from rowmill.store.database.question import Queryable
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors

sql = statements_of("reading/status")


@dataclass(frozen=True, slots=True)
class ColumnProgress:
    """A column's cells: done + skipped + dropped + deferred + waiting = cells."""

    column_name: str
    generator: str
    strategy: str
    cells: int
    done: int
    skipped: int
    dropped: int
    deferred: int
    waiting: int
    resource: str | None = None
    column_type: str = ""


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """What tasks occupy: its limits, how many run, and until when it cools down (UTC)."""

    resource: str
    configured_limit: int
    learned_limit: int
    in_flight: int
    cooling_until: datetime | None
    reason: str | None
    explanation: str = ""
    """How many calls it takes, or why none, in words."""


@dataclass(frozen=True, slots=True)
class DropReason:
    """Why some rows were dropped: the column, what went wrong, one of the messages, and how many rows."""

    column_name: str
    reason: str
    error_type: str | None
    message: str | None
    rows: int

    def __str__(self) -> str:
        kind = f"{self.reason}, {self.error_type}" if self.error_type else self.reason
        return f"{self.rows:,} × column {self.column_name!r} ({kind}): {self.message or ''}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class DeferralReason:
    """Why some tasks wait: the column, what went wrong, one of the messages, how many, the next attempt (UTC)."""

    column_name: str
    error_type: str
    message: str
    tasks: int
    not_before: datetime


@dataclass(frozen=True, slots=True)
class CutOff:
    """How many answers for a column ended at the limit of their length (``max_tokens``)."""

    column_name: str
    answers: int


@dataclass(frozen=True, slots=True)
class KeptCells:
    """How many cells of a column kept their value in the last change, as their inputs came out as before (V8)."""

    column_name: str
    cells: int


@dataclass(frozen=True, slots=True)
class RecentRequests:
    """What one endpoint did of late: requests that ended, how many of them gave an answer, and how long they took."""

    resource: str
    requests: int
    succeeded: int
    mean_ms: float


@dataclass(frozen=True, slots=True)
class PaceStatus:
    """How fast a run is, and when it will be done. Recent: the last ``recent_s`` seconds, all of one process."""

    recent_s: float
    recent_rows_per_s: float
    recent_requests_per_s: float
    overall_rows_per_s: float
    overall_requests_per_s: float
    worked_s: float
    """Seconds the run was worked on, in all invocations."""
    seconds_left: float | None
    basis: str
    """What ``seconds_left`` rests on, or why it cannot be told."""
    requests: tuple[RecentRequests, ...]


@dataclass(frozen=True, slots=True)
class OldestRowGroup:
    """The lowest row group that entered and is not finished."""

    row_group: int
    state: str
    admitted_at: datetime
    row_count: int
    rows_dropped: int


@dataclass(frozen=True, slots=True)
class AdmissionStatus:
    """May the next row group enter? Why, as a code and in words."""

    admit: bool
    reason: str
    next_row_group: int | None
    explanation: str


@dataclass(frozen=True, slots=True)
class TaskTime:
    """How long the tasks of a generator waited for their start, and worked: where a traced run spends its time (T1)."""

    generator: str
    tasks: int
    waiting_s: float
    """Of all tasks together."""
    working_s: float
    longest_s: float
    """Of one call."""


@dataclass(frozen=True, slots=True)
class WorkersStatus:
    """A group of workers of the process that works on the run: who makes its calls elsewhere. Times are UTC."""

    worker_group: str
    kind: str
    workers: int
    """How many it is to have."""
    ready: int
    in_flight: int
    done: int
    """Calls that ended on them, those that were lost since included."""
    lost: int
    """Workers that were lost."""
    empty_since: datetime | None
    """Since when none is left; None if one is (W5)."""
    waits_until: datetime | None
    """When the run stops for it."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The bounds the spec sets; None where it sets none."""

    max_cost_usd: float | None
    max_tokens: int | None
    max_requests: int | None
    deadline: str | None


@dataclass(frozen=True, slots=True)
class Details:
    """How fast the run is, what fails, and what it waits for."""

    pace: PaceStatus
    drop_reasons: tuple[DropReason, ...]
    deferral_reasons: tuple[DeferralReason, ...]
    oldest_row_group: OldestRowGroup | None
    admission: AdmissionStatus
    budget: BudgetStatus
    read_at: datetime
    """When this was read (UTC)."""
    cut_off: tuple[CutOff, ...] = ()
    """The columns with the most answers that were cut off."""
    kept: tuple[KeptCells, ...] = ()
    """Columns with cells that were not made again since the spec changed last, as their inputs came out as before."""
    task_times: tuple[TaskTime, ...] = ()
    """Of a traced run, the slowest generator first; else empty."""
    follows: str | None = None
    """How the run stands that this one follows, and what of it is waited for."""
    workers: tuple[WorkersStatus, ...] = ()
    """Of a run that works, where calls are made elsewhere; else empty."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The details that ``dataclasses.asdict`` took apart. Raises TypeError or KeyError for anything else."""
        pace, oldest = values["pace"], values["oldest_row_group"]
        return cls(
            pace=PaceStatus(**{**pace, "requests": tuple(RecentRequests(**each) for each in pace["requests"])}),
            drop_reasons=tuple(DropReason(**each) for each in values["drop_reasons"]),
            deferral_reasons=tuple(DeferralReason(**each) for each in values["deferral_reasons"]),
            oldest_row_group=OldestRowGroup(**oldest) if oldest is not None else None,
            admission=AdmissionStatus(**values["admission"]),
            budget=BudgetStatus(**values["budget"]),
            read_at=values["read_at"],
            cut_off=tuple(CutOff(**each) for each in values.get("cut_off", ())),
            kept=tuple(KeptCells(**each) for each in values.get("kept", ())),
            task_times=tuple(TaskTime(**each) for each in values["task_times"]),
            follows=values.get("follows"),
            workers=tuple(WorkersStatus(**each) for each in values.get("workers", ())),
        )


@dataclass(frozen=True, slots=True)
class Status:
    """The run at one moment. Times are UTC without zone, costs in US dollars, None where no price is known."""

    name: str
    state: str
    records: int
    rows_finished: int
    rows_dropped: int
    row_groups: int
    row_groups_active: int
    row_groups_finished: int
    invocations: int
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    started_at: datetime | None
    updated_at: datetime
    reason: str | None
    columns: tuple[ColumnProgress, ...]
    resources: tuple[ResourceStatus, ...]
    details: Details | None = None
    """What takes a few more queries to tell; None where nobody asked for it."""
    answers_cut_off: int = 0
    """Answers that ended at the limit of their length, in all invocations."""
    rows_lost: int = 0
    """Of the dropped rows those that were lost to errors; the others went as the spec, or a person, wanted."""
    cached_tokens: int = 0
    """Of the tokens sent those that servers had in their caches, as far as they say."""
    cache_write_tokens: int = 0
    """Of the tokens sent those that servers wrote into their caches, as far as they say."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The status that ``dataclasses.asdict`` took apart. Raises TypeError or KeyError for anything else."""
        columns = tuple(ColumnProgress(**column) for column in values["columns"])
        resources = tuple(ResourceStatus(**resource) for resource in values["resources"])
        details = Details.from_values(values["details"]) if values["details"] is not None else None
        return cls(**{**values, "columns": columns, "resources": resources, "details": details})

    @property
    def barrier_ahead(self) -> ColumnProgress | None:
        """The column over all rows that the run waits for next: before it is made, no row can finish. None without."""
        if self.state == "finished":
            return None
        return next((each for each in self.columns if each.strategy == "dataset" and each.waiting > 0), None)

    @property
    def cells_settled(self) -> int:
        """Cells that need no more work: done, skipped or dropped."""
        return sum(column.done + column.skipped + column.dropped for column in self.columns)

    @property
    def cells(self) -> int:
        """All cells of the run."""
        return sum(column.cells for column in self.columns)

    @property
    def cells_made(self) -> str:
        """The share of cells that are there, of those of rows that live: ``37 %``."""
        made = sum(column.done + column.skipped for column in self.columns)
        return share(made, self.cells - sum(column.dropped for column in self.columns))

    @property
    def barrier_note(self) -> str:
        """How far a run is whose rows cannot finish yet, and what they wait for; empty for any other."""
        ahead = self.barrier_ahead
        if ahead is None:
            return ""
        waits = f"rows wait for column '{ahead.column_name}', which looks at all of them"
        return f"{self.cells_made} of the cells are made, {waits}"

    def __str__(self) -> str:
        """The status as a short table."""
        from rowmill.store.reading.status_text import status_text

        return status_text(self)

    def _repr_html_(self) -> str:
        """The status for a notebook."""
        facts: list[tuple[str, object]] = [
            ("state", self.state),
            ("rows finished", f"{self.rows_finished:,} of {self.records:,}"),
            ("dropped", self.rows_dropped),
            ("lost to errors", self.rows_lost),
            ("requests", self.requests),
            ("tokens", f"{self.input_tokens:,} in, {self.output_tokens:,} out"),
        ]
        facts += [("waiting", self.barrier_note)] if self.barrier_note else []
        facts += [("cost", f"${self.cost_usd:,.4f}")] if self.cost_usd else []
        facts += [("answers cut off", f"{self.answers_cut_off:,}")] if self.answers_cut_off else []
        facts += [("because", self.reason)] if self.reason else []
        columns = notebook.table(
            ("column", "strategy", "progress", "done", "skipped", "dropped", "deferred", "waiting"),
            [
                (
                    column.column_name,
                    column.strategy,
                    notebook.Share(1 - column.waiting / column.cells if column.cells else 1.0),
                    *(column.done, column.skipped, column.dropped, column.deferred, column.waiting),
                )
                for column in self.columns
            ],
        )
        resources = notebook.table(
            ("resource", "limit", "learned", "in flight", "cooling until (UTC)"),
            [
                (one.resource, one.configured_limit, one.learned_limit, one.in_flight, one.cooling_until or "")
                for one in self.resources
            ],
        )
        reasons = [notebook.note(str(reason)) for reason in self.details.drop_reasons] if self.details else []
        return notebook.page(self.name, facts, columns, *([resources] if self.resources else []), *reasons)

    def with_living_process(self, in_flight: Mapping[str, int]) -> Status:
        """The same with what only the living process knows: that it lives, and the calls it runs per resource."""
        resources = tuple(
            replace(resource, in_flight=in_flight.get(resource.resource, 0)) for resource in self.resources
        )
        state = "running" if self.state == "stopped" else self.state
        return replace(self, state=state, resources=resources)


def read_drop_reasons(connection: Queryable, limit: int = 3) -> tuple[DropReason, ...]:
    """The most frequent reasons for dropped rows. O(dropped rows)."""
    with engine_errors.mapped("reading why rows were dropped"):
        return tuple(DropReason(*row) for row in connection.execute(sql.drop_reasons.text, {"limit": limit}))


_RUN_FIELDS = [field.name for field in fields(Status) if field.name not in ("columns", "resources", "details")]


def read_status(connection: Queryable) -> Status:
    """Reads the status of a run, without its details. O(active rows + row groups)."""
    with engine_errors.mapped("reading the status"):
        run = connection.execute(sql.read_run_status.text)[0]
        columns = tuple(ColumnProgress(*row) for row in connection.execute(sql.read_progress.text))
        resources = tuple(ResourceStatus(*row) for row in connection.execute(sql.read_resources.text))
    values = dict(zip(_RUN_FIELDS, run, strict=True))
    return Status(**values, columns=columns, resources=resources)
