"""What can be had back from a run database whose log is damaged, and putting it back.

Commits lie in the log in their order, so the state after any of them is consistent. Recovering means: the
longest beginning of the log, ending with a commit, that the engine replays and after which no rule is broken; without
any commit, that is the state of the last checkpoint. Found by bisection, on a copy of the log beside a second name of
the file, opened read-only: the file itself is not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from rowmill.errors import Damaged, Locked, RowmillError
from rowmill.store.database.connection import Connection
from rowmill.store.database.held_file import HeldFile, copy_error, sync_directory
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.file.database_file import undo_torn_checkpoint
from rowmill.store.file.log import Log, header_for, is_of_this_checkpoint, log_of, read_log
from rowmill.store.file.usable import EXAMINED, doctor_prefix
from rowmill.store.layout import schema

sql = statements_of("repair/doctor")
_READ_LOST_S = 60.0
_MOST_DAMAGED = 4
"""Bytes of a log's header that may differ from those expected: with more, it is another's."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What of a log can be kept."""

    log_bytes: int
    """What the log must be cut to; 0: to be removed."""
    header: bytes | None
    """To be put in the place of the log's own header; None: that is good."""
    header_end: int
    commits_kept: int
    commits_lost: int | None
    """None if it cannot be told."""
    reason: str
    """What the engine says of the log as it is."""
    lost_calls: Mapping[int, int] | None = None
    """Calls on record in the lost commits per row group, as far as they can be read; None if none can."""
    unfinished: Mapping[int, int] = field(default_factory=dict)
    """Results of calls that the admitted row groups wait for in the recovered state, per row group."""


@contextmanager
def examining(path: Path) -> Iterator[Path]:
    """A second name for a database file, in a directory of its own, to be opened read-only beside other logs.

    A hard link where the file system has them, else a copy. Gone afterwards.
    """
    source = path.resolve()
    undo_torn_checkpoint(source)
    try:
        directory = Path(tempfile.mkdtemp(prefix=doctor_prefix(source), dir=source.parent))
    except OSError:
        directory = Path(tempfile.mkdtemp(prefix="rowmill-doctor-"))
    examined = directory / EXAMINED
    try:
        try:
            os.link(source, examined)
        except OSError:
            shutil.copyfile(source, examined)
        yield examined
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def open_error(examined: Path, log: bytes | None) -> RowmillError | None:
    """What is wrong with a database beside that log: it does not open, or it contradicts itself; None if nothing.

    Raises Locked if another process has the file open.
    """
    _write_log(examined, log)
    try:
        with Connection(examined, read_only=True) as connection:
            if not schema.is_new(connection):
                broken = connection.execute(sql.all_contradictions.text)
                if broken:
                    return Damaged(f"it contradicts itself: {broken[0][0]}, {broken[0][1]}, {broken[0][2]}")
    except Locked:
        raise
    except RowmillError as error:
        return error
    except duckdb.Error as error:
        return engine_errors.opening_error(error, examined)
    return None


def find_recovery(path: Path) -> Recovery | None:
    """The most that can be had of a database whose log is damaged; None if the file itself is. Changes nothing."""
    content = log_of(path).read_bytes() if log_of(path).is_file() else b""
    with examining(path) as examined:
        if open_error(examined, None) is not None:
            return None
        reason = open_error(examined, content)
        log, header = _readable(path, content, examined)
        ends = [log.header_end, *log.commits]
        kept = _longest(examined, content, ends, header)
        end = ends[kept]
        all_ends = sorted({*log.commits, *log.later_commits})
        lost = [place for place in all_ends if place > end]
        lost_calls = _lost_calls(examined, content, log.header_end, header, end, lost) if lost else {}
        _write_log(examined, _cut(content, log.header_end, header, end))
        unfinished = _asked(examined, sql.unfinished_row_groups.text)
    return Recovery(
        log_bytes=end if kept else 0,
        header=header,
        header_end=log.header_end,
        commits_kept=kept,
        commits_lost=len(lost) if log.is_known else None,
        reason=_first_sentence(reason),
        lost_calls=lost_calls,
        unfinished=unfinished or {},
    )


def _readable(path: Path, content: bytes, examined: Path) -> tuple[Log, bytes | None]:
    """The log, and the header it must get if its own is damaged. The log of another database stays one."""
    log = read_log(path) or Log(0, 0, (), 0, ())
    own = header_for(path)
    if own is None or not log.is_known or content[: len(own)] == own:
        return log, None
    if not is_of_this_checkpoint(content, log.header_end, own):
        return log, None
    if log.header_end and sum(ours != its for ours, its in zip(own, content, strict=False)) > _MOST_DAMAGED:
        return log, None
    mended = read_log(path, header_end=len(own))
    assert mended is not None
    if mended.commits and open_error(examined, own + content[len(own) : mended.commits[0]]) is None:
        return mended, own
    return log, None


def _longest(examined: Path, content: bytes, ends: list[int], header: bytes | None) -> int:
    """How many commits can be replayed: all before that many can, none after it."""

    def opens(commits: int) -> bool:
        return open_error(examined, _cut(content, ends[0], header, ends[commits])) is None

    low, high = 0, len(ends) - 1
    if not high or not ends[0] or opens(high):
        return high if ends[0] else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if opens(middle) else (low, middle)
    return low


def _cut(content: bytes, header_end: int, header: bytes | None, end: int) -> bytes | None:
    """The log up to ``end``, with another header if one is given; None if no commit is left of it."""
    if end <= header_end:
        return None
    return (header if header is not None else content[:header_end]) + content[header_end:end]


def _write_log(examined: Path, log: bytes | None) -> None:
    target = log_of(examined)
    if log is None:
        target.unlink(missing_ok=True)
    else:
        target.write_bytes(log)


def _lost_calls(
    examined: Path, content: bytes, header_end: int, header: bytes | None, end: int, lost: list[int]
) -> dict[int, int] | None:
    """Calls on record in the lost commits per row group: what a replay without the damaged commit shows.

    Such a replay is good for nothing else, and may bring the engine down: it happens in a process of its own.
    """
    before = _cut(content, header_end, header, end) or (header if header is not None else content[:header_end])
    _write_log(examined, before if end > header_end else None)
    known = _asked(examined, sql.recorded_calls.text)
    if known is None or len(lost) < 2:
        return None
    _write_log(examined, before + content[lost[0] : lost[-1]])
    command = [sys.executable, "-m", "rowmill.store.repair.recovery", str(examined)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_READ_LOST_S, check=True, text=True)
        found = {int(row_group): calls for row_group, calls in json.loads(done.stdout).items()}
    except (subprocess.SubprocessError, OSError, ValueError):
        return None  # the replay failed, as it may: nothing is known then
    counted = {row_group: calls - known.get(row_group, 0) for row_group, calls in found.items()}
    return {row_group: calls for row_group, calls in sorted(counted.items()) if calls > 0}


def _asked(examined: Path, query: str) -> dict[int, int] | None:
    try:
        with Connection(examined, read_only=True) as connection:
            if schema.is_new(connection):
                return {}
            return {int(row_group): int(count) for row_group, count in connection.execute(query)}
    except (RowmillError, duckdb.Error):
        return None  # an older file may lack what the query asks, a damaged one may not answer: nothing is known then


def put_back(held: HeldFile, recovery: Recovery) -> None:
    """Cuts the log of a held file to what can be kept, durably and at once. Copy it aside before.

    Raises WriteFailed or UsageError.
    """
    log = held.log
    written = log.with_name(f".{log.name}.{os.getpid()}.new")
    try:
        if not recovery.log_bytes:
            log.unlink(missing_ok=True)
        else:
            kept = _cut(log.read_bytes(), recovery.header_end, recovery.header, recovery.log_bytes)
            assert kept is not None
            written.unlink(missing_ok=True)  # of a process that died, and that had the number this one has now
            with written.open("xb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(log, written)
            os.replace(written, log)
        sync_directory(log.parent)
    except OSError as error:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        raise copy_error(error, log) from error


def _first_sentence(error: RowmillError | None) -> str:
    if error is None:
        return "nothing"
    cause = error.__cause__ if error.__cause__ is not None else error
    return str(cause).strip().splitlines()[0]


if __name__ == "__main__":
    counted = _asked(Path(sys.argv[1]), sql.recorded_calls.text)
    if counted is None:
        sys.exit(1)
    print(json.dumps(counted))
