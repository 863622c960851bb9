"""An MCP server for tests: over standard input and output, or over HTTP with ``--http`` or ``--sse`` (its URL is its
first line).

It ends with its standard input.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("shop")


@server.tool()
def price(product: str) -> str:
    """The price of a product, in cents."""
    return f"{product} costs {sum(product.encode())} cents"


@server.tool()
def has_secret(product: str) -> str:
    """How long the secret is that the server was given."""
    return f"{len(os.environ['WANTED'])} characters"


@server.tool()
def fail(product: str) -> str:
    """A tool that does not work."""
    raise ToolError(f"no {product} today")


@server.tool()
def die(product: str) -> str:
    """A tool that ends its server the first time it is called."""
    marker = os.environ["TOOL_MARKER"]
    if not os.path.exists(marker):
        with open(marker, "w"):
            pass
        os._exit(3)
    return f"{product} lives"


def main() -> None:
    """Runs the server until its standard input is closed."""
    is_sse = "--sse" in sys.argv
    if not is_sse and "--http" not in sys.argv:
        server.run("stdio")
        return
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    print(f"http://{host}:{port}/{'sse' if is_sse else 'mcp'}", flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    config = uvicorn.Config(server.sse_app() if is_sse else server.streamable_http_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
