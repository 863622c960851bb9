"""The Messages API of Anthropic over real sockets: what is sent, and what answers and failures become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from provider_simulator import provider_simulator
from scripted_endpoint import Scripted, response, scripted_endpoint

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient, Unavailable
from rowmill.providers.anthropic import AnthropicProvider
from rowmill.providers.opening import open_provider
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.spec.model import ModelConfig

pytestmark = pytest.mark.anyio

KEY = 'sk-ant-secret/"key"+1'
USER = {"role": "user", "content": "Is it?"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def message(*blocks: Mapping[str, Any], stop_reason: str = "end_turn", usage: Mapping[str, int] | None = None) -> bytes:
    used = usage or {"input_tokens": 7, "output_tokens": 2}
    document = {"type": "message", "content": blocks, "stop_reason": stop_reason, "usage": used}
    return response(200, json.dumps(document))


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def error(kind: str, words: str = "It went wrong") -> str:
    return json.dumps({"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"})


async def ask(url: str, *messages: Mapping[str, Any], key: str | None = KEY, **parameters: Any) -> ChatAnswer:
    provider = AnthropicProvider(url, "small", key, 4)
    try:
        return await provider.chat(ChatRequest(messages or [USER], parameters, 10))
    finally:
        await provider.aclose()


async def sent(*messages: Mapping[str, Any], **parameters: Any) -> Any:
    async with scripted_endpoint(message(text("Yes."))) as endpoint:
        await ask(endpoint.url, *messages, **parameters)
    return json.loads(endpoint.requests[0].body)


async def answer_to(*script: Scripted | bytes) -> ChatAnswer:
    async with scripted_endpoint(*script) as endpoint:
        return await ask(endpoint.url)


async def failure_of(*script: Scripted | bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await answer_to(*script)
    assert KEY not in str(caught.value)
    return caught.value


# Requests


async def test_a_request_names_key_and_version_in_the_headers_the_api_wants() -> None:
    async with scripted_endpoint(message(text("Yes."))) as endpoint:
        answer = await ask(endpoint.url)
    (request,) = endpoint.requests
    assert request.request_line == "POST /v1/messages HTTP/1.1"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert json.loads(request.body) == {"max_tokens": 4096, "model": "small", "messages": [USER]}
    assert answer == ChatAnswer("Yes.", None, "stop", input_tokens=7, output_tokens=2)


async def test_system_messages_become_the_system_prompt() -> None:
    body = await sent({"role": "system", "content": "Be brief."}, USER, max_tokens=9, temperature=0.5)
    assert body == {
        "max_tokens": 9,
        "temperature": 0.5,
        "system": "Be brief.",
        "model": "small",
        "messages": [USER],
    }


async def test_images_become_image_blocks() -> None:
    parts = [
        text("What is this?"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}},
    ]
    body = await sent({"role": "user", "content": parts})
    assert body["messages"][0]["content"] == [
        text("What is this?"),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/a.png"}},
    ]


async def test_sound_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Rejected, match="takes text and images, not 'input_audio'"):
        await sent({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]})


async def test_tools_and_their_results_take_the_form_of_the_api() -> None:
    schema = {"type": "object", "properties": {}}
    function = {"name": "price", "description": "The price", "parameters": schema}
    calls = [
        {"id": "1", "type": "function", "function": {"name": "price", "arguments": '{"of": "tea"}'}},
        {"id": "2", "type": "function", "function": {"name": "price", "arguments": "{"}},
    ]
    body = await sent(
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "tool", "tool_call_id": "2", "content": "Error"},
        tools=[{"type": "function", "function": function}],
        tool_choice="none",
    )
    assert body["tools"] == [{"name": "price", "description": "The price", "input_schema": schema}]
    assert body["tool_choice"] == {"type": "none"}
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "1", "name": "price", "input": {"of": "tea"}},
        {"type": "tool_use", "id": "2", "name": "price", "input": {}},
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "3"},
            {"type": "tool_result", "tool_use_id": "2", "content": "Error"},
        ],
    }


# Answers


async def test_thinking_is_the_reasoning_and_text_blocks_are_joined() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    answer = await answer_to(message(thought, text("Yes"), text("!"), stop_reason="max_tokens"))
    assert (answer.text, answer.reasoning_content, answer.finish_reason) == ("Yes!", "Hm.", "length")


async def test_cached_input_counts_as_input() -> None:
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 4}
    answer = await answer_to(message(text("Yes."), usage=usage))
    assert (answer.input_tokens, answer.output_tokens) == (321, 4)


async def test_an_empty_turn_is_an_empty_answer() -> None:
    assert (await answer_to(message())).text == ""


@pytest.mark.parametrize(
    ("blocks", "stop_reason", "kind"),
    [
        ([text("I will")], "refusal", "Refusal"),
        ([], "max_tokens", "OutputLimit"),
        ([{"type": "thinking", "thinking": "Hm."}], "max_tokens", "OutputLimit"),
        ([{"type": "thinking", "thinking": "Hm."}], "end_turn", "NoAnswer"),
        ([{"type": "tool_use", "name": "x"}], "tool_use", "NoAnswer"),
    ],
)
async def test_what_has_no_answer_is_rejected_with_what_it_used(
    blocks: Sequence[Mapping[str, Any]], stop_reason: str, kind: str
) -> None:
    failure = await failure_of(message(*blocks, stop_reason=stop_reason))
    assert type(failure) is Rejected
    assert failure.error_type == kind
    assert (failure.input_tokens, failure.output_tokens) == (7, 2)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"content": [', "TruncatedAnswer"),
        ("{}", "MalformedAnswer"),
        ("[]", "MalformedAnswer"),
        ("hi", "MalformedAnswer"),
    ],
)
async def test_what_is_no_message_is_worth_another_attempt(body: str, kind: str) -> None:
    failure = await failure_of(response(200, body))
    assert isinstance(failure, Transient)
    assert failure.error_type == kind


# Failures


@pytest.mark.parametrize(
    ("status", "kind", "expected", "error_type"),
    [
        (400, "invalid_request_error", Rejected, "HTTP 400"),
        (401, "authentication_error", RunStopping, "Authentication"),
        (402, "billing_error", RunStopping, "PaymentRequired"),
        (403, "permission_error", RunStopping, "Authentication"),
        (413, "request_too_large", Rejected, "HTTP 413"),
        (500, "api_error", Transient, "HTTP 500"),
        (504, "timeout_error", Unavailable, "HTTP 504"),
    ],
)
async def test_each_status_has_its_type(status: int, kind: str, expected: type[Rejected], error_type: str) -> None:
    failure = await failure_of(response(status, error(kind)))
    assert type(failure) is expected
    assert failure.error_type == error_type


async def test_an_unknown_model_stops_the_run() -> None:
    failure = await failure_of(response(404, error("not_found_error", "model: small")))
    assert isinstance(failure, RunStopping)
    assert failure.error_type == "UnknownModel"


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error"), (500, "overloaded_error")]
)
async def test_limits_and_overload_ask_to_wait_and_never_use_up_an_attempt(status: int, kind: str) -> None:
    failure = await failure_of(response(status, error(kind), "Retry-After: 7"))
    assert isinstance(failure, RateLimited)
    assert failure.retry_after_s == 7


@pytest.mark.parametrize(("kind", "expected"), [("overloaded_error", RateLimited), ("api_error", Transient)])
async def test_an_error_in_place_of_a_message_is_that_error(kind: str, expected: type[ProviderError]) -> None:
    assert isinstance(await failure_of(response(200, error(kind))), expected)


async def test_the_key_is_in_no_message() -> None:
    failure = await failure_of(response(400, error("invalid_request_error", f"you sent {KEY}")))
    assert "***" in str(failure)


# The simulator, and opening


async def test_the_simulator_answers_as_it_does_in_the_other_form() -> None:
    with provider_simulator(reasoning="because", api_key="right") as simulator:
        answer = await ask(simulator.url, key="right", max_tokens=50)
        assert answer.reasoning_content == "because"
        assert answer.text
        with pytest.raises(RunStopping, match="invalid x-api-key"):
            await ask(simulator.url, key="wrong")
        assert simulator.statistics()["answered"] == 1


async def test_a_model_of_this_provider_needs_no_url() -> None:
    config = ModelConfig(alias="a", provider="anthropic", model="m", api_key="${KEY}")
    assert config.effective_base_url() == "https://api.anthropic.com/v1"
    provider = open_provider(config, {"KEY": "k"}, 3)
    assert isinstance(provider, AnthropicProvider)
    await provider.aclose()
