"""What bodies of endpoints become, of all dialects and with all their oddities: values and typed errors. No sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from rowmill.deferral import cool_down_s
from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient, Unavailable
from rowmill.providers.answer import read_answer
from rowmill.providers.anthropic_answer import error_of_message_status, read_message
from rowmill.providers.embedding_answer import read_embeddings
from rowmill.providers.finish_reason import finish_reason
from rowmill.providers.protocol import ChatAnswer
from rowmill.providers.refused import error_of_status
from rowmill.providers.retry_after import LONGEST_WAIT_S, retry_after_s
from rowmill.providers.token_usage import MOST_TOKENS

URL = "http://host/v1"
NOW = 1_800_000_000.0


def chat(content: Any = "Yes.", reason: Any = "stop", usage: Any = None, **message: Any) -> bytes:
    choice = {"message": {"content": content, **message}, "finish_reason": reason}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def message(content: Any, reason: Any = "end_turn", usage: Any = None) -> bytes:
    return json.dumps({"type": "message", "content": content, "stop_reason": reason, "usage": usage}).encode()


def answer(payload: bytes) -> ChatAnswer:
    return read_answer(payload, URL, "small")


def anthropic(payload: bytes) -> ChatAnswer:
    return read_message(payload, URL, "small")


def failure(read: Callable[[bytes], object], payload: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(payload)
    return caught.value


# What an answer ended for


@pytest.mark.parametrize(
    "spelling",
    [
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "model_length",
        "incomplete",
        "max_output_tokens",
        "maxTokens",
        "Length",
        "FINISH_REASON_MAX_TOKENS",
        "model_context_window_exceeded",
        "token-limit",
        "max_tokens_exceeded",
        "NotFinished",
        "repetition_truncation",
    ],
)
def test_an_answer_that_ended_at_its_limit_says_so_in_every_dialect(spelling: str) -> None:
    assert answer(chat("A beau", spelling)).finish_reason == "length"
    assert anthropic(message([{"type": "text", "text": "A beau"}], spelling)).finish_reason == "length"
    for payload in (chat("", spelling, reasoning="Hm."), chat(None, spelling)):
        error = failure(answer, payload)
        assert isinstance(error, Rejected)
        assert (error.error_type, error.finish_reason) == ("OutputLimit", "length")


@pytest.mark.parametrize(
    "spelling", ["content_filter", "SAFETY", "refusal", "PROHIBITED_CONTENT", "contentFilter", "Blocked"]
)
def test_v7_a_part_before_a_filter_is_no_answer(spelling: str) -> None:
    for error in (failure(answer, chat("A beau", spelling)), failure(anthropic, message("A beau", spelling))):
        assert isinstance(error, Rejected)
        assert (error.error_type, error.finish_reason) == ("Refusal", "content_filter")


@pytest.mark.parametrize(
    "spelling", ["error", "abort", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL", "TIMED_OUT"]
)
def test_a_part_before_a_breakdown_is_no_answer(spelling: str) -> None:
    error = failure(answer, chat("A beau", spelling))
    assert isinstance(error, Transient)
    assert error.error_type == "TruncatedAnswer"


@pytest.mark.parametrize("reason", [None, 7, [], "", " "])
def test_an_answer_may_not_say_what_it_ended_for(reason: Any) -> None:
    assert answer(chat(reason=reason)).finish_reason is None


def test_a_reason_that_is_not_known_is_kept_as_it_is_and_short() -> None:
    assert finish_reason("tool_calls") == "tool_calls"
    assert finish_reason("\x1b[31m" + "x" * 500) == "?[31m" + "x" * 55


@pytest.mark.parametrize(
    "choice",
    [{"finish_details": {"type": "max_tokens"}}, {"native_finish_reason": "MAX_TOKENS", "finish_reason": None}],
)
def test_a_reason_may_stand_in_another_field(choice: dict[str, Any]) -> None:
    payload = json.dumps({"choices": [{"message": {"content": "A beau"}, **choice}]}).encode()
    assert answer(payload).finish_reason == "length"


# Content and thoughts


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}],
            "Yes.",
            "Hm.",
        ),
        ([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}], "Yes.", "Hm."),
        ([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": "Yes."}], "Yes.", "Hm."),
        ([{"type": "reasoning.text", "text": "Hm."}, "Yes."], "Yes.", "Hm."),
        ([{"thought": True, "text": "Hm."}, {"text": "Yes."}], "Yes.", "Hm."),
        ([{"type": "redacted_thinking", "data": "xx"}, {"type": "text", "text": "Yes."}], "Yes.", None),
        (["Y", "es."], "Yes.", None),
        ({"type": "text", "text": "Yes."}, "Yes.", None),
        ([{"type": "text", "text": {"value": "Yes."}}, {"type": "reference", "reference_ids": [1]}], "Yes.", None),
        ([{"type": "text", "text": "Yes."}, 3, None, {"type": "image", "text": "no"}], "Yes.", None),
    ],
)
def test_thoughts_among_the_parts_of_a_content_are_never_glued_to_the_text(
    content: Any, text: str, reasoning: str | None
) -> None:
    found = answer(chat(content))
    assert (found.text, found.reasoning_content) == (text, reasoning)
    if isinstance(content, list):
        found = anthropic(message(content))
        assert (found.text, found.reasoning_content) == (text, reasoning)


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"thinking": "Hm."},
        {"reasoning": {"content": "Hm."}},
        {"reasoning_content": [{"type": "text", "text": "Hm."}]},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "Hm."},
                {"type": "reasoning.encrypted", "data": "x"},
            ]
        },
        {
            "reasoning_content": "Hm.",
            "reasoning": "Hm.",
            "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
        },
        {"reasoning_content": "", "reasoning": "Hm."},
    ],
)
def test_reasoning_is_read_from_every_field_there_is_for_it_once(fields: dict[str, Any]) -> None:
    found = answer(chat("Yes.", **fields))
    assert (found.text, found.reasoning_content) == ("Yes.", "Hm.")


@pytest.mark.parametrize(
    "content", ["Yes.", [{"type": "text", "text": "Yes."}], ["Yes."], {"type": "text", "text": "Yes."}]
)
def test_the_content_of_a_message_of_anthropic_may_be_a_text(content: Any) -> None:
    assert anthropic(message(content)).text == "Yes."


@pytest.mark.parametrize(
    "fields",
    [
        {"content": None, "refusal": "I will not."},
        {"content": "I", "refusal": "I will not."},
        {"content": [{"type": "refusal", "refusal": "I will not."}]},
    ],
)
def test_a_refusal_is_named_as_one(fields: dict[str, Any]) -> None:
    error = failure(answer, chat(**fields))
    assert isinstance(error, Rejected)
    assert error.error_type == "Refusal"
    assert "I will not." in str(error)


def test_an_empty_refusal_is_none() -> None:
    assert answer(chat("Yes.", refusal="")).text == "Yes."


# Streams


@pytest.mark.parametrize(
    "payload",
    [
        b'data: {"choices":[{"delta":{"content":"Y"}}]}\n\ndata: [DONE]\n\n',
        b": keep-alive\n\ndata: {}\n\n",
        b"event: message_start\ndata: {}\n\n",
        b'{"choices":[{"delta":{"content":"Y"}}]}\n{"choices":[{"delta":{"content":"es"}}]}\n',
        b'{"message":{"content":"Y"},"done":false}\n{"message":{"content":""},"done":true}\n',
        b'{"object":"chat.completion.chunk","choices":[]}',
        b'{"choices":[{"delta":{"content":"Yes."}}]}',
    ],
)
def test_a_server_that_only_streams_stops_the_run_and_is_named_as_such(payload: bytes) -> None:
    error = failure(answer, payload)
    assert isinstance(error, RunStopping)
    assert error.error_type == "StreamingOnly"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "This model only support stream mode, please enable the stream parameter", "code": "x"}},
        {"detail": "Stream must be set to true"},
        {"error": {"message": "Not like this", "param": "stream"}},
    ],
)
def test_a_server_that_asks_for_streaming_stops_the_run(body: Any) -> None:
    error = error_of_status(400, {}, json.dumps(body).encode(), URL, "small", NOW)
    assert isinstance(error, RunStopping)
    assert error.error_type == "StreamingOnly"


# Errors


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}),
        (429, {"error": {"message": "You exceeded your current quota, please check your plan and billing details."}}),
        (429, {"error": {"message": "x", "code": "billing_hard_limit_reached"}}),
        (400, {"error": {"message": "x", "code": "billing_hard_limit_reached"}}),
        (403, {"error": {"message": "Insufficient balance"}}),
        (429, {"error": {"code": "1113", "message": "x"}}),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "x"}}),
        (429, {"code": "InsufficientBalance", "message": "x"}),
        (429, {"error": "Your account has insufficient credits."}),
        (
            400,
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to"},
            },
        ),
        (500, {"error": {"message": "x", "code": "insufficient_quota"}}),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
        (
            429,
            {
                "code": "x",
                "error": "Your team has either used all available credits or reached its monthly spending limit.",
            },
        ),
        (412, {"error": {"message": "Account is suspended, possibly due to reaching the monthly spending limit."}}),
        (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "You have reached your specified API usage limits.",
                },
            },
        ),
        (402, {"error": {"message": "x"}}),
    ],
)
def test_a_quota_that_time_does_not_heal_stops_the_run_and_says_so(status: int, body: Any) -> None:
    for make in (error_of_status, error_of_message_status):
        error = make(status, {}, json.dumps(body).encode(), URL, "small", NOW)
        assert isinstance(error, RunStopping)
        assert error.error_type in ("InsufficientQuota", "PaymentRequired")
        assert "Waiting does not change that" in str(error)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (
            {},
            {
                "error": {
                    "message": "Rate limit reached for requests",
                    "code": "rate_limit_exceeded",
                    "type": "requests",
                }
            },
        ),
        ({}, {"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}),
        ({"Retry-After": "20"}, {"error": {"message": "You exceeded your current quota"}}),
        ({}, {"error": {"message": "quota of 10 requests per minute", "code": "quota_exceeded"}}),
        ({}, {}),
    ],
)
def test_a_429_that_time_heals_stays_one(headers: dict[str, str], body: Any) -> None:
    assert isinstance(error_of_status(429, headers, json.dumps(body).encode(), URL, "small", NOW), RateLimited)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "429", "message": "x"}, RateLimited),
        ({"code": 429.0, "message": "x"}, RateLimited),
        ({"code": "rate_limit_exceeded", "message": "x"}, RateLimited),
        ({"type": "rate_limit_error", "message": "x"}, RateLimited),
        ({"status": "RESOURCE_EXHAUSTED", "message": "x"}, RateLimited),
        ({"code": "503", "message": "x"}, Unavailable),
        ({"code": " 502 ", "message": "x"}, Unavailable),
        ({"status_code": "500", "message": "x"}, Transient),
        ({"code": "server_error", "message": "x"}, Transient),
        ({"code": "TooManyRequests", "message": "x"}, RateLimited),
        ({"code": "401", "message": "x"}, RunStopping),
        ({"code": "invalid_api_key", "message": "x"}, RunStopping),
        ({"code": "insufficient_quota", "message": "x"}, RunStopping),
        ({"message": "Your credit balance is too low"}, RunStopping),
        ({"code": "400", "message": "x"}, Rejected),
        ({"code": "content_filter", "message": "x"}, Rejected),
        ({"code": "weird", "message": "x"}, Transient),
        ({"code": "42900", "message": "x"}, Transient),
        ({"code": 10**400, "message": "x"}, Transient),
    ],
)
def test_an_error_in_a_200_counts_as_its_status(error: Any, kind: type[ProviderError]) -> None:
    whole = json.dumps({"error": error}).encode()
    for payload in (whole, json.dumps({"error": error, "choices": [{"message": {"content": "Ye"}}]}).encode()):
        assert type(failure(answer, payload)) is kind
    assert type(failure(anthropic, whole)) is kind
    assert type(failure(lambda body: read_embeddings(body, URL, "small", texts=1), whole)) is kind


def test_an_error_may_stand_in_the_choice_or_beside_no_error_at_all() -> None:
    choice = {"message": {"content": "Ye"}, "finish_reason": "error", "error": {"code": "429", "message": "x"}}
    assert isinstance(failure(answer, json.dumps({"choices": [choice]}).encode()), RateLimited)
    assert isinstance(failure(answer, b'{"code": "429", "message": "x"}'), RateLimited)
    assert isinstance(failure(answer, b'{"error": "busy", "status_code": 503}'), Transient)


def test_an_answer_with_an_empty_error_is_one() -> None:
    payload = json.dumps({"error": None, "choices": [{"message": {"content": "Yes.", "refusal": None}}]}).encode()
    assert answer(payload).text == "Yes."


def test_words_of_money_in_a_malformed_answer_stop_nothing() -> None:
    error = failure(answer, b'{"output": "I have insufficient funds"}')
    assert isinstance(error, Transient)


# Embeddings


@pytest.mark.parametrize("indices", [[None, None, None], [0, 1, 2], ["0", "1", "2"], [0.0, 1.0, 2.0], [None] * 3])
def test_vectors_without_index_are_taken_in_order(indices: list[Any]) -> None:
    data = [
        {"embedding": [float(place)]} | ({} if index is None else {"index": index})
        for place, index in enumerate(indices)
    ]
    found = read_embeddings(json.dumps({"data": data}).encode(), URL, "small", texts=3)
    assert found.vectors == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    "indices", [[0, None], [1, 2], [0, 0], [0, True], [0, "x"], [0, 1.5], [0, float("inf")], [0, -1]]
)
def test_vectors_that_are_numbered_otherwise_are_not_guessed_at(indices: list[Any]) -> None:
    data = [{"embedding": [1.0], "index": index} for index in indices]
    with pytest.raises(Transient, match="without usable embeddings"):
        read_embeddings(json.dumps({"data": data}).encode(), URL, "small", texts=2)


# Numbers an endpoint sends


@pytest.mark.parametrize(
    ("tokens", "count", "noted"),
    [
        (7, 7, False),
        (7.0, 7, False),
        ("7", 7, False),
        (None, 0, False),
        (MOST_TOKENS, MOST_TOKENS, False),
        (-1, 0, True),
        (7.5, 0, True),
        ("many", 0, True),
        ("9" * 400, 0, True),
        (True, 0, True),
        ([7], 0, True),
        (2**53 - 1, 0, True),
        (2**63, 0, True),
        (10**400, 0, True),
        (1e308, 0, True),
        (float("nan"), 0, True),
        (float("inf"), 0, True),
        (float("-inf"), 0, True),
    ],
)
def test_a_token_count_is_believed_within_bounds_and_else_noted(tokens: Any, count: int, noted: bool) -> None:
    found = answer(chat(usage={"prompt_tokens": tokens, "completion_tokens": 2}))
    assert (found.input_tokens, found.output_tokens, found.note is not None) == (count, 2, noted)
    found = anthropic(message("Yes.", usage={"input_tokens": 3, "output_tokens": tokens}))
    assert (found.input_tokens, found.output_tokens, found.note is not None) == (3, count, noted)
    body = json.dumps({"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": tokens}}).encode()
    vectors = read_embeddings(body, URL, "small", texts=1)
    assert (vectors.input_tokens, vectors.note is not None) == (count, noted)
    error = failure(answer, chat(None, "length", usage={"prompt_tokens": tokens}))
    assert (error.input_tokens, error.note is not None) == (count, noted)


def test_a_number_of_ten_thousand_digits_does_not_spoil_the_answer_around_it() -> None:
    payload = chat(usage={"prompt_tokens": 0}).replace(b'"prompt_tokens": 0', b'"prompt_tokens": ' + b"9" * 10_000)
    found = answer(payload)
    assert (found.text, found.input_tokens) == ("Yes.", 0)
    assert found.note is not None


def test_parts_of_a_sum_are_bounded_together() -> None:
    usage = {"input_tokens": MOST_TOKENS, "cache_read_input_tokens": MOST_TOKENS, "output_tokens": 1}
    found = anthropic(message("Yes.", usage=usage))
    assert (found.input_tokens, found.output_tokens) == (0, 1)
    assert found.note is not None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("-5", 0.0),
        ("2.5", 2.5),
        ("1e308", LONGEST_WAIT_S),
        ("9" * 400, LONGEST_WAIT_S),
        ("inf", LONGEST_WAIT_S),
        ("NaN", None),
        ("soon", None),
        ("", None),
        (str(int(NOW) + 30), 30.0),
        (str((int(NOW) + 30) * 1000), 30.0),
        (str(int(NOW) - 30), 0.0),
        (str(int(NOW) + 10**8), LONGEST_WAIT_S),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_S),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("2027-01-15T08:00:30Z", 30.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("999999999h", LONGEST_WAIT_S),
    ],
)
def test_a_wait_is_bounded_whatever_is_asked_for(value: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": value}, NOW) == seconds


@pytest.mark.parametrize(
    ("asked", "rest"), [(float("nan"), 2.0), (None, 2.0), (-1.0, 0.0), (1e308, 86400.0), ("5", 2.0)]
)
def test_what_a_plug_in_asks_for_is_bounded_too(asked: Any, rest: float) -> None:
    assert cool_down_s(RateLimited("busy", asked), 2.0) == rest


# An endpoint that is away


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_without_a_server_behind_it_says_that_the_endpoint_is_away(status: int) -> None:
    error = error_of_status(status, {"Retry-After": "7"}, b"<html>", URL, "small", NOW)
    assert isinstance(error, Unavailable)
    assert (error.error_type, error.retry_after_s, error.is_certain) == (f"HTTP {status}", 7.0, False)


@pytest.mark.parametrize("words", ["Loading model", "Model x is currently loading", "llm server loading model"])
def test_a_model_that_is_being_loaded_says_that_the_endpoint_is_away(words: str) -> None:
    body = json.dumps({"error": {"message": words}}).encode()
    assert isinstance(error_of_status(500, {}, body, URL, "small", NOW), Unavailable)


@pytest.mark.parametrize("status", [408, 409, 425, 500, 501, 520])
def test_other_failures_are_about_the_request(status: int) -> None:
    error = error_of_status(status, {}, b"{}", URL, "small", NOW)
    assert isinstance(error, Transient)
    assert not isinstance(error, Unavailable)
