"""The official clients of OpenAI and Anthropic against the provider simulator: its dialects are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_simulator import RunningSimulator, provider_simulator

pytestmark = [
    pytest.mark.slow,
    # The clients speak over a library of their own, whose warnings are none of ours.
    pytest.mark.filterwarnings("default"),
]

TOOL = {"name": "look", "description": "Looks."}
MESSAGES: list[Any] = [{"role": "user", "content": "Describe a lamp."}]


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    models: dict[str, dict[str, Any]] = {
        "busy": {"rate_limited": 1, "retry_after": 0},
        "shaky": {"transient": 1},
        "picky": {"rejected": 1},
        "overloaded": {"status": 529},
        "thinking": {"reasoning": "Hmm", "answer": "Done"},
    }
    with provider_simulator(models=models, api_key="right") as running:
        yield running


@pytest.fixture
def openai(simulator: RunningSimulator) -> Iterator[Any]:
    library = pytest.importorskip("openai", reason="the official client is not installed")
    with library.OpenAI(base_url=simulator.url, api_key="right", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def anthropic(simulator: RunningSimulator) -> Iterator[Any]:
    library = pytest.importorskip("anthropic", reason="the official client is not installed")
    url = simulator.url.removesuffix("/v1")
    with library.Anthropic(base_url=url, api_key="right", max_retries=0, timeout=20) as client:
        yield client


def test_a_chat_and_its_stream_say_the_same(openai: Any) -> None:
    whole = openai.chat.completions.create(model="small", messages=MESSAGES)
    pieces = openai.chat.completions.create(
        model="small", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(pieces)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_n_choices_are_n_answers(openai: Any) -> None:
    answer = openai.chat.completions.create(model="small", messages=MESSAGES, n=3)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert answer.usage.completion_tokens == sum((len(text) + 3) // 4 for text in texts)


def test_a_tool_may_take_nothing(openai: Any, anthropic: Any) -> None:
    answer = openai.chat.completions.create(
        model="small", messages=MESSAGES, tools=[{"type": "function", "function": TOOL}]
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "look"
    message = anthropic.messages.create(
        model="small", max_tokens=99, messages=MESSAGES, tools=[{**TOOL, "input_schema": {"type": "object"}}]
    )
    assert (message.content[0].type, message.stop_reason) == ("tool_use", "tool_use")


def test_the_input_of_embeddings_may_be_a_text(openai: Any) -> None:
    alone = openai.embeddings.create(model="small", input="a lamp")
    listed = openai.embeddings.create(model="small", input=["a lamp", "b"], encoding_format="float")
    assert alone.data[0].embedding == pytest.approx(listed.data[0].embedding, abs=1e-6)
    assert len(openai.embeddings.create(model="small", input=[1, 2, 3]).data) == 1


def test_a_model_is_described(openai: Any, anthropic: Any) -> None:
    assert openai.models.retrieve("busy").id == "busy"
    assert "busy" in [model.id for model in openai.models.list()]
    assert anthropic.models.retrieve("busy").id == "busy"


@pytest.mark.parametrize(
    ("model", "error"),
    [("busy", "RateLimitError"), ("shaky", "InternalServerError"), ("picky", "BadRequestError")],
)
def test_failures_are_the_errors_both_clients_know(model: str, error: str, openai: Any, anthropic: Any) -> None:
    with pytest.raises(pytest.importorskip("openai").APIStatusError) as caught:
        openai.chat.completions.create(model=model, messages=MESSAGES)
    assert type(caught.value).__name__ == error
    with pytest.raises(pytest.importorskip("anthropic").APIStatusError) as caught:
        anthropic.messages.create(model=model, max_tokens=99, messages=MESSAGES)
    assert type(caught.value).__name__ in (error, "ServiceUnavailableError")
    body: Any = caught.value.body
    assert body["type"] == "error"
    kind = {"busy": "rate_limit_error", "shaky": "api_error", "picky": "invalid_request_error"}[model]
    assert body["error"]["type"] == kind


def test_an_overloaded_server_says_529(anthropic: Any) -> None:
    with pytest.raises(pytest.importorskip("anthropic").APIStatusError) as caught:
        anthropic.messages.create(model="overloaded", max_tokens=99, messages=MESSAGES)
    assert caught.value.status_code == 529


def test_a_message_and_its_stream_say_the_same(anthropic: Any) -> None:
    whole = anthropic.messages.create(model="thinking", max_tokens=99, messages=MESSAGES)
    with anthropic.messages.stream(model="thinking", max_tokens=99, messages=MESSAGES) as stream:
        final = stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == whole.stop_reason == "end_turn"


def test_a_stream_of_a_tool_has_its_input(anthropic: Any) -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    with anthropic.messages.stream(
        model="small", max_tokens=99, messages=MESSAGES, tools=[{**TOOL, "input_schema": schema}]
    ) as stream:
        final = stream.get_final_message()
    assert "colour" in final.content[0].input


def test_tokens_are_counted_as_the_answer_counts_them(anthropic: Any) -> None:
    counted = anthropic.messages.count_tokens(model="small", messages=MESSAGES)
    answer = anthropic.messages.create(model="small", max_tokens=99, messages=MESSAGES)
    assert counted.input_tokens == answer.usage.input_tokens


def test_anthropic_takes_a_bearer_token_too_and_no_wrong_one(simulator: RunningSimulator) -> None:
    library = pytest.importorskip("anthropic", reason="the official client is not installed")
    url = simulator.url.removesuffix("/v1")
    with library.Anthropic(base_url=url, auth_token="right", api_key=None, max_retries=0) as client:
        assert client.messages.create(model="small", max_tokens=9, messages=MESSAGES).type == "message"
    with library.Anthropic(base_url=url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(library.AuthenticationError) as caught:
            client.messages.create(model="small", max_tokens=9, messages=MESSAGES)
        assert caught.value.body["error"]["type"] == "authentication_error"
