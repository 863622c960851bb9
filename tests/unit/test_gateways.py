"""Gateways and accounts: what a model adds to its requests, where its token comes from, what its answers cost."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import Scripted, answered, chat_answer, response, scripted_endpoint

from rowmill.engine import scheme
from rowmill.engine.health import ask as question
from rowmill.engine.misdirection import advice_on
from rowmill.engine.scheme import watched
from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, SpecError, Transient, Unavailable
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Call
from rowmill.providers import key_ring
from rowmill.providers.anthropic_answer import read_message
from rowmill.providers.key_ring import KeyRing, read_token
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.opening import open_provider
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.providers.refused import error_of_status
from rowmill.secret import hidden
from rowmill.spec.model import ModelConfig
from rowmill.spec.spec import Spec

pytestmark = pytest.mark.anyio

QUESTION = ChatRequest([{"role": "user", "content": "Is it?"}])
REFUSED = response(401, '{"error": {"message": "token expired"}}')


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def model(url: str = "http://127.0.0.1:9/v1", **fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"alias": "writer", "model": "small", "base_url": url, **fields})


async def ask(config: ModelConfig, environ: Mapping[str, str] | None = None) -> ChatAnswer:
    provider = open_provider(config, {} if environ is None else environ, 4)
    try:
        return await provider.chat(QUESTION)
    finally:
        await provider.aclose()


@pytest.fixture
def self_signed(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for localhost, and the certificate that vouches for it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    names = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    alternative = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", "-x509", *curve, "-nodes", *alternative, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    return context, tmp_path / "certificate"


def printing(directory: Path, *outputs: str, code: int = 0, then: str = "") -> list[str]:
    """A command that prints the next of these texts each time it runs, the last for ever, and counts its runs."""
    (directory / "outputs").mkdir()
    for number, output in enumerate(outputs):
        (directory / "outputs" / str(number)).write_text(output)
    script = directory / "token"
    script.write_text(
        "#!/bin/sh\n"
        f"cd '{directory}'; n=$(cat runs 2>/dev/null || echo 0); echo $((n + 1)) > runs\n"
        f"[ $n -ge {len(outputs)} ] && n={len(outputs) - 1}\ncat outputs/$n; {then}\nexit {code}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return [str(script)]


def runs_of(directory: Path) -> int:
    return int((directory / "runs").read_text())


async def test_headers_and_query_travel_with_every_request_and_their_secrets_come_from_the_environment() -> None:
    async with scripted_endpoint(answered()) as endpoint:
        await ask(
            model(
                endpoint.url,
                api_key="${KEY}",
                auth="api-key",
                extra_headers={"X-Project": "nine", "X-Gateway-Token": "Token ${GATEWAY}", "user-agent": "mine"},
                query={"api-version": "2026-01-01", "code": "${CODE}"},
            ),
            {"KEY": "k-123456", "GATEWAY": "g-123456", "CODE": "c/1+2&3 4"},
        )
    (received,) = endpoint.requests
    assert received.request_line.startswith("POST /v1/chat/completions?api-version=2026-01-01&code=c/1%2B2%263+4 ")
    assert received.headers["x-project"] == "nine"
    assert received.headers["x-gateway-token"] == "Token g-123456"
    assert received.headers["api-key"] == "k-123456"
    assert received.headers["user-agent"] == "mine"
    assert "authorization" not in received.headers


@pytest.mark.parametrize(
    ("provider", "auth", "header", "value"),
    [
        ("openai", None, "authorization", "Bearer k-1"),
        ("anthropic", None, "x-api-key", "k-1"),
        ("anthropic", "bearer", "authorization", "Bearer k-1"),
        ("openai", "x-api-key", "x-api-key", "k-1"),
    ],
)
async def test_the_key_travels_in_the_header_the_spec_says(
    provider: str, auth: str | None, header: str, value: str
) -> None:
    message = {"content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn"}
    async with scripted_endpoint(answered(message if provider == "anthropic" else None)) as endpoint:
        await ask(model(endpoint.url, provider=provider, auth=auth, api_key="${KEY}"), {"KEY": "k-1"})
    headers = endpoint.requests[0].headers
    assert headers[header] == value
    assert len({"authorization", "x-api-key", "api-key"} & headers.keys()) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500])
async def test_no_error_repeats_the_secret_of_a_header_or_a_query(status: int) -> None:
    secrets = {"GATEWAY": 'g-"gate":way!', "CODE": "c/o+d:e@(1)"}
    fields = {"extra_headers": {"X-Gateway-Token": "Token ${GATEWAY}"}, "query": {"code": "${CODE}"}}

    async with scripted_endpoint(answered(), response(200, "{}")) as endpoint:
        await ask(model(endpoint.url, **fields), secrets)
        sent = endpoint.requests[0].request_line + " ".join(endpoint.requests[0].headers.values())
    assert "g-" in sent
    body = json.dumps({"error": {"message": sent}})
    async with scripted_endpoint(response(status, body, f"Location: /{sent}")) as endpoint:
        with pytest.raises(ProviderError) as caught:
            await ask(model(endpoint.url, **fields), secrets)
    assert "***" in str(caught.value) or status in (302, 404)
    for secret in ('g-"gate"', "gate", "c/o+d", "c/o%2Bd", "d:e@"):
        assert secret not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_spec_keeps_the_name_of_a_secret_and_no_fingerprint_knows_headers() -> None:
    plain, dressed = model(), model(extra_headers={"X-Token": "${T}"}, query={"v": "${V}"}, service_tier="flex")
    assert plain.fingerprint() == dressed.fingerprint()
    text = Spec.from_data({"records": 1, "models": [dressed.model_dump()]}).to_json()
    assert '"${T}"' in text
    assert '"${V}"' in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra_headers": {"Authorization": "Bearer sk-1"}}, "sounds like a secret"),
        ({"extra_headers": {"Ocp-Apim-Subscription-Key": "abc"}}, r"OCP_APIM_SUBSCRIPTION_KEY"),
        ({"extra_headers": {"X-A": "a\nb: c"}}, "line break"),
        ({"extra_headers": {"X-A": "ä"}}, "outside ASCII"),
        ({"extra_headers": {"X A": "b"}}, "is no name of a header"),
        ({"extra_headers": {"x-a": "b", "X-A": "c"}}, "given twice"),
        ({"extra_headers": {"Content-Length": "3"}}, "is set by Rowmill"),
        ({"extra_headers": {"authorization": "${A}"}, "api_key": "${B}"}, "carries the key already"),
        ({"query": {"key": "abc"}}, "sounds like a secret"),
        ({"query": {"a\nb": "c"}}, "cannot be part of a URL"),
        ({"api_key": "${A}", "api_key_command": ["a"]}, "not both"),
        ({"api_key_command": "print 'token"}, "cannot be split"),
        ({"api_key_command": []}, "Must not be empty"),
        ({"auth": "bearer"}, "there is none"),
        ({"provider": "simulated", "base_url": None, "query": {"a": "b"}}, "has no meaning for provider 'simulated'"),
        ({"base_url": "http://h/v1?api-version=1"}, "'query' is for what follows"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_the_spec_is_read(fields: dict[str, Any], message: str) -> None:
    given = {"alias": "writer", "model": "small", "base_url": "http://127.0.0.1:9/v1", **fields}
    with pytest.raises(SpecError, match=message) as caught:
        Spec.from_data({"records": 1, "models": [given]})
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("name", ["X-Max-Tokens", "X-Keyboard", "anthropic-beta", "X-Request-Priority"])
def test_a_name_that_only_looks_like_one_of_a_secret_takes_plain_text(name: str) -> None:
    assert model(extra_headers={name: "5"}).extra_headers == {name: "5"}


def test_a_variable_that_is_not_set_is_named_with_its_place() -> None:
    with pytest.raises(SpecError, match=r"'GATEWAY' is not set.*models\.writer\.extra_headers\.X-A"):
        open_provider(model(extra_headers={"X-A": "a ${GATEWAY}"}), {}, 1)


async def test_a_command_gives_the_token_once_for_all_requests_of_all_models(tmp_path: Path) -> None:
    command = printing(tmp_path, "t-123456\n")
    async with scripted_endpoint(*[answered()] * 6) as endpoint:
        keys = KeyRing({"PATH": "/bin:/usr/bin"}, tmp_path)
        providers = [open_provider(model(endpoint.url, model=name, api_key_command=command), keys, 4) for name in "ab"]
        assert not (tmp_path / "runs").exists()
        await asyncio.gather(*[provider.chat(QUESTION) for provider in providers for _ in range(3)])
        for provider in providers:
            await provider.aclose()
    assert {received.headers["authorization"] for received in endpoint.requests} == {"Bearer t-123456"}
    assert runs_of(tmp_path) == 1


async def test_a_refused_token_is_renewed_once_however_many_requests_it_failed(tmp_path: Path) -> None:
    command = printing(tmp_path, "old-token", "new-token")
    async with scripted_endpoint(*[REFUSED] * 4, *[answered()] * 4) as endpoint:
        provider = open_provider(model(endpoint.url, api_key_command=command), {"PATH": "/bin:/usr/bin"}, 4)
        answers = await asyncio.gather(*[provider.chat(QUESTION) for _ in range(4)])
        await provider.aclose()
    assert len(answers) == 4
    assert runs_of(tmp_path) == 2
    assert [received.headers["authorization"] for received in endpoint.requests[4:]] == ["Bearer new-token"] * 4


async def test_a_renewed_token_that_is_refused_too_stops_the_run(tmp_path: Path) -> None:
    command = printing(tmp_path, "token-1")
    async with scripted_endpoint(REFUSED, REFUSED) as endpoint:
        with pytest.raises(RunStopping, match="answered 401"):
            await ask(model(endpoint.url, api_key_command=command), {"PATH": "/bin:/usr/bin"})
    assert runs_of(tmp_path) == 2


async def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    now = 1000.0
    outputs = [json.dumps({"access_token": f"token-{n}", "expires_in": 3600}) for n in range(2)]
    environ = {"PATH": "/bin:/usr/bin"}
    key = key_ring.CommandKey(tuple(printing(tmp_path, *outputs)), environ, wall_clock=lambda: now)
    assert (await key.token()).text == "token-0"
    now += 3600 - 61
    assert (await key.token()).text == "token-0"
    now += 2
    assert (await key.token()).text == "token-1"


async def test_a_token_that_cannot_be_renewed_is_used_as_long_as_it_lasts(tmp_path: Path) -> None:
    now = 1000.0
    command = tuple(printing(tmp_path, json.dumps({"token": "token-0", "expires_in": 600})))
    key = key_ring.CommandKey(command, {"PATH": "/bin:/usr/bin"}, wall_clock=lambda: now)
    await key.token()
    (tmp_path / "outputs" / "0").write_text("")
    now += 590
    assert (await key.token()).text == "token-0"
    now += 20
    with pytest.raises(Unavailable, match="printed nothing"):
        await key.token()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/not/there"], "cannot be started: No such file"),
        (["sh", "-c", "echo tok-4711; echo 'cannot use tok-4711' >&2; exit 3"], r"ended with 3: cannot use \*\*\*"),
        (["sh", "-c", "echo nothing >&2"], "printed nothing: nothing"),
        (["sh", "-c", "echo two; echo lines"], "one word in one line"),
        (["sh", "-c", "echo '{\"a\": 1}'"], "JSON without a token"),
        (["sh", "-c", "printf '\\377'"], "no text"),
        (["sh", "-c", "sleep 60 & sleep 60"], "took longer than"),
        (["sh", "-c", "yes | head -c 100000"], "more than 65536 bytes"),
    ],
)
async def test_a_command_without_a_token_stops_the_run_in_words(
    command: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ring, "PATIENCE_S", 1.0)
    with pytest.raises(RunStopping, match=message) as caught:
        await ask(model(api_key_command=command), {"PATH": "/bin:/usr/bin"})
    assert caught.value.error_type == "KeyCommand"


async def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    config = model(api_key_command="echo $HOME;ls > x")
    assert config.api_key_command == ("echo", "$HOME;ls", ">", "x")
    with pytest.raises(RunStopping, match="no token"):
        await ask(config, KeyRing({"PATH": "/bin:/usr/bin"}, tmp_path))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("printed", "ends_at"),
    [
        ("token-1", None),
        ('"token-1"', None),
        ('{"token": "token-1", "expires_in": 60}', 1060),
        ('{"accessToken": "token-1", "expires_on": 5000, "expiresOn": "2026-01-01 00:00:00.0"}', 5000),
        ('{"status": {"token": "token-1", "expirationTimestamp": "1970-01-01T01:00:00Z"}}', 3600),
        ('{"token": "token-1", "expires_in": "soon"}', None),
    ],
)
def test_a_token_says_when_it_ends_in_the_forms_of_cloud_providers(printed: str, ends_at: float | None) -> None:
    assert read_token(printed.encode(), 1000.0) == ("token-1", ends_at)
    assert hidden("the token-1.") == "the ***."


def test_a_jwt_says_by_itself_when_it_ends() -> None:
    assert read_token(b"eyJhbGciOiJub25lIn0.eyJleHAiOiAyMDAwfQ.c2ln", 1000.0)[1] == 2000


async def test_a_ca_file_is_what_is_trusted(self_signed: tuple[ssl.SSLContext, Path]) -> None:
    context, certificate = self_signed
    async with scripted_endpoint(answered(), tls=context) as endpoint:
        url = endpoint.url.replace("127.0.0.1", "localhost")
        keys = KeyRing({}, certificate.parent)
        assert (await ask(model(url, ca_file=certificate.name), keys)).text == "Yes."
        with pytest.raises(RunStopping, match=r"ca_file '.*missing\.pem' cannot be used: No such file"):
            await ask(model(url, ca_file="missing.pem"), keys)


async def _first_request(url: str) -> None:
    """Asks the server at ``url`` as a health check does, its scheme watched."""
    provider = open_provider(model(url), {}, 1)
    try:
        await watched(lambda: question(ModelHandle(model(url), provider), "chat"), url, {})
    finally:
        await provider.aclose()


async def test_a_plain_server_that_waits_under_https_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheme, "_PATIENCE_S", 0.1)
    async with scripted_endpoint(response(404, "")) as endpoint:
        with pytest.raises(
            RunStopping, match=rf"speaks plain HTTP, not TLS\. Did you mean '{endpoint.url}'\?"
        ) as caught:
            await _first_request(endpoint.url.replace("http:", "https:"))
    assert caught.value.error_type == "WrongScheme"


async def test_a_plain_server_that_refuses_a_handshake_is_recognised() -> None:
    async with scripted_endpoint(greeting=b"HTTP/1.1 400 Bad\r\n\r\n") as endpoint:
        with pytest.raises(RunStopping, match=rf"Did you mean '{endpoint.url}'"):
            await _first_request(endpoint.url.replace("http:", "https:"))


async def test_a_server_of_tls_under_http_is_recognised(self_signed: tuple[ssl.SSLContext, Path]) -> None:
    async with scripted_endpoint(tls=self_signed[0]) as endpoint:
        with pytest.raises(RunStopping, match=rf"speaks TLS, not plain HTTP\. Did you mean '{endpoint.url}'\?"):
            await _first_request(endpoint.url.replace("https:", "http:"))


async def test_the_brackets_of_an_address_of_six_stay_in_what_is_suggested() -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answers, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        address = f"[::1]:{server.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(RunStopping, match=re.escape(f"Did you mean 'http://{address}'?")):
            await _first_request(f"https://{address}")


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_a_failure_in_the_right_scheme_is_told_as_it_is(status: int) -> None:
    async with scripted_endpoint(*[response(status, '{"error": "no"}')] * 2) as endpoint:
        with pytest.raises(ProviderError) as caught:
            await _first_request(endpoint.url)
    assert getattr(caught.value, "error_type", None) != "WrongScheme"
    assert str(status) in str(caught.value)


async def test_a_port_where_something_else_listens_is_said_to_be() -> None:
    async with scripted_endpoint(greeting=b"SSH-2.0-OpenSSH_9.9\r\n\r\n") as endpoint:
        with pytest.raises(Transient) as caught:
            await _first_request(endpoint.url)
        assert "Something else than a server of models listens" in await advice_on(
            endpoint.url, caught.value.error_type
        )


async def test_the_service_tier_is_sent_with_chats_and_with_nothing_else() -> None:
    async with scripted_endpoint(answered(), answered({"data": [{"embedding": [1.0]}]})) as endpoint:
        provider = open_provider(model(endpoint.url, service_tier="flex"), {}, 1)
        assert isinstance(provider, OpenAIProvider)
        handle = ModelHandle(model(endpoint.url), provider)
        await provider.chat(QUESTION)
        await handle.embed(["a"], Call(0, [0]))
        await provider.aclose()
    assert [json.loads(received.body).get("service_tier") for received in endpoint.requests] == ["flex", None]


@pytest.mark.parametrize(
    ("usage", "cost_usd"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 10}, 1000 * 2 + 10 * 8),
        (
            {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 900}},
            100 * 2 + 900 * 0.5 + 10 * 8,
        ),
        ({"prompt_tokens": 1000, "completion_tokens": 10, "prompt_cache_hit_tokens": 400}, 600 * 2 + 400 * 0.5 + 80),
        ({"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": -5}}, 2080),
        ({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}, 10 * 0.5 + 8),
        ({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": "no"}, 28),
    ],
)
async def test_cached_input_costs_its_own_price(usage: dict[str, Any], cost_usd: float) -> None:
    prices = {"input_usd_per_million_tokens": 2, "output_usd_per_million_tokens": 8}
    async with scripted_endpoint(answered({**chat_answer(), "usage": usage})) as endpoint:
        config = model(endpoint.url, **prices, cached_input_usd_per_million_tokens=0.5)
        provider = open_provider(config, {}, 1)
        call = Call(0, [0])
        await ModelHandle(config, provider).chat(QUESTION.messages, call)
        await provider.aclose()
    assert call.requests[0].cost_usd == pytest.approx(cost_usd / 1_000_000)


def test_what_anthropic_writes_into_its_cache_and_reads_from_it_is_part_of_the_input() -> None:
    usage = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 3,
    }
    document = {"content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn", "usage": usage}
    answer = read_message(json.dumps(document).encode(), "here", "small")
    assert (answer.input_tokens, answer.cached_tokens, answer.cache_write_tokens) == (1105, 1000, 100)
    priced = model(
        input_usd_per_million_tokens=4,
        output_usd_per_million_tokens=20,
        cached_input_usd_per_million_tokens=0.4,
        cache_write_usd_per_million_tokens=5,
    )
    cost = priced.cost_usd(answer.input_tokens, answer.output_tokens, answer.cached_tokens, answer.cache_write_tokens)
    assert cost == pytest.approx((5 * 4 + 100 * 5 + 1000 * 0.4 + 3 * 20) / 1_000_000)


LLAMA_CPP = {
    "error": {
        "code": 400,
        "message": "request (2417 tokens) exceeds the available context size (256 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 2417,
        "n_ctx": 256,
    }
}
LITELLM = {
    "error": {
        "message": "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: "
        "OpenAIException - the request is too large. Received Model Group=small",
        "type": None,
        "param": None,
        "code": "400",
    }
}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, LLAMA_CPP),
        (400, LITELLM),
        (400, {"error": {"message": "long", "code": "context_length_exceeded"}}),
        (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}),
        (413, {"error": {"type": "context_window_exceeded", "message": "…"}}),
        (422, {"error": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}),
        (500, {"error": {**LLAMA_CPP["error"], "code": 500}}),
    ],
)
def test_a_prompt_that_is_too_long_is_known_from_every_kind_of_server(status: int, body: dict[str, Any]) -> None:
    error = error_of_status(status, {}, json.dumps(body).encode(), "here", "small", 0.0)
    assert isinstance(error, Rejected)
    assert error.error_type == "ContextTooLong"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "max_tokens is too large: 900000", "code": "invalid_value"}},
        {"error": {"message": "In this context the length of 'stop' exceeds 4"}},
    ],
)
def test_other_lengths_are_no_prompt_that_is_too_long(body: dict[str, Any]) -> None:
    error = error_of_status(400, {}, json.dumps(body).encode(), "here", "small", 0.0)
    assert getattr(error, "error_type", "") == "HTTP 400"


def test_a_rate_limit_that_speaks_of_context_length_stays_one() -> None:
    body = json.dumps({"error": {"message": "Rate limited: the maximum context length tier is full"}}).encode()
    assert isinstance(error_of_status(429, {}, body, "here", "small", 0.0), RateLimited)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"error": "Bad Request", "message": "'messages' is required"}, "Bad Request: 'messages' is required"),
        ({"error": "invalid_scope", "error_description": "no access"}, "invalid_scope: no access"),
        ({"error": "Unprocessable", "detail": [{"loc": ["body"]}]}, 'Unprocessable: [{"loc": ["body"]}]'),
        ({"error": "same", "message": "same"}, "400: same"),
        ({"error": "alone"}, "400: alone"),
        ({"error": "", "message": "beside"}, "beside"),
    ],
)
def test_an_error_that_is_a_text_keeps_what_stands_beside_it(body: dict[str, Any], shown: str) -> None:
    assert str(error_of_status(400, {}, json.dumps(body).encode(), "here", "small", 0.0)).endswith(shown)


@pytest.mark.parametrize(
    ("provider", "path", "advice"),
    [
        ("openai", "/v1", "base_url is what stands before /chat/completions"),
        ("openai", "/v1/chat/completions", r"Did you mean 'http://127\.0\.0\.1:\d+/v1'\?"),
        ("openai", "/v1/models", r"Did you mean 'http://127\.0\.0\.1:\d+/v1'\?"),
        ("openai", "/v1/completions/", r"Did you mean 'http://127\.0\.0\.1:\d+/v1'\?"),
        ("anthropic", "/v1/messages", r"Did you mean 'http://127\.0\.0\.1:\d+/v1'\?"),
        ("openai", "", r"ends in /v1 with most servers\. Did you mean 'http://127\.0\.0\.1:\d+/v1'\?"),
        ("anthropic", "", r"before /messages, and ends in /v1 with most servers\. Did you mean '.*:\d+/v1'"),
    ],
)
async def test_an_address_nothing_is_served_at_is_answered_with_the_paths_of_its_dialect(
    provider: str, path: str, advice: str
) -> None:
    async with scripted_endpoint(response(404, '{"error": "Not Found"}')) as endpoint:
        url = endpoint.url.removesuffix("/v1") + path
        with pytest.raises(RunStopping, match=advice) as caught:
            await ask(model(url, provider=provider))
    assert caught.value.error_type == "NotFound"


async def test_a_request_that_is_refused_in_the_body_is_asked_once_only() -> None:
    async with scripted_endpoint(Scripted([response(401, "{}")])) as endpoint:
        with pytest.raises(RunStopping):
            await ask(model(endpoint.url, api_key="${KEY}"), {"KEY": "k-1"})
    assert len(endpoint.requests) == 1
