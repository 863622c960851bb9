"""What makes errors of users' SQL catchable: it keeps an error of one row from being one of the whole statement."""

from __future__ import annotations


def catchable(expression: str) -> str:
    """An expression so that a TRY around it catches its errors.

    Of an expression that has a part twice (``x::int + x::int``) the engine evaluates that part once, before and outside
    of the TRY: an error of one row would be one of the turn. It does not look for such parts in a lambda.
    """
    return f"list_transform([0], lambda rowmill_once: {expression})[1]"
