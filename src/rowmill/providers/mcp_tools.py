"""Tools of MCP servers, through the optional package mcp. The only importer of it.

Each server has a task of its own for the length of an invocation: what goes wrong with one ends neither
the run nor another. A server that is lost is connected again: the call it was lost in is ``Transient``, others wait.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

import anyio
from anyio.abc import TaskStatus

from rowmill.errors import RunStopping, Transient
from rowmill.secret import hidden
from rowmill.spec.tools import LocalToolProvider, RemoteToolProvider, ToolConfig

MISSING = "Tools need the package mcp, which is not installed: pip install 'rowmill[mcp]'."
CONNECT_TIMEOUT_S = 30.0
_PAUSE_S = 1.0
_LONGEST_SILENCE_S = 7 * 86_400.0
"""Of an SSE server: it says nothing while nothing is asked. A call has a time-out of its own."""
_logger = logging.getLogger("rowmill.tools")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a model sees it: its name, what it is for, and the JSON Schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


def is_installed() -> bool:
    """Whether the package mcp can be imported."""
    from importlib.util import find_spec

    return find_spec("mcp") is not None


class ToolServer:
    """One MCP server."""

    def __init__(self, config: LocalToolProvider | RemoteToolProvider, environ: Mapping[str, str], cwd: str) -> None:
        """Raises :class:`~rowmill.errors.SpecError` for a secret that is not set."""
        self.name = config.name
        self.tools: tuple[Tool, ...] = ()
        self._config = config
        self._secrets = (
            config.environment(environ) if isinstance(config, LocalToolProvider) else config.headers(environ)
        )
        """Variables of a local server, headers of a remote one."""
        self._cwd = cwd
        self._client: Any = None
        self._said: IO[str] | None = None
        """What a local server writes to its standard error."""
        self._last_words = ""
        self._lost = anyio.Event()
        self._ready = anyio.Event()
        self._closing = False

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Keeps a connection until :meth:`close`. Raises :class:`RunStopping` if the first one cannot be made."""
        is_first = True
        while not self._closing:
            try:
                async with self._connected() as client:
                    self._client, self._lost = client, anyio.Event()
                    self._ready.set()
                    if is_first:
                        is_first = False
                        task_status.started()
                    await self._lost.wait()
            except Exception as error:  # noqa: BLE001  logged, or raised as what stops the run: servers may do anything
                reason = _leaf(error) + self._last_words
                self._last_words = ""
                if is_first:
                    raise RunStopping(f"The MCP server '{self.name}' cannot be used: {reason}", "ToolServer") from None
                _logger.warning("The MCP server '%s' was lost: %s", self.name, reason)
            finally:
                self._client, self._ready = None, anyio.Event()
            if not self._closing:
                await anyio.sleep(_PAUSE_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client

        config = self._config
        if isinstance(config, LocalToolProvider):
            target = StdioServerParameters(
                command=config.command, args=list(config.args), env=dict(self._secrets), cwd=self._cwd
            )
            with TemporaryFile("w+", encoding="utf-8", errors="replace") as self._said:
                async with self._opened(Client(stdio_client(target, errlog=self._said))) as client:
                    yield client
            return
        if config.provider_type == "sse":
            from mcp.client.sse import sse_client

            transport = sse_client(
                config.endpoint, self._secrets, timeout=CONNECT_TIMEOUT_S, sse_read_timeout=_LONGEST_SILENCE_S
            )
            async with self._opened(Client(transport)) as client:
                yield client
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async with (
            httpx2.AsyncClient(headers=self._secrets, timeout=CONNECT_TIMEOUT_S) as http,
            self._opened(Client(streamable_http_client(config.endpoint, http_client=http))) as client,
        ):
            yield client

    @asynccontextmanager
    async def _opened(self, client: Any) -> AsyncIterator[Any]:
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S) as scope:
                async with client:
                    self.tools = await _all_tools(client)
                    scope.deadline = float("inf")
                    yield client
        finally:
            self._last_words = _tail(self._said)

    async def call(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> str:
        """What a tool says, errors of the tool included. Raises :class:`Transient` if the server is gone."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        if self._client is None:
            with anyio.move_on_after(CONNECT_TIMEOUT_S):
                await self._ready.wait()
        client = self._client
        if client is None:
            raise Transient(f"The MCP server '{self.name}' was lost and does not come back", "ToolServer")
        try:
            result = await client.call_tool(name, dict(arguments), read_timeout_seconds=timeout_s)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._lost.set()
                raise Transient(f"The MCP server '{self.name}' was lost during a call", "ToolServer") from None
            if error.code == REQUEST_TIMEOUT:
                return f"Error: the tool gave no answer within {timeout_s:g} s."
            return f"Error: {error.message}"
        except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._lost.set()
            raise Transient(f"The MCP server '{self.name}' was lost during a call: {error}", "ToolServer") from None
        text = _text_of(result.content)
        return f"Error: {text}" if result.is_error else text

    def close(self) -> None:
        """Lets :meth:`serve` end."""
        self._closing = True
        self._lost.set()


class ServedTools:
    """The tools of one ``tool_alias``: those of its servers that it allows."""

    def __init__(self, config: ToolConfig, servers: Sequence[ToolServer]) -> None:
        """Raises :class:`RunStopping` for an allowed tool nobody has, or one that two servers have."""
        self.max_turns = config.max_tool_call_turns
        self._timeout_s = config.timeout_s
        self._server: dict[str, ToolServer] = {}
        found: dict[str, Tool] = {}
        for server in servers:
            for tool in server.tools:
                if config.allow_tools is not None and tool.name not in config.allow_tools:
                    continue
                if tool.name in found:
                    raise RunStopping(
                        f"Two servers of tool_alias '{config.tool_alias}' have a tool '{tool.name}': "
                        f"'{self._server[tool.name].name}' and '{server.name}'",
                        "ToolServer",
                    )
                found[tool.name] = tool
                self._server[tool.name] = server
        missing = [name for name in config.allow_tools or () if name not in found]
        if missing:
            known = ", ".join(sorted({tool.name for server in servers for tool in server.tools}))
            raise RunStopping(
                f"No server of tool_alias '{config.tool_alias}' has a tool '{missing[0]}'. There are: {known}",
                "ToolServer",
            )
        self.definitions = tuple(found.values())

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool says. Raises :class:`Transient` if its server is gone."""
        return await self._server[name].call(name, arguments, self._timeout_s)


@asynccontextmanager
async def serve_tools(
    configs: Sequence[ToolConfig],
    providers: Sequence[LocalToolProvider | RemoteToolProvider],
    environ: Mapping[str, str],
    directory: str,
) -> AsyncIterator[dict[str, ServedTools]]:
    """The tools of each alias, their servers connected for the length of the block; local ones work in ``directory``.

    Raises :class:`RunStopping` when one cannot be used.
    """
    used = {name for config in configs for name in config.providers}
    servers = {one.name: ToolServer(one, environ, directory) for one in providers if one.name in used}
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            for server in servers.values():
                await group.start(server.serve)
            yield {
                config.tool_alias: ServedTools(config, [servers[name] for name in config.providers])
                for config in configs
            }
        except Exception as error:  # noqa: BLE001  raised again below: here the task group would wrap it
            failure = error
        finally:
            for server in servers.values():
                server.close()
    if failure is not None:
        raise failure


async def _all_tools(client: Any) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [Tool(tool.name, tool.description or "", tool.input_schema) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return tuple(tools)


def _text_of(content: Sequence[Any]) -> str:
    texts = []
    for block in content:
        text = getattr(block, "text", None)
        texts.append(text if isinstance(text, str) else f"({getattr(block, 'type', 'content')} left out)")
    return "\n".join(texts)


def _tail(said: IO[str] | None) -> str:
    """The end of what a server wrote to its standard error, for a message."""
    if said is None or said.closed:
        return ""
    said.seek(0)
    text = hidden(" ".join(said.read().split()))
    return f". It said: …{text[-300:]}" if text else ""


def _leaf(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
