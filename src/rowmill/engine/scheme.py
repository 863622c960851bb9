"""Schemes: whether a server speaks TLS where its address says so, and none where it does not.

The wrong one fails in many ways: a handshake nobody answers, a connection that is closed, a line that is no HTTP. All
of them look as if they would pass, and none does. So the server itself is tried: a handshake, then a line in plain
HTTP.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from rowmill.errors import ProviderError, RunStopping
from rowmill.providers.opening import proxy_of

_PATIENCE_S = 1.0
"""How long a server may take for a handshake or a line; and a first request, before it is doubted."""


async def watched(ask: Callable[[], Awaitable[None]], base_url: str | None, environ: Mapping[str, str]) -> None:
    """Makes a first request. Raises what it raises; :class:`RunStopping` if the server speaks the other scheme."""
    if base_url is None or proxy_of(base_url, environ) is not None:
        await ask()
        return
    failure: Exception | None = None
    meant: str | None = None

    async def doubt(waits: anyio.CancelScope) -> None:
        nonlocal meant
        await anyio.sleep(_PATIENCE_S)
        meant = await _other_scheme(base_url)
        if meant is not None:
            waits.cancel()

    async with anyio.create_task_group() as group:
        if base_url.startswith("https:"):
            group.start_soon(doubt, group.cancel_scope)
        try:
            await ask()
        except (ProviderError, TimeoutError) as error:  # raised below: a task group would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None and _is_doubtful(failure):
        meant = await _other_scheme(base_url)
    if meant is not None:
        speaks = "plain HTTP, not TLS" if meant.startswith("http:") else "TLS, not plain HTTP"
        raise RunStopping(f"{base_url} speaks {speaks}. Did you mean '{meant}'?", "WrongScheme") from failure
    if failure is not None:
        raise failure


def _is_doubtful(failure: Exception) -> bool:
    kind = getattr(failure, "error_type", "Timeout")
    return kind in ("Tls", "Timeout", "HTTP 400", "MalformedAnswer", "NotHttp", "ConnectionClosed", "ConnectionReset")


async def _other_scheme(base_url: str) -> str | None:
    """The same address in the scheme its server speaks; None unless that is certainly the other one."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    rest = base_url.partition("://")[2]
    if await _speaks(_shakes_hands, host, port):
        return f"https://{rest}" if parts.scheme == "http" else None
    if parts.scheme == "https" and await _speaks(_answers_in_plain, host, port):
        return f"http://{rest}"
    return None


async def _speaks(tried: Callable[[ByteStream, str], Awaitable[bool]], host: str, port: int) -> bool:
    with anyio.move_on_after(_PATIENCE_S):
        try:
            async with await anyio.connect_tcp(host, port) as stream:
                return await tried(stream, host)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False
    return False


async def _shakes_hands(stream: ByteStream, host: str) -> bool:
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    # Nothing is sent through it: whose certificate it is, the request itself looks at.
    await TLSStream.wrap(stream, hostname=host, ssl_context=anybody, standard_compatible=False)
    return True


async def _answers_in_plain(stream: ByteStream, host: str) -> bool:
    await stream.send(b"GET / HTTP/1.0\r\n\r\n")
    return (await stream.receive(5)).startswith(b"HTTP/")
