"""Who may ask: a browser on this machine that knows the address, and no other page it has open.

The token is the first part of every path, not a cookie. A browser sends the cookies of 127.0.0.1 to every port of it,
whoever listens there; the path goes to this server alone, several pages can be open at the same time, and a foreign
page cannot forge a request whose address it does not know. Nothing tells it to others: no link leads away from the
page, and ``Referrer-Policy`` is ``no-referrer``.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_CHANGING = frozenset({"POST"})
_READING = frozenset({"GET", "HEAD"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def new_token() -> str:
    """What nobody guesses."""
    return secrets.token_urlsafe(24)


class Guard:
    """Lets those pass who came by the address that was printed."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self.hosts: frozenset[str] = frozenset()
        """What a request may say the host is, once the port is known: a name that leads here is a foreign page's."""

    def listens_on(self, port: int) -> None:
        """The server has its port."""
        self.hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})

    def refusal(self, request: web.Request) -> str | None:
        """Why a request is refused; None if it is not."""
        host = request.headers.get("Host", "").lower()
        if host not in self.hosts:
            return "This address is not that of the page."
        token = request.path.split("/", 2)[1]
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
            return "The address is not complete: take the whole of it from the terminal."
        if request.method not in _CHANGING | _READING:
            return "The page only reads and posts."
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{each}" for each in self.hosts}:
            return "The request comes from another page."
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            return "The request comes from another page."
        if request.method in _CHANGING and origin is None:
            return "A change must say where it comes from."
        return None

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses before anything else looks at the request, and sets the headers of every answer."""
        reason = self.refusal(request)
        if reason is not None:
            return web.Response(status=403, text=reason, headers=_HEADERS)
        try:
            return await handler(request)
        except web.HTTPException as answer:
            answer.headers.update(_HEADERS)
            raise


async def set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer; a handler may be stricter."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
