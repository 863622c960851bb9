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


# What is no answer (V7) -----------------------------------------------------------------------------------


CUT_OFF = ChatAnswer("A beautiful", finish_reason="max_tokens")
WHOLE = ChatAnswer("Nice.", finish_reason="end_turn")


def asked(provider: ScriptedProvider, **fields: Any) -> tuple[Any, Call]:
    """What a column makes of a provider's answers (or the error), and its call."""
    column = LlmTextColumn(name="review", model_alias="writer", **{"prompt": "Review {{ product }}.", **fields})
    generator = column.bind(InvocationRuntime(Path(), {"writer": handle(provider)}))
    call = Call(0, [0])
    try:
        return anyio.run(generator.generate, {"product": "tea"}, call), call
    except GeneratorError as error:
        return error, call


def test_a_text_that_ended_at_its_limit_is_kept_and_known() -> None:
    values, call = asked(ScriptedProvider(CUT_OFF))
    assert values == ["A beautiful"]
    assert [(one.error_type, one.finish_reason) for one in call.requests] == [(None, "length")]


def test_a_text_that_ended_at_its_limit_may_drop_its_row() -> None:
    error, call = asked(ScriptedProvider(CUT_OFF), on_length="drop")
    assert error.error_type == "OutputLimit"
    assert "raise max_tokens" in str(error)
    assert [(one.error_type, one.finish_reason) for one in call.requests] == [("OutputLimit", "length")]


def test_a_text_that_ended_at_its_limit_may_be_asked_for_again_and_shorter() -> None:
    provider = ScriptedProvider(CUT_OFF, WHOLE)
    values, call = asked(provider, on_length="retry")
    assert values == ["Nice."]
    assert [one.error_type for one in call.requests] == ["OutputLimit", None]
    assert "shorter" in provider.requests[1].messages[-1]["content"]


def test_a_text_that_always_ends_at_its_limit_is_asked_for_three_times() -> None:
    thought = Rejected("The model reached its output limit before it answered", "OutputLimit")
    error, call = asked(ScriptedProvider(CUT_OFF, thought, CUT_OFF, WHOLE), on_length="retry")
    assert error.error_type == "OutputLimit"
    assert [one.error_type for one in call.requests] == ["OutputLimit"] * 3


def test_the_deadline_of_a_text_has_room_for_its_retries() -> None:
    column = {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Hi"}
    assert declared(column)[0].timeout_s == 7.5
    assert declared(column | {"on_length": "retry"})[0].timeout_s == 7.5 * 3


def test_only_what_is_done_at_the_limit_other_than_by_default_is_in_the_fingerprint() -> None:
    column = {"name": "review", "column_type": "llm-text", "model_alias": "writer", "prompt": "Hi"}
    original = declared(column)[0].fingerprint
    assert set(original) == {"prompt", "system_prompt", "model", "with_trace", "extract_reasoning_content"}
    assert declared(column | {"on_length": "keep"})[0].fingerprint == original
    assert declared(column | {"on_length": "drop"})[0].fingerprint != original


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm.</think>Nice.",
        "Hm.\n</think>\n\nNice.",
        "<thought>Hm.</thought>\nNice.",
        "<reasoning>Hm.</reasoning> Nice.",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Nice.",
    ],
)
def test_thoughts_leave_the_text_of_every_column(text: str) -> None:
    assert asked(ScriptedProvider(ChatAnswer(text)))[0] == ["Nice."]
    assert asked(ScriptedProvider(ChatAnswer(text)), extract_reasoning_content=True)[0] == ["Nice.", "Hm."]


def test_reasoning_of_a_field_and_of_the_text_are_both_kept() -> None:
    answer = ChatAnswer("<think>Hm.</think>Nice.", reasoning_content="First.")
    assert asked(ScriptedProvider(answer), extract_reasoning_content=True)[0] == ["Nice.", "First.\n\nHm."]


def test_tags_the_prompt_asks_for_stay_in_the_text_unless_the_reasoning_is_to_be_extracted() -> None:
    answer = ChatAnswer("<think>Hm.</think>Nice.")
    prompt = "Think between <think> and </think>, then review {{ product }}."
    assert asked(ScriptedProvider(answer), prompt=prompt)[0] == ["<think>Hm.</think>Nice."]
    assert asked(ScriptedProvider(answer), system_prompt=prompt)[0] == ["<think>Hm.</think>Nice."]
    values, _ = asked(ScriptedProvider(answer), prompt=prompt, extract_reasoning_content=True)
    assert values == ["Nice.", "Hm."]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ChatAnswer("<think>Hm."), "NoAnswer"),
        (ChatAnswer("<think>Hm.</think>\n"), "NoAnswer"),
        (ChatAnswer("<think>Hm.", finish_reason="length"), "OutputLimit"),
        (ChatAnswer("Ni", finish_reason="content_filter"), "Refusal"),
    ],
)
def test_thoughts_without_an_answer_and_what_a_filter_stopped_reject_their_row(answer: ChatAnswer, kind: str) -> None:
    error, call = asked(ScriptedProvider(answer))
    assert error.error_type == kind
    assert [one.error_type for one in call.requests] == [kind]


@pytest.mark.parametrize("tokens", [-1, 2**53, 10**30, 1.5, float("nan"), "many", True, None])
def test_token_counts_of_a_plug_in_are_believed_within_bounds_only(tokens: Any) -> None:
    values, call = asked(ScriptedProvider(ChatAnswer("Nice.", input_tokens=tokens, output_tokens=3)))
    assert values == ["Nice."]
    (request,) = call.requests
    assert (request.input_tokens, request.output_tokens, request.error_type) == (0, 3, None)
    assert tokens is None or "no count of tokens: input_tokens" in (request.message or "")


# Endpoints that count no tokens -------------------------------------------------------------------


def journalled(answer: ChatAnswer, prompt: str, **config: Any) -> Any:
    call = Call(0, [0])
    model = handle(ScriptedProvider(answer, answer), **config)
    for _ in range(2):
        anyio.run(model.chat, [{"role": "user", "content": [{"type": "text", "text": prompt}]}], call)
    return call.requests


PRICED = {"input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 2.0}


def test_tokens_an_endpoint_does_not_count_are_estimated_marked_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = journalled(ChatAnswer("x" * 400), "y" * 80, **PRICED)
    assert (first.input_tokens, first.output_tokens) == (second.input_tokens, second.output_tokens) == (20, 100)
    assert first.cost_usd == pytest.approx((20 * 1.0 + 100 * 2.0) / 1_000_000)
    assert first.message == "Tokens estimated from the length of the texts: the endpoint does not count them."
    assert [record.getMessage()[:15] for record in caplog.records] == ["Model 'writer' "]


def test_what_an_endpoint_counts_is_never_estimated() -> None:
    (first, _) = journalled(ChatAnswer("x" * 400, input_tokens=3, output_tokens=7), "y" * 80, **PRICED)
    assert (first.input_tokens, first.output_tokens, first.message) == (3, 7, None)
    (half, _) = journalled(ChatAnswer("x" * 400, input_tokens=3), "y" * 80, **PRICED)
    assert (half.input_tokens, half.output_tokens) == (3, 100)


def test_tokens_nobody_pays_for_or_bounds_are_not_estimated() -> None:
    (first, _) = journalled(ChatAnswer("x" * 400), "y" * 80)
    assert (first.input_tokens, first.output_tokens, first.cost_usd) == (0, 0, None)
