"""The HTTP provider simulator itself: what other suites measure with must be right."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from provider_simulator import PROGRAM, RunningSimulator, provider_simulator

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import ChatAnswer, ChatRequest


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningSimulator]:
    """One simulator without failures for the tests that only need to talk to it."""
    models: dict[str, dict[str, Any]] = {
        "stuck": {"rate_limited": 1, "retry_after": 30},
        "closed": {"status": 401},
        "llama3:8b": {"status": 503},
        "thinking": {"reasoning": "Hmm", "answer": "Done"},
        "slow": {"latency_ms": 60_000},
        "cut": {"truncated": 1},
        "hanging": {"hang": 1},
        "picky": {"rejected": 1},
        "shaky": {"transient": 1},
    }
    with provider_simulator(models=models) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared: RunningSimulator) -> RunningSimulator:
    shared.reset()
    return shared


def ask(url: str, model: str = "small", content: str = "Is it?", *, timeout_s: float = 10.0) -> ChatAnswer:
    async def main() -> ChatAnswer:
        provider = OpenAIProvider(url, model, None, 1)
        try:
            return await provider.chat(ChatRequest([{"role": "user", "content": content}], {}, timeout_s))
        finally:
            await provider.aclose()

    return anyio.run(main)


def connected(simulator: RunningSimulator) -> socket.socket:
    host, port = simulator.url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def chat_body(content: str = "Is it?", model: str = "small") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()


def post(body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST /v1/chat/completions HTTP/{version}", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_response(stream: Any) -> tuple[int, dict[str, str], Any]:
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, value = line.decode().split(": ", 1)
        headers[name.lower()] = value
    body = stream.read(int(headers.get("content-length", 0)))
    return status, headers, json.loads(body) if body else None


# HTTP


def test_requests_in_one_packet_are_answered_in_order(simulator: RunningSimulator) -> None:
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.sendall(b"".join(post(chat_body(f"Number {number}")) for number in range(50)))
        answers = [read_response(stream)[2]["choices"][0]["message"]["content"] for _ in range(50)]
        for number in range(50):
            client.sendall(post(chat_body(f"Number {number}")))
            assert read_response(stream)[2]["choices"][0]["message"]["content"] == answers[number]
    assert simulator.statistics()["requests"] == 100


def test_it_tells_when_answers_were_written_and_how_many_bodies_they_answered(simulator: RunningSimulator) -> None:
    before_s = time.monotonic()
    for content in ("One", "Two", "One"):
        ask(simulator.url, content=content)
    written_at_s = simulator.answered_at_s()
    assert len(written_at_s) == 3
    assert before_s <= written_at_s[0] <= written_at_s[1] <= written_at_s[2] <= time.monotonic()
    assert simulator.statistics()["distinct_answered"] == 2


def test_a_request_in_single_bytes_is_understood(simulator: RunningSimulator) -> None:
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(chat_body()) + post(chat_body("And this?")):
            client.sendall(bytes([byte]))
        assert [read_response(stream)[0] for _ in range(2)] == [200, 200]


def test_a_body_of_twenty_megabytes_is_read(simulator: RunningSimulator) -> None:
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.sendall(post(chat_body("x" * 20_000_000)))
        assert read_response(stream)[2]["usage"]["prompt_tokens"] == 5_000_004


def test_a_body_waits_for_100_continue_if_the_client_says_so(simulator: RunningSimulator) -> None:
    body = chat_body()
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.sendall(post(body, "Expect: 100-continue").removesuffix(body))
        assert read_response(stream)[0] == 100
        client.sendall(body)
        assert read_response(stream)[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "stays_open"),
    [
        (post(chat_body()), True),
        (post(chat_body(), "Connection: close"), False),
        (post(chat_body(), version="1.0"), False),
        (post(chat_body(), "Connection: keep-alive", version="1.0"), True),
    ],
)
def test_connections_stay_open_as_the_client_asks(
    simulator: RunningSimulator, request_bytes: bytes, stays_open: bool
) -> None:
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.sendall(request_bytes)
        status, headers, _ = read_response(stream)
        assert status == 200
        assert headers.get("connection") == (None if stays_open else "close")
        if stays_open:
            client.sendall(post(chat_body()))
            assert read_response(stream)[0] == 200
        else:
            assert stream.read() == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", 404),
        (post(b"not json"), 400),
        (post(b"[]"), 400),
        (post(b'{"model": [], "messages": []}'), 400),
        (post(b'{"model": "small", "messages": [7]}'), 400),
        (post(b'{"model": "small", "messages": [], "temperature": NaN}'), 400),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    simulator: RunningSimulator, request_bytes: bytes, status: int
) -> None:
    with connected(simulator) as client, client.makefile("rb") as stream:
        client.sendall(request_bytes)
        assert read_response(stream)[0] == status
    assert simulator.statistics()["requests"] == 0


# Behaviour


def test_a_model_is_as_its_options_say(simulator: RunningSimulator) -> None:
    def error_of(model: str, timeout_s: float = 10.0) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            ask(simulator.url, model, timeout_s=timeout_s)
        return caught.value

    stuck = error_of("stuck")
    assert isinstance(stuck, RateLimited)
    assert stuck.retry_after_s == 30.0
    assert isinstance(error_of("closed"), RunStopping)
    assert error_of("llama3:8b").args[0].count("503")
    assert isinstance(error_of("picky"), Rejected)
    assert isinstance(error_of("shaky"), Transient)
    for model, timeout_s, error_type in [("cut", 10, "TruncatedAnswer"), ("hanging", 0.05, "Timeout")]:
        error = error_of(model, timeout_s)
        assert isinstance(error, Transient)
        assert error.error_type == error_type
    answer = ask(simulator.url, "thinking")
    assert (answer.text, answer.reasoning_content) == ("Done", "Hmm")


def test_failures_pass_when_a_request_is_made_again() -> None:
    waits = set()
    with provider_simulator(rate_limited=0.3, transient=0.3, retry_after="") as simulator:
        for number in range(20):
            for _ in range(200):
                try:
                    ask(simulator.url, content=f"Number {number}")
                    break
                except (RateLimited, Transient) as error:
                    waits.add(error.retry_after_s)
        statistics = simulator.statistics()
    assert waits == {None}
    assert statistics["answered"] == statistics["distinct_bodies"] == 20
    assert statistics["requests"] > 20
    assert statistics["repeated_bodies"] == 0
    assert statistics["repeated_bodies_in_all"] == statistics["requests"] - 20
    assert statistics["by_status"]["200"] == 20


def test_a_key_and_a_list_of_models_can_be_demanded() -> None:
    with provider_simulator(api_key="sk-1", models={"small": {}}, flags=["--known-models-only"]) as simulator:

        async def main() -> None:
            for key, model, error_type in [("sk-2", "small", "Authentication"), ("sk-1", "large", "UnknownModel")]:
                provider = OpenAIProvider(simulator.url, model, key, 1)
                with pytest.raises(RunStopping) as caught:
                    await provider.chat(ChatRequest([{"role": "user", "content": "Is it?"}]))
                assert caught.value.error_type == error_type
                await provider.aclose()

        anyio.run(main)


# Statistics


def test_repeated_bodies_are_those_answered_before(simulator: RunningSimulator) -> None:
    for content in ("One", "Two", "One", "One"):
        ask(simulator.url, content=content)
    for _ in range(3):
        with pytest.raises(Transient):
            ask(simulator.url, "shaky")
    statistics = simulator.statistics()
    assert statistics["requests"] == 7
    assert statistics["answered"] == 4
    assert statistics["by_status"] == {"200": 4, "503": 3}
    assert statistics["repeated_bodies"] == 2
    assert statistics["repeated_bodies_in_all"] == 4
    assert statistics["distinct_bodies"] == 3
    assert statistics["models"]["shaky"] == {
        "requests": 3,
        "answered": 0,
        "by_status": {"503": 3},
        "greatest_concurrency": 1,
    }
    simulator.reset()
    statistics = simulator.statistics()
    assert (statistics["requests"], statistics["distinct_bodies"], statistics["models"]) == (0, 0, {})


def statistics_when_in_flight(simulator: RunningSimulator, requests: int) -> dict[str, Any]:
    """Asks until that many requests are under way; the time-out of the test bounds the wait."""
    while (statistics := simulator.statistics())["in_flight"] != requests:
        pass
    return statistics


def test_a_client_that_leaves_before_the_answer_was_not_answered(simulator: RunningSimulator) -> None:
    for model in ("slow", "hanging"):
        with connected(simulator) as client:
            client.sendall(post(chat_body(model=model)))
            statistics_when_in_flight(simulator, 1)
        statistics_when_in_flight(simulator, 0)
    statistics = simulator.statistics()
    assert statistics["answered"] == 0
    assert statistics["by_status"] == {"disconnected": 2}


def test_the_greatest_concurrency_is_that_of_requests_under_way_together(simulator: RunningSimulator) -> None:
    with ExitStack() as clients:
        for number in range(50):
            client = clients.enter_context(connected(simulator))
            client.sendall(post(chat_body(str(number), "slow")))
        statistics_when_in_flight(simulator, 50)
    ask(simulator.url)
    statistics = statistics_when_in_flight(simulator, 0)
    assert statistics["greatest_concurrency"] == 50
    assert statistics["models"]["small"]["greatest_concurrency"] == 1


# Its process


def start(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    return process


def test_it_ends_when_its_input_is_closed() -> None:
    with start() as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_ends_on_sigterm() -> None:
    with start() as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_wrong_option_of_a_model_is_refused_with_the_right_ones() -> None:
    wrong = subprocess.run(
        [sys.executable, str(PROGRAM), "--model", "m:latency=3"], capture_output=True, text=True, env={}, check=False
    )
    assert wrong.returncode == 2
    assert "latency_ms" in wrong.stderr
