"""``rowmill resume``: let a paused run go on."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument
from rowmill.cli.steering import answer_option, steer_and_say


@click.command()
@database_argument
@answer_option
def command(database: Path | None, answer_format: str) -> None:
    """Let a paused run go on.

    On a run that is stopped, the next 'rowmill run' starts working again. Without DATABASE, the only *.duckdb
    file of the current directory.

    \b
    Example:
      rowmill resume penguins.duckdb
    """
    steer_and_say(database, "resume", answer_format)
