"""How an invocation ended, in words and as an exit code."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rowmill.counted import plural
from rowmill.dispatch.settings import Ending
from rowmill.errors import Interrupted
from rowmill.store.reading.status import DropReason, Status


@dataclass(frozen=True, slots=True)
class RunReport:
    """How an invocation ended."""

    state: str
    records: int
    rows_finished: int
    rows_dropped: int
    exit_code: int
    """0 complete, 3 complete with rows lost to errors, 75 stopped before the end, 130 interrupted twice."""
    message: str
    turns: int = 0
    drop_reasons: tuple[DropReason, ...] = ()
    """The most frequent reasons for dropped rows."""
    stop: Interrupted | None = None
    """What stopped it before the end, if not a person: its budget, or an endpoint that is away."""
    rows_lost: int = 0
    """Of the dropped rows those that were lost to errors; the others went as the spec, or a person, wanted."""

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {reason}" for reason in self.drop_reasons)])


def report_of(
    ending: Ending,
    status: Status,
    reasons: tuple[DropReason, ...],
    name: str,
    *,
    turns: int,
    has_target: bool = False,
) -> RunReport:
    """The report on an invocation that ended like that, with the run in that state.

    ``has_target``: the spec wants a number of accepted rows (P6), and other rows were made for those that were lost.
    """
    complete = ending is Ending.COMPLETE
    if complete:
        exit_code = 3 if status.rows_lost and not has_target else 0
        dropped = f", {_dropped(status)}" if status.rows_dropped else ""
        message = f"{name} is complete: {status.rows_finished:,} of {plural(status.records, 'row')}{dropped}."
    else:
        exit_code = 130 if ending is Ending.CANCELLED else Interrupted.exit_code
        message = f"{stopped_message(name, status)} Run again to go on."
    return RunReport(
        status.state,
        status.records,
        status.rows_finished,
        status.rows_dropped,
        exit_code,
        message,
        turns,
        reasons,
        rows_lost=status.rows_lost,
    )


def resting(report: RunReport, name: str, why: str) -> RunReport:
    """The report on a shard that has done what it can: 0 or 3, as there is nothing to go on with here."""
    waiting = report.records - report.rows_dropped - report.rows_finished
    verb = "waits" if waiting == 1 else "wait"
    message = f"{name} has done its part, {waiting:,} of {plural(report.records, 'row')} {verb}: {why}."
    return replace(report, message=message)


def _dropped(status: Status) -> str:
    if status.rows_lost == status.rows_dropped:
        return f"{status.rows_dropped:,} dropped"
    lost = f"{status.rows_lost:,}" if status.rows_lost else "none"
    return f"{status.rows_dropped:,} dropped ({lost} of them lost to errors)"


def stopped_message(name: str, status: Status) -> str:
    """What is said of a run that stopped before its end; why, or what to do, follows."""
    return f"{name} stopped before its end: {status.rows_finished:,} of {plural(status.records, 'row')}."
