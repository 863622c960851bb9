"""What a model endpoint answered, as a value or a typed error. No I/O.

An answer without text is never taken for an empty text. What is done instead, by what there is:

===========================================  =====================================================
the answer has                               becomes
===========================================  =====================================================
``content``, also ``""`` on its own          an answer; parts that are thoughts are its reasoning
``finish_reason`` ``content_filter``         ``Rejected("Refusal")``, even beside a partial text
a ``refusal``                                ``Rejected("Refusal")``, even beside a partial text
no text, ``finish_reason`` ``length``        ``Rejected("OutputLimit")``: all tokens went into reasoning
no text, reasoning or tool calls             ``Rejected("NoAnswer")``: paid for, and would be again
``finish_reason`` ``error``                  ``Transient("TruncatedAnswer")``
no text and nothing else                     ``Transient("MalformedAnswer")``
no usable choice, or no JSON object          ``Transient("MalformedAnswer")``
JSON that ends early                         ``Transient("TruncatedAnswer")``
a stream of events or of chunks              ``RunStopping("StreamingOnly")``
an ``error`` beside or instead of choices    as if its code had been the status (OpenRouter does so)
===========================================  =====================================================

``finish_reason`` counts in all its spellings (:mod:`rowmill.providers.finish_reason`). Other errors are those of
:mod:`rowmill.providers.refused`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rowmill.errors import ProviderError, Rejected, Transient
from rowmill.providers.content import reasoning_of, refusal_in, storable, text_of
from rowmill.providers.finish_reason import CONTENT_FILTER, ERROR, LENGTH, finish_reason
from rowmill.providers.protocol import ChatAnswer, ToolCall
from rowmill.providers.refused import error_in_answer, json_document, start_of, streaming_only
from rowmill.providers.token_usage import token_usage

_INPUT_TOKENS = ("prompt_tokens",)
_OUTPUT_TOKENS = ("completion_tokens",)


def read_answer(payload: bytes, endpoint: str, model: str, *, with_tools: bool = False) -> ChatAnswer:
    """The answer in the body of a 2xx response; ``endpoint`` and ``model`` are named in messages.

    Lone surrogates, which no UTF-8 file can hold, become U+FFFD. Raises :class:`Transient` if the
    answer is cut off or no chat completion, :class:`Rejected` if the model refused or used its
    tokens without answering, :class:`RunStopping` if the endpoint only sends streams.
    """
    document = json_document(payload, endpoint)
    try:
        choice = document["choices"][0]
        message = choice["message"]
        content = message.get("content")
        reason = finish_reason(choice.get("finish_reason") or _other_reason(choice))
        failed = document.get("error") or choice.get("error")
    except (LookupError, TypeError, AttributeError):
        raise _without_choice(document, payload, endpoint, model) from None
    usage = token_usage(_usage_of(document), _INPUT_TOKENS, _OUTPUT_TOKENS)
    reasoning = reasoning_of(message)
    refusal = _refusal_of(message)
    text = content if type(content) is str else text_of(content)
    calls = _tool_calls(message) if with_tools else ()
    if failed:
        error = _failed(failed, document, payload, endpoint, model)
    elif refusal is not None or reason in (CONTENT_FILTER, ERROR):
        error = _without_text(message, refusal, reasoning, reason, payload, endpoint)
    elif calls or text or (text is not None and not reasoning and not message.get("tool_calls")):
        return ChatAnswer(
            text=storable(text or ""),
            reasoning_content=storable(reasoning) if reasoning else None,
            finish_reason=reason,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            tool_calls=calls,
            note=usage.note,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
    else:
        error = _without_text(message, refusal, reasoning, reason, payload, endpoint)
    usage.note_on(error)
    error.finish_reason = reason
    raise error


def _other_reason(choice: Mapping[str, Any]) -> Any:
    """What an answer ended for, of endpoints that have another field for it."""
    details = choice.get("finish_details")
    return choice.get("native_finish_reason") or (details.get("type") if isinstance(details, dict) else None)


def _refusal_of(message: Mapping[str, Any]) -> str | None:
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return refusal
    return refusal_in(message.get("content"))


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    found = []
    for position, one in enumerate(message.get("tool_calls") or ()):
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
            found.append(ToolCall(str(one.get("id") or f"call_{position}"), function["name"], text))
    return tuple(found)


def _usage_of(document: Any) -> Any:
    """The usage of an answer; llama.cpp says beside it, among its timings, what was in its cache."""
    usage, timings = document.get("usage"), document.get("timings")
    if type(usage) is dict and type(timings) is dict:
        return {**usage, "cache_n": timings.get("cache_n")}
    return usage


def _without_choice(document: Any, payload: bytes, endpoint: str, model: str) -> ProviderError:
    if isinstance(document, dict):
        choices = document.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if document.get("object") == "chat.completion.chunk" or (isinstance(first, dict) and "delta" in first):
            return streaming_only(endpoint)
        if document.get("error"):
            return _failed(document["error"], document, payload, endpoint, model)
    found = error_in_answer(payload, endpoint, model)
    return found or Transient(f"{endpoint} sent an answer without choices: {start_of(payload)}", "MalformedAnswer")


def _failed(error: Any, document: Any, payload: bytes, endpoint: str, model: str) -> ProviderError:
    """The error an answer holds beside its choices, or in their place."""
    body = payload if document.get("error") is error else json.dumps({"error": error}).encode()
    found = error_in_answer(body, endpoint, model)
    return found or Transient(f"{endpoint} sent an error as an answer: {start_of(body)}", "MalformedAnswer")


def _without_text(
    message: Mapping[str, Any],
    refusal: str | None,
    reasoning: str | None,
    reason: str | None,
    payload: bytes,
    endpoint: str,
) -> ProviderError:
    if refusal is not None:
        return Rejected(f"The model refused: {refusal}", "Refusal")
    if reason == CONTENT_FILTER:
        return Rejected(f"The content filter of {endpoint} stopped the answer", "Refusal")
    if reason == ERROR:
        return Transient(f"{endpoint} broke off its answer: {start_of(payload)}", "TruncatedAnswer")
    if reason == LENGTH:
        return Rejected("The model reached its output limit before it answered: raise max_tokens", "OutputLimit")
    if message.get("tool_calls"):
        return Rejected("The model asked for a tool instead of answering", "NoAnswer")
    if reasoning:
        return Rejected("The model sent reasoning but no answer", "NoAnswer")
    return Transient(f"{endpoint} sent an answer without text: {start_of(payload)}", "MalformedAnswer")
