"""``rowmill pause``: hand out no new work, without ending the process."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument
from rowmill.cli.steering import answer_option, steer_and_say


@click.command()
@database_argument
@answer_option
def command(database: Path | None, answer_format: str) -> None:
    """Pause a run: what runs finishes and is kept, nothing new starts.

    The process stays; 'rowmill resume' lets it go on. A paused run stays paused when it is stopped and run
    again. Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill pause penguins.duckdb
    """
    steer_and_say(database, "pause", answer_format)
