"""``rowmill show``: ready-made listings of a run database."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.output import OutputFormat, output_option, write_listing
from rowmill.cli.place import database_argument, existing_database

_LISTINGS = (
    "rows", "groups", "ready", "deferred", "dropped", "attempts", "events", "usage", "resources", "admission",
)  # fmt: skip


@click.command()
@click.argument("what", type=click.Choice(_LISTINGS), metavar="WHAT")
@database_argument
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Greatest number of rows; 0: all."
)
@output_option
def command(what: str, database: Path | None, limit: int, output_format: OutputFormat) -> None:
    """List WHAT of a run: rows, groups, ready, deferred, dropped, attempts, events, usage, resources, admission.

    Without DATABASE, the only *.duckdb file of the current directory. Times are UTC.

    \b
    Example:
      rowmill show dropped
      rowmill show attempts penguins.duckdb --limit 20 --format json
    """
    from rowmill.store.reader import Reader
    from rowmill.store.statements import statement

    listing = statement(f"show_{what}").text
    with Reader.open(existing_database(database)) as reader:
        rows = reader.table(listing, {"limit": limit + 1 if limit else None})
    write_listing(rows.slice(0, limit) if limit else rows, output_format)
    if limit and rows.num_rows > limit:
        click.echo(f"Only the first {limit:,} are shown; --limit 0 shows all.", err=True)
