"""``rowmill drop``: give rows up by hand."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.figures import plural
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
    from rowmill.inspect.selection import live_rows, parsed_ranges
    from rowmill.inspect.steering import steer
    from rowmill.store.turn.control_request import ControlAnswer

    if (row_ids is None) == (where is None):
        raise UsageError('Say which rows: --rows 3,17,100-199 or --where "a condition".')
    path = existing_database(database)
    found = live_rows(path, where=where, ranges=parsed_ranges(row_ids) if row_ids is not None else None)
    count = sum(last - first + 1 for first, last in found)
    if not count:
        nothing = ControlAnswer("already", "No row that is worked on is meant: nothing to drop.")
        say_answer("drop", nothing, answer_format)
        return
    if dry_run:
        say_answer("drop", ControlAnswer("dry_run", f"{plural(count, 'row')} would be dropped.", count), answer_format)
        return
    if not yes:
        raise UsageError(f"{plural(count, 'row')} would be dropped. Add --yes to do it.")
    say_answer("drop", steer(path, "drop", {"rows": found, "reason": reason}), answer_format)
