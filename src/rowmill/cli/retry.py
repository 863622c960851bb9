"""``rowmill retry``: dropped rows get another chance."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument, existing_database
from rowmill.errors import UsageError


@click.command()
@database_argument
@click.option("--dropped", is_flag=True, help="Dropped rows.")
@click.option("--where", metavar="SQL", help="Only those for which this condition on the view dropped_row holds.")
@click.option("--dry-run", is_flag=True, help="Say how many rows; change nothing.")
def command(database: Path | None, dropped: bool, where: str | None, dry_run: bool) -> None:
    """Bring dropped rows back, also of finished row groups; the next run tries them again.

    They keep every value they had: only what is missing is generated. Without DATABASE, the only *.duckdb file of the
    current directory is meant.

    \b
    Example:
      rowmill retry penguins.duckdb --dropped
      rowmill retry penguins.duckdb --dropped --where "reason = 'retries_exhausted'"
    """
    import time

    from rowmill.engine.reopening import retry_dropped

    if not dropped:
        raise UsageError("Say what to retry: 'rowmill retry DATABASE --dropped'.")
    path = existing_database(database)
    reopened = retry_dropped(path, where, time.time(), dry_run=dry_run)
    which = f" where {where}" if where else ""
    if not reopened.rows:
        click.echo(f"{path} has no dropped rows{which}: nothing to bring back.", err=True)
    elif dry_run:
        click.echo(f"{reopened.rows:,} dropped rows{which} would come back.", err=True)
    else:
        click.echo(
            f"{reopened.rows:,} dropped rows{which} are back.\nNext:\n  rowmill run {path}    tries them again",
            err=True,
        )
