"""Misdirection: what is probably wrong with the address of an endpoint that is not there, where one can tell.

Asked are only the name itself and, of this very machine, the ports servers of models usually listen on.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

import anyio

from rowmill.spec.nearest import did_you_mean

_USUAL_PORTS = {
    8000: "vLLM",
    8080: "llama.cpp",
    11434: "Ollama",
    1234: "LM Studio",
    30000: "SGLang",
    4000: "LiteLLM",
}
_USUAL_HOSTS = ("localhost", "host.docker.internal")
_HAS_VERSION = re.compile(r"/v\d")
_PATIENCE_S = 0.3


async def advice_on(base_url: str | None, error_type: str) -> str:
    """A sentence on what to look at, beginning with a blank; empty if nothing can be told."""
    try:
        parts = urlsplit(base_url or "")
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    if error_type == "MalformedAnswer" and base_url and not _HAS_VERSION.search(parts.path):
        return f" Is it the base_url that lacks its end? Most servers want '{base_url.rstrip('/')}/v1'."
    if error_type == "NotHttp":
        return f" Something else than a server of models listens on port {port}: is it the right port?"
    if error_type == "NameResolution":
        return did_you_mean(host, _USUAL_HOSTS)
    if error_type != "ConnectionRefused" or not _is_this_machine(host):
        return ""
    others = [other for other in _USUAL_PORTS if other != port]
    listening: list[int] = []

    async def knock(other: int) -> None:
        with anyio.move_on_after(_PATIENCE_S):
            try:
                stream = await anyio.connect_tcp(host, other)
            except OSError:
                return
            listening.append(other)
            await stream.aclose()

    async with anyio.create_task_group() as group:
        for other in others:
            group.start_soon(knock, other)
    if not listening:
        return f" Nobody listens on port {port} of this machine: is the server started?"
    found = ", ".join(f"{other} (as {_USUAL_PORTS[other]} does)" for other in sorted(listening))
    return f" Nobody listens on port {port} of this machine, but somebody does on {found}."


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
