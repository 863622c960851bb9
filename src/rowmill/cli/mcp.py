"""``rowmill mcp``: a run database for coding agents."""

from __future__ import annotations

from pathlib import Path

import click

from rowmill.cli.place import database_argument, existing_database


@click.command()
@database_argument
def command(database: Path | None) -> None:
    """Serve a run database to a coding agent over MCP, on standard input and output, until the input ends.

    The agent can read status, SQL, listings, explanations and the schema of specs; it can change nothing. It works on a
    living run, a stopped one and a finished dataset. Without DATABASE, the only *.duckdb file of the current directory.
    Needs the extra 'mcp'.

    \b
    Example:
      rowmill mcp penguins.duckdb
      rowmill help --agents
    """
    import anyio

    from rowmill.agents.server import server_of
    from rowmill.inspect.opening import open_reader

    path = existing_database(database)
    open_reader(path).close()  # what is wrong with the file is said now, not to the agent
    anyio.run(server_of(path).run_stdio_async)
