"""How long an endpoint asks to wait, from its response headers (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 86_400.0
"""Longer waits are cut to a day: daily quotas are real, waits beyond that are mistakes of the endpoint."""
_EPOCH_FROM_S = 1e9
"""A larger number is a moment: seconds since the epoch, or milliseconds from a thousand times that."""
_UNITS_S = {"us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT = "(us|µs|ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:[0-9]{{1,9}}(?:\.[0-9]{{1,18}})? ?{_UNIT} ?)+")
_PART = re.compile(rf"([0-9.]+) ?{_UNIT}")
_RESETS = {
    "RateLimit-Reset": "RateLimit-Remaining",
    "X-RateLimit-Reset": "X-RateLimit-Remaining",
    "X-RateLimit-Reset-Requests": "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Tokens": "X-RateLimit-Remaining-Tokens",
    "Anthropic-RateLimit-Requests-Reset": "Anthropic-RateLimit-Requests-Remaining",
    "Anthropic-RateLimit-Tokens-Reset": "Anthropic-RateLimit-Tokens-Remaining",
}
"""When a limit is lifted, and how much is left of it: only one that is used up says how long to wait."""


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, between 0 and :data:`LONGEST_WAIT_S`, or None when the headers do not say.

    Understands ``Retry-After-Ms`` (sent by OpenAI and Azure), and ``Retry-After`` as seconds, whole or not, as a
    duration (``1m30s``), as an HTTP or ISO date, and as seconds or milliseconds since the epoch. A moment is relative
    to the ``Date`` of the same response if it has one, so that clocks need not agree; otherwise to ``now``, in seconds
    since the epoch. NaN says nothing. Without these headers, the longest of the limits that are used up says it, by
    ``X-RateLimit-Reset-Tokens`` and its kin. ``headers`` must be case-insensitive.
    """
    milliseconds = _number(headers.get("Retry-After-Ms"))
    if milliseconds is not None and milliseconds < 1000 * _EPOCH_FROM_S:
        return _clamped(milliseconds / 1000.0)
    if milliseconds is not None:
        return _wait_s(str(milliseconds), headers, now)
    wait = _wait_s(headers.get("Retry-After"), headers, now)
    if wait is not None:
        return wait
    used_up = [name for name, remaining in _RESETS.items() if _number(headers.get(remaining)) == 0]
    return max((s for name in used_up if (s := _wait_s(headers.get(name), headers, now)) is not None), default=None)


def _wait_s(value: str | None, headers: Mapping[str, str], now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None and (seconds < _EPOCH_FROM_S or math.isinf(seconds)):
        return _clamped(seconds)
    if seconds is None:
        duration = _duration(value)
        if duration is not None:
            return _clamped(duration)
        until = _timestamp(value)
    else:
        until = seconds / 1000.0 if seconds >= 1000.0 * _EPOCH_FROM_S else seconds
    if until is None:
        return None
    sent = _timestamp(headers.get("Date"))
    return _clamped(until - (now if sent is None else sent))


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _number(value: str | None) -> float | None:
    if value is None or not value.isascii() or "_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _duration(value: str | None) -> float | None:
    text = "" if value is None else value.strip().lower()
    if _DURATION.fullmatch(text) is None:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _timestamp(value: str | None) -> float | None:
    if value is None:
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(value)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, IndexError, TypeError):
            continue
    return None
