"""A model endpoint that keeps its callers waiting until the test lets them go. Runs in threads of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loopback_server import ONE_ANSWER, LoopbackHandler, LoopbackServer, serving

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

    class Handler(LoopbackHandler):
        def respond(self, body: bytes) -> None:
            endpoint.asked.set()
            endpoint.released.wait(_PATIENCE_S)
            self.answer_json(ONE_ANSWER, endpoint.status)

    with serving(LoopbackServer(Handler)) as server:
        endpoint.url = f"{server.url}/v1"
        try:
            yield endpoint
        finally:
            endpoint.released.set()
