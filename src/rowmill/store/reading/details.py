"""The details of a status: how fast a run is, when it will be done, what fails, what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rowmill.counted import plural
from rowmill.spec.declaration import LOCAL_RESOURCES
from rowmill.store.database.question import Queryable
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.reading.status import (
    AdmissionStatus,
    BudgetStatus,
    CutOff,
    DeferralReason,
    Details,
    KeptCells,
    OldestRowGroup,
    PaceStatus,
    RecentRequests,
    Status,
    TaskTime,
    WorkersStatus,
    read_drop_reasons,
)

sql = statements_of("reading/status")

RECENT_S = 300.0
"""How far back recent rates look, at most: never farther than the newest invocation."""
_REASONS = 3
_OVER = {"finished": "all rows are settled", "new": "the run has not begun", "paused": "the run is paused"}


def read_details(connection: Queryable, status: Status, now: float) -> Details:
    """Reads the details of a status at ``now`` (seconds since the epoch). O(active rows + row groups + drops)."""
    with engine_errors.mapped("reading the details of the status"):
        oldest = connection.execute(sql.oldest_row_group.text)
        followed = connection.execute(sql.followed_run.text)
        return Details(
            pace=_read_pace(connection, status, now),
            drop_reasons=read_drop_reasons(connection, _REASONS),
            deferral_reasons=tuple(
                DeferralReason(*row) for row in connection.execute(sql.deferral_reasons.text, {"limit": _REASONS})
            ),
            oldest_row_group=OldestRowGroup(*oldest[0]) if oldest else None,
            admission=AdmissionStatus(*connection.execute(sql.read_admission.text)[0]),
            budget=BudgetStatus(*connection.execute(sql.read_budget.text)[0]),
            task_times=tuple(TaskTime(*row) for row in connection.execute(sql.read_task_times.text)),
            follows=followed[0][0] if followed else None,
            workers=tuple(WorkersStatus(*row) for row in connection.execute(sql.read_workers.text)),
            read_at=datetime.fromtimestamp(now, UTC).replace(tzinfo=None),
            kept=tuple(KeptCells(*row) for row in connection.execute(sql.kept_cells.text)),
            cut_off=tuple(CutOff(*row) for row in connection.execute(sql.cut_off_answers.text, {"limit": _REASONS})),
        )


def _read_pace(connection: Queryable, status: Status, now: float) -> PaceStatus:
    if status.state != "running":
        now = min(now, status.updated_at.replace(tzinfo=UTC).timestamp())  # recent is what was when it still worked
    moment = {"since_us": _microseconds(now - RECENT_S), "now_us": _microseconds(now)}
    ((finished, settled, began_s, worked_s),) = connection.execute(sql.read_rates.text, moment)
    # The window ends where the newest invocation begins: the time between it and the one before it is nobody's.
    recent_s = min(RECENT_S, max(now - began_s, 0.0)) if began_s is not None else 0.0
    rows = connection.execute(sql.recent_requests.text, {"since_us": _microseconds(now - recent_s)})
    requests = tuple(RecentRequests(*row) for row in rows)
    worked_s = worked_s or 0.0
    seconds_left, basis = time_left(status, requests, settled, recent_s, worked_s)
    return PaceStatus(
        recent_s=recent_s,
        recent_rows_per_s=_per_second(finished, recent_s),
        recent_requests_per_s=_per_second(sum(each.requests for each in requests), recent_s),
        overall_rows_per_s=_per_second(status.rows_finished, worked_s),
        overall_requests_per_s=_per_second(status.requests, worked_s),
        worked_s=worked_s,
        seconds_left=seconds_left,
        basis=basis,
        requests=requests,
    )


def time_left(
    status: Status, requests: Sequence[RecentRequests], rows_settled: int, recent_s: float, worked_s: float
) -> tuple[float | None, str]:
    """Seconds until the run is done and what that rests on; None and why if it cannot be told.

    The endpoint with the most work left for its recent pace decides; without model work, the recent rate of rows, else
    the overall one. ``rows_settled``: rows of row groups finished in the last ``recent_s`` seconds.
    """
    rows_left = status.records - status.rows_finished - status.rows_dropped
    if rows_left <= 0:
        return 0.0, _OVER["finished"]
    if status.state != "running":
        return None, _OVER.get(status.state, "nothing works on this run; 'rowmill run' goes on")
    window = f"the last {_span(recent_s)}"
    left = _requests_left(status)
    ahead = status.barrier_ahead
    if ahead is not None:
        # What comes after it is not asked yet; and no row group finishes before it, so that rows have no pace.
        asked = {each.resource for each in requests} | {each.resource for each in status.columns if each.done}
        left = {resource: answers for resource, answers in left.items() if resource in asked}
        if not left:
            return None, f"{status.barrier_note}; what comes after it has no pace yet"
    if left and recent_s > 0:
        answered = {each.resource: each.succeeded for each in requests}
        silent = [resource for resource in left if not answered.get(resource)]
        if silent:
            return None, f"{silent[0]} gave no answer in {window}"
        slowest = max(left, key=lambda resource: left[resource] / answered[resource])
        rate = answered[slowest] / recent_s
        return left[slowest] / rate, f"{plural(left[slowest], 'answer')} of {slowest} left, {rate:,.1f}/s in {window}"
    if rows_settled and recent_s > 0:
        rate = rows_settled / recent_s
        return rows_left / rate, f"{plural(rows_left, 'row')} left, {rate:,.1f}/s in {window}"
    settled = status.rows_finished + status.rows_dropped
    if settled and worked_s > 0:
        rate = settled / worked_s
        return rows_left / rate, f"{plural(rows_left, 'row')} left, {rate:,.1f}/s since the run began"
    return None, "no row group is finished yet"


def _requests_left(status: Status) -> dict[str, int]:
    """Answers still to come from each model endpoint, if every task takes one; embeddings come many in an answer."""
    left: dict[str, int] = {}
    seen: set[str] = set()
    for column in status.columns:
        is_remote = column.resource is not None and column.resource not in LOCAL_RESOURCES
        is_new = column.generator not in seen
        if is_remote and is_new and column.strategy == "cell" and column.column_type != "embedding":
            seen.add(column.generator)
            assert column.resource is not None
            left[column.resource] = left.get(column.resource, 0) + column.waiting + column.deferred
    return {resource: answers for resource, answers in left.items() if answers}


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _per_second(number: float, seconds: float) -> float:
    return number / seconds if seconds > 0 else 0.0


def _microseconds(moment_s: float) -> int:
    return round(moment_s * 1_000_000)
