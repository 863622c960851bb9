"""An MCP server over one run database: reading only, on standard input and output.

The package mcp speaks the protocol. Each tool's description is what an agent chooses it by.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from rowmill.agents import reading
from rowmill.errors import RowmillError, UsageError
from rowmill.store.reading.listing import VIEWS
from rowmill.version import VERSION

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

MISSING = "Serving over MCP needs the package mcp, which is not installed: pip install 'rowmill[mcp]'."
_INSTRUCTIONS = (
    "Reads one Rowmill run database: how far the generation of a dataset is, what fails, what it costs, its rows. "
    "Nothing can be changed here. Start with status; explain says why rows drop or nothing happens; sql asks anything "
    "(public views: 'from duckdb_views()'); guide explains specs and commands."
)


def server_of(database: Path) -> MCPServer:
    """The server; it runs on an event loop. Raises UsageError without the package mcp."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise UsageError(MISSING) from error

    server = MCPServer("rowmill", version=VERSION, instructions=_INSTRUCTIONS, log_level="ERROR")

    async def asked(read: Callable[[], Any]) -> str:
        """Reads beside the event loop. What is wrong with a question goes to the agent in our words."""
        try:
            return json.dumps(await anyio.to_thread.run_sync(read), ensure_ascii=False)
        except RowmillError as error:
            raise ToolError(str(error)) from error

    def tool(name: str, description: str) -> Callable[[Callable[..., Awaitable[str]]], object]:
        return server.tool(name=name, description=description, structured_output=False)

    @tool("status", "How far the run is: state, rows, requests, tokens, cost, columns, endpoints, pace. JSON.")
    async def status() -> str:
        return await asked(partial(reading.read_status, database))

    @tool(
        "sql",
        "Answers one SQL query (DuckDB) over the public views: dataset, dropped_row, attempt, progress, usage, "
        f"resource, deferred_task, event … Reads only. At most {reading.MOST_ROWS:,} rows; long texts are cut. JSON.",
    )
    async def sql(query: str, most_rows: int = 50) -> str:
        return await asked(partial(reading.query, database, query, most_rows))

    @tool(
        "show",
        f"A ready-made listing: {', '.join(VIEWS)}. 'where' is a condition in SQL over its columns. JSON.",
    )
    async def show(what: str, where: str | None = None, columns: list[str] | None = None, most_rows: int = 50) -> str:
        return await asked(partial(reading.read_listing, database, what, where, columns or [], most_rows))

    @tool(
        "explain",
        "Why the run is where it is: what rows were dropped for, what tasks wait for, why nothing new starts. With "
        "row_id: everything on record of that row (values, cells, drop, deferrals, last attempts). JSON.",
    )
    async def explain(row_id: int | None = None) -> str:
        if row_id is None:
            return await asked(partial(reading.explain_run, database))
        return await asked(partial(reading.explain_row, database, row_id))

    @tool("spec_schema", "The JSON Schema of a spec: every field, its type, its meaning.")
    async def spec_schema() -> str:
        from rowmill.spec.json_schema import schema_text

        return await anyio.to_thread.run_sync(schema_text)

    @tool("guide", "How to write, check, run and mend a spec: one page for coding agents. Markdown.")
    async def guide() -> str:
        return (files("rowmill") / "help" / "agents.md").read_text(encoding="utf-8")

    return server
