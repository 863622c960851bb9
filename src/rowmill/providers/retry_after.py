"""How long an endpoint asks to wait, from its response headers (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 86_400.0
"""Longer waits are cut to a day: daily quotas are real, waits beyond that are mistakes of the endpoint."""


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, between 0 and :data:`LONGEST_WAIT_S`, or None when the headers do not say.

    Understands ``Retry-After-Ms`` (sent by OpenAI and Azure), and ``Retry-After`` as seconds, whole
    or not, or as an HTTP date. A date is relative to the ``Date`` of the same response if it has
    one, so that clocks need not agree; otherwise to ``now``, in seconds since the epoch.
    ``headers`` must be case-insensitive.
    """
    milliseconds = _number(headers.get("Retry-After-Ms"))
    if milliseconds is not None:
        return _clamped(milliseconds / 1000.0)
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is not None:
        return _clamped(seconds)
    until = _timestamp(value)
    if until is None:
        return None
    sent = _timestamp(headers.get("Date"))
    return _clamped(until - (now if sent is None else sent))


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _timestamp(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
