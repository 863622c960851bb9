"""HTTP servers in threads of a test, on a free port of the loopback interface: what doubles of endpoints share."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

_PATIENCE_S = 50.0
Server = TypeVar("Server", bound=ThreadingHTTPServer)
ONE_ANSWER = {
    "choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
"""What an OpenAI-compatible endpoint answers that needs not say much."""


class LoopbackServer(ThreadingHTTPServer):
    """Each request has a thread of its own; a caller that hangs up is no error."""

    daemon_threads = True

    def __init__(self, handler: type[LoopbackHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of callers that are gone; whatever else goes wrong is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers one request after the other on a connection."""

    protocol_version = "HTTP/1.1"

    def respond(self, body: bytes) -> None:
        """Answers the request that came with ``body``; ``command`` is its method, ``path`` what it asks for."""
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self._read_and_respond()

    def do_GET(self) -> None:
        self._read_and_respond()

    def do_POST(self) -> None:
        self._read_and_respond()

    def do_PUT(self) -> None:
        self._read_and_respond()

    def _read_and_respond(self) -> None:
        self.respond(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        """Sends an answer; ``Content_Type`` stands for the header Content-Type."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, value: Any, status: int = 200) -> None:
        """Sends a value as JSON."""
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server at work, gone after the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_PATIENCE_S)
