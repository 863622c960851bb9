"""``rowmill doctor``: what is wrong with a run database, and putting it right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rowmill.cli.figures import plural
from rowmill.cli.logs import tell
from rowmill.cli.output import OutputFormat, output_option, say, write_listing
from rowmill.cli.place import database_argument
from rowmill.cli.terminal_text import safe_message
from rowmill.errors import UsageError

if TYPE_CHECKING:
    from rowmill.engine.doctor import Diagnosis


@click.command()
@database_argument
@click.option(
    "--repair",
    "repairs",
    is_flag=True,
    help="Put back the last consistent state if the log is damaged; remove files of no row.",
)
@click.option(
    "--salvage",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Write what can be read of a damaged file to a new directory.",
)
@output_option
@click.pass_context
def command(
    context: click.Context,
    database: Path | None,
    repairs: bool,
    directory: Path | None,
    output_format: OutputFormat,
) -> None:
    """Check a run database: "healthy", or exactly what is wrong and what to do.

    Checks that the file opens and its log replays, the schema version, every block, the rules of
    invariant_violation, the plan against the row groups, usage against attempts, the spec inside, and that the
    files of pictures are those its rows name. Reads only.
    Exit code 0: healthy; 6: damaged; 5: of another version, or no run database; 4: in use.

    --repair: file and log are copied aside as DATABASE.damaged (and .wal), then the log is cut to the longest
    part that can be replayed. What that loses is generated again by the next run; the same without --repair
    says how much it is. A file that is itself damaged cannot be repaired; --salvage writes the rows outside
    of damaged blocks to parquet files. Files of pictures that belong to no row any more are removed.

    \b
    Example:
      rowmill doctor penguins.duckdb
      rowmill doctor penguins.duckdb --repair
      rowmill doctor penguins.duckdb --salvage saved
    """
    path = _database(database)
    if repairs and directory is not None:
        raise UsageError("--repair and --salvage are two things: do one after the other.")
    if directory is not None:
        _salvage(path, directory)
        return
    if repairs:
        diagnosis = _repair(path)
    else:
        from rowmill.engine.doctor import diagnose

        diagnosis = diagnose(path)
    _show(diagnosis, output_format)
    context.exit(diagnosis.exit_code)


def _database(database: Path | None) -> Path:
    if database is not None:
        return database
    from rowmill.cli.place import existing_database

    return existing_database(None)


def _repair(path: Path) -> Diagnosis:
    import time

    from rowmill.engine.doctor import describe_loss, diagnose, repair, sweep
    from rowmill.unfinished_file import CHANGED, remove_left_behind

    removed = remove_left_behind(path.resolve(), CHANGED)
    for left in removed:
        tell(f"Removed {left.name}, which a process that was killed left half made.")
    done = repair(path, time.time())
    after = diagnose(path) if done is None else done.after
    swept = sweep(path) if any(found.check == "files" and found.state != "ok" for found in after.findings) else 0
    if swept:
        tell(f"Removed {plural(swept, 'file')} that belonged to no row.")
        after = diagnose(path)
    if done is None:
        if not swept and not removed:
            tell("There is nothing to repair.")
        return after
    tell(
        f"Repaired {path}. File and log as they were are kept as {done.copy.name} (and .wal) beside it.\n  "
        + "\n  ".join(describe_loss(done.recovery))
        + f"\nNext:\n  rowmill run {path}    generates what is missing"
    )
    return after


def _salvage(path: Path, directory: Path) -> None:
    from rowmill.export.salvage import salvage

    report = salvage(path, directory)
    for name, rows in report.rows.items():
        tell(f"{report.directory / f'{name}.parquet'}: {plural(rows, 'row')}")
    for lost in report.lost:
        tell(f"lost: {lost}")
    if not report.lost:
        tell("Nothing is lost.")


def _show(diagnosis: Diagnosis, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.TABLE:
        for finding in diagnosis.findings:
            say(safe_message(f"{finding.state:<8} {finding.check}: {finding.message}"))
            if finding.advice is not None:
                say(safe_message(f"{'':<8} → {finding.advice}"))
        say(safe_message(diagnosis.verdict))
        return
    import pyarrow as pa

    fields = ("check", "state", "message", "advice")
    columns = {name: [getattr(finding, name) for finding in diagnosis.findings] for name in fields}
    verdict = {"verdict": [diagnosis.verdict] * len(diagnosis.findings)}
    schema = pa.schema([(name, pa.string()) for name in (*fields, "verdict")])
    write_listing(pa.table({**columns, **verdict}, schema=schema), output_format)
