"""``rowmill drop``: give rows up by hand."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument, existing_database
from rowmill.cli.steering import answer_option, say_answer
from rowmill.errors import UsageError


@click.command()
@database_argument
@click.option("--rows", "row_ids", metavar="ROWS", help="Rows by row_id: 3,17,100-199.")
@click.option("--where", metavar="CONDITION", help="Rows of the view live_row that meet this condition, in SQL.")
@click.option("--reason", default="dropped by hand", show_default=True, help="Kept with the rows.")
@click.option("--dry-run", is_flag=True, help="Say how many rows it would be; change nothing.")
@click.option("--yes", is_flag=True, help="Drop them without asking.")
@answer_option
def command(
    database: Path | None,
    row_ids: str | None,
    where: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
    answer_format: str,
) -> None:
    """Give up rows that are worked on: their running calls are cut off, they go to dropped_row with the reason.

    Finished rows, and rows that have not entered yet, stay. Without DATABASE, the only *.duckdb file of the
    current directory.

    \b
    Example:
      rowmill drop --rows 17,100-199 --reason "source withdrawn" --yes
      rowmill drop --where "row_id in (select row_id from deferred_task where attempts > 2)" --dry-run
    """
    from rowmill.inspect.hands import drop_rows
    from rowmill.inspect.selection import parsed_ranges

    ranges = parsed_ranges(row_ids) if row_ids is not None else None
    path = existing_database(database)
    if not yes or dry_run:
        found = drop_rows(path, ranges=ranges, where=where, dry_run=True)
        if found.rows and not dry_run:
            raise UsageError(f"{found.message} Add --yes to do it.")
        say_answer("drop", found, answer_format)
        return
    say_answer("drop", drop_rows(path, ranges=ranges, where=where, reason=reason), answer_format)
