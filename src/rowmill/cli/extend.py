"""``rowmill extend``: plan more rows."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.place import database_argument, existing_database
from rowmill.counted import plural


@click.command()
@database_argument
@click.option("--records", required=True, type=click.IntRange(min=0), metavar="N", help="Rows in all, not rows more.")
@click.option(
    "--row-group-size", type=click.IntRange(min=1), metavar="N", help="Rows of a new row group. Default: as before."
)
@click.option("--dry-run", is_flag=True, help="Say what would be planned; change nothing.")
def command(database: Path | None, records: int, row_group_size: int | None, dry_run: bool) -> None:
    """Plan more rows; the next run makes them. Rows that are there stay as they are.

    A run database can be extended any number of times, but not cut. Without DATABASE, the only *.duckdb file of the
    current directory is meant.

    \b
    Example:
      rowmill extend penguins.duckdb --records 5000
      rowmill run penguins.duckdb
    """
    import time

    from rowmill.engine.reopening import extend

    path = existing_database(database)
    before, after = extend(path, records, row_group_size, time.time(), dry_run=dry_run)
    if before == after:
        tell(f"{path} already has {plural(after, 'record')}.")
    elif dry_run:
        tell(f"{path} would go from {before:,} to {plural(after, 'record')}.")
    else:
        tell(
            f"{path} goes from {before:,} to {plural(after, 'record')}.\nNext:\n  rowmill run {path}    "
            f"makes the new rows\n"
            f"  (a spec file needs 'records: {after}' to go on with this run database)"
        )
