"""Where the run stands, read once for all open pages: about once a second while somebody looks, never otherwise.

A living run is asked over one connection that stays. A file that nobody works on is read again only when it has
changed; between two looks it is free.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rowmill.errors import RowmillError
from rowmill.inspect.message import HolderGone
from rowmill.inspect.place import live_place
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.listing import Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import Status
from rowmill.ui.door import Door
from rowmill.ui.threads import in_thread
from rowmill.value.python_value import python_rows

sql = statements_of("reading/report")

INTERVAL_S = 1.0
"""Between two looks: pages are told no more often."""
_DETAILS_INTERVAL_S = 4.0
"""Between two looks at the graph and at events, which a living run answers as queries."""
_EVENTS = 14
_HISTORY = 600
"""Looks that are remembered for the charts: ten minutes."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """What one look saw, for the charts over time."""

    at: float
    """Seconds since the epoch."""
    cells: int
    rows: int
    requests: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Look:
    """Where the run stands, or why nobody can tell. Never both."""

    number: int
    read_at: float
    status: Status | None = None
    error: str | None = None
    graph: Rows = field(default_factory=list)
    events: Rows = field(default_factory=list)
    history: tuple[Point, ...] = ()


class Pulse:
    """Looks at a run for everybody who wants to know. Used on one event loop."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._living: Reader | None = None
        self._looking = asyncio.Lock()
        self._news = asyncio.Condition()
        self._latest: Look | None = None
        self._signature: object = None
        self._details_at = 0.0
        self._history: deque[Point] = deque(maxlen=_HISTORY)
        self._watchers = 0
        self._beating: asyncio.Task[None] | None = None
        self.looks = 0
        """How often the run was asked."""

    async def latest(self) -> Look:
        """The run as it is now, or was less than a second ago."""
        async with self._looking:
            now = time.monotonic()
            if self._latest is not None and now - self._looked_at < INTERVAL_S:
                return self._latest
            self._latest = await self._look()
            self._looked_at = time.monotonic()
        async with self._news:
            self._news.notify_all()
        return self._latest

    _looked_at = 0.0

    @property
    def known(self) -> Look | None:
        """What was seen last, however old; None before the first look."""
        return self._latest

    def forget(self) -> None:
        """The run was steered: who asks from now on sees it."""
        self._looked_at = 0.0
        self._details_at = 0.0
        self._signature = None

    async def looks_from(self, seen: int) -> AsyncGenerator[Look, None]:
        """Every look that differs from the one numbered ``seen``, as they come, until nobody wants them."""
        self._watchers += 1
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())
        try:
            while True:
                latest = self._latest
                if latest is not None and latest.number != seen:
                    seen = latest.number
                    yield latest
                async with self._news:
                    if self._latest is latest:
                        await self._news.wait()
        finally:
            self._watchers -= 1

    async def _beat(self) -> None:
        """Looks once a second as long as somebody watches."""
        while self._watchers:
            await self.latest()
            await asyncio.sleep(INTERVAL_S)

    async def _look(self) -> Look:
        signature = _signature(self._door.path)
        if self._latest is not None and self._living is None and signature == self._signature:
            return self._latest
        before = self._latest
        number = before.number + 1 if before is not None else 1
        self.looks += 1
        try:
            found = await self._read(before)
        except RowmillError as error:
            self._signature = None
            if before is not None and before.error == str(error):
                return before
            return Look(number, time.time(), error=str(error), history=tuple(self._history))
        self._signature = signature
        return replace(found, number=number, history=self._remembered(found))

    async def _read(self, before: Look | None) -> Look:
        if self._living is None:
            await self._attach()
        if self._living is not None:
            living = self._living
            try:
                return await in_thread(lambda: self._asked(living, before))
            except HolderGone:
                self._living = None
                await in_thread(living.close)
        self._details_at = 0.0
        return await self._door.ask(lambda reader: self._asked(reader, before))

    async def _attach(self) -> None:
        """Connects to the run that works on the file, if one does."""
        if not live_place(self._door.path).has_socket():
            return
        from rowmill.inspect.client import LiveConnection  # Flight is imported only if there is a need

        path = self._door.path
        try:
            self._living = Reader(await in_thread(lambda: LiveConnection(path)))
        except (HolderGone, OSError):
            self._living = None  # what a killed process left behind, or one that begins or ends

    def _asked(self, reader: Reader, before: Look | None) -> Look:
        now = time.time()
        status = reader.detailed_status(now)
        graph, events = (before.graph, before.events) if before is not None else ([], [])
        if time.monotonic() - self._details_at > _DETAILS_INTERVAL_S or not graph:
            graph = list(python_rows(reader.table(sql.report_graph.text)))
            events = list(python_rows(listing(reader, "events", Selection(limit=_EVENTS)).read_all()))
            self._details_at = time.monotonic()
        return Look(0, now, status, graph=_up_to_date(graph, status), events=events)

    def _remembered(self, look: Look) -> tuple[Point, ...]:
        status = look.status
        if status is not None and status.state in {"running", "paused"}:
            self._history.append(
                Point(
                    look.read_at,
                    sum(column.done + column.skipped for column in status.columns),
                    status.rows_finished,
                    status.requests,
                    sum(resource.in_flight for resource in status.resources),
                )
            )
        return tuple(self._history)

    async def close(self) -> None:
        """Lets a living run go, and tells nobody any more."""
        if self._beating is not None:
            self._beating.cancel()
        if self._living is not None:
            self._living.interrupt()
            self._living.close()
            self._living = None


def _up_to_date(graph: Rows, status: Status) -> Rows:
    """The graph with the counts of a newer status."""
    newest = {column.generator: column for column in status.columns}
    found = []
    for row in graph:
        column = newest.get(row["generator"])
        if column is not None:
            counts = {name: getattr(column, name) for name in ("done", "skipped", "dropped", "deferred", "waiting")}
            row = {**row, **counts}
        found.append(row)
    return found


def _signature(path: Path) -> object:
    """Says whether a file that nobody works on may have changed since, or somebody works on it."""
    place = live_place(path)
    facts: list[object] = [place.announced_pid(), place.has_socket()]
    for file in (path, Path(f"{path}.wal")):
        try:
            found = file.stat()
            facts.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError:
            facts.append(None)
    return tuple(facts)
