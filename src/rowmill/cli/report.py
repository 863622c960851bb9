"""``rowmill report``: one HTML file about a run and its dataset."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.figures import short_count
from rowmill.cli.logs import tell
from rowmill.cli.output import mode_option
from rowmill.cli.place import database_argument, existing_database

_TIME_LIMIT_S = 600.0
"""Of each query beside a living run: a report may read the whole dataset."""


@click.command()
@database_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: <name>.html in the current directory.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@mode_option
def command(database: Path | None, output: Path | None, force: bool, mode: int | None) -> None:
    """Draw a run and its dataset: progress, throughput, cost, failures, the graph, what each column holds.

    Writes one HTML file that needs no network. Without DATABASE, the only *.duckdb file of the current directory.
    It holds sample rows and the most frequent values of each column: share it as you would share the dataset.

    \b
    Example:
      rowmill report penguins.duckdb
      rowmill report --output report.html --force
    """
    from rowmill.inspect.opening import open_reader
    from rowmill.report.page import write_report

    path = existing_database(database)
    with open_reader(path, _TIME_LIMIT_S) as reader:
        file = output if output is not None else Path(f"{reader.status().name}.html")
        size = write_report(reader, file, force=force, database=path, mode=mode)
    tell(f"Wrote {file} ({short_count(size)} bytes).")
