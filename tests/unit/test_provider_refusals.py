"""What providers say when they refuse, in their own words, as typed errors; and how long they ask to wait."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient, Unavailable
from rowmill.providers.refused import error_of_status
from rowmill.providers.retry_after import retry_after_s

NOW = 1_700_000_000.0


def said(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "error_type"),
    [
        (400, [said("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT")],
         RunStopping, "Authentication"),
        (400, said("API key expired. Please renew the API key."), RunStopping, "Authentication"),
        (400, said("User location is not supported for the API use."), RunStopping, "Authentication"),
        (400, said("Organization has been restricted.", code="organization_restricted"), RunStopping, "Authentication"),
        (498, {"message": "invalid token"}, RunStopping, "Authentication"),
        (400, {"object": "error", "message": "Invalid model: foo", "type": "invalid_model", "code": "1500"},
         RunStopping, "UnknownModel"),
        (400, said("The model `x` has been decommissioned and is no longer supported.", code="model_decommissioned"),
         RunStopping, "UnknownModel"),
        (400, said("x/y is not a valid model ID", code=400), RunStopping, "UnknownModel"),
        (400, said("The value of 'tools' is not valid for this model"), Rejected, "HTTP 400"),
        (400, said("Invalid token in the model's template"), Rejected, "HTTP 400"),
        (429, said("Your prepayment credits are depleted.", status="RESOURCE_EXHAUSTED"),
         RunStopping, "InsufficientQuota"),
        (403, {"code": "The caller has no permission", "error": "Your team doesn't have any credits yet."},
         RunStopping, "InsufficientQuota"),
        (429, said("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000."),
         Rejected, "ContextTooLong"),
        (413, said("Request too large for model `x` on tokens per minute (TPM)", code="rate_limit_exceeded"),
         Rejected, "ContextTooLong"),
        (400, said("The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
         Rejected, "ContextTooLong"),
        (400, {"message": "Input is too long for requested model."}, Rejected, "ContextTooLong"),
        (400, {"message": "too many tokens: size limit exceeded by 100 tokens."}, Rejected, "ContextTooLong"),
        (400, said("Output blocked by content filtering policy"), Rejected, "Refusal"),
        (400, said("Invalid prompt: it was flagged", code="invalid_prompt"), Rejected, "Refusal"),
        (400, {"message": "your request resulted in an invalid generation: blocked output"}, Rejected, "Refusal"),
        (498, said("flex capacity exceeded", code="capacity_exceeded"), Unavailable, "HTTP 498"),
        (424, said("failed dependency", code="424"), Transient, "HTTP 424"),
        (499, {"message": "request cancelled by user"}, Transient, "HTTP 499"),
    ],
)  # fmt: skip
def test_what_a_provider_says_decides_beside_its_status(
    status: int, body: Any, kind: type[ProviderError], error_type: str
) -> None:
    error = error_of_status(status, CIMultiDict(), json.dumps(body).encode(), "http://host/v1", "small", NOW)
    assert (type(error), getattr(error, "error_type", None)) == (kind, error_type)
    assert ".." not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2d"}, 86_400.0),
        ({"Retry-After": "1M30S"}, 90.0),
        ({"Retry-After": "500 ms"}, 0.5),
        ({"Retry-After": "1h 2m 3.5s"}, 3723.5),
        ({"Retry-After": "250us"}, 0.00025),
        ({"Retry-After": "1_0"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "-1m"}, None),
        ({"X-RateLimit-Reset-Tokens": "6ms", "X-RateLimit-Remaining-Tokens": "0"}, 0.006),
        ({"X-RateLimit-Reset-Requests": "1m30s", "X-RateLimit-Remaining-Requests": "0",
          "X-RateLimit-Reset-Tokens": "2h", "X-RateLimit-Remaining-Tokens": "17"}, 90.0),
        ({"X-RateLimit-Reset": "1700000060000", "X-RateLimit-Remaining": "0"}, 60.0),
        ({"RateLimit-Reset": "30", "RateLimit-Remaining": "0"}, 30.0),
        ({"Anthropic-RateLimit-Tokens-Reset": "2023-11-14T22:14:20Z", "Anthropic-RateLimit-Tokens-Remaining": "0"},
         60.0),
        ({"X-RateLimit-Reset": "soon", "X-RateLimit-Remaining": "0"}, None),
        ({"X-RateLimit-Reset": "1m"}, None),
        ({"Retry-After": "3", "X-RateLimit-Reset": "1m", "X-RateLimit-Remaining": "0"}, 3.0),
    ],
)  # fmt: skip
def test_a_response_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    waits = retry_after_s(CIMultiDict(headers), NOW)
    assert waits == (None if seconds is None else pytest.approx(seconds))


def test_a_limit_that_is_used_up_is_waited_for_although_no_retry_after_is_sent() -> None:
    headers = CIMultiDict({"X-RateLimit-Reset-Requests": "7s", "X-RateLimit-Remaining-Requests": "0"})
    error = error_of_status(429, headers, b"", "http://host/v1", "small", NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0
