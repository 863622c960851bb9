"""Secrets this process was given: known here only so that no message repeats them.

Servers send back what they were sent, and a user's function may say anything. What is written or shown of an error goes
through :func:`hidden`. Values a generator returns are the user's own and do not.
"""

from __future__ import annotations

import json
from urllib.parse import quote

_SAFE_IN_QUERIES = ("?/:@!$'()*,", "?/:@!$'()*,;")
"""What HTTP clients leave as it is behind the question mark of a URL."""
_SHORTEST = 6
"""Characters; what is shorter is part of ordinary words, and guards nothing."""
_spellings: tuple[str, ...] = ()


def keep_secret(value: str) -> None:
    """From now on :func:`hidden` hides it, as long as the process lives."""
    global _spellings
    if len(value) >= _SHORTEST:
        _spellings = tuple(sorted({*_spellings, *spellings(value)}, key=len, reverse=True))


def spellings(value: str) -> tuple[str, ...]:
    """A secret as others may repeat it: plain, quoted in JSON or by Python, quoted in a URL. Longest first."""
    found = {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""), quote(value)}
    found |= {quote(value, safe=safe) for safe in _SAFE_IN_QUERIES}
    return tuple(sorted(found, key=len, reverse=True))


def hidden(text: str) -> str:
    """``text`` with ``***`` in place of every secret."""
    for spelling in _spellings:
        text = text.replace(spelling, "***")
    return text
