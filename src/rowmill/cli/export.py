"""``rowmill export``: the finished rows as a file."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from rowmill.cli.figures import count, plural
from rowmill.cli.place import database_argument, existing_database
from rowmill.export.format import ExportFormat, format_of

_TERMINATED = 128 + signal.SIGTERM


@click.command()
@database_argument
@click.option(
    "--format",
    "file_format",
    type=click.Choice(ExportFormat, case_sensitive=False),
    help="Default: told by the ending of --output, otherwise parquet.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), help="Default: <name>.<format>. - is stdout."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(database: Path | None, file_format: ExportFormat | None, output: Path | None, force: bool) -> None:
    """Write the finished rows to a file, whole or not at all; a run that is not complete can be exported too.

    Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill export penguins.duckdb --format jsonl
      rowmill export --output penguins.parquet --force
    """
    from rowmill.export.dataset import export_dataset, write_dataset
    from rowmill.inspect.opening import open_reader

    path = existing_database(database)
    signal.signal(signal.SIGTERM, _clean_up_and_exit)
    is_stream = output == Path("-")
    if file_format is None:
        file_format = ExportFormat.PARQUET if output is None or is_stream else format_of(output)
    with open_reader(path) as reader:
        status = reader.status()
        if is_stream:
            rows = write_dataset(reader, sys.stdout.buffer, file_format, is_pipe=True)
            target = "stdout"
        else:
            file = output if output is not None else Path(f"{status.name}.{file_format}")
            protected = reader.seed_files()
            rows = export_dataset(reader, file, file_format, force=force, database=path, protected=protected).rows
            target = str(file)
    message = f"Exported {count(rows)} of {plural(status.records, 'row')} to {target}"
    dropped = f"; {count(status.rows_dropped)} dropped (rowmill show dropped)" if status.rows_dropped else ""
    left = status.records - rows - status.rows_dropped
    going_on = "the run works on them" if status.state == "running" else f"rowmill run {path} goes on"
    unfinished = f"; {count(left)} not finished yet ({going_on})" if left > 0 else ""
    click.echo(f"{message}{dropped}{unfinished}.", err=True)


def _clean_up_and_exit(_signal: int, _frame: FrameType | None) -> None:
    # As an exception it passes through the export, which takes its temporary file away.
    raise SystemExit(_TERMINATED)
