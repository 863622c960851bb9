"""What a model endpoint answered, as a value or a typed error. No I/O.

An answer without text is never taken for an empty text. What is done instead, by what there is:

===========================================  =====================================================
the answer has                               becomes
===========================================  =====================================================
``content``, also ``""`` on its own          an answer
``finish_reason`` ``content_filter``         ``Rejected("Refusal")``, even beside a partial text
no text, a ``refusal``                       ``Rejected("Refusal")``
no text, ``finish_reason`` ``length``        ``Rejected("OutputLimit")``: all tokens went into reasoning
no text, reasoning or tool calls             ``Rejected("NoAnswer")``: paid for, and would be again
``finish_reason`` ``error``                  ``Transient("TruncatedAnswer")``
no text and nothing else                     ``Transient("MalformedAnswer")``
no usable choice, or no JSON object          ``Transient("MalformedAnswer")``
JSON that ends early                         ``Transient("TruncatedAnswer")``
an ``error`` instead of choices              as if its code had been the status (OpenRouter does so)
===========================================  =====================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient
from rowmill.providers.protocol import ChatAnswer, ToolCall
from rowmill.providers.retry_after import retry_after_s
from rowmill.secret import hidden

LONGEST_MESSAGE = 300
"""Characters of an error message, at most."""

_REFUSAL_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_WRONG_URL = frozenset({404, 405, 410})
_WORTH_RETRYING = frozenset({408, 409, 425})


def read_answer(payload: bytes, endpoint: str, model: str, *, with_tools: bool = False) -> ChatAnswer:
    """The answer in the body of a 2xx response; ``endpoint`` and ``model`` are named in messages.

    Lone surrogates, which no UTF-8 file can hold, become U+FFFD. Raises :class:`Transient` if the
    answer is cut off or no chat completion, :class:`Rejected` if the model refused or used its
    tokens without answering.
    """
    document = json_document(payload, endpoint)
    try:
        choice = document["choices"][0]
        message = choice["message"]
        content = message.get("content")
        finish_reason = choice.get("finish_reason")
        reasoning = message.get("reasoning_content") or message.get("reasoning")
    except (LookupError, TypeError, AttributeError):
        raise _without_choice(document, payload, endpoint, model) from None
    usage = document.get("usage")
    input_tokens = output_tokens = 0
    if type(usage) is dict:
        input_tokens = token_count(usage.get("prompt_tokens"))
        output_tokens = token_count(usage.get("completion_tokens"))
    if type(content) is list:
        content = _joined_parts(content)
    calls = _tool_calls(message) if with_tools else ()
    if calls:
        content = content if type(content) is str else ""
        message = {}
    is_text = type(content) is str and (content or calls or not _has_more(message, reasoning))
    if is_text and finish_reason != "content_filter" and finish_reason != "error":
        return ChatAnswer(
            text=storable(content),
            reasoning_content=storable(reasoning) if type(reasoning) is str else None,
            finish_reason=finish_reason if type(finish_reason) is str else None,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            tool_calls=calls,
        )
    error = _without_text(choice, message, reasoning, payload, endpoint)
    error.input_tokens = input_tokens
    error.output_tokens = output_tokens
    raise error


def error_of_status(
    status: int,
    headers: Mapping[str, str],
    payload: bytes,
    endpoint: str,
    model: str,
    now: float,
) -> ProviderError:
    """The typed error of a response that is not 2xx (rules F1 to F3).

    ``headers`` must be case-insensitive; ``now`` is in seconds since the epoch.
    """
    error = _error_object(payload)
    detail = _detail(error, payload)
    code = error.get("code") or error.get("type")
    message = f"{endpoint} answered {status}" + (f": {detail}" if detail else "")
    if status == 429:
        return RateLimited(message, retry_after_s(headers, now))
    if status >= 500 or status in _WORTH_RETRYING:
        return Transient(message, f"HTTP {status}", retry_after_s(headers, now))
    if _is_refusal(error, code):
        return Rejected(message, "Refusal")
    if status in (401, 403, 407):
        return RunStopping(f"{message}. Check the api_key of model {model!r}", "Authentication")
    if status == 402:
        return RunStopping(message, "PaymentRequired")
    if code == "model_not_found" or (status == 404 and (error.get("param") == "model" or "model" in detail.lower())):
        return RunStopping(f"{endpoint} does not know the model {model!r}: {detail or status}", "UnknownModel")
    if status in _WRONG_URL:
        return RunStopping(f"{message}. Check base_url: it should end before /chat/completions", "NotFound")
    if 300 <= status < 400:
        location = headers.get("Location", "")
        return RunStopping(f"{endpoint} redirects ({status}) to {location!r}. Check base_url", "Redirect")
    if code == "context_length_exceeded":
        return Rejected(message, "ContextTooLong")
    return Rejected(message, f"HTTP {status}")


def shortened(message: str) -> str:
    """The message on one line, at most :data:`LONGEST_MESSAGE` characters, without control characters."""
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", hidden(message[: 20 * LONGEST_MESSAGE])).strip()
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    found = []
    for position, one in enumerate(message.get("tool_calls") or ()):
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
            found.append(ToolCall(str(one.get("id") or f"call_{position}"), function["name"], text))
    return tuple(found)


def json_document(payload: bytes, endpoint: str) -> Any:
    """The body of a response; raises :class:`Transient` if it is cut off or no JSON."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        if not payload.rstrip().endswith(b"}"):
            raise Transient(f"{endpoint} sent an answer that ends early: {_tail(payload)}", "TruncatedAnswer") from None
        raise Transient(f"{endpoint} sent an answer that is not JSON: {start_of(payload)}", "MalformedAnswer") from None


def error_type_of(payload: bytes) -> str | None:
    """The ``type`` of the error in a body, or None."""
    kind = _error_object(payload).get("type")
    return kind if isinstance(kind, str) else None


def error_in_answer(payload: bytes, endpoint: str, model: str) -> ProviderError | None:
    """The error that a 2xx response holds instead of an answer (OpenRouter does so), or None if it holds none."""
    code = _error_object(payload).get("code")
    if type(code) is int and 400 <= code < 600:
        return error_of_status(code, {}, payload, endpoint, model, 0.0)
    return None


def _without_choice(document: Any, payload: bytes, endpoint: str, model: str) -> ProviderError:
    if isinstance(document, dict) and document.get("error"):
        found = error_in_answer(payload, endpoint, model)
        if found is not None:
            return found
        return Transient(f"{endpoint} sent an error as an answer: {start_of(payload)}", "MalformedAnswer")
    return Transient(f"{endpoint} sent an answer without choices: {start_of(payload)}", "MalformedAnswer")


def _without_text(
    choice: Mapping[str, Any], message: Mapping[str, Any], reasoning: Any, payload: bytes, endpoint: str
) -> ProviderError:
    finish_reason = choice.get("finish_reason")
    if message.get("refusal"):
        return Rejected(f"The model refused: {message['refusal']}", "Refusal")
    if finish_reason == "content_filter":
        return Rejected(f"The content filter of {endpoint} stopped the answer", "Refusal")
    if finish_reason == "error":
        return Transient(f"{endpoint} broke off its answer: {start_of(payload)}", "TruncatedAnswer")
    if finish_reason == "length":
        return Rejected("The model reached its output limit before it answered: raise max_tokens", "OutputLimit")
    if message.get("tool_calls"):
        return Rejected("The model asked for a tool instead of answering", "NoAnswer")
    if reasoning:
        return Rejected("The model sent reasoning but no answer", "NoAnswer")
    return Transient(f"{endpoint} sent an answer without text: {start_of(payload)}", "MalformedAnswer")


def _has_more(message: Mapping[str, Any], reasoning: Any) -> bool:
    return bool(reasoning or message.get("refusal") or message.get("tool_calls"))


def storable(text: str) -> str:
    """The text with U+FFFD in place of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _joined_parts(parts: list[Any]) -> str | None:
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts) if texts else None


def token_count(value: Any) -> int:
    """A count of tokens as endpoints send it; 0 for anything that is none."""
    return int(value) if type(value) in (int, float) and 0 <= value < 2**53 else 0


def _error_object(payload: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    return {**document, "message": error} if isinstance(error, str) else document


def _detail(error: Mapping[str, Any], payload: bytes) -> str:
    for name in ("message", "detail"):
        value = error.get(name)
        if value:
            return value if isinstance(value, str) else json.dumps(value)
    return start_of(payload)


def _is_refusal(error: Mapping[str, Any], code: Any) -> bool:
    metadata = error.get("metadata")
    flagged = isinstance(metadata, dict) and "flagged_input" in metadata
    return flagged or (isinstance(code, str) and code in _REFUSAL_CODES)


def start_of(payload: bytes) -> str:
    """The start of a body, as text for a message."""
    return payload[:4096].decode("utf-8", "replace")


def _tail(payload: bytes) -> str:
    return "…" + hidden(payload[-20 * LONGEST_MESSAGE :].decode("utf-8", "replace"))[-80:]
