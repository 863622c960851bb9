"""Progress on a terminal: a live panel with rows, columns, endpoints, tokens and cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel as Frame
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rowmill.cli.figures import count, duration, money, rate, share, short_count
from rowmill.cli.output import escaped
from rowmill.cli.pace import Pace, Pacemaker
from rowmill.cli.progress import DRAINING

if TYPE_CHECKING:
    from rowmill.store.status import ColumnProgress, ResourceStatus, Status

_OTHER_LINES = 9
"""Lines of the panel and around it that are neither columns nor resources."""


class Panel:
    """Draws each status it is shown over the one before, on stderr."""

    def __init__(self) -> None:
        self._pacemaker = Pacemaker()
        self._started_s = time.monotonic()
        # Drawn only when a status arrives: no thread of rich's own beside the run.
        self._live = Live(console=Console(stderr=True, highlight=False), auto_refresh=False)
        self._is_lost = False

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_lost:
            self._live.stop()

    def draining(self) -> None:
        """Says above the panel that the run stops."""
        if not self._is_lost:
            try:
                self._live.console.print(DRAINING)
            except OSError:
                self._is_lost = True

    def show(self, status: Status) -> None:
        """Draws the panel. Stops doing so when the terminal is gone."""
        if self._is_lost:
            return
        now_s = time.monotonic()
        pace = self._pacemaker.observe(status, now_s)
        try:
            drawn = panel(status, pace, now_s - self._started_s, datetime.now(UTC), self._live.console.height)
            self._live.update(drawn, refresh=True)
        except OSError:
            self._is_lost = True


def panel(status: Status, pace: Pace, elapsed_s: float, now: datetime, height: int) -> Frame:
    """The panel of one status, in at most ``height`` lines where that is possible."""
    room = max(height - _OTHER_LINES - len(status.resources), 3)
    parts: list[Text | Table] = [_rows(status, pace, elapsed_s), _columns(status.columns, room)]
    if status.resources:
        parts.append(_resources(status.resources, now))
    return Frame(Group(*parts), title=Text(f"{escaped(status.name)}: {status.state}"), title_align="left")


def _rows(status: Status, pace: Pace, elapsed_s: float) -> Text:
    settled = status.rows_finished + status.rows_dropped
    left = "?" if pace.seconds_left is None else duration(pace.seconds_left)
    text = Text()
    text.append(f"{count(status.rows_finished)} of {count(status.records)} rows", style="bold")
    text.append(f" ({share(settled, status.records)})")
    text.append(f", {count(status.rows_dropped)} dropped", style="yellow" if status.rows_dropped else "")
    text.append(f"   {count(status.row_groups_finished)} of {count(status.row_groups)} row groups")
    text.append(f"   {rate(pace.rows_per_s)} rows/s, {rate(pace.cells_per_s)} cells/s")
    text.append(f"   {duration(elapsed_s)} elapsed, ETA {left}\n")
    text.append(
        f"{count(status.requests)} requests   {short_count(status.input_tokens)} tokens in,"
        f" {short_count(status.output_tokens)} out   {money(status.cost_usd)}"
    )
    return text


def _columns(columns: Sequence[ColumnProgress], room: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("column", overflow="ellipsis", no_wrap=True, max_width=32)
    table.add_column("", width=24)
    for heading in ("cells", "deferred", "skipped"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = list(columns)
    if len(columns) > room:
        # Sorting is stable: columns still at work first, each kind in declaration order.
        shown = sorted(columns, key=lambda column: column.waiting + column.deferred == 0)[: room - 1]
    for column in shown:
        settled = column.done + column.skipped + column.dropped
        table.add_row(
            Text(escaped(column.column_name)),
            ProgressBar(total=max(column.cells, 1), completed=settled if column.cells else 1, width=24),
            f"{count(settled)}/{count(column.cells)}",
            Text(_or_blank(column.deferred), style="yellow"),
            _or_blank(column.skipped),
        )
    if len(columns) > len(shown):
        table.add_row(Text(f"… {len(columns) - len(shown)} more", style="dim"))
    return table


def _resources(resources: Sequence[ResourceStatus], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("endpoint or worker pool", overflow="ellipsis", no_wrap=True, max_width=48)
    table.add_column("in flight", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for resource in resources:
        limit = count(resource.learned_limit)
        if resource.learned_limit != resource.configured_limit:
            limit += f" of {count(resource.configured_limit)}"
        table.add_row(Text(escaped(resource.resource)), count(resource.in_flight), limit, _cooling(resource, now))
    return table


def _cooling(resource: ResourceStatus, now: datetime) -> Text:
    until = resource.cooling_until
    if until is None:
        return Text()
    left_s = (until.replace(tzinfo=UTC) - now).total_seconds()
    if left_s <= 0:
        return Text()
    reason = f": {escaped(resource.reason)[:60]}" if resource.reason else ""
    return Text(f"cooling {left_s:.1f} s{reason}", style="yellow")


def _or_blank(number: int) -> str:
    return count(number) if number else ""
