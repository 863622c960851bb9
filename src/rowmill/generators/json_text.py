"""JSON in which nothing is lost: read with its numbers as they were written, and written back alike (V4)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from rowmill.generators.protocol import UnusableAnswer

SAME_NAMES = "Two names of an object are the same text once halves of characters are replaced."
_NOT_ZERO = re.compile(r"-?[0.]*[1-9]")


class WrittenNumber(float):
    """A number with a point or an exponent, which knows how it was written."""

    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        """Raises ValueError for a number that is infinite as a 64-bit float, or nothing."""
        number = super().__new__(cls, text)
        if math.isinf(number):
            raise ValueError(f"The number {text[:40]} is too large")
        if not number and _NOT_ZERO.match(text):
            raise ValueError(f"The number {text[:40]} is too small")
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def written_json(value: Any) -> str:
    """A value as JSON text, with its numbers as they were written. Raises :class:`UnusableAnswer` for names that are
    the same text."""
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, dict):
        names = [_quoted(name) for name in value]
        if len(set(names)) < len(names):
            raise UnusableAnswer(SAME_NAMES)
        return "{" + ", ".join(map(_pair, names, value.values())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written_json, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _pair(name: str, item: Any) -> str:
    return f"{name}: {written_json(item)}"


def _quoted(text: str) -> str:
    """A text in JSON; lone surrogates, which nothing else takes for JSON, become U+FFFD."""
    return json.dumps(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"The name {twice[:80]!r} stands twice in an object")
    return made


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=WrittenNumber, object_pairs_hook=_object)
"""Raises ValueError also for NaN, a name that stands twice in an object, and a number that no 64-bit float reaches."""
