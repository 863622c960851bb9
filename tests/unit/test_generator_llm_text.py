"""Model columns, and the handle that journals every request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from generator_context import declared, problems
from scripted_provider import ScriptedProvider, handle

from rowmill.errors import GeneratorError, InternalError, RateLimited, Rejected
from rowmill.generators.prompting.llm_text import LlmTextColumn
from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.protocol import ChatAnswer, ChatRequest

ANSWER = ChatAnswer("Nice.", reasoning_content="Hm.", input_tokens=1000, output_tokens=500)


def generate(provider: ScriptedProvider, row: dict[str, Any], **fields: Any) -> Any:
    column = LlmTextColumn(name="review", model_alias="writer", **{"prompt": "Review {{ product }}.", **fields})
    generator = column.bind(InvocationRuntime(Path(), {"writer": handle(provider)}))
    return anyio.run(generator.generate, row, Call(0, [0]))


def test_the_answer_is_the_value() -> None:
    provider = ScriptedProvider(ANSWER)
    assert generate(provider, {"product": "tea"}) == ["Nice."]
    (request,) = provider.requests
    assert request.messages == [{"role": "user", "content": "Review tea."}]


def test_a_system_prompt_comes_first_and_is_a_template_too() -> None:
    provider = ScriptedProvider(ANSWER)
    generate(provider, {"product": "tea", "tone": "kind"}, system_prompt="Be {{ tone }}.")
    assert provider.requests[0].messages[0] == {"role": "system", "content": "Be kind."}


def test_trace_and_reasoning_are_side_effects_in_declared_order() -> None:
    fields = {"with_trace": True, "extract_reasoning_content": True}
    (declaration,) = declared(
        {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Hi", **fields}
    )
    assert [(output.name, output.side_effect) for output in declaration.outputs] == [
        ("review", False),
        ("review__trace", True),
        ("review__reasoning_content", True),
    ]
    answer, trace, reasoning = generate(ScriptedProvider(ANSWER), {"product": "ünï"}, **fields)
    assert (answer, reasoning) == ("Nice.", "Hm.")
    assert json.loads(trace) == [
        {"role": "user", "content": "Review ünï."},
        {"role": "assistant", "content": "Nice.", "reasoning_content": "Hm."},
    ]


def test_a_model_that_does_not_say_what_it_thought_gives_null() -> None:
    assert generate(ScriptedProvider(ChatAnswer("a")), {"product": "tea"}, extract_reasoning_content=True) == [
        "a",
        None,
    ]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_rejects_the_row_without_a_request(text: str) -> None:
    provider = ScriptedProvider(ANSWER)
    with pytest.raises(GeneratorError, match="The prompt of column 'review' is empty"):
        generate(provider, {"product": text}, prompt="{{ product }}")
    assert provider.requests == []


def test_nul_in_a_value_reaches_the_model_as_it_is() -> None:
    provider = ScriptedProvider(ANSWER)
    generate(provider, {"product": "t\0a"})
    assert provider.requests[0].messages[0]["content"] == "Review t\0a."


def test_a_model_column_declares_its_inputs_endpoint_and_deadline() -> None:
    columns = [
        {"name": "a", "column_type": "sampler", "sampler_type": "uuid"},
        {
            "name": "b",
            "column_type": "llm-text",
            "model_alias": "writer",
            "prompt": "{{ a }}",
            "system_prompt": "{{ a }}",
        },
    ]
    declaration = declared(*columns)[1]
    assert {reference.name for reference in declaration.inputs} == {"a"}
    assert declaration.resource is not None
    assert "small" in declaration.resource
    assert declaration.timeout_s == 7.5
    assert declaration.reason == "one request a row"


def test_an_unknown_model_and_a_broken_template_are_reported_together() -> None:
    found = problems({"name": "a", "column_type": "llm-text", "model_alias": "writre", "prompt": "{{ a b }}"})
    assert "Did you mean 'writer'?" in found["columns.0.model_alias"]
    assert "not valid Jinja" in found["columns.0.prompt"]


def fingerprint(column: dict[str, Any] | None = None, **model: Any) -> Any:
    from rowmill.graph.declaring import Declaring
    from rowmill.spec.declaration import SqlAnalysis
    from rowmill.spec.spec import Spec

    config = {"alias": "writer", "base_url": "http://a/v1", "model": "small"} | model
    fields = {"name": "a", "column_type": "llm-text", "model_alias": "writer", "prompt": "Hi"} | (column or {})
    spec = Spec.from_data({"records": 1, "models": [config], "columns": [fields]})

    def analyse(text: str, *, over_dataset: bool = False) -> SqlAnalysis:
        return SqlAnalysis(())

    return Declaring(spec, analyse).declarations([])[0].fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"max_parallel_requests": 9},
        {"timeout_s": 1.0},
        {"base_url": "http://b/v1"},
        {"input_usd_per_million_tokens": 1.0},
    ],
)
def test_the_fingerprint_ignores_what_does_not_shape_values(change: dict[str, Any]) -> None:
    assert fingerprint(**change) == fingerprint()


def test_the_fingerprint_holds_what_shapes_values() -> None:
    changed = [
        fingerprint({"prompt": "Ho"}),
        fingerprint({"system_prompt": "S"}),
        fingerprint({"with_trace": True}),
        fingerprint(model="large"),
        fingerprint(inference_parameters={"temperature": 0.1}),
    ]
    assert all(changed.count(one) == 1 for one in [*changed, fingerprint()][:-1])
    assert fingerprint() not in changed


# The handle


def chat(model: ModelHandle, call: Call, **parameters: Any) -> ChatAnswer:
    return anyio.run(lambda: model.chat([{"role": "user", "content": "Hi"}], call, parameters or None))


def test_a_request_carries_the_models_parameters_and_deadline() -> None:
    provider = ScriptedProvider(ANSWER)
    chat(handle(provider, timeout_s=9.0), Call(0, [0]), temperature=0.9)
    assert provider.requests[0].parameters == {"temperature": 0.9, "seed": 3}
    assert provider.requests[0].timeout_s == 9.0


def test_a_request_that_succeeds_is_journaled_with_tokens_and_cost() -> None:
    call = Call(0, [0])
    prices = {"input_usd_per_million_tokens": 2.0, "output_usd_per_million_tokens": 4.0}
    chat(handle(ScriptedProvider(ANSWER), **prices), call)
    (request,) = call.requests
    assert (request.model, request.input_tokens, request.output_tokens) == ("small", 1000, 500)
    assert request.cost_usd == pytest.approx(0.004)
    assert (request.error_type, request.message) == (None, None)
    assert request.duration_ms >= 0


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (RateLimited("slow down", 3), "RateLimited"),
        (Rejected("no", "HTTP 400"), "HTTP 400"),
        (TimeoutError(), "Timeout"),
    ],
)
def test_a_request_that_fails_is_journaled_and_its_error_passes(error: Exception, error_type: str) -> None:
    call = Call(0, [0])
    with pytest.raises(type(error)):
        chat(handle(ScriptedProvider(error)), call)
    assert [request.error_type for request in call.requests] == [error_type]


def test_a_refusal_that_was_paid_for_is_journaled_with_its_tokens() -> None:
    call = Call(0, [0])
    error = Rejected("empty answer")
    error.input_tokens, error.output_tokens = 1_000_000, 0
    with pytest.raises(Rejected):
        chat(handle(ScriptedProvider(error), input_usd_per_million_tokens=2.0), call)
    assert call.requests[0].cost_usd == 2.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_request_is_journaled(backend: str) -> None:
    call = Call(0, [0])

    class Silent(ScriptedProvider):
        async def chat(self, request: ChatRequest) -> ChatAnswer:
            await anyio.sleep_forever()
            raise AssertionError

    async def cancelled() -> None:
        async with anyio.create_task_group() as tasks:
            ask: Callable[..., Any] = handle(Silent()).chat
            tasks.start_soon(ask, [], call)
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    anyio.run(cancelled, backend=backend)
    assert [request.error_type for request in call.requests] == ["Cancelled"]


def test_a_model_that_was_not_opened_is_an_internal_error() -> None:
    with pytest.raises(InternalError):
        InvocationRuntime(Path()).model("writer")
