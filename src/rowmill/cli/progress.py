"""Progress without a terminal: one plain line every few seconds."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from rowmill.cli.figures import count, duration, money, rate, share, short_count
from rowmill.cli.pace import Pace, Pacemaker
from rowmill.cli.terminal_text import escaped
from rowmill.counted import plural

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status


DRAINING = "Stopping: waiting for the running calls to finish. Interrupt again to cut them off."


class Display(Protocol):
    """Something that shows a run's statuses while it works; a context manager."""

    def show(self, status: Status) -> None:
        """Shows a status. Never raises because of the terminal: a run goes on without its display."""
        ...

    def draining(self) -> None:
        """Says that the run stops once the running calls have finished."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LogLines:
    """A line for each status it is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pacemaker = Pacemaker()
        self._is_lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, status: Status) -> None:
        """Prints the line. Stops doing so when the stream is gone."""
        self._print(progress_line(status, self._pacemaker.observe(status, time.monotonic())))

    def draining(self) -> None:
        """Prints that the run stops."""
        self._print(DRAINING)

    def _print(self, line: str) -> None:
        if self._is_lost:
            return
        try:
            self._stream.write(f"{datetime.now(UTC):%H:%M:%S} UTC {escaped(line)}\n")
            self._stream.flush()
        except OSError:
            self._is_lost = True


class LogRecords:
    """A log record for each status it is shown, whatever the level of the logger: somebody asked for progress."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self._pacemaker = Pacemaker()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, status: Status) -> None:
        """Hands on the record: the line that people get, and the counts as fields."""
        pace = self._pacemaker.observe(status, time.monotonic())
        fields = {name: getattr(status, name) for name in _FIELDS} | {"cells_per_s": round(pace.cells_per_s, 1)}
        self._emit(logging.INFO, progress_line(status, pace), fields)

    def draining(self) -> None:
        """Hands on that the run stops."""
        self._emit(logging.WARNING, DRAINING, {})

    def _emit(self, level: int, message: str, fields: dict[str, object]) -> None:
        record = logging.makeLogRecord(
            {"name": "rowmill.progress", "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
        )
        vars(record).update(fields)
        self._handler.handle(record)


_FIELDS = ("state", "records", "rows_finished", "rows_dropped", "requests", "input_tokens", "output_tokens", "cost_usd")


def progress_line(status: Status, pace: Pace) -> str:
    """One status as one line of text."""
    ahead = status.barrier_ahead
    if ahead is None:
        far = share(status.rows_finished, status.records)
    else:
        far = f"{status.cells_made} of the cells; rows wait for '{ahead.column_name}'"
    parts = [f"{count(status.rows_finished)}/{count(status.records)} rows ({far})"]
    if pace.cells_per_s:
        parts.append(f"{rate(pace.cells_per_s)} cells/s")
    left_s = status.details.pace.seconds_left if status.details is not None else pace.seconds_left
    if left_s is not None:
        parts.append(f"ETA {duration(left_s)}")
    if status.requests:
        parts.append(f"{plural(status.requests, 'request')}")
        parts.append(f"{short_count(status.input_tokens)} + {short_count(status.output_tokens)} tokens")
    if status.cost_usd:
        parts.append(money(status.cost_usd))
    parts.append(f"{count(sum(resource.in_flight for resource in status.resources))} in flight")
    deferred = sum(column.deferred for column in status.columns)
    if deferred:
        parts.append(f"{count(deferred)} deferred")
    if status.rows_dropped:
        parts.append(f"{count(status.rows_dropped)} dropped")
    return ", ".join(parts)
