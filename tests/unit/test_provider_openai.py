"""The OpenAI-compatible client against real sockets: one call, one request, one typed error."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from provider_simulator import provider_simulator
from scripted_endpoint import Scripted, answered, chat_answer, response, scripted_endpoint

from rowmill.errors import (
    InternalError,
    ProviderError,
    RateLimited,
    Rejected,
    RunStopping,
    Transient,
    Unavailable,
    UsageError,
)
from rowmill.providers.openai import LARGEST_ANSWER_BYTES, OpenAIProvider
from rowmill.providers.protocol import ChatAnswer, ChatRequest

pytestmark = pytest.mark.anyio

KEY = 'sk-secret/"key"+1234567890'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(
    url: str,
    *,
    content: str = "Is it?",
    timeout_s: float = 10.0,
    parameters: Mapping[str, Any] | None = None,
    api_key: str | None = KEY,
    **options: Any,
) -> ChatAnswer:
    provider = OpenAIProvider(url, "small", api_key, 4, **options)
    try:
        return await provider.chat(ChatRequest([{"role": "user", "content": content}], parameters or {}, timeout_s))
    finally:
        await provider.aclose()


async def failure_of(*script: Scripted | bytes, timeout_s: float = 10.0) -> ProviderError:
    async with scripted_endpoint(*script) as endpoint:
        with pytest.raises(ProviderError) as caught:
            await ask(endpoint.url, timeout_s=timeout_s)
        assert len(endpoint.requests) == 1
        return caught.value


def error_body(message: str = "It went wrong", code: Any = None, **fields: Any) -> str:
    return json.dumps({"error": {"message": message, "type": "some_error", "code": code, **fields}})


# Answers


async def test_an_answer_carries_its_text_tokens_and_reason_to_finish() -> None:
    async with scripted_endpoint(answered()) as endpoint:
        answer = await ask(endpoint.url)
    assert answer == ChatAnswer("Yes.", None, "stop", input_tokens=7, output_tokens=2)


async def test_the_request_is_what_the_chat_completions_interface_asks_for() -> None:
    async with scripted_endpoint(answered()) as endpoint:
        parameters = {"temperature": 0.5, "max_tokens": 9}
        await ask(endpoint.url + "/", parameters=parameters, extra_body={"top_k": 3, "max_tokens": 5})
    request = endpoint.requests[0]
    assert request.request_line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {
        "model": "small",
        "messages": [{"role": "user", "content": "Is it?"}],
        "temperature": 0.5,
        "max_tokens": 5,
        "top_k": 3,
    }


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with scripted_endpoint(answered()) as endpoint:
        await ask(endpoint.url, api_key=None)
    assert "authorization" not in endpoint.requests[0].headers


async def test_a_query_string_of_the_base_url_is_kept() -> None:
    async with scripted_endpoint(answered()) as endpoint:
        await ask(endpoint.url + "?api-version=2026-01-01")
    assert endpoint.requests[0].request_line == "POST /v1/chat/completions?api-version=2026-01-01 HTTP/1.1"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": "many"}, [1], {"x": -1}])
async def test_tokens_are_zero_when_the_endpoint_does_not_say(usage: Any) -> None:
    async with scripted_endpoint(answered({**chat_answer(), "usage": usage})) as endpoint:
        answer = await ask(endpoint.url)
    assert (answer.input_tokens, answer.output_tokens) == (0, 0)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_read_under_both_names(name: str) -> None:
    async with scripted_endpoint(answered(chat_answer("4", **{name: "2 and 2"}))) as endpoint:
        assert (await ask(endpoint.url)).reasoning_content == "2 and 2"


async def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "One, "}, {"type": "text", "text": "two."}]
    async with scripted_endpoint(answered(chat_answer(parts))) as endpoint:
        assert (await ask(endpoint.url)).text == "One, two."


async def test_an_empty_text_is_an_answer() -> None:
    async with scripted_endpoint(answered(chat_answer(""))) as endpoint:
        assert (await ask(endpoint.url)).text == ""


async def test_a_lone_surrogate_in_an_answer_is_replaced_and_a_pair_is_kept() -> None:
    body = json.dumps(chat_answer("a\ud83d b\ud83d\ude00"))
    async with scripted_endpoint(response(200, body)) as endpoint:
        assert (await ask(endpoint.url)).text == "a\ufffd b😀"


@pytest.mark.parametrize("content", ["a\x00b", "a lone \ud800 surrogate", "naïve 日本語 😀", '"\\\u2028'])
async def test_any_text_reaches_the_endpoint_unchanged(content: str) -> None:
    async with scripted_endpoint(answered()) as endpoint:
        await ask(endpoint.url, content=content)
    assert json.loads(endpoint.requests[0].body)["messages"][0]["content"] == content


async def test_a_prompt_of_ten_megabytes_is_sent_whole() -> None:
    with provider_simulator() as simulator:
        answer = await ask(simulator.url, content="x" * 10_000_000, timeout_s=30)
    assert answer.input_tokens > 2_000_000


async def test_an_answer_in_pieces_and_chunks_is_read_whole() -> None:
    body = json.dumps(chat_answer()).encode()
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:10], body[10:])]
    head = b"HTTP/1.1 200 OK\r\nTransfer-", b"Encoding: chunked\r\n\r\n"
    async with scripted_endpoint(Scripted([*head, *chunks, b"0\r\n\r\n"])) as endpoint:
        assert (await ask(endpoint.url)).text == "Yes."


async def test_a_compressed_answer_is_read_although_nobody_asked_for_it() -> None:
    body = gzip.compress(json.dumps(chat_answer()).encode())
    async with scripted_endpoint(response(200, body, "Content-Encoding: gzip")) as endpoint:
        assert (await ask(endpoint.url)).text == "Yes."
    assert endpoint.requests[0].headers["accept-encoding"] == "identity"


# Errors by status


@pytest.mark.parametrize(
    ("status", "body", "kind", "error_type"),
    [
        (401, error_body(), RunStopping, "Authentication"),
        (403, "<html>no</html>", RunStopping, "Authentication"),
        (402, error_body(), RunStopping, "PaymentRequired"),
        (404, error_body("The model `x` does not exist", "model_not_found"), RunStopping, "UnknownModel"),
        (404, error_body("model 'x' not found, try pulling it first"), RunStopping, "UnknownModel"),
        (404, '{"object":"error","message":"Nope","param":"model","code":404}', RunStopping, "UnknownModel"),
        (400, error_body("No such model", "model_not_found"), RunStopping, "UnknownModel"),
        (404, '{"detail":"Not Found"}', RunStopping, "NotFound"),
        (405, "", RunStopping, "NotFound"),
        (408, "", Transient, "HTTP 408"),
        (409, error_body(), Transient, "HTTP 409"),
        (425, "", Transient, "HTTP 425"),
        (500, error_body(), Transient, "HTTP 500"),
        (503, "<html>", Unavailable, "HTTP 503"),
        (529, "", Transient, "HTTP 529"),
        (400, error_body("Too long", "context_length_exceeded"), Rejected, "ContextTooLong"),
        (400, error_body("Filtered", "content_filter"), Rejected, "Refusal"),
        (403, error_body("Flagged", 403, metadata={"flagged_input": "…"}), Rejected, "Refusal"),
        (400, '[{"error": {"message": "in a list"}}]', Rejected, "HTTP 400"),
        (400, '{"error": "just text"}', Rejected, "HTTP 400"),
        (400, "[" * 100_000, Rejected, "HTTP 400"),
        (413, "", Rejected, "HTTP 413"),
        (422, '{"detail":[{"msg":"field required"}]}', Rejected, "HTTP 422"),
    ],
)
async def test_each_status_becomes_its_typed_error(
    status: int, body: str, kind: type[ProviderError], error_type: str
) -> None:
    error = await failure_of(response(status, body))
    assert type(error) is kind
    assert getattr(error, "error_type", None) == error_type


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["Retry-After: 3"], 3.0),
        (["Retry-After: 0.25"], 0.25),
        (["Retry-After: -5"], 0.0),
        (["Retry-After: 99999999"], 86_400.0),
        (["Retry-After: inf"], 86_400.0),
        (["Retry-After: nan"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: "], None),
        (["Retry-After-Ms: 1500", "Retry-After: 2"], 1.5),
        (["Retry-After: Wed, 21 Oct 2015 07:28:30 GMT", "Date: Wed, 21 Oct 2015 07:28:00 GMT"], 30.0),
        (["retry-after: Wed, 21 Oct 2015 07:27:00 GMT", "Date: Wed, 21 Oct 2015 07:28:00 GMT"], 0.0),
        (["Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"], 0.0),
        (["Retry-After: Wed, 21 Oct 9999 07:28:00 GMT"], 86_400.0),
    ],
)
async def test_a_429_says_how_long_to_wait_in_seconds_or_as_a_date(headers: list[str], seconds: float | None) -> None:
    error = await failure_of(response(429, error_body("Slow down"), *headers))
    assert type(error) is RateLimited
    assert error.retry_after_s == seconds
    assert "Slow down" in str(error)


async def test_a_5xx_keeps_what_it_says_about_waiting() -> None:
    error = await failure_of(response(503, "", "Retry-After: 7"))
    assert isinstance(error, Transient)
    assert error.retry_after_s == 7.0


async def test_a_status_decides_even_when_its_body_is_cut_off() -> None:
    error = await failure_of(Scripted([b"HTTP/1.1 401 No\r\nContent-Length: 999\r\n\r\nno"], then="close"))
    assert type(error) is RunStopping


async def test_a_status_decides_even_when_its_body_never_ends() -> None:
    head = b"HTTP/1.1 429 No\r\nContent-Length: 999\r\nRetry-After: 4\r\n\r\n"
    error = await failure_of(Scripted([head], then="wait"), timeout_s=0.05)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 4.0


async def test_an_error_sent_as_an_answer_counts_by_its_code() -> None:
    error = await failure_of(response(200, error_body("Upstream failed", 502)))
    assert isinstance(error, Transient)
    assert error.error_type == "HTTP 502"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_stops_the_run(status: int) -> None:
    async with scripted_endpoint(answered()) as elsewhere:
        error = await failure_of(response(status, "", f"Location: {elsewhere.url}/chat/completions"))
        assert type(error) is RunStopping
        assert elsewhere.url in str(error)
        assert elsewhere.connections == 0


# Answers that are none


def finished(reason: str, content: Any = None, **message: Any) -> bytes:
    document = chat_answer(content, **message)
    document["choices"][0]["finish_reason"] = reason
    return answered(document)


@pytest.mark.parametrize(
    ("data", "kind", "error_type"),
    [
        (answered(chat_answer(None, refusal="I would rather not")), Rejected, "Refusal"),
        (finished("content_filter"), Rejected, "Refusal"),
        (finished("content_filter", "Half an ans"), Rejected, "Refusal"),
        (finished("length", None, reasoning_content="Hmm"), Rejected, "OutputLimit"),
        (finished("length", "", reasoning="Hmm"), Rejected, "OutputLimit"),
        (answered(chat_answer(None, reasoning_content="Hmm")), Rejected, "NoAnswer"),
        (answered(chat_answer(None, tool_calls=[{"id": "1"}])), Rejected, "NoAnswer"),
        (finished("error", "Half an ans"), Transient, "TruncatedAnswer"),
        (answered(chat_answer(None)), Transient, "MalformedAnswer"),
        (answered(chat_answer(7)), Transient, "MalformedAnswer"),
        (answered({"choices": []}), Transient, "MalformedAnswer"),
        (answered({"choices": [{}]}), Transient, "MalformedAnswer"),
        (answered({"choices": [{"message": "text"}]}), Transient, "MalformedAnswer"),
        (answered({"choices": None}), Transient, "MalformedAnswer"),
        (answered({"error": "something"}), Transient, "MalformedAnswer"),
        (answered([1, 2]), Transient, "MalformedAnswer"),
        (answered("text"), Transient, "MalformedAnswer"),
        (response(200, b'{"choices": \xff\xfe}'), Transient, "MalformedAnswer"),
        (response(200, "<html>}"), Transient, "MalformedAnswer"),
        (response(200, '{"choices": [{"mess'), Transient, "TruncatedAnswer"),
        (response(200, "["), Transient, "TruncatedAnswer"),
        (response(200, ""), Transient, "TruncatedAnswer"),
        (response(204, ""), Transient, "TruncatedAnswer"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Transient, "NotHttp"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", Transient, "NotHttp"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Transient, "NotHttp"),
    ],
)
async def test_an_answer_without_usable_text_becomes_its_typed_error(
    data: bytes, kind: type[ProviderError], error_type: str
) -> None:
    error = await failure_of(Scripted([data]))
    assert type(error) is kind
    assert getattr(error, "error_type", None) == error_type


async def test_a_refusal_still_tells_what_it_cost() -> None:
    error = await failure_of(answered(chat_answer(None, refusal="No")))
    assert (error.input_tokens, error.output_tokens) == (7, 2)


@pytest.mark.parametrize(
    "script",
    [
        Scripted([answered()[:-10]], then="close"),
        Scripted([answered()[:-10]], then="reset"),
        Scripted([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"], then="close"),
        Scripted([b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"choices": [{'], then="close"),
        Scripted([response(200, b"not gzip", "Content-Encoding: gzip")]),
    ],
)
async def test_an_answer_cut_off_in_the_body_is_transient(script: Scripted) -> None:
    error = await failure_of(script)
    assert isinstance(error, Transient)
    assert error.error_type in ("TruncatedAnswer", "ConnectionReset")


async def test_an_answer_without_end_is_given_up_at_the_bound() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"
    piece = b" " * (1024 * 1024)
    pieces = [head, *[piece] * (LARGEST_ANSWER_BYTES // len(piece) + 8)]
    error = await failure_of(Scripted(pieces, then="wait"))
    assert type(error) is Rejected
    assert error.error_type == "AnswerTooLarge"


async def test_more_bytes_than_the_content_length_never_become_another_answer() -> None:
    foreign = answered(chat_answer("Not yours."))
    async with scripted_endpoint(Scripted([answered() + foreign]), answered(chat_answer("Second."))) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 1)
        request = ChatRequest([{"role": "user", "content": "?"}])
        texts = []
        for _ in range(2):
            try:
                texts.append((await provider.chat(request)).text)
            except Transient as error:
                texts.append(error.error_type)
        await provider.aclose()
    assert "Not yours." not in texts


# Connections


async def test_nobody_listening_is_transient() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Transient) as caught:
            await ask(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
    assert caught.value.error_type == "ConnectionRefused"


async def test_a_name_that_does_not_exist_is_transient() -> None:
    with pytest.raises(Transient) as caught:
        await ask("http://nobody.invalid/v1")
    assert caught.value.error_type == "NameResolution"


@pytest.mark.parametrize(
    ("script", "error_type"),
    [
        (Scripted(then="close"), "ConnectionClosed"),
        (Scripted(then="reset"), "ConnectionReset"),
        (Scripted([b"HTTP/1.1 200 OK\r\nContent-Le"], then="close"), "ConnectionClosed"),
    ],
)
async def test_a_connection_lost_before_the_answer_is_transient(script: Scripted, error_type: str) -> None:
    error = await failure_of(script)
    assert isinstance(error, Transient)
    assert error.error_type == error_type


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_request_on_a_connection_that_dies_is_made_once_and_reported(then: Any) -> None:
    async with scripted_endpoint(answered(), Scripted(then=then), answered()) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 1)
        request = ChatRequest([{"role": "user", "content": "?"}])
        await provider.chat(request)
        with pytest.raises(Transient):
            await provider.chat(request)
        assert len(endpoint.requests) == 2
        assert endpoint.connections == 1
        await provider.chat(request)
        assert (len(endpoint.requests), endpoint.connections) == (3, 2)
        await provider.aclose()


async def test_connections_are_kept_and_never_more_than_the_limit() -> None:
    with provider_simulator(latency_ms=2) as simulator:
        provider = OpenAIProvider(simulator.url, "small", None, 3)
        requests = [ChatRequest([{"role": "user", "content": f"Number {number}?"}]) for number in range(30)]
        await asyncio.gather(*(provider.chat(request) for request in requests))
        await provider.aclose()
        statistics = simulator.statistics()
    assert statistics["requests"] == statistics["answered"] == 30
    assert statistics["greatest_concurrency"] == 3
    assert statistics["greatest_connections"] <= 4  # and one that asks for the statistics


@pytest.mark.parametrize("sent", [[], [b"HTTP/1.1 200 OK\r\n"], [answered()[:-5]]])
async def test_a_time_out_is_transient_and_hangs_up(sent: list[bytes]) -> None:
    async with scripted_endpoint(Scripted(sent, then="wait")) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 1)
        with pytest.raises(Transient) as caught:
            await provider.chat(ChatRequest([{"role": "user", "content": "?"}], timeout_s=0.05))
        await asyncio.wait_for(endpoint.hung_up.wait(), 5)
        await provider.aclose()
    assert caught.value.error_type == "Timeout"
    assert "0.05 s" in str(caught.value)


async def test_a_cancelled_call_hangs_up_and_leaves_the_provider_usable() -> None:
    async with scripted_endpoint(Scripted(then="wait"), answered()) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 1)
        request = ChatRequest([{"role": "user", "content": "?"}])
        call = asyncio.create_task(provider.chat(request))
        await endpoint.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(endpoint.hung_up.wait(), 5)
        assert (await provider.chat(request)).text == "Yes."
        await provider.aclose()


async def test_closing_ends_requests_under_way_as_transient() -> None:
    async with scripted_endpoint(Scripted(then="wait")) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 1)
        call = asyncio.create_task(provider.chat(ChatRequest([{"role": "user", "content": "?"}])))
        await endpoint.asked.wait()
        await provider.aclose()
        with pytest.raises(Transient):
            await call


async def test_closing_twice_is_fine_and_asking_afterwards_is_a_contradiction() -> None:
    provider = OpenAIProvider("http://127.0.0.1:1/v1", "small", None, 1)
    await provider.aclose()
    await provider.aclose()
    with pytest.raises(InternalError):
        await provider.chat(ChatRequest([]))


async def test_tls_towards_a_plain_server_is_transient() -> None:
    async with scripted_endpoint(greeting=b"HTTP/1.1 400 Bad\r\n\r\n") as endpoint:
        with pytest.raises(Transient) as caught:
            await ask(endpoint.url.replace("http:", "https:"))
    assert caught.value.error_type == "Tls"
    assert "is it http:// instead of https://?" in str(caught.value)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    names = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        [openssl, "req", "-x509", *curve, "-nodes", "-subj", "/CN=localhost", *names], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    return context


async def test_a_certificate_nobody_vouches_for_is_transient(self_signed: ssl.SSLContext) -> None:
    async with scripted_endpoint(answered(), tls=self_signed) as endpoint:
        with pytest.raises(Transient) as caught:
            await ask(endpoint.url)
        assert endpoint.requests == []
    assert caught.value.error_type == "Certificate"


async def test_a_proxy_of_the_environment_is_not_used_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with scripted_endpoint(answered(), answered()) as endpoint:
        assert (await ask(endpoint.url)).text == "Yes."
        assert (await ask("http://models.example/v1", proxy=endpoint.url)).text == "Yes."
    assert endpoint.requests[1].request_line == "POST http://models.example/v1/chat/completions HTTP/1.1"


# Messages


def echoes(text: str) -> list[Scripted | bytes]:
    quoted = json.dumps(text)
    return [
        response(401, error_body(f"Incorrect API key provided: {text}.")),
        response(500, f"<pre>Authorization: Bearer {text}</pre>"),
        response(500, f"not json: {quoted}"),
        response(429, error_body("x" * 285 + text)),
        response(302, "", f"Location: http://elsewhere.example/?key={text}"),
        response(200, f"echo {text}"),
        response(200, f'{{"echo": {quoted}}}'),
        answered(chat_answer(None, refusal=f"I refuse {text}")),
        f"{text}\r\n\r\n".encode(),
        f"HTTP/1.1 {text}\r\n\r\n".encode(),
        Scripted(then="close"),
    ]


@pytest.mark.parametrize("number", range(len(echoes(KEY))))
async def test_no_message_contains_the_key_whatever_the_endpoint_echoes(number: int) -> None:
    error = await failure_of(echoes(KEY)[number])
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__) + repr(error.__context__)
    for part in (KEY, json.dumps(KEY)[1:-1], repr(KEY)[1:-1], "1234567890", "sk-secret"):
        assert part not in told


async def test_messages_are_one_short_line() -> None:
    error = await failure_of(response(500, error_body("A\nline\x1b[31m\r\n" + "long " * 10_000)))
    assert len(str(error)) <= 300
    assert str(error).isprintable()
    assert "A line" in str(error)


async def test_the_message_of_a_wrong_url_says_what_to_check() -> None:
    assert "base_url" in str(await failure_of(response(404, "")))


# Requests and settings that cannot work


@pytest.mark.parametrize("parameters", [{"a": float("nan")}, {"a": object()}, {"a": b"bytes"}])
async def test_a_request_json_cannot_express_is_rejected_unsent(parameters: dict[str, Any]) -> None:
    async with scripted_endpoint() as endpoint:
        with pytest.raises(Rejected) as caught:
            await ask(endpoint.url, parameters=parameters)
        assert endpoint.connections == 0
    assert caught.value.error_type == "InvalidRequest"


async def test_a_streaming_request_stops_the_run() -> None:
    with pytest.raises(RunStopping):
        await ask("http://127.0.0.1:1/v1", parameters={"stream": True})


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://user:pass@host/v1",
        "http://host:99999/v1",
        "http://[::1",
    ],
)
def test_a_base_url_that_cannot_work_is_a_usage_error_without_secrets(base_url: str) -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIProvider(base_url, "small", None, 1)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("key", ["line\nbreak", "ключ"])
def test_a_key_no_header_can_carry_is_a_usage_error_that_hides_it(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIProvider("http://host/v1", "small", key, 1)
    assert key not in str(caught.value)


def test_providers_are_opened_without_importing_an_http_client() -> None:
    code = "import sys, rowmill.providers.opening, rowmill.providers.simulated; sys.exit('aiohttp' in sys.modules)"
    source = str(Path(__file__).resolve().parents[2] / "src")
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"], check=True)
