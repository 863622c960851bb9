"""The server of the page: one thread with an event loop of its own, on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from pathlib import Path

from aiohttp import web

from rowmill.errors import UsageError
from rowmill.ui.guard import Guard, new_token, set_headers
from rowmill.ui.routes import LettingGo, Pages

_LONGEST_LINE = 65_536
"""Of a request: a query stands in its address."""
_START_S = 20.0
_STOP_S = 2.0


class PageServer:
    """Serves the page of one run database until it is closed. ``url`` is its whole address, with the token."""

    def __init__(
        self,
        database: Path,
        *,
        port: int = 0,
        can_steer: bool = False,
        beside: Path | None = None,
        letting_go: LettingGo = nullcontext,
    ) -> None:
        """Begins to serve. ``port`` 0: any free one; ``beside``: another run database to compare with; ``letting_go``:
        within it this process does not hold the file, so that what is changed can be.

        Raises UsageError if the port is taken.
        """
        token = new_token()
        self._guard = Guard(token)
        self._socket = _listening(port)
        number = self._socket.getsockname()[1]
        self._guard.listens_on(number)
        self.url = f"http://127.0.0.1:{number}/{token}/"
        self._database = database
        self._can_steer = can_steer
        self._beside = beside
        self._letting_go = letting_go
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._has_started: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name="rowmill-page", daemon=True)
        self._thread.start()
        self._has_started.result(_START_S)

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._has_started.done():
                raise
            self._has_started.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        pages = Pages(self._database, can_steer=self._can_steer, beside=self._beside, letting_go=self._letting_go)
        application = web.Application(middlewares=[self._guard.middleware])
        application.on_response_prepare.append(set_headers)
        # Every route is under the token, also the figures for a monitoring system.
        application.router.add_routes(pages.routes("/{token}"))
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            max_line_size=_LONGEST_LINE,
        )
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._has_started.set_result(None)
        try:
            await self._stop.wait()
        finally:
            await pages.close()
            await runner.cleanup()

    def close(self) -> None:
        """Ends it, and what it still answers; returns within two seconds. Safe to call twice."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(stop.set)
        self._thread.join(_STOP_S)
        self._socket.close()


def _listening(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        found.listen(128)
        found.setblocking(False)
    except OSError as error:
        found.close()
        raise UsageError(
            f"Port {port} of this machine cannot be used: {error.strerror or error}. Name another one with --port, or "
            "leave it out for any free one."
        ) from error
    return found
