"""``rowmill cancel``: stop now."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument
from rowmill.cli.steering import answer_option, steer_and_say


@click.command()
@database_argument
@answer_option
def command(database: Path | None, answer_format: str) -> None:
    """Stop a run now: running calls are cut off, what arrived is kept (its exit code is 130).

    As two Ctrl-C there; the calls cut off are made again when 'rowmill run' goes on. Without DATABASE, the only
    *.duckdb file of the current directory.

    \b
    Example:
      rowmill cancel penguins.duckdb
    """
    steer_and_say(database, "cancel", answer_format)
