"""``rowmill rerun``: make cells of a column again."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.place import confirm, database_argument, existing_database
from rowmill.counted import plural


@click.command()
@database_argument
@click.option("--column", required=True, metavar="NAME", help="The column to make again.")
@click.option("--where", metavar="SQL", help="Only rows for which this condition on their columns holds.")
@click.option("--dry-run", is_flag=True, help="Say what would be made again; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(database: Path | None, column: str, where: str | None, dry_run: bool, yes: bool) -> None:
    """Make a column again, for all rows or some, and with it everything that depends on it.

    All other values stay. The rows leave the dataset and come back as the next run makes them. To keep the old
    values as well, fork the run first. Without DATABASE, the only *.duckdb file of the current directory is meant.

    \b
    Example:
      rowmill rerun penguins.duckdb --column review --where "length(review) < 20"
    """
    import time

    from rowmill.engine.reopening import rerun

    path = existing_database(database)
    looked = rerun(path, column, where, time.time(), dry_run=True)
    which = f" where {where}" if where else ""
    if not looked.rows:
        tell(f"No row{which} has a cell of column '{column}': nothing to make again.")
        return
    what = f"{', '.join(looked.columns)} of {plural(looked.rows, 'row')}{which}"
    if dry_run:
        tell(f"Would be made again: {what}.")
        return
    confirm(f"Make again: {what}?", yes)
    reopened = rerun(path, column, where, time.time())
    tell(
        f"{plural(reopened.rows, 'row')} wait for {', '.join(reopened.columns)}.\n"
        f"Next:\n  rowmill run {path}    makes them again"
    )
