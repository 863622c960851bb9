"""How long a failed task waits: back-off of transient failures, patience after a 429. Pure functions (F1, F2)."""

from __future__ import annotations

import hashlib
import math

from rowmill.errors import RateLimited

_LONGEST_RETRY_AFTER_S = 24 * 3600.0


def backoff_s(base_s: float, longest_s: float, failures: int, key: str) -> float:
    """Seconds until the next attempt after ``failures`` (≥ 1) transient failures (F2).

    Exponential with full-range jitter in its upper half: between 0.5 and 1 times
    min(longest_s, base_s · 2^(failures − 1)). The jitter is a function of ``key``, so the same run waits
    the same.
    """
    ceiling = min(longest_s, base_s * 2.0 ** min(failures - 1, 62))
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return ceiling * (0.5 + int.from_bytes(digest, "big") / 2**65)


def cool_down_s(error: BaseException | None, default_s: float) -> float:
    """Seconds an endpoint rests after a 429: what ``Retry-After`` says, else ``default_s`` (F1, C2)."""
    return asked_wait_s(error.retry_after_s if isinstance(error, RateLimited) else None, default_s)


def asked_wait_s(asked: object, default_s: float) -> float:
    """Seconds to wait when somebody asks for them, a day at most; ``default_s`` for what is no number of seconds."""
    if not isinstance(asked, int | float) or math.isnan(asked):
        return default_s
    return float(min(max(asked, 0), _LONGEST_RETRY_AFTER_S))
