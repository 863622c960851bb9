"""``rowmill drain``: finish what runs, then stop."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument
from rowmill.cli.steering import answer_option, steer_and_say


@click.command()
@database_argument
@answer_option
def command(database: Path | None, answer_format: str) -> None:
    """Stop a run gently: what runs finishes and is kept, then the process ends (its exit code is 75).

    As one Ctrl-C there. 'rowmill run' goes on later. Without DATABASE, the only *.duckdb file of the current
    directory.

    \b
    Example:
      rowmill drain penguins.duckdb
    """
    steer_and_say(database, "drain", answer_format)
