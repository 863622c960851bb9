"""What the Messages API of Anthropic answered, as a value or a typed error. No I/O.

===========================================  =====================================================
the answer has                               becomes
===========================================  =====================================================
text, or an empty turn that ended by itself  an answer; thinking blocks are its reasoning
``content`` that is a text itself            the same
``stop_reason`` ``refusal``                  ``Rejected("Refusal")``, even beside a partial text
no text, ``max_tokens`` reached              ``Rejected("OutputLimit")``
no text, but thinking or a wish for a tool   ``Rejected("NoAnswer")``
an ``error`` in place of a message           as if it had come with its status
no message                                   ``Transient("MalformedAnswer")``
JSON that ends early                         ``Transient("TruncatedAnswer")``
a stream of events                           ``RunStopping("StreamingOnly")``
===========================================  =====================================================

Of statuses other than 2xx, 429 and 529 (overloaded) ask to wait: neither uses up an attempt. The rest is as
for other endpoints: 401, 402, 403 and an unknown model stop the run, 5xx are transient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rowmill.errors import ProviderError, RateLimited, Rejected, Transient
from rowmill.providers.content import refusal_in, storable, text_of, thoughts_in
from rowmill.providers.finish_reason import CONTENT_FILTER, ERROR, LENGTH, STOP, finish_reason
from rowmill.providers.protocol import ChatAnswer, ToolCall
from rowmill.providers.refused import (
    error_in_answer,
    error_of_status,
    error_type_of,
    json_document,
    start_of,
)
from rowmill.providers.retry_after import retry_after_s
from rowmill.providers.token_usage import token_usage

_OVERLOADED = 529
_STATUS_OF_ERROR = {
    "rate_limit_error": 429,
    "overloaded_error": _OVERLOADED,
    "api_error": 500,
    "timeout_error": 504,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "invalid_request_error": 400,
}


def read_message(payload: bytes, endpoint: str, model: str, *, with_tools: bool = False) -> ChatAnswer:
    """The answer in the body of a 2xx response; raises the errors of the table above."""
    document = json_document(payload, endpoint)
    try:
        content = document["content"]
        blocks = [content] if isinstance(content, str | dict) else list(content)
        reason = finish_reason(document.get("stop_reason"))
        failed = document.get("error")
    except (LookupError, TypeError, AttributeError):
        raise _without_message(payload, endpoint, model) from None
    if failed:
        raise _without_message(payload, endpoint, model)
    usage = token_usage(document.get("usage"), _INPUT_TOKENS, _OUTPUT_TOKENS)
    text = storable(text_of(blocks) or "")
    thoughts = storable(thoughts_in(blocks) or "")
    calls = _tool_calls(blocks) if with_tools else ()
    refusal = refusal_in(blocks)
    is_refused = refusal is not None or reason in (CONTENT_FILTER, ERROR)
    is_empty_turn = reason == STOP and not any(isinstance(block, dict) for block in blocks)
    if not is_refused and (text or calls or is_empty_turn):
        return ChatAnswer(
            text=text,
            reasoning_content=thoughts or None,
            finish_reason=reason,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            tool_calls=calls,
            note=usage.note,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
    error = _without_text(reason, refusal, blocks, payload, endpoint)
    usage.note_on(error)
    error.finish_reason = reason
    raise error


_INPUT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_OUTPUT_TOKENS = ("output_tokens",)


def error_of_message_status(
    status: int, headers: Mapping[str, str], payload: bytes, endpoint: str, model: str, now: float
) -> ProviderError:
    """The typed error of a response that is not 2xx."""
    if status == _OVERLOADED or error_type_of(payload) == "overloaded_error":
        return RateLimited(f"{endpoint} is overloaded ({status})", retry_after_s(headers, now))
    return error_of_status(status, headers, payload, endpoint, model, now)


def _without_message(payload: bytes, endpoint: str, model: str) -> ProviderError:
    status = _STATUS_OF_ERROR.get(error_type_of(payload) or "")
    if status is not None:
        return error_of_message_status(status, {}, payload, endpoint, model, 0.0)
    return error_in_answer(payload, endpoint, model) or Transient(
        f"{endpoint} sent an answer that is no message: {start_of(payload)}", "MalformedAnswer"
    )


def _without_text(
    reason: str | None, refusal: str | None, blocks: list[Any], payload: bytes, endpoint: str
) -> ProviderError:
    if refusal is not None:
        return Rejected(f"The model refused: {refusal}", "Refusal")
    if reason == CONTENT_FILTER:
        return Rejected("The model refused to answer", "Refusal")
    if reason == ERROR:
        return Transient(f"{endpoint} broke off its answer: {start_of(payload)}", "TruncatedAnswer")
    if reason == LENGTH:
        return Rejected("The model reached its output limit before it answered: raise max_tokens", "OutputLimit")
    if reason == "tool_use":
        return Rejected("The model asked for a tool instead of answering", "NoAnswer")
    if blocks:
        return Rejected("The model sent reasoning but no answer", "NoAnswer")
    return Transient(f"{endpoint} sent an answer without text: {start_of(payload)}", "MalformedAnswer")


def _tool_calls(blocks: list[Any]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(str(block.get("id") or f"call_{position}"), str(block["name"]), json.dumps(block.get("input") or {}))
        for position, block in enumerate(blocks)
        if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name")
    )
