"""``rowmill status``: how far a run is, how fast, what it costs, what fails, and what it waits for."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.figures import count
from rowmill.cli.output import OutputFormat, output_option, say, write_exactly, write_listing
from rowmill.cli.overview import EndpointLine, Fact, endpoints, facts, failures, in_ascii, task_times
from rowmill.cli.place import database_argument, existing_database
from rowmill.cli.terminal_text import escaped
from rowmill.errors import UsageError

if TYPE_CHECKING:
    from rowmill.cli.progress import Display
    from rowmill.store.reading.status import ColumnProgress, Status

_NESTED = ("columns", "resources", "details")
_PANEL_INTERVAL_S = 1.0
_LINE_INTERVAL_S = 5.0


@click.command()
@database_argument
@click.option("-w", "--watch", is_flag=True, help="Keep showing it until the run ends.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Use plain characters only.")
@output_option
def command(database: Path | None, watch: bool, ascii_only: bool, output_format: OutputFormat) -> None:
    """Show how far a run is, how fast, what it costs, what fails and what it waits for. Times are UTC.

    Without DATABASE, the only *.duckdb file of the current directory. csv holds the view run_status
    alone, json and jsonl everything. --watch draws a panel on a terminal and writes a line now and then elsewhere;
    interrupting it leaves the run alone.

    \b
    Example:
      rowmill status penguins.duckdb
      rowmill status --watch
      rowmill status --format json
    """
    path = existing_database(database)
    if watch:
        if output_format is not OutputFormat.TABLE:
            raise UsageError("--watch is for people; for programs, ask 'rowmill status --format json' again and again.")
        _watch(path, ascii_only=ascii_only)
        return
    status = _read(path)
    if output_format is OutputFormat.CSV:
        _write_csv(status)
    elif output_format is not OutputFormat.TABLE:
        _write_json(status, output_format)
    elif sys.stdout.isatty():
        _draw(status, ascii_only=ascii_only)
    else:
        _print(status, ascii_only=ascii_only)


def _read(path: Path) -> Status:
    from rowmill.inspect.opening import open_reader

    with open_reader(path) as reader:
        return reader.detailed_status(time.time())


def _watch(path: Path, *, ascii_only: bool) -> None:
    """Shows the status until nothing works on the run any more. The file is never held between two looks."""
    status = _read(path)
    display, interval_s = _display(ascii_only=ascii_only)
    with display:
        display.show(status)
        while status.state in {"running", "paused"}:
            time.sleep(interval_s)
            status = _read(path)
            display.show(status)


def _display(*, ascii_only: bool) -> tuple[Display, float]:
    if sys.stdout.isatty():
        from rowmill.cli.panel import Panel

        return Panel(sys.stdout, ascii_only=ascii_only, shows_elapsed=False), _PANEL_INTERVAL_S
    from rowmill.cli.progress import LogLines

    return LogLines(sys.stdout), _LINE_INTERVAL_S


def _draw(status: Status, *, ascii_only: bool) -> None:
    from rowmill.cli.panel import console_on, panel

    console = console_on(sys.stdout, ascii_only=ascii_only)
    console.print(panel(status, datetime.now(UTC), console.width, 1000))


def _print(status: Status, *, ascii_only: bool) -> None:
    """The same as plain text: lines of a label and what it says, then small tables."""
    now = datetime.now(UTC)
    lines = [Fact("run", escaped(status.name)), Fact("state", status.state), *facts(status, now), *failures(status)]
    texts = [f"{fact.label:<11} {fact.text}" for fact in lines]
    columns: list[ColumnProgress] = list(status.columns)
    if columns:
        names = [field.name for field in fields(columns[0]) if field.name != "generator"]
        rows = [[_cell(getattr(column, name)) for name in names] for column in columns]
        texts += ["", *_aligned([name.removesuffix("_name") for name in names], rows)]
    pools = endpoints(status, now)
    if pools:
        headings = ["endpoint", "in flight", "limit", "recently", "state"]
        texts += ["", *_aligned(headings, [list(pool) for pool in pools])]
    assert len(EndpointLine._fields) == 5
    times = task_times(status)
    if times:
        headings = ["slowest", "tasks", "waited each", "worked each", "longest"]
        texts += ["", *_aligned(headings, [list(time) for time in times])]
    text = "\n".join(texts)
    say(in_ascii(text) if ascii_only or not _is_unicode() else text)


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def _cell(value: object) -> str:
    if isinstance(value, int):
        return count(value)
    return "" if value is None else escaped(str(value))


def _aligned(headings: list[str], rows: list[list[str]]) -> list[str]:
    """Rows under their headings; columns of figures to the right, empty columns left out."""
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    table = [[row[place] for place in kept] for row in [headings, *rows]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = [all(cell[:1].isdigit() or not cell for cell in column[1:]) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]


def _write_csv(status: Status) -> None:
    import pyarrow as pa

    facts = {name: value for name, value in asdict(status).items() if name not in _NESTED}
    write_listing(pa.table({name: pa.array([value]) for name, value in facts.items()}), OutputFormat.CSV)


def _write_json(status: Status, output_format: OutputFormat) -> None:
    import json

    values = asdict(status)
    values |= values.pop("details") or {}
    text = json.dumps(values, default=_json_value, ensure_ascii=False)
    write_exactly(f"[\n{text}\n]\n" if output_format is OutputFormat.JSON else f"{text}\n")


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
