"""``rowmill status``: how far a run is, how fast, what it costs, what fails, and what it waits for."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rowmill.cli.figures import count
from rowmill.cli.logs import tell
from rowmill.cli.output import OutputFormat, output_option, say, write_exactly, write_listing
from rowmill.cli.overview import EndpointLine, Fact, endpoints, facts, failures, in_ascii, task_times
from rowmill.cli.place import existing_database
from rowmill.cli.terminal_text import escaped
from rowmill.errors import RowmillError, UsageError

if TYPE_CHECKING:
    from rowmill.cli.progress import Display
    from rowmill.store.reading.status import ColumnProgress, Status

_NESTED = ("columns", "resources", "details")
_PANEL_INTERVAL_S = 1.0
_LINE_INTERVAL_S = 5.0


@click.command()
@click.argument("databases", type=click.Path(path_type=Path), nargs=-1, metavar="[DATABASE...]")
@click.option("-w", "--watch", is_flag=True, help="Keep showing it until the run ends.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Use plain characters only.")
@output_option
@click.pass_context
def command(
    context: click.Context, databases: tuple[Path, ...], watch: bool, ascii_only: bool, output_format: OutputFormat
) -> None:
    """Show how far a run is, how fast, what it costs, what fails and what it waits for. Times are UTC.

    Without DATABASE, the only *.duckdb file of the current directory. csv holds the view run_status
    alone, json and jsonl everything. --watch draws a panel on a terminal and writes a line now and then elsewhere;
    interrupting it leaves the run alone. Of several, such as the shards of a run, it shows each in a line and what they
    are together; one that cannot be read is named, and the exit code is that of its error.

    \b
    Example:
      rowmill status penguins.duckdb
      rowmill status --watch
      rowmill status --format json
      rowmill status penguins-*-of-16.duckdb
    """
    if len(databases) > 1:
        context.exit(_several(databases, output_format, watch=watch, ascii_only=ascii_only))
    path = existing_database(databases[0] if databases else None)
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


def _several(paths: Sequence[Path], output_format: OutputFormat, *, watch: bool, ascii_only: bool) -> int:
    """Shows several run databases and their sum; returns the exit code."""
    if watch:
        raise UsageError("--watch looks at one run database. For several, ask 'rowmill status' again and again.")
    from rowmill.store.reading.status_sum import status_sum

    found, failed = _read_several(paths)
    for path, error in failed.items():
        tell(f"{escaped(str(path))} is not counted: {escaped(str(error))}")
    exit_code = next((error.exit_code for error in failed.values()), 0)
    if not found:
        return exit_code
    together = status_sum(list(found.values()))
    if output_format is OutputFormat.CSV:
        _write_csv(*found.values())
    elif output_format is not OutputFormat.TABLE:
        shards = [_facts(status) | {"database": str(path)} for path, status in found.items()]
        unread = [{"database": str(path), "error": str(error)} for path, error in failed.items()]
        _write_json(together, output_format, databases=shards, unread=unread)
    else:
        headings = ["database", "state", "rows", "finished", "dropped", "requests"]
        rows = [
            [
                escaped(str(path)),
                each.state,
                *map(count, (each.records, each.rows_finished, each.rows_dropped, each.requests)),
            ]
            for path, each in found.items()
        ]
        say("\n".join([*_aligned(headings, rows), ""]))
        _print(together, ascii_only=ascii_only)
    return exit_code


def _read_several(paths: Sequence[Path]) -> tuple[dict[Path, Status], dict[Path, RowmillError]]:
    from rowmill.inspect.opening import open_reader

    found: dict[Path, Status] = {}
    failed: dict[Path, RowmillError] = {}
    for path in dict.fromkeys(paths):
        try:
            with open_reader(existing_database(path)) as reader:
                found[path] = reader.detailed_status(time.time())
        except RowmillError as error:  # the others can be told of all the same
            failed[path] = error
    return found, failed


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


def _facts(status: Status) -> dict[str, Any]:
    return {name: value for name, value in asdict(status).items() if name not in _NESTED}


def _write_csv(*statuses: Status) -> None:
    import pyarrow as pa

    rows = [_facts(status) for status in statuses]
    write_listing(pa.table({name: pa.array([row[name] for row in rows]) for name in rows[0]}), OutputFormat.CSV)


def _write_json(status: Status, output_format: OutputFormat, **more: object) -> None:
    import json

    values = asdict(status) | more
    values |= values.pop("details") or {}
    text = json.dumps(values, default=_json_value, ensure_ascii=False)
    write_exactly(f"[\n{text}\n]\n" if output_format is OutputFormat.JSON else f"{text}\n")


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
