"""``rowmill sql``: any question, in SQL."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rowmill.cli.output import OutputFormat, output_option, write_listing
from rowmill.cli.place import existing_database, is_run_database
from rowmill.errors import UsageError


@click.command()
@click.argument("arguments", nargs=-1, metavar="[DATABASE] [QUERY]")
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(min=0, max=3600, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Beside a living run, stop the query after this time.",
)
@output_option
def command(arguments: tuple[str, ...], time_limit_s: float, output_format: OutputFormat) -> None:
    """Query a run database with SQL; nothing can be changed this way. The query - is read from stdin.

    While a run works on the database, it answers. Without QUERY, on a terminal: a prompt with history.

    Without DATABASE, the only *.duckdb file of the current directory.

    \b
    Example:
      rowmill sql penguins.duckdb "from progress"
      rowmill sql "select reason, count(*) from dropped_row group by all" --format csv
      rowmill sql penguins.duckdb
    """
    from rowmill.inspect.opening import open_reader

    path, query = _split(arguments)
    if query is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError(f'A query is missing. For example: rowmill sql {path} "from progress"')
        from rowmill.cli.prompt import converse

        converse(path, time_limit_s, output_format)
        return
    if query == "-":
        query = sys.stdin.read()
    if not query.strip():
        raise UsageError("The query is empty.")
    with open_reader(path, time_limit_s) as reader, reader.hints(query), reader.batches(query) as rows:
        write_listing(rows, output_format)


def _split(arguments: tuple[str, ...]) -> tuple[Path, str | None]:
    if not arguments:
        return existing_database(None), None
    if len(arguments) == 2:
        if not Path(arguments[0]).exists() and is_run_database(Path(arguments[1])):
            raise UsageError(f'The database comes before the query: rowmill sql {arguments[1]} "{arguments[0]}"')
        return existing_database(Path(arguments[0])), arguments[1]
    if len(arguments) > 2:
        raise UsageError("More than a DATABASE and a QUERY were given. Put the query into quotes.")
    if " " not in arguments[0] and is_run_database(Path(arguments[0])):
        return existing_database(Path(arguments[0])), None
    return existing_database(None), arguments[0]
