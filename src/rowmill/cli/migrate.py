"""``rowmill migrate``: bring a run database made by an older Rowmill up to date."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.logs import tell
from rowmill.cli.place import database_argument, existing_database


@click.command()
@database_argument
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
def command(database: Path | None, dry_run: bool) -> None:
    """Bring a run database made by an older Rowmill up to date.

    The file (and its log) is copied first, as DATABASE.v1 for schema version 1, and synced to disk. The
    migration is one transaction: whatever happens, the file has the old layout or the new one. A run
    database that is up to date is left alone. Without DATABASE, the only *.duckdb file of the current
    directory is meant.

    \b
    Example:
      rowmill migrate penguins.duckdb
      rowmill migrate penguins.duckdb --dry-run
    """
    import time

    from rowmill.engine.migration import migrate

    path = existing_database(database)
    report = migrate(path, time.time(), dry_run=dry_run)
    if not report.steps:
        tell(f"{path} is up to date: schema version {report.from_version}.")
        return
    steps = ", ".join(report.steps)
    if report.kept is None:
        tell(f"{path} would go from schema version {report.from_version} to {report.to_version}: {steps}.")
        return
    tell(
        f"{path} went from schema version {report.from_version} to {report.to_version}: {steps}.\n"
        f"The old file is kept as {report.kept}; delete it when you no longer want to go back.\n"
        f"Next:\n  rowmill run {path}    goes on with the run"
    )
