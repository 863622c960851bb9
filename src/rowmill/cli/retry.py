"""``rowmill retry``: dropped rows get another chance, deferred tasks get it at once."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.place import database_argument, existing_database
from rowmill.errors import UsageError


@click.command()
@database_argument
@click.option("--dropped", is_flag=True, help="Dropped rows.")
@click.option("--deferred", is_flag=True, help="Deferred tasks, without waiting for their time.")
@click.option(
    "--where",
    metavar="SQL",
    help="Only those that meet this condition: on dropped_row and the rows' values, or on deferred_task.",
)
@click.option("--dry-run", is_flag=True, help="Say how many; change nothing.")
def command(database: Path | None, dropped: bool, deferred: bool, where: str | None, dry_run: bool) -> None:
    """Bring dropped rows back, also of finished row groups: a run that works, or the next one, tries them again. Or
    end the waiting of deferred tasks: they are ready at once.

    Rows keep every value they had: only what is missing is generated; of rows that were found invalid, what was judged
    is made again. Without DATABASE, the only *.duckdb file of the
    current directory is meant.

    \b
    Example:
      rowmill retry penguins.duckdb --dropped
      rowmill retry penguins.duckdb --dropped --where "reason = 'retries_exhausted'"
      rowmill retry --dropped --where "judge.politeness.score = 1"
      rowmill retry --deferred --where "error_type = 'Timeout'"
    """
    if dropped == deferred:
        raise UsageError("Say what to retry: 'rowmill retry DATABASE --dropped', or --deferred.")
    from rowmill.inspect.hands import retry_deferred, retry_dropped

    path = existing_database(database)
    if deferred:
        tell(retry_deferred(path, where, dry_run=dry_run).message)
        return
    answer = retry_dropped(path, where, dry_run=dry_run)
    tell(answer.message)
    if answer.outcome == "applied":
        tell(f"Next:\n  rowmill run {path}    tries them again; a process that works on it does it anyway")
