"""What an endpoint says when it does not answer, as a typed error (rules F1 to F3). No I/O.

============================================  ==========================================================
it says                                       becomes
============================================  ==========================================================
429                                           ``RateLimited``; of a single request that exceeds the limit,
                                              ``Rejected("ContextTooLong")``
that its account has no quota or credit,      ``RunStopping("InsufficientQuota")``: no time heals that
whatever the status
402                                           ``RunStopping("PaymentRequired")``
401, 403, 407; an unknown model; a wrong URL  ``RunStopping``, also when it is said with 400
502, 503, 504, "loading model"                ``Unavailable``
408, 409, 424, 425, 499, other 5xx            ``Transient``
that it only sends streams                    ``RunStopping("StreamingOnly")``
a refusal of the content                      ``Rejected("Refusal")``
a prompt that is too long for the model       ``Rejected("ContextTooLong")``
any other 4xx                                 ``Rejected``
============================================  ==========================================================

A 2xx response that holds an error counts as one with the error's status: a number, a number as a text, or a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient, Unavailable
from rowmill.providers.retry_after import retry_after_s
from rowmill.secret import hidden

LONGEST_MESSAGE = 300
"""Characters of an error message, at most."""

_REFUSAL_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt"})
_REFUSED = re.compile(r"blocked by content filtering policy|invalid generation: blocked output", re.IGNORECASE)
"""Of Anthropic and Cohere, which have no code for it."""
_WRONG_URL = frozenset({404, 405, 410})
_AWAY = frozenset({502, 503, 504})
_LOADING = re.compile(
    r"loading model|model is (still |currently )?(being )?load(ing|ed)|currently loading", re.IGNORECASE
)
_WORTH_RETRYING = frozenset({408, 409, 424, 425, 499})
_NO_ACCESS_CODES = frozenset(
    {
        "invalid_api_key",
        "api_key_invalid",
        "api_key_expired",
        "blocked_api_access",
        "organization_restricted",
        "organization_deactivated",
        "unsupported_country_region_territory",
    }
)
_NO_ACCESS = re.compile(
    r"\bapi[ _-]?key\b.{0,40}\b(not valid|invalid|expired|not found)\b|\binvalid api[ _-]?(key|token)\b"
    r"|\blocation is not supported\b",
    re.IGNORECASE,
)
"""What is said with 400 of a key or an account: Gemini, Groq."""
_UNKNOWN_MODEL_CODES = frozenset(
    {"model_not_found", "invalid_model", "model_decommissioned", "model_not_available", "model_not_exist"}
)
_UNKNOWN_MODEL = re.compile(
    r"^invalid model\b|^(the )?model\b.{0,120}\b(does not exist|not found|has been decommissioned)\b"
    r"|\bis not a valid model( id)?\b",
    re.IGNORECASE,
)
"""What is said of a model with 400: Mistral, Groq, OpenRouter."""
_NEVER_FITS = re.compile(r"^request too large for ", re.IGNORECASE)
"""A limit of tokens a minute that a single request exceeds: waiting does not help it. Of OpenAI and Groq."""
_NO_TOKEN = 498
"""Of Cohere for a wrong key, of Groq for a lack of capacity."""
_PAY = "Waiting does not change that: give the account credit or a higher limit, then run again"
_NO_CREDIT = frozenset(
    {
        "insufficientquota",
        "insufficientuserquota",
        "insufficientbalance",
        "insufficientcredit",
        "insufficientcredits",
        "insufficientfunds",
        "outofcredits",
        "notenoughcredits",
        "creditsexhausted",
        "creditbalancetoolow",
        "billinghardlimitreached",
        "hardlimitreached",
        "billinglimitreached",
        "billingnotactive",
        "billingerror",
        "paymentrequired",
        "exceededcurrentquotaerror",
        "arrearage",
        "accountoverdue",
        "accountoverdueerror",
        "accountdeactivated",
        "accessterminated",
        "budgetexceeded",
        "spendlimitreached",
        "1113",
    }
)
"""Codes of errors that a payment heals, without case and marks. 1113: of Zhipu."""
_CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI, and what follows it
        "exceed_context_size_error",  # llama.cpp
        "contextwindowexceedederror",  # LiteLLM
        "context_window_exceeded",
        "model_context_window_exceeded",
        "prompt_too_long",
    }
)
_CONTEXT_TOO_LONG = re.compile(
    r"ContextWindowExceededError|context_length_exceeded|maximum context length|prompt is too long|context[ _]overflow"
    r"|exceeds? (the )?(available |model'?s |maximum )?(context|sequence) (size|length|window)"
    r"|(longer|larger|greater) than (the |this )?(model'?s |maximum )*(context|sequence) (size|length|window)"
    r"|too large for model with \d+ maximum context|input token count .{0,40}exceeds the maximum"
    r"|input length and `?max_tokens`? exceed context limit|context (size|length|window) (was |has been |is )?exceeded"
    r"|input \(\d+ tokens\) is too large to process|longer than the maximum model length"
    r"|too many tokens: size limit exceeded|^input is too long for requested model",
    re.IGNORECASE,
)
"""What servers say that have no code for it: vLLM, Anthropic, SGLang, Mistral, Gemini, llama.cpp, Cohere,
Bedrock, gateways."""
_TOO_LONG = frozenset({400, 413, 422, 500})
_SAID_WITH = frozenset({400, 422})
_SPENT = (
    r"credit balance is too low|specified api usage limits|monthly (usage|spend(ing)?) limit"
    r"|used all (of )?(your |its |the )?available credits"
)
_CREDIT_TOO_LOW = re.compile(_SPENT, re.IGNORECASE)
"""What means money whatever the status: of Anthropic, xAI, Fireworks."""
_NO_CREDIT_WORDS = re.compile(
    rf"{_SPENT}|insufficient (account )?(balance|credits?|funds)|balance is (insufficient|not enough)|余额不足"
    r"|billing (hard )?limit|out of credits"
    r"|not enough credits|credits are depleted|doesn't have any credits"
    r"|account is not active, please check your billing|spend(ing)? limit (has been |was )?reached",
    re.IGNORECASE,
)
_EXCEEDED_QUOTA = re.compile(r"exceeded your current quota", re.IGNORECASE)
_WANTS_STREAM = re.compile(
    r"only supports? (the )?stream|['\"`]?stream['\"`]? must be (set to )?true|set ['\"`]?stream['\"`]? ?(=|to) ?true"
    r"|enable the stream parameter|non-?stream(ing)? (mode |requests? |calls? )?(is|are) not supported",
    re.IGNORECASE,
)
_STREAM = re.compile(rb"\s*(data|event|id|retry)?:")
_STATUS_OF_NAME = {
    name: status
    for status, names in {
        400: "invalid_request_error invalid_argument bad_request bad_request_error context_length_exceeded"
        " content_filter content_policy_violation moderation_blocked failed_precondition unprocessable_entity",
        401: "authentication_error invalid_api_key invalid_authentication_error unauthenticated unauthorized",
        402: "billing_error payment_required",
        403: "permission_error permission_denied forbidden",
        404: "model_not_found not_found_error not_found",
        429: "rate_limit_exceeded rate_limit_error rate_limited rate_limit too_many_requests resource_exhausted"
        " throttling throttling_exception throttled requests_limit_exceeded tokens_limit_exceeded",
        500: "server_error internal_error internal_server_error api_error internal",
        502: "bad_gateway",
        503: "overloaded_error overloaded engine_overloaded engine_overloaded_error unavailable service_unavailable"
        " service_unavailable_error server_overloaded",
        504: "timeout timeout_error gateway_timeout deadline_exceeded",
    }.items()
    for name in names.split()
}


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
    if status != 402 and _needs_payment(status, error, detail, has_wait="Retry-After" in headers):
        return RunStopping(f"{message.rstrip('.')}. {_PAY}", "InsufficientQuota")
    if status in (413, 429) and _NEVER_FITS.match(detail):
        return Rejected(message, "ContextTooLong")
    if status == 429:
        return RateLimited(message, retry_after_s(headers, now))
    if status in _TOO_LONG and _is_too_long(error, detail):
        return Rejected(message, "ContextTooLong")
    if status == _NO_TOKEN and code == "capacity_exceeded":
        return Unavailable(message, f"HTTP {status}", retry_after_s(headers, now))
    if status in _AWAY or (status >= 500 and _LOADING.search(detail)):
        return Unavailable(message, f"HTTP {status}", retry_after_s(headers, now))
    if status >= 500 or status in _WORTH_RETRYING:
        return Transient(message, f"HTTP {status}", retry_after_s(headers, now))
    if _is_refusal(error, code) or _REFUSED.search(detail):
        return Rejected(message, "Refusal")
    if status in (401, 403, 407, _NO_TOKEN) or (status in _SAID_WITH and _says(error, _NO_ACCESS_CODES, _NO_ACCESS)):
        return RunStopping(f"{message.rstrip('.')}. Check the api_key of model {model!r}", "Authentication")
    if status == 402:
        return RunStopping(f"{message.rstrip('.')}. {_PAY}", "PaymentRequired")
    if status in (400, 422) and (error.get("param") == "stream" or _WANTS_STREAM.search(detail)):
        return streaming_only(endpoint)
    is_unknown = status in _SAID_WITH and _says(error, _UNKNOWN_MODEL_CODES, _UNKNOWN_MODEL)
    if (
        is_unknown
        or code == "model_not_found"
        or (status == 404 and (error.get("param") == "model" or "model" in detail.lower()))
    ):
        return RunStopping(f"{endpoint} does not know the model {model!r}: {detail or status}", "UnknownModel")
    if status in _WRONG_URL:
        return RunStopping(message, "NotFound")
    if 300 <= status < 400:
        location = headers.get("Location", "")
        return RunStopping(f"{endpoint} redirects ({status}) to {location!r}. Check base_url", "Redirect")
    return Rejected(message, f"HTTP {status}")


def streaming_only(endpoint: str) -> RunStopping:
    """The error for an endpoint that answers in a stream, or wants to."""
    return RunStopping(
        f"{endpoint} only answers as a stream of events, and Rowmill reads whole answers. Switch streaming off at the "
        "server, or use a model or gateway that answers without",
        "StreamingOnly",
    )


def json_document(payload: bytes, endpoint: str) -> Any:
    """The body of a 2xx response.

    Raises :class:`Transient` if it is cut off or no JSON, :class:`RunStopping` if it is a stream.
    """
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        pass
    try:
        return _TOLERANT.decode(payload.decode())
    except (ValueError, RecursionError):
        if _is_stream(payload):
            raise streaming_only(endpoint) from None
        start = payload.lstrip()[:1]
        if start in (b"", b"{", b"[") and not payload.rstrip().endswith(b"}"):
            raise Transient(f"{endpoint} sent an answer that ends early: {_tail(payload)}", "TruncatedAnswer") from None
        raise Transient(f"{endpoint} sent an answer that is not JSON: {start_of(payload)}", "MalformedAnswer") from None


def error_type_of(payload: bytes) -> str | None:
    """The ``type`` of the error in a body, or None."""
    kind = _error_object(payload).get("type")
    return kind if isinstance(kind, str) else None


def error_in_answer(payload: bytes, endpoint: str, model: str) -> ProviderError | None:
    """The error that a 2xx response holds instead of an answer (OpenRouter does so), or None if it holds none."""
    error = _error_object(payload)
    status = next((status for name in _STATUS_FIELDS if (status := _status(error.get(name))) is not None), None)
    said = error.get("message") or error.get("detail")
    if status is None and _needs_payment(200, error, said if isinstance(said, str) else "", has_wait=False):
        status = 429
    return None if status is None else error_of_status(status, {}, payload, endpoint, model, 0.0)


def start_of(payload: bytes) -> str:
    """The start of a body, as text for a message."""
    return payload[:4096].decode("utf-8", "replace")


def shortened(message: str) -> str:
    """The message on one line, at most :data:`LONGEST_MESSAGE` characters, without control characters."""
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", hidden(message[: 20 * LONGEST_MESSAGE])).strip()
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def _status(code: Any) -> int | None:
    """The HTTP status a code stands for: a number, a number as a text, or a name."""
    if isinstance(code, str):
        text = code.strip()
        if not (text.isascii() and text.isdigit() and len(text) == 3):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", text[:60]).lower()
            return _STATUS_OF_NAME.get(name)
        code = int(text)
    if type(code) in (int, float) and 400 <= code < 600:
        return int(code)
    return None


def _needs_payment(status: int, error: Mapping[str, Any], detail: str, *, has_wait: bool) -> bool:
    """Does an account lack quota or credit, so that no time heals the error?"""
    for name in ("code", "type", "status"):
        if re.sub(r"[\W_]", "", str(error.get(name) or "")[:60]).lower() in _NO_CREDIT:
            return True
    if status in (200, 403, 429):
        # Gemini says the same words of a quota that is back in a minute.
        heals = has_wait or error.get("status") == "RESOURCE_EXHAUSTED"
        return bool(_NO_CREDIT_WORDS.search(detail) or (not heals and _EXCEEDED_QUOTA.search(detail)))
    return status in (400, 412) and bool(_CREDIT_TOO_LOW.search(detail))


def _is_stream(payload: bytes) -> bool:
    """Is a body a stream: of events, or of chunks, each a line of JSON?"""
    if _STREAM.match(payload):
        return True
    first, _, rest = payload.lstrip().partition(b"\n")
    if not rest.lstrip().startswith(b"{"):
        return False
    try:
        chunk = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(chunk, dict) and ("choices" in chunk or "done" in chunk or "message" in chunk)


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
    return {**document, "message": _both(error, document)} if isinstance(error, str) else document


def _both(error: str, document: Mapping[str, Any]) -> str:
    """An error that is a text, and what stands beside it: ``Bad Request: 'model' is required``."""
    beside = next((document[name] for name in _WORDS_BESIDE if document.get(name)), None)
    text = beside if isinstance(beside, str) else json.dumps(beside)
    if beside is None or text.strip() == error.strip() or text in error:
        return error
    return text if error in text else f"{error.rstrip('. ')}: {text}"


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


def _is_too_long(error: Mapping[str, Any], detail: str) -> bool:
    codes = (str(error.get(name) or "").lower() for name in ("code", "type", "status"))
    return any(code in _CONTEXT_CODES for code in codes) or bool(_CONTEXT_TOO_LONG.search(detail))


def _says(error: Mapping[str, Any], codes: frozenset[str], words: re.Pattern[str]) -> bool:
    """Does an error have one of the codes, or say so in words?"""
    said = str(error.get("message") or error.get("detail") or "")
    return any(str(error.get(name) or "").lower() in codes for name in ("code", "type", "status")) or bool(
        words.search(said[: 20 * LONGEST_MESSAGE])
    )


def _tail(payload: bytes) -> str:
    return "…" + hidden(payload[-20 * LONGEST_MESSAGE :].decode("utf-8", "replace"))[-80:]


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= 400 else float("inf")


_TOLERANT = json.JSONDecoder(parse_int=_whole_number)
"""Python refuses whole numbers of more than 4,300 digits; the answer around one is good."""
_WORDS_BESIDE = ("message", "detail", "details", "error_description", "error_message", "reason", "msg")
_STATUS_FIELDS = ("code", "status_code", "http_status", "http_code", "status", "type")
