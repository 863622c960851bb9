"""A model endpoint that keeps its callers waiting until the test lets them go. Runs in threads of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PATIENCE_S = 50.0


@dataclass
class PatientEndpoint:
    """What a test sees of the endpoint. ``url`` is what a spec calls ``base_url``."""

    url: str = ""
    status: int = 200
    """HTTP status of every answer."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when the first request has come."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set it to let the callers have their answers."""


@contextmanager
def patient_endpoint() -> Iterator[PatientEndpoint]:
    """An OpenAI-compatible endpoint on a free port of the loopback interface."""
    endpoint = PatientEndpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.asked.set()
            endpoint.released.wait(_PATIENCE_S)
            answer = {
                "choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            }
            body = json.dumps(answer).encode()
            try:
                self.send_response(endpoint.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                # The caller was interrupted, as the test wanted.
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A killed caller is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.released.set()
        server.shutdown()
        thread.join(_PATIENCE_S)
        server.server_close()
