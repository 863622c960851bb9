"""Progress on a terminal: a live panel, for ``rowmill run`` and for ``rowmill status --watch``.

It fits the terminal it finds: two halves side by side from 120 columns on, everything below one another in 80, the
least that still tells the truth in 40. The characters are those the stream can show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rowmill.cli.figures import count, share
from rowmill.cli.overview import EndpointLine, Fact, endpoints, facts, failures, in_ascii
from rowmill.cli.pace import Pace, Pacemaker
from rowmill.cli.progress import DRAINING
from rowmill.cli.terminal_text import escaped, safe_message

if TYPE_CHECKING:
    from rowmill.store.reading.status import ColumnProgress, Status

WIDE = 120
NARROW = 60
_FEWEST_COLUMNS = 3


class Panel:
    """Draws each status it is shown over the one before, on ``stream``."""

    def __init__(self, stream: TextIO, *, ascii_only: bool = False, shows_elapsed: bool = True) -> None:
        self._pacemaker = Pacemaker()
        self._started_s = time.monotonic()
        self._shows_elapsed = shows_elapsed
        # Drawn only when a status arrives: no thread of rich's own beside the run.
        self._live = Live(console=console_on(stream, ascii_only=ascii_only), auto_refresh=False)
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
        self.write(DRAINING)

    def write(self, line: str) -> None:
        """Writes a line above the panel. Any thread may call it."""
        if not self._is_lost:
            try:
                self._live.console.print(Text(safe_message(line)))
            except OSError:
                self._is_lost = True

    def show(self, status: Status) -> None:
        """Draws the panel. Stops doing so when the terminal is gone."""
        if self._is_lost:
            return
        now_s = time.monotonic()
        pace = self._pacemaker.observe(status, now_s)
        elapsed_s = now_s - self._started_s if self._shows_elapsed else None
        try:
            width, height = self._live.console.size
            drawn = panel(status, datetime.now(UTC), width, height, pace, elapsed_s)
            self._live.update(drawn, refresh=True)
        except OSError:
            self._is_lost = True


def console_on(stream: TextIO, *, ascii_only: bool = False) -> Console:
    """A console that writes to ``stream`` what that can show."""
    if ascii_only or not (stream.encoding or "").lower().startswith("utf"):
        stream = _AsciiStream(stream)  # type: ignore[assignment]  # all of a stream that rich asks for
    return Console(file=stream, highlight=False)


class _AsciiStream:
    """A text stream that shows ASCII alone, whatever is written to it."""

    encoding = "ascii"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Passes the text on in ASCII."""
        return self._stream.write(in_ascii(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


def panel(
    status: Status,
    now: datetime,
    width: int,
    height: int,
    pace: Pace | None = None,
    elapsed_s: float | None = None,
) -> Frame:
    """The panel of one status for a terminal of that size; columns that find no room are counted."""
    lines = facts(status, now, pace, elapsed_s)
    wrong = failures(status)
    pools = endpoints(status, now)
    inner = width - 4
    if width >= WIDE:
        half = (inner - 3) // 2
        body: RenderableType = _side_by_side(
            [_facts(lines), _failures(wrong)],
            [_columns(status.columns, max(height - len(pools) - 5, _FEWEST_COLUMNS), half), _endpoints(pools, half)],
        )
    else:
        if width < NARROW:
            lines = [fact for fact in lines if fact.label in _ESSENTIAL or fact.is_warning]
        others = 2 + len(wrong) + len(pools) + 2 * bool(pools) + bool(wrong)
        lines = _that_fit(lines, inner, height - others - _FEWEST_COLUMNS - 2)
        room = max(height - others - _height_of(lines, inner) - 2, _FEWEST_COLUMNS)
        body = _spaced(
            [_facts(lines), _columns(status.columns, room, inner), _endpoints(pools, inner), _failures(wrong)]
        )
    title = Text(f"{escaped(status.name)}: {status.state}", style=_STATE_STYLES.get(status.state, ""))
    return Frame(body, title=title, title_align="left", width=width)


_ESSENTIAL = {"rows", "time left", "cost", "budget", "stopped"}
_LEAST_MISSED = ("time", "row groups", "usage", "pace")
"""Facts a low terminal leaves out, in this order."""
_STATE_STYLES = {"running": "bold green", "finished": "bold green", "paused": "bold yellow", "stopped": "bold yellow"}
_LABEL_WIDTH = 10


def _that_fit(lines: list[Fact], width: int, height: int) -> list[Fact]:
    """The lines without the least important ones, until they need no more than ``height``."""
    for label in _LEAST_MISSED:
        if _height_of(lines, width) <= height:
            break
        lines = [fact for fact in lines if fact.label != label]
    return lines


def _height_of(lines: Iterable[Fact], width: int) -> int:
    """Lines on the terminal, wrapping at words reckoned as a little narrower."""
    room = max(width - _LABEL_WIDTH - 6, 10)
    return sum(1 + (len(fact.text) - 1) // room for fact in lines)


def _side_by_side(left: list[Table], right: list[Table]) -> Table:
    table = Table.grid(padding=(0, 3), expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(_spaced(left), _spaced(right))
    return table


def _spaced(tables: Iterable[Table]) -> Group:
    """The tables that have rows, with a line between them."""
    parts: list[RenderableType] = []
    for table in tables:
        if table.row_count:
            parts += [Text(), table] if parts else [table]
    return Group(*parts)


def _facts(lines: Iterable[Fact]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=_LABEL_WIDTH)
    table.add_column()
    for fact in lines:
        table.add_row(fact.label, Text(fact.text, style="yellow" if fact.is_warning else ""))
    return table


def _failures(lines: Iterable[Fact]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=_LABEL_WIDTH)
    table.add_column(overflow="ellipsis", no_wrap=True)
    for fact in lines:
        table.add_row(fact.label, Text(fact.text, style="red" if fact.is_warning else "yellow"))
    return table


def _columns(columns: Sequence[ColumnProgress], room: int, width: int) -> Table:
    is_narrow = width < NARROW - 4
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("column", overflow="ellipsis", no_wrap=True, max_width=max(width // 3, 8))
    bar = max(min(width // 4, 24), 8)
    if not is_narrow:
        table.add_column("", width=bar)
        table.add_column("cells", justify="right", no_wrap=True)
    table.add_column("done", justify="right", no_wrap=True)
    has_deferred = any(column.deferred for column in columns)
    has_skipped = not is_narrow and any(column.skipped for column in columns)
    if has_deferred:
        table.add_column("deferred", justify="right", no_wrap=True)
    if has_skipped:
        table.add_column("skipped", justify="right", no_wrap=True)
    shown = list(columns)
    if len(columns) > room:
        # Sorting is stable: columns still at work first, each kind in declaration order.
        shown = sorted(columns, key=lambda column: column.waiting + column.deferred == 0)[: room - 1]
    for column in shown:
        settled = column.done + column.skipped + column.dropped
        cells: list[RenderableType] = [Text(escaped(column.column_name))]
        if not is_narrow:
            completed = settled if column.cells else 1
            cells.append(ProgressBar(total=max(column.cells, 1), completed=completed, width=bar))
            cells.append(f"{count(settled)}/{count(column.cells)}")
        cells.append(share(settled, column.cells))
        if has_deferred:
            cells.append(Text(_or_blank(column.deferred), style="yellow"))
        if has_skipped:
            cells.append(_or_blank(column.skipped))
        table.add_row(*cells)
    if len(columns) > len(shown):
        table.add_row(Text(f"… {len(columns) - len(shown)} more", style="dim"))
    return table


def _endpoints(pools: Sequence[EndpointLine], width: int) -> Table:
    """One line each; where there is no room for both, a cool-down takes the place of the recent pace."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    longest = max((len(pool.name) for pool in pools), default=0)
    room = max(min(longest, width // 3), len("endpoint"))
    table.add_column("endpoint", overflow="ellipsis", no_wrap=True, min_width=room, max_width=room)
    busy = "busy" if width < NARROW - 4 else "in flight"
    for heading, cells in ((busy, [pool.in_flight for pool in pools]), ("limit", [pool.limit for pool in pools])):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, [heading, *cells])))
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for pool in pools:
        now = Text(pool.state, style="yellow") if pool.state else Text(pool.pace)
        if pool.state and pool.pace and width >= WIDE // 2:
            now.append(f", {pool.pace}", style="none")
        table.add_row(Text(pool.name), pool.in_flight, pool.limit, now)
    return table


def _or_blank(number: int) -> str:
    return count(number) if number else ""
