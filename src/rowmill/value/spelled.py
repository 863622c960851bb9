"""What a text spells: the number or truth value a template's text stands for, and nothing that is only near it."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,6})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NOT_ZERO = re.compile(r"[+-]?[0.]*[1-9]")
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity)|nan", re.IGNORECASE)
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def spelled(text: str, to: type) -> bool | int | float:
    """The value of type ``to`` a text spells. Raises ValueError or OverflowError if it spells none exactly.

    ``3.0`` and ``3e0`` spell the whole number 3, ``3.5`` none. A float is the nearest one, for a whole number the same.
    """
    text = text.strip()
    if to is bool:
        return _truth(text)
    if to is float:
        return _float(text)
    number = _whole(text)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(number)
    return number


def _truth(text: str) -> bool:
    found = _TRUTHS.get(text.lower())
    if found is None:
        raise ValueError("no truth value")
    return found


def _float(text: str) -> float:
    if _NOT_FINITE.fullmatch(text):
        return float(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    number = float(text)
    if math.isinf(number) or (_WHOLE.fullmatch(text) and int(text) != number):
        raise OverflowError("no float holds it")
    if not number and _NOT_ZERO.match(text):
        raise OverflowError("too small for a float")
    return number


def _whole(text: str) -> int:
    if _WHOLE.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    number = Decimal(text)
    if number.adjusted() > 40:
        raise OverflowError("too large")
    if number != number.to_integral_value():
        raise ValueError("no whole number")
    return int(number)
