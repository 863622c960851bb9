"""An endpoint that sends exactly the bytes a test wants, in this process, over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Scripted:
    """One response: the pieces to send, and what to do with the connection afterwards."""

    pieces: Sequence[bytes] = ()
    then: Literal["keep", "close", "reset", "wait"] = "keep"


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    request_line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedEndpoint:
    """What was received so far. ``url`` is what a spec calls ``base_url``."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves a connection on which it was kept waiting."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request has come."""


def response(status: int, body: bytes | str, *headers: str) -> bytes:
    """A whole response with a Content-Length."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chat_answer(content: Any = "Yes.", **message: Any) -> dict[str, Any]:
    """A chat completion as an endpoint would send it."""
    return {
        "choices": [{"index": 0, "message": {"content": content, **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }


def answered(document: Any = None, *headers: str) -> bytes:
    """A whole 200 response with that JSON document, a chat completion if None."""
    return response(200, json.dumps(chat_answer() if document is None else document), *headers)


@asynccontextmanager
async def scripted_endpoint(
    *script: Scripted | bytes, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[ScriptedEndpoint]:
    """Answers the n-th request, on whatever connection, with the n-th element of the script.

    With a ``greeting`` it sends that to whoever connects, once anything was received, and hangs up.
    """
    endpoint = ScriptedEndpoint()
    remaining = iter([Scripted([step]) if isinstance(step, bytes) else step for step in script])
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        endpoint.connections += 1
        try:
            if greeting and await reader.read(1):
                writer.write(greeting)
                await writer.drain()
                return
            while (received := await _read_request(reader)) is not None:
                endpoint.requests.append(received)
                endpoint.asked.set()
                step = next(remaining)
                for piece in step.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if step.then == "wait":
                    await reader.read()
                    endpoint.hung_up.set()
                if step.then == "reset":
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if step.then != "keep":
                    break
        except ConnectionError:
            endpoint.hung_up.set()
        except asyncio.CancelledError:  # the endpoint closes; asyncio.streams would log it as an error
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    endpoint.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield endpoint
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (re.split(r":\s*", line, maxsplit=1) for line in lines)}
    return Received(request_line, headers, await reader.readexactly(int(headers.get("content-length", 0))))
