"""Moments that a spec says: what is read as one, and what only looks like one."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\s*[+-]?\d{1,20}(\.\d*)?\s*")
_LEAST_SECONDS = 100_000_000
"""A smaller number is a year or a date without its marks, never seconds since 1970 (until March 1973)."""


def no_short_number(value: object) -> object:
    """The value. Raises ValueError for ``2026`` and ``20260131``, which would be read as seconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        return value
    if abs(float(value)) < _LEAST_SECONDS:
        raise ValueError(
            f"Expected a date and time, such as 2026-01-31 or 2026-01-31T10:00:00, not {str(value).strip()}, which "
            "would be seconds since 1970."
        )
    return value
