"""Listings: the option ``--format`` every listing has, and what each format looks like.

``json`` is one list of objects, ``jsonl`` an object a line, ``csv`` has a header; these three are
contracts for programs, never shortened, written as :mod:`rowmill.export` writes them. ``table`` is for
people: rich on a terminal, aligned plain text of full width elsewhere; control characters in values
are shown as escapes, so that no value can steer a terminal.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rowmill.cli.choice import Choice
from rowmill.cli.logs import tell
from rowmill.cli.terminal_text import escaped, safe

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_NARROWEST = 16
"""Characters a column of text is folded to at most, before a table turns into records."""
_WIDEST = 160
"""Characters of a line off a terminal. What is wider has its values below one another."""
_PAGE_ROWS = 1_000
"""Rows of a table that are laid out together."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


class OutputFormat(StrEnum):
    """How a listing is written to stdout."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@contextmanager
def stdout_kept_for_data() -> Iterator[None]:
    """What users' functions print meanwhile goes to stderr, even past Python: stdout is for our data."""
    try:
        real = os.dup(1)
    except OSError:
        yield  # started without stdout: there is nothing to keep clean
        return
    sys.stdout.flush()
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def output_option(function: _Function) -> _Function:
    """Adds ``--format`` to a listing; the command receives ``output_format``."""
    return click.option(
        "--format",
        "output_format",
        type=Choice(OutputFormat, case_sensitive=False),
        default=OutputFormat.TABLE.value,
        show_default=True,
        help="How to write the listing.",
    )(function)


def mode_option(function: _Function) -> _Function:
    """Adds ``--mode`` to a command that writes a file of people's data; the command receives ``mode``."""
    return click.option(
        "--mode",
        callback=_mode,
        metavar="OCTAL",
        help="Who may read the file: 640, 644, … Default: as what it replaces, and 600 (nobody else) for a new one.",
    )(function)


def _mode(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or mode & 0o600 != 0o600:
        raise click.BadParameter(f"'{text}' is no mode of a file that its owner reads and writes, such as 640.")
    return mode


def say(text: str) -> None:
    """Writes to stdout what people read: nothing in it steers a terminal. Its last line is ended."""
    click.echo(safe(text))


def write_exactly(text: str) -> None:
    """Writes to stdout what programs read, as it is."""
    click.echo(text, nl=False)


def write_source(text: str) -> None:
    """Writes to stdout what a program reads again (YAML, a drawing): exactly, but to a terminal what is safe there."""
    click.echo(safe(text) if sys.stdout.isatty() else text, nl=False)


def write_listing(
    rows: pa.Table | pa.RecordBatchReader,
    output_format: OutputFormat,
    *,
    as_records: bool = False,
    nothing: str = "No rows.",
) -> int:
    """Writes rows to stdout and returns how many; all formats hold a page of them in memory when given a reader.

    ``as_records`` puts the values of a row below one another where the format is ``table``. Without any row
    ``nothing`` goes to stderr.
    """
    counted = _Counted(_batches(rows))
    if output_format is OutputFormat.TABLE:
        _write_table(rows.schema, counted, as_records=as_records)
    elif output_format is OutputFormat.JSON:
        _write_json(counted)
    else:
        _write_stream(rows.schema, counted, output_format)
    sys.stdout.flush()
    if counted.rows == 0:
        tell(nothing)
    return counted.rows


class _Counted:
    """Passes batches on and counts their rows."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _batches(rows: pa.Table | pa.RecordBatchReader) -> Iterable[pa.RecordBatch]:
    import pyarrow as pa

    batches: Iterable[pa.RecordBatch] = rows.to_batches() if isinstance(rows, pa.Table) else rows
    return batches


def _write_stream(schema: pa.Schema, batches: Iterable[pa.RecordBatch], output_format: OutputFormat) -> None:
    from rowmill.export.format import ExportFormat
    from rowmill.export.writer import open_writer

    writer = open_writer(ExportFormat(output_format.value), sys.stdout.buffer, schema, is_pipe=True)
    try:
        for batch in batches:
            writer.write(batch)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


def _write_json(batches: Iterable[pa.RecordBatch]) -> None:
    from rowmill.value.json_column import json_objects

    stream = sys.stdout.buffer
    stream.write(b"[")
    separator = b"\n"
    for batch in batches:
        for text in json_objects(batch):
            stream.write(separator + text.encode("utf-8"))
            separator = b",\n"
    stream.write(b"]\n" if separator == b"\n" else b"\n]\n")


def _write_table(schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, as_records: bool) -> None:
    numeric = [_is_numeric(field.type) for field in schema]
    headers = [escaped(name) for name in schema.names]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    is_terminal = sys.stdout.isatty()
    widths = [len(header) for header in headers]
    is_first = True
    for page in _pages(schema, batches):
        columns = [_cells(column) for column in page.columns]
        if is_first and not is_terminal:
            # The first page sets the widths: later values may stick out, but nothing is shortened.
            widths = [max(map(len, [header, *cells])) for header, cells in zip(headers, columns, strict=True)]
            as_records = as_records or sum(widths) + 2 * len(widths) > _WIDEST
        if as_records:
            _write_plain_records(headers, columns)
        elif is_terminal:
            _write_rich(headers, columns, numeric)
        else:
            pairs = zip(widths, columns, strict=True)
            widths = [max(width, *map(len, cells)) if cells else width for width, cells in pairs]
            _write_plain(headers if is_first else None, columns, widths, numeric)
        is_first = False


def _pages(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of up to so many rows; one without rows if there are none."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = 0
    is_first = True
    for batch in batches:
        for start in range(0, batch.num_rows, _PAGE_ROWS):
            piece = batch.slice(start, _PAGE_ROWS)
            held.append(piece)
            rows += piece.num_rows
            if rows >= _PAGE_ROWS:
                yield pa.Table.from_batches(held, schema=schema)
                held, rows, is_first = [], 0, False
    if held or is_first:
        yield pa.Table.from_batches(held, schema=schema)


def _cells(column: pa.ChunkedArray) -> list[str]:
    from rowmill.value.python_value import python_values
    from rowmill.value.text_column import text_column

    texts: list[str] = []
    for chunk in column.chunks:
        values = python_values(text_column(chunk))
        texts.extend("" if value is None else escaped(_text(value)) for value in values)
    return texts


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if isinstance(value, float):
        # 0.29599999999999943 is 0.296 and what sums in binary leave: people read the number.
        rounded = str(float(f"{value:.14g}"))
        return rounded if len(rounded) + 3 <= len(text) else text
    return text


def _is_numeric(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if isinstance(kind, pa.OpaqueType):
        return kind.type_name in {"hugeint", "uhugeint", "bignum"}
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _write_plain(headers: list[str] | None, columns: list[list[str]], widths: list[int], numeric: list[bool]) -> None:
    above = [headers, ["-" * width for width in widths]] if headers is not None else []
    for row in [*above, *zip(*columns, strict=True)]:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _write_plain_records(headers: list[str], columns: list[list[str]]) -> None:
    width = max(map(len, headers), default=0)
    for number, row in enumerate(zip(*columns, strict=True)):
        if number:
            sys.stdout.write("\n")
        for header, cell in zip(headers, row, strict=True):
            sys.stdout.write(f"{header.ljust(width)}  {cell}".rstrip() + "\n")


def _write_rich(headers: list[str], columns: list[list[str]], numeric: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths = [max(map(len, [header, *cells])) for header, cells in zip(headers, columns, strict=True)]
    if sum(min(width, _NARROWEST) + 2 for width in widths) > console.width:
        _write_records(console, headers, columns)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header, is_number in zip(headers, numeric, strict=True):
        table.add_column(Text(header), justify="right" if is_number else "left", overflow="fold")
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def _write_records(console: Console, headers: list[str], columns: list[list[str]]) -> None:
    """Rows below one another, a line a value: for tables that no terminal is wide enough for."""
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    for number, row in enumerate(zip(*columns, strict=True), start=1):
        console.print(Rule(Text(f"row {number}"), align="left"))
        record = Table.grid(padding=(0, 2))
        record.add_column(style="bold")
        record.add_column(overflow="fold")
        for header, cell in zip(headers, row, strict=True):
            record.add_row(Text(header), Text(cell))
        console.print(record)
