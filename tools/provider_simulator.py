#!/usr/bin/env python
"""An OpenAI-compatible model endpoint that costs nothing: a real HTTP server for tests and benchmarks.

    python tools/provider_simulator.py --latency-ms 20 --rate-limited 0.02 --retry-after 1

prints one line of JSON with its URL when it listens, and ends when its standard input is closed or
on SIGTERM, so that no test leaves a process behind (``--keep-running`` ignores standard input).

``POST /v1/chat/completions`` answers as ``rowmill.providers.simulated`` does: the text depends on
the request body alone, failures on the seed, the body and how often it failed before. So do
``POST /v1/embeddings``, ``POST /v1/images/generations`` and ``POST /v1/messages`` (the API of
Anthropic), with ``stream`` as events. ``POST /v1/messages/count_tokens`` and ``GET /v1/models/ID`` tell of both.
Options hold for every model; ``--model NAME:key=value,…`` changes them for one::

    --model stuck:rate_limited=1,retry_after=30 --model slow:latency_ms=2000 --model closed:status=401

``GET /statistics`` counts since the start or the last ``POST /reset``:

- ``requests``, ``by_status`` (with ``hanging``, ``truncated`` and ``disconnected`` for those without a
  status: the last are requests whose client left before the answer), ``answered`` (200, written whole);
- ``repeated_bodies``: requests whose exact body had been answered before, work paid for twice;
  ``repeated_bodies_in_all``: those whose exact body had been received before, retries included;
  ``distinct_bodies``, and ``distinct_answered`` of them;
- ``in_flight``, ``greatest_concurrency``, ``connections``, ``greatest_connections``;
- ``mean_latency_ms``: of those answered, from when their body was read to when the answer was written. A little more
  than was asked for: this program has other requests to see to, and a core to share;
- ``models``: requests, answered, by_status and greatest_concurrency of each.

``GET /answers`` gives ``answered_at_s``: when the last answers were written, by the machine's monotonic clock.

It is a plain asyncio protocol with its own small HTTP/1.1 parser, so that it stays ahead of the
client it measures: requests pipelined or in pieces, ``Expect: 100-continue``, bodies with a
Content-Length of up to 32 MiB. Chunked requests are refused (411).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import gc
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

try:
    from rowmill.errors import Rejected
    from rowmill.providers.simulated import (
        Fate,
        Fates,
        request_digest,
        simulated_answer,
        simulated_embeddings,
        simulated_picture,
    )
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from rowmill.errors import Rejected
    from rowmill.providers.simulated import (
        Fate,
        Fates,
        request_digest,
        simulated_answer,
        simulated_embeddings,
        simulated_picture,
    )

LARGEST_BODY_BYTES = 32 * 1024 * 1024
LARGEST_HEAD_BYTES = 64 * 1024
REMEMBERED_ANSWERS = 2048

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_KEEP_ALIVE = re.compile(rb"\r\nconnection:[ \t]*keep-alive", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+([^\r\n]*)", re.IGNORECASE)
_HEADER_OF_PICTURE = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
_X_API_KEY = re.compile(rb"\r\nx-api-key:[ \t]*([^\r\n]*)", re.IGNORECASE)
_ANTHROPIC_VERSION = re.compile(rb"\r\nanthropic-version:[ \t]*[^\r\n]", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """How a model behaves. Shares lie between 0 and 1; ``rejected`` is that of bodies refused every time."""

    latency_ms: float = 0.0
    latency_jitter: float = 0.0
    rate_limited: float = 0.0
    transient: float = 0.0
    rejected: float = 0.0
    truncated: float = 0.0
    hang: float = 0.0
    malformed: float = 0.0
    """Share of answers that are not in the form that was asked for (JSON, code)."""
    retry_after: str = "1"
    """The Retry-After header of a 429, in seconds or as a date; empty for none."""
    status: int = 200
    """Another status answers every request with it (401, 404, 503, …)."""
    output_tokens: int = 60
    answer: str | None = None
    reasoning: str | None = None
    """Sent as ``reasoning_content`` beside each answer."""
    seed: int = 0

    @classmethod
    def parsed(cls, base: Behaviour, text: str) -> Behaviour:
        """``base`` changed by ``key=value,…``. Raises ValueError for an unknown key or a wrong value."""
        changes: dict[str, Any] = {}
        for assignment in filter(None, text.split(",")):
            key, equals, value = assignment.partition("=")
            name = key.strip().replace("-", "_")
            if not equals or name not in _KINDS:
                raise ValueError(f"{assignment!r} is not key=value with one of the keys {', '.join(_KINDS)}")
            changes[name] = _KINDS[name](value)
        return dataclasses.replace(base, **changes)


_KINDS: dict[str, type] = {
    "latency_ms": float,
    "latency_jitter": float,
    "rate_limited": float,
    "transient": float,
    "rejected": float,
    "truncated": float,
    "hang": float,
    "malformed": float,
    "retry_after": str,
    "status": int,
    "output_tokens": int,
    "answer": str,
    "reasoning": str,
    "seed": int,
}


class SimulatedModel:
    """One model: its behaviour, and what happened to it since the last reset."""

    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self.name = name
        self.behaviour = behaviour
        self.reset()

    def reset(self) -> None:
        """Forgets requests and failures."""
        behaviour = self.behaviour
        shares = {
            Fate.RATE_LIMITED: behaviour.rate_limited,
            Fate.TRANSIENT: behaviour.transient,
            Fate.TRUNCATED: behaviour.truncated,
            Fate.HANGING: behaviour.hang,
        }
        self.fates = Fates(
            shares,
            rejected=behaviour.rejected,
            seed=behaviour.seed,
            latency_ms=behaviour.latency_ms,
            latency_jitter=behaviour.latency_jitter,
        )
        self.requests = 0
        self.answered = 0
        self.in_flight = 0
        self.greatest_concurrency = 0
        self.by_status: Counter[str] = Counter()

    def statistics(self) -> dict[str, Any]:
        """The figures of this model."""
        return {
            "requests": self.requests,
            "answered": self.answered,
            "by_status": dict(self.by_status),
            "greatest_concurrency": self.greatest_concurrency,
        }


class Simulator:
    """All models of the endpoint, and the statistics over them."""

    def __init__(
        self,
        default: Behaviour,
        named: dict[str, Behaviour],
        *,
        api_key: str | None = None,
        known_models_only: bool = False,
    ) -> None:
        self.default = default
        self.api_key = None if api_key is None else api_key.encode()
        self.known_models_only = known_models_only
        self.models = {name: SimulatedModel(name, behaviour) for name, behaviour in named.items()}
        self.connections = 0
        self.generation = 0
        self.reset()

    def reset(self) -> None:
        """Starts counting anew. Requests under way are answered, and counted nowhere."""
        self.generation += 1
        self.requests = 0
        self.answered = 0
        self.answering_s = 0.0
        self.in_flight = 0
        self.greatest_concurrency = 0
        self.greatest_connections = self.connections
        self.repeated_bodies = 0
        self.repeated_bodies_in_all = 0
        self.answered_at_s: deque[float] = deque(maxlen=REMEMBERED_ANSWERS)
        self.received: set[bytes] = set()
        self.paid: set[bytes] = set()
        for model in self.models.values():
            model.reset()

    def model(self, name: str) -> SimulatedModel | None:
        """The model of that name; one with the default behaviour comes to be when it is first asked."""
        model = self.models.get(name)
        if model is None and not self.known_models_only:
            model = self.models[name] = SimulatedModel(name, self.default)
        return model

    def statistics(self) -> dict[str, Any]:
        """Everything ``GET /statistics`` says."""
        by_status: Counter[str] = Counter()
        for model in self.models.values():
            by_status.update(model.by_status)
        return {
            "requests": self.requests,
            "answered": self.answered,
            "by_status": dict(by_status),
            "repeated_bodies": self.repeated_bodies,
            "repeated_bodies_in_all": self.repeated_bodies_in_all,
            "distinct_bodies": len(self.received),
            "distinct_answered": len(self.paid),
            "in_flight": self.in_flight,
            "mean_latency_ms": self.answering_s / self.answered * 1000 if self.answered else None,
            "greatest_concurrency": self.greatest_concurrency,
            "connections": self.connections,
            "greatest_connections": self.greatest_connections,
            "models": {name: model.statistics() for name, model in self.models.items() if model.requests},
        }


class Exchange:
    """One chat request under way: begun when its body is whole, ended exactly once."""

    __slots__ = ("digest", "generation", "model", "received_at", "simulator")

    def __init__(self, simulator: Simulator, model: SimulatedModel, body: bytes, received_at: float) -> None:
        self.simulator = simulator
        self.model = model
        self.received_at = received_at
        self.generation = simulator.generation
        self.digest = blake2b(body, digest_size=16).digest()
        simulator.requests += 1
        simulator.in_flight += 1
        if simulator.in_flight > simulator.greatest_concurrency:
            simulator.greatest_concurrency = simulator.in_flight
        model.requests += 1
        model.in_flight += 1
        if model.in_flight > model.greatest_concurrency:
            model.greatest_concurrency = model.in_flight
        if self.digest in simulator.received:
            simulator.repeated_bodies_in_all += 1
            if self.digest in simulator.paid:
                simulator.repeated_bodies += 1
        else:
            simulator.received.add(self.digest)

    def end(self, status: str) -> None:
        """Counts the request under that status; ``200`` means answered and paid for."""
        simulator, model = self.simulator, self.model
        if self.generation != simulator.generation:
            return
        simulator.in_flight -= 1
        model.in_flight -= 1
        model.by_status[status] += 1
        if status == "200":
            simulator.answered += 1
            now = time.monotonic()
            simulator.answered_at_s.append(now)
            simulator.answering_s += now - self.received_at
            model.answered += 1
            simulator.paid.add(self.digest)


class Connection(asyncio.Protocol):
    """One client. Requests on it are answered one after the other, in the order they came."""

    __slots__ = (
        "body_start",
        "buffer",
        "busy",
        "closing",
        "exchange",
        "head",
        "loop",
        "needed",
        "received_at",
        "simulator",
        "timer",
        "transport",
    )

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self.simulator = simulator
        self.loop = loop
        self.transport: asyncio.Transport
        self.buffer = bytearray()
        self.head: bytes | None = None
        self.body_start = 0
        self.needed = 0
        self.received_at = 0.0
        self.busy = False
        self.closing = False
        self.exchange: Exchange | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.simulator.connections += 1
        if self.simulator.connections > self.simulator.greatest_connections:
            self.simulator.greatest_connections = self.simulator.connections

    def connection_lost(self, exc: Exception | None) -> None:
        self.simulator.connections -= 1
        self.closing = True
        if self.timer is not None:
            self.timer.cancel()
        if self.exchange is not None:
            self.exchange.end("disconnected")
            self.exchange = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) >= self.needed:
            self.advance()

    def advance(self) -> None:
        """Serves whole requests of the buffer until one has to wait."""
        while not self.busy and not self.closing:
            if self.head is None and not self.read_head():
                return
            if len(self.buffer) < self.needed:
                return
            head = self.head or b""
            body = bytes(memoryview(self.buffer)[self.body_start : self.needed])
            del self.buffer[: self.needed]
            self.head = None
            self.needed = 0
            self.busy = True
            self.received_at = self.loop.time()
            self.serve(head, body)

    def read_head(self) -> bool:
        """Finds the next head and how long its body is. False if there is none yet, or none at all."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > LARGEST_HEAD_BYTES:
                self.refuse(431)
            return False
        head = bytes(memoryview(self.buffer)[: end + 2])
        length = _CONTENT_LENGTH.search(head)
        size = 0 if length is None else int(length[1])
        if length is None and _CHUNKED.search(head):
            self.refuse(411)
            return False
        if size > LARGEST_BODY_BYTES:
            self.refuse(413)
            return False
        self.head = head
        self.body_start = end + 4
        self.needed = self.body_start + size
        if len(self.buffer) < self.needed and _CONTINUE.search(head):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def serve(self, head: bytes, body: bytes) -> None:
        request_line = head[: head.find(b"\r\n")].split(b" ")
        if len(request_line) != 3:
            self.refuse(400)
            return
        method, target, version = request_line
        path = target.partition(b"?")[0]
        keep_alive = version == b"HTTP/1.1" and _CLOSE.search(head) is None
        if version == b"HTTP/1.0":
            keep_alive = _KEEP_ALIVE.search(head) is not None
        if method == b"POST" and path == b"/v1/chat/completions":
            self.chat(head, body, keep_alive)
        elif method == b"POST" and path == b"/v1/images/generations":
            self.draw(head, body, keep_alive)
        elif method == b"GET" and path.startswith(b"/pictures/"):
            content = simulated_picture(path[len(b"/pictures/") :], "").content
            self.write(_HEADER_OF_PICTURE % len(content) + content, keep_alive)
        elif method == b"POST" and path == b"/v1/messages":
            self.message(head, body, keep_alive)
        elif method == b"POST" and path == b"/v1/messages/count_tokens":
            self.count_tokens(head, body, keep_alive)
        elif method == b"POST" and path == b"/v1/embeddings":
            self.embed(head, body, keep_alive)
        elif method == b"GET" and path == b"/statistics":
            self.send(200, self.simulator.statistics(), keep_alive)
        elif method == b"GET" and path == b"/answers":
            self.send(200, {"answered_at_s": list(self.simulator.answered_at_s)}, keep_alive)
        elif method == b"POST" and path == b"/reset":
            self.simulator.reset()
            self.send(200, {}, keep_alive)
        elif method == b"GET" and path == b"/v1/models":
            models = [_listed(name) for name in self.simulator.models]
            self.send(200, {"object": "list", "data": models, "has_more": False}, keep_alive)
        elif method == b"GET" and path.startswith(b"/v1/models/"):
            self.describe(unquote(path[len(b"/v1/models/") :].decode("latin-1")), head, keep_alive)
        else:
            self.send(
                404, _error(f"Nothing is served at {method.decode('latin-1')} {path.decode('latin-1')}"), keep_alive
            )

    def describe(self, name: str, head: bytes, keep_alive: bool) -> None:
        """One model, in the form both dialects share."""
        if self.simulator.model(name) is not None:
            self.send(200, _listed(name), keep_alive)
        elif _ANTHROPIC_VERSION.search(head) is not None:
            self.send(404, _message_error(f"model: {name}", 404), keep_alive)
        else:
            self.send(404, _error(f"The model {name!r} does not exist", "model_not_found"), keep_alive)

    def chat(self, head: bytes, body: bytes, keep_alive: bool) -> None:
        if not self.is_authorized(head, keep_alive):
            return
        simulator = self.simulator
        try:
            parameters = json.loads(body)
            name = parameters.pop("model")
            messages = parameters.pop("messages")
            streams = parameters.pop("stream", False)
            with_usage = (parameters.pop("stream_options", None) or {}).get("include_usage", False)
            choices = parameters.get("n") or 1
            if not isinstance(choices, int) or not 1 <= choices <= 128:
                raise ValueError(f"n must be from 1 to 128, not {choices!r}")
            model = simulator.model(name)
            digest = request_digest(name, messages, parameters)
            behaviour = simulator.default if model is None else model.behaviour
            answers = [
                simulated_answer(
                    digest if number == 0 else blake2b(b"%d" % number + digest, digest_size=16).digest(),
                    messages,
                    parameters,
                    text=behaviour.answer,
                    output_tokens=behaviour.output_tokens,
                    malformed=behaviour.malformed,
                )
                for number in range(choices)
            ]
        except (ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
            self.send(400, _error(f"Not a chat request: {error!r}"), keep_alive)
            return
        made = []
        for number, answer in enumerate(answers):
            message: dict[str, Any] = {"role": "assistant", "content": answer.text}
            if answer.tool_calls:
                message["tool_calls"] = [
                    {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                    for one in answer.tool_calls
                ]
            if "modalities" in parameters:
                picture = base64.b64encode(simulated_picture(digest, "").content).decode("ascii")
                message["images"] = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]
            if behaviour.reasoning is not None and model is not None:
                message["reasoning_content"] = behaviour.reasoning
            made.append({"index": number, "message": message, "finish_reason": answer.finish_reason})
        output_tokens = sum(answer.output_tokens for answer in answers)
        response = {
            "id": "chatcmpl-" + digest.hex(),
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": name,
            "choices": made,
            "usage": {
                "prompt_tokens": answers[0].input_tokens,
                "completion_tokens": output_tokens,
                "total_tokens": answers[0].input_tokens + output_tokens,
            },
        }
        self.respond(name, model, body, digest, _chat_stream(response, with_usage) if streams else response, keep_alive)

    def message(self, head: bytes, body: bytes, keep_alive: bool) -> None:
        """The Messages API of Anthropic: the same answers in another form."""
        simulator = self.simulator
        if not self.is_authorized_message(head, keep_alive):
            return
        try:
            if _ANTHROPIC_VERSION.search(head) is None:
                raise ValueError("anthropic-version: header is required")
            parameters = json.loads(body)
            streams = parameters.pop("stream", False)
            name = parameters.pop("model")
            messages = parameters.pop("messages")
            if any(message["role"] not in ("user", "assistant") for message in messages):
                raise ValueError("messages: unexpected role")
            if not isinstance(parameters["max_tokens"], int):
                raise ValueError("max_tokens: not a number")
            model = simulator.model(name)
            digest = request_digest(name, messages, parameters)
            behaviour = simulator.default if model is None else model.behaviour
            answer = simulated_answer(
                digest,
                *_as_chat(messages, parameters),
                text=behaviour.answer,
                output_tokens=behaviour.output_tokens,
                malformed=behaviour.malformed,
            )
        except (ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
            self.send(400, _message_error(f"Not a message request: {error!r}", 400), keep_alive)
            return
        blocks: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
        blocks += [
            {"type": "tool_use", "id": one.id, "name": one.name, "input": json.loads(one.arguments)}
            for one in answer.tool_calls
        ]
        if behaviour.reasoning is not None:
            blocks.insert(0, {"type": "thinking", "thinking": behaviour.reasoning, "signature": digest.hex()})
        response = {
            "id": "msg_" + digest.hex(),
            "type": "message",
            "role": "assistant",
            "model": name,
            "content": blocks,
            "stop_reason": {"length": "max_tokens", "tool_calls": "tool_use"}.get(
                answer.finish_reason or "", "end_turn"
            ),
            "stop_sequence": None,
            "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        }
        sent = _message_stream(response) if streams else response
        self.respond(name, model, body, digest, sent, keep_alive, error_of=_message_error)

    def count_tokens(self, head: bytes, body: bytes, keep_alive: bool) -> None:
        """How many tokens a message request would send; nothing is asked and nothing counted."""
        if not self.is_authorized_message(head, keep_alive):
            return
        try:
            parameters = json.loads(body)
            messages = list(parameters["messages"])
            if parameters.get("system"):
                messages.append({"role": "user", "content": parameters["system"]})
            counted = simulated_answer(b"\0" * 16, messages, {}, text="", output_tokens=1).input_tokens
        except (ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
            self.send(400, _message_error(f"Not a message request: {error!r}", 400), keep_alive)
            return
        self.send(200, {"input_tokens": counted}, keep_alive)

    def is_authorized_message(self, head: bytes, keep_alive: bool) -> bool:
        """The same for the API of Anthropic, which takes ``x-api-key`` or a bearer token."""
        wanted = self.simulator.api_key
        given = [found[1].strip() for found in (_X_API_KEY.search(head), _AUTHORIZATION.search(head)) if found]
        if wanted is None or wanted in given:
            return True
        self.send(401, _message_error("invalid x-api-key", 401), keep_alive)
        return False

    def embed(self, head: bytes, body: bytes, keep_alive: bool) -> None:
        if not self.is_authorized(head, keep_alive):
            return
        try:
            parameters = json.loads(body)
            name = parameters.pop("model")
            texts = parameters.pop("input")
            if isinstance(texts, str) or (isinstance(texts, list) and texts and isinstance(texts[0], int)):
                texts = [texts]
            if isinstance(texts, list):
                texts = [" ".join(map(str, text)) if isinstance(text, list) else text for text in texts]
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
                raise TypeError("input must be a list of texts, none of them empty")
            model = self.simulator.model(name)
            digest = request_digest(name, texts, parameters)
            answer = simulated_embeddings(name, texts, parameters)
        except (ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
            self.send(400, _error(f"Not a request for embeddings: {error!r}"), keep_alive)
            return
        vectors: list[Any] = list(answer.vectors)
        if parameters.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode("ascii") for v in vectors]
        response = {
            "object": "list",
            "model": name,
            "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
            "usage": {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens},
        }
        self.respond(name, model, body, digest, response, keep_alive)

    def draw(self, head: bytes, body: bytes, keep_alive: bool) -> None:
        """A small picture: as base64, or as a URL of this server with ``response_format`` ``url``."""
        if not self.is_authorized(head, keep_alive):
            return
        try:
            parameters = json.loads(body)
            name = parameters.pop("model")
            prompt = str(parameters.pop("prompt"))
            model = self.simulator.model(name)
            digest = request_digest(name, [prompt], parameters)
        except (ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
            self.send(400, _error(f"Not a request for a picture: {error!r}"), keep_alive)
            return
        if parameters.get("response_format") == "url":
            host, port = self.transport.get_extra_info("sockname")[:2]
            picture = {"url": f"http://{host}:{port}/pictures/{digest.hex()}"}
        else:
            picture = {"b64_json": base64.b64encode(simulated_picture(digest, prompt).content).decode("ascii")}
        usage = {"input_tokens": (len(prompt) + 3) // 4, "output_tokens": 64}
        self.respond(
            name, model, body, digest, {"created": 1_700_000_000, "data": [picture], "usage": usage}, keep_alive
        )

    def is_authorized(self, head: bytes, keep_alive: bool) -> bool:
        """Whether the request carries the key that is asked for; refuses it if not."""
        wanted = self.simulator.api_key
        if wanted is None:
            return True
        key = _AUTHORIZATION.search(head)
        if key is not None and key[1].strip() == wanted:
            return True
        self.send(401, _error("Incorrect API key provided", "invalid_api_key"), keep_alive)
        return False

    def respond(
        self,
        name: str,
        model: SimulatedModel | None,
        body: bytes,
        digest: bytes,
        answer: Any,
        keep_alive: bool,
        *,
        error_of: Callable[[str, int], dict[str, Any]] | None = None,
    ) -> None:
        """Sends the answer, or what the model's behaviour puts in its place, after the latency."""
        simulator = self.simulator
        if model is None:
            if error_of is None:
                self.send(404, _error(f"The model {name!r} does not exist", "model_not_found"), keep_alive)
            else:
                self.send(404, error_of(f"model: {name}", 404), keep_alive)
            return
        exchange = Exchange(simulator, model, body, self.received_at)
        behaviour = model.behaviour
        fate, latency_s = model.fates.decide(digest)
        headers = ""
        status = behaviour.status
        response: Any
        if status != 200:
            response = _error(f"Every request is answered {status}")
        elif fate is Fate.ANSWERED or fate is Fate.TRUNCATED:
            response = answer
        elif fate is Fate.RATE_LIMITED:
            status = 429
            response = _error("Rate limit reached", "rate_limit_exceeded")
            headers = f"Retry-After: {behaviour.retry_after}\r\n" if behaviour.retry_after else ""
        elif fate is Fate.TRANSIENT:
            status = 503
            response = _error("The server is overloaded")
        elif fate is Fate.REJECTED:
            status = 400
            response = _error("The request was rejected")
        else:
            self.exchange = exchange
            return
        if status != 200 and error_of is not None:
            response = error_of(response["error"]["message"], status)
        if fate is Fate.TRUNCATED and status == 200:
            whole = _response(200, response, headers, keep_alive=False)
            data, label, keep_alive = whole[: -len(whole) // 4], "truncated", False
        else:
            data, label = _response(status, response, headers, keep_alive), str(status)
        self.exchange = exchange
        if latency_s > 0.0:
            self.timer = self.loop.call_at(self.received_at + latency_s, self.finish, data, label, keep_alive)
            return
        self.finish(data, label, keep_alive)

    def finish(self, data: bytes, label: str, keep_alive: bool) -> None:
        """Ends the exchange under way: writes its response and goes on with what came meanwhile."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        was_waiting, self.timer = self.timer is not None, None
        if self.transport.is_closing():
            exchange.end("disconnected")
            return
        exchange.end(label)
        self.write(data, keep_alive)
        if was_waiting:
            self.advance()

    def send(self, status: int, document: Any, keep_alive: bool) -> None:
        self.write(_response(status, document, "", keep_alive), keep_alive)

    def refuse(self, status: int) -> None:
        """Answers what cannot be understood, and hangs up."""
        self.send(status, _error(HTTPStatus(status).phrase), keep_alive=False)

    def write(self, data: bytes, keep_alive: bool) -> None:
        self.transport.write(data)
        self.busy = False
        if not keep_alive:
            self.closing = True
            self.transport.close()


_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
_HEADS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
    for status in HTTPStatus
}


def _response(status: int, document: Any, headers: str, keep_alive: bool) -> bytes:
    if isinstance(document, _Events):
        connection = "" if keep_alive else "Connection: close\r\n"
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: text/event-stream\r\n{headers}{connection}"
        return f"{head}Content-Length: {len(document)}\r\n\r\n".encode("ascii") + document
    body = _encode(document)
    connection = "" if keep_alive else "Connection: close\r\n"
    head = _HEADS.get(status) or f"HTTP/1.1 {status} Simulated\r\nContent-Type: application/json\r\n"
    return f"{head}{headers}{connection}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii")


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "simulated", "param": None, "code": code}}


def _as_chat(messages: list[dict[str, Any]], parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A request of the Messages API as a chat completion, as far as the answer depends on it."""
    if "tools" not in parameters:
        return messages, parameters
    chat = [
        {**message, "role": "tool"}
        if isinstance(message["content"], list) and message["content"][0].get("type") == "tool_result"
        else message
        for message in messages
    ]
    tools = [
        {"function": {"name": tool["name"], "parameters": tool.get("input_schema")}} for tool in parameters["tools"]
    ]
    choice = parameters.get("tool_choice", {}).get("type")
    return chat, {**parameters, "tools": tools, "tool_choice": choice}


_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _message_error(message: str, status: int) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}


def _listed(name: str) -> dict[str, Any]:
    """A model as both dialects list one."""
    return {
        "id": name,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "simulated",
        "type": "model",
        "display_name": name,
        "created_at": "2023-11-14T22:13:20Z",
    }


class _Events(bytes):
    """An answer as a stream of events."""


_PIECE = 24


def _chat_stream(response: dict[str, Any], with_usage: bool) -> _Events:
    """The chunks of a chat completion, and what ends them."""
    head = {**{name: response[name] for name in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    chunks: list[dict[str, Any]] = []
    for choice in response["choices"]:
        message, number = choice["message"], choice["index"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if message.get("reasoning_content"):
            deltas.append({"reasoning_content": message["reasoning_content"]})
        text = message["content"]
        deltas += [{"content": text[start : start + _PIECE]} for start in range(0, len(text), _PIECE)]
        for place, call in enumerate(message.get("tool_calls", ())):
            deltas.append({"tool_calls": [{"index": place, **call}]})
        chunks += [{"index": number, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": number, "delta": {}, "finish_reason": choice["finish_reason"]})
    lines = [{**head, "choices": [chunk]} for chunk in chunks]
    if with_usage:
        lines.append({**head, "choices": [], "usage": response["usage"]})
    return _Events("".join(f"data: {_encode(line)}\n\n" for line in lines).encode() + b"data: [DONE]\n\n")


def _message_stream(response: dict[str, Any]) -> _Events:
    """The events of a message of Anthropic."""
    usage = response["usage"]
    begun = {**response, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for place, block in enumerate(response["content"]):
        deltas: list[dict[str, Any]]
        if block["type"] == "text":
            empty = {**block, "text": ""}
            text = block["text"]
            deltas = [{"type": "text_delta", "text": text[at : at + _PIECE]} for at in range(0, len(text), _PIECE)]
        elif block["type"] == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": _encode(block["input"])}]
        events.append({"type": "content_block_start", "index": place, "content_block": empty})
        events += [{"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": place})
    ended = {"stop_reason": response["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage["output_tokens"]}})
    events.append({"type": "message_stop"})
    return _Events("".join(f"event: {event['type']}\ndata: {_encode(event)}\n\n" for event in events).encode())


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--api-key", help="answer 401 to requests without this bearer token")
    parser.add_argument("--known-models-only", action="store_true", help="answer 404 for models without --model")
    parser.add_argument("--keep-running", action="store_true", help="do not end when standard input is closed")
    parser.add_argument("--model", action="append", default=[], metavar="NAME:key=value,…")
    for field in dataclasses.fields(Behaviour):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=_KINDS[field.name], default=field.default, help=f"default: {field.default}")
    options = parser.parse_args(arguments)
    options.behaviour = Behaviour(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(Behaviour)}
    )
    options.named = {}
    for text in options.model:
        place = text[: text.find("=")].rfind(":") if "=" in text else len(text)
        name, changes = text[:place], text[place + 1 :]
        try:
            options.named[name] = Behaviour.parsed(options.behaviour, changes)
        except ValueError as error:
            parser.error(f"--model {text}: {error}")
    return options


async def serve(options: argparse.Namespace) -> None:
    """Serves until standard input is closed or a SIGTERM or SIGINT comes."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    simulator = Simulator(
        options.behaviour, options.named, api_key=options.api_key, known_models_only=options.known_models_only
    )
    server = await loop.create_server(
        lambda: Connection(simulator, loop), options.host, options.port, backlog=4096, family=socket.AF_INET
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not options.keep_running:
        threading.Thread(target=_wait_for_end_of_input, args=(loop, stop), daemon=True).start()
    port = server.sockets[0].getsockname()[1]
    address = f"http://{options.host}:{port}"
    print(
        json.dumps({"url": f"{address}/v1", "statistics_url": f"{address}/statistics", "pid": os.getpid()}), flush=True
    )
    await stop.wait()
    server.close()


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        while os.read(0, 65536):
            pass
    except OSError:  # standard input was never open: the same as closed
        pass
    loop.call_soon_threadsafe(stop.set)


def main(arguments: list[str] | None = None) -> None:
    """Runs the simulator as a program."""
    options = _arguments(arguments)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
