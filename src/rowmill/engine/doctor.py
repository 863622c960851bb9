"""What is wrong with a run database, and putting back what can be had of one whose log is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rowmill.counted import plural
from rowmill.engine.file_check import check_files, sweep_files
from rowmill.engine.migration import prepare_old
from rowmill.errors import Damaged, Incompatible, RowmillError, UsageError
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.database.held_file import holding
from rowmill.store.file import engine_errors
from rowmill.store.file.database_file import check_unclaimed
from rowmill.store.file.file_system import missing_room, network_file_system
from rowmill.store.file.log import log_of, read_log
from rowmill.store.file.usable import check_usable
from rowmill.store.layout import schema
from rowmill.store.repair import examination
from rowmill.store.repair.recovery import Recovery, find_recovery, put_back
from rowmill.store.run_store import RunStore
from rowmill.unfinished_file import CHANGED, left_behind

State = Literal["ok", "warning", "wrong"]
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """The outcome of one check."""

    check: str
    state: State
    message: str
    advice: str | None = None
    """What to do about it; None if there is nothing to do."""


@dataclass
class Diagnosis:
    """What was found, in the order of the checks."""

    path: Path
    findings: list[DoctorFinding] = field(default_factory=list)
    recovery: Recovery | None = None
    """What ``--repair`` can put back; None if there is nothing it could."""
    is_older: bool = False

    @property
    def is_damaged(self) -> bool:
        """Whether something is wrong that no warning covers."""
        return any(finding.state == "wrong" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """6 damaged, 5 to be migrated first, 0 healthy."""
        return Damaged.exit_code if self.is_damaged else Incompatible.exit_code if self.is_older else 0

    @property
    def verdict(self) -> str:
        """One word for people and programs."""
        return "damaged" if self.is_damaged else "older" if self.is_older else "healthy"

    def add(self, check: str, problems: Iterable[str], fine: str, advice: str) -> None:
        """Notes the problems of a check, or that there are none."""
        found = list(problems)
        for problem in found:
            self.findings.append(DoctorFinding(check, "wrong", problem, advice))
        if not found:
            self.findings.append(DoctorFinding(check, "ok", fine))


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did."""

    copy: Path
    """File and log as they were."""
    recovery: Recovery
    after: Diagnosis


def diagnose(path: Path) -> Diagnosis:
    """Checks a run database; the file stays as it is.

    Raises UsageError (no such file, a directory, empty, no right to read), Locked (another process has it open; names
    its pid) or Incompatible (not a run database, of a newer Rowmill or another DuckDB).
    """
    _check_is_file(path)
    check_unclaimed(path.resolve())
    diagnosis = Diagnosis(path)
    _look_around(diagnosis)
    _look_for_left_behind(diagnosis)
    log = read_log(path)
    try:
        connection = Connection(path, read_only=True)
    except Damaged as error:
        _diagnose_damage(diagnosis, error)
        return diagnosis
    with connection:
        size = 0 if log is None else log.size
        commits = 0 if log is None else len(log.commits)
        replayed = (
            f"{plural(commits, 'commit')} replayed from its log ({size:,} bytes)" if commits else "its log is empty"
        )
        diagnosis.findings.append(DoctorFinding("opens", "ok", f"the file opens, {replayed}"))
        _examine(diagnosis, connection)
    return diagnosis


def repair(path: Path, now: float) -> Repair | None:
    """Puts back the last consistent state of a run database whose log is damaged; None if there is nothing to do.

    Copies file and log to ``<name>.damaged`` first, durably. ``now``: seconds since the epoch. Raises what
    :func:`diagnose` raises, WriteFailed (no room), and Damaged if the file itself is damaged.
    """
    found = diagnose(path)
    if not found.is_damaged:
        return None
    if found.recovery is None:
        wrong = "; ".join(finding.message for finding in found.findings if finding.state == "wrong")
        raise Damaged(
            f"{path} cannot be repaired: {wrong}. Nothing was changed. 'rowmill doctor {path} --salvage DIRECTORY' "
            "writes what can still be read to files; a copy of the file from before is better."
        )
    with holding(path) as held:
        copy = held.copy_aside("damaged")
        # Found again now that nobody else can open the file, and from the copy: closing the file would let it go.
        recovery = find_recovery(copy)
        if recovery is None:
            raise Damaged(f"{path} was changed by another process just now. Try again.")
        put_back(held, recovery)
        with Connection(held.path) as connection:
            if not schema.is_new(connection):
                detail = f"{recovery.commits_kept} commits of its log kept; the old files are {copy.name} and its log"
                with engine_errors.mapped("noting the repair"), connection.transaction():
                    RunStore(connection, is_new=False).note("repaired", "run database", detail, now)
            connection.checkpoint()
    return Repair(copy if not path.is_symlink() else copy.resolve(), recovery, diagnose(path))


def sweep(path: Path) -> int:
    """Removes the files beside a healthy run database that belong to no row; returns how many there were.

    Raises Locked while another process has it open, and WriteFailed.
    """
    with Connection(path) as connection:
        check = check_files(connection, prepare_old(connection)[1].spec)
        return 0 if check is None else sweep_files(check)


def _check_is_file(path: Path) -> None:
    check_usable(path)
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path} is a link to {os.readlink(path)}, and there is no such file.")
    if not path.exists():
        raise UsageError(f"There is no run database {path}.")
    log = log_of(path)
    if not path.stat().st_size and not (log.is_file() and log.stat().st_size):
        raise UsageError(f"{path} is empty: no run was ever started in it. 'rowmill run SPEC {path}' fills it.")


def _look_around(diagnosis: Diagnosis) -> None:
    path = diagnosis.path
    kind = network_file_system(path.resolve())
    if kind is not None:
        diagnosis.findings.append(
            DoctorFinding(
                "file system",
                "warning",
                f"the file lies on a network file system ({kind}), where locks and syncs may not hold",
                "move it to a local disk before a run works on it",
            )
        )
    room = missing_room(path.resolve())
    if room is not None:
        diagnosis.findings.append(DoctorFinding("room", "warning", room, "make room before a run works on it"))
    if not os.access(path, os.W_OK) or not os.access(path.resolve().parent, os.W_OK):
        diagnosis.findings.append(
            DoctorFinding(
                "rights", "warning", "this user may read the file, a run must write it and its directory", "chmod u+w"
            )
        )


def _look_for_left_behind(diagnosis: Diagnosis) -> None:
    path = diagnosis.path
    left = left_behind(path.resolve(), CHANGED)
    if left:
        size = sum(file.lstat().st_size for file in left)
        diagnosis.findings.append(
            DoctorFinding(
                "left behind",
                "warning",
                f"a process that was killed left {_many(size, 'byte')} half made: "
                f"{', '.join(file.name for file in left)}",
                f"'rowmill doctor {path} --repair' removes it, and so does the next run",
            )
        )


def _diagnose_damage(diagnosis: Diagnosis, error: Damaged) -> None:
    path = diagnosis.path
    recovery = diagnosis.recovery = find_recovery(path)
    if recovery is None:
        cause = error.__cause__ if error.__cause__ is not None else error
        diagnosis.findings.append(
            DoctorFinding(
                "file",
                "wrong",
                f"the file itself is damaged, not only its log: {str(cause).splitlines()[0]}",
                f"put back a copy; 'rowmill doctor {path} --salvage DIRECTORY' writes what can still be read to files",
            )
        )
        return
    diagnosis.findings.append(DoctorFinding("file", "ok", "the file itself can be read, as of its last checkpoint"))
    log = read_log(path)
    damage = log.damage if log is not None and log.damage is not None else recovery.reason
    diagnosis.findings.append(
        DoctorFinding(
            "log",
            "wrong",
            f"its log {log_of(path).name} is damaged: {damage}",
            f"'rowmill doctor {path} --repair' copies file and log aside and goes back to the last consistent state",
        )
    )
    diagnosis.findings.append(DoctorFinding("recovery", "warning", "; ".join(describe_loss(recovery))))


def _examine(diagnosis: Diagnosis, connection: Connection) -> None:
    path = diagnosis.path
    if schema.is_new(connection):
        raise UsageError(f"{path} is empty: no run was ever started in it. 'rowmill run SPEC {path}' fills it.")
    version = schema.version_of(connection)
    diagnosis.is_older = version < schema.newest_version()
    if diagnosis.is_older:
        diagnosis.findings.append(
            DoctorFinding(
                "schema",
                "warning",
                f"schema version {version}; this Rowmill works with {schema.newest_version()}",
                f"'rowmill migrate {path}' brings it up to date",
            )
        )
    else:
        diagnosis.findings.append(DoctorFinding("schema", "ok", f"schema version {version}"))
    salvage = f"put back a copy; 'rowmill doctor {path} --salvage DIRECTORY' writes what can still be read to files"
    diagnosis.add("content", examination.unreadable_tables(connection), "every block can be read", salvage)
    if diagnosis.is_damaged:
        return
    copy = "put back a copy, or export the dataset and start anew; if nobody edited the file, please report this"
    checks: list[tuple[str, Callable[[Connection], Iterable[str]], str]] = [
        ("rules", examination.contradictions, "no rule of invariant_violation is broken"),
        ("plan", examination.plan_problems, "the plan agrees with itself and with the row groups"),
        ("usage", examination.usage_problems, "usage is the sum of the attempts"),
    ]
    for name, check, fine in checks:
        with engine_errors.mapped(f"checking the {name}"):
            diagnosis.add(name, check(connection), fine, copy)
    _check_spec(diagnosis, connection)


def _check_spec(diagnosis: Diagnosis, connection: Connection) -> None:
    try:
        _, prepared = prepare_old(connection)
    except Damaged as error:
        diagnosis.findings.append(DoctorFinding("spec", "wrong", str(error), "put back a copy"))
    except RowmillError as error:
        # What it needs is missing here and now: functions, modules. The run database is none the worse for it.
        diagnosis.findings.append(DoctorFinding("spec", "warning", str(error), "a run needs it"))
    else:
        diagnosis.findings.append(
            DoctorFinding(
                "spec",
                "ok",
                f"the spec inside it loads: {prepared.spec.name}, {plural(len(prepared.spec.columns), 'column')}",
            )
        )
        if not diagnosis.is_older:
            _check_files(diagnosis, connection, prepared.spec)


def _check_files(diagnosis: Diagnosis, connection: Connection, spec: Spec) -> None:
    with engine_errors.mapped("checking the files"):
        check = check_files(connection, spec)
    if check is None:
        return
    where = check.directory.name
    if check.missing:
        message = f"{_many(len(check.missing), 'file')} that rows name are missing in {where}: {_named(check.missing)}"
        advice = f"put them back, or make them again: 'rowmill rerun {diagnosis.path} --column COLUMN --where \"…\"'"
        diagnosis.findings.append(DoctorFinding("files", "warning", message, advice))
    if check.orphans:
        message = (
            f"{_many(len(check.orphans), 'file')} ({_many(check.orphaned_bytes, 'byte')}) in {where} belong to no row: "
            f"{_named(check.orphans)}"
        )
        advice = f"'rowmill doctor {diagnosis.path} --repair' removes them"
        diagnosis.findings.append(DoctorFinding("files", "warning", message, advice))
    if not check.missing and not check.orphans:
        message = f"{_many(check.kept, 'file')} in {where}, each of a row"
        diagnosis.findings.append(DoctorFinding("files", "ok", message))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def describe_loss(recovery: Recovery) -> list[str]:
    """What a recovery keeps and gives up, in sentences."""
    kept = f"{_many(recovery.commits_kept, 'commit')} of the log can be kept"
    lost = recovery.commits_lost
    lines = []
    if lost is None:
        lines.append(f"{kept}; how many are lost cannot be told")
    elif not lost:
        lines.append(f"{kept}, none is lost")
    else:
        lines.append(f"{kept}, {_many(lost, 'commit')} from the damage on {_are(lost)} lost")
        if recovery.lost_calls:
            total = sum(recovery.lost_calls.values())
            lines.append(
                f"besides the damaged commit they record {_many(total, 'call')} of {_row_groups(recovery.lost_calls)}, "
                "which are made again"
            )
        else:
            lines.append("what calls they record cannot be read; they are made again")
    missing = sum(recovery.unfinished.values())
    if missing:
        lines.append(
            f"in that state {_many(missing, 'result')} of {_row_groups(recovery.unfinished)} {_are(missing)} to be "
            "generated, for the first time or again"
        )
    else:
        lines.append("in that state no row group that was admitted waits for a result")
    return lines


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _row_groups(counts: Iterable[int]) -> str:
    """The row groups by number, runs of them shortened: ``row groups 4, 7–12``."""
    spans: list[list[int]] = []
    for number in sorted(counts):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    named = [f"{first}" if first == last else f"{first}–{last}" for first, last in spans[:_MOST_NAMED]]
    more = f" and {plural(len(spans) - _MOST_NAMED, 'more range')}" if len(spans) > _MOST_NAMED else ""
    is_one = len(spans) == 1 and spans[0][0] == spans[0][1]
    return f"row group{'' if is_one else 's'} {', '.join(named)}{more}"
