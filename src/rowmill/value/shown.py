"""Values as text in a prompt.

Text, numbers, truth values and null are what Python shows. Dates and times are ISO 8601 with a blank, decimals have all
their digits and no exponent, binary is base64, intervals are as the engine spells them. Lists and mappings look as in
Python; what in them is no text, number or truth value stands as its text in quotes. What a JSON column holds is JSON.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

from rowmill.value.interval import Interval
from rowmill.value.json_value import JsonArray, JsonObject

_AS_PYTHON_SHOWS = frozenset({str, int, float, bool, type(None)})


_LONGEST = 80


def with_values(message: str, values: Mapping[str, Any]) -> str:
    """What is wrong with a row, and the values that is about, shortened: ``too rude (score is 1)``."""
    texts = {name: "null" if value is None else str(value) for name, value in values.items()}
    shortened = {name: text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…" for name, text in texts.items()}
    told = ", ".join(f"{name} is {text}" for name, text in shortened.items())
    return f"{message} ({told})" if told else message


def shown(value: Any) -> Any:
    """What to put out for a value: the value itself if its ``str`` is right, else its text."""
    kind = type(value)
    if kind in _AS_PYTHON_SHOWS:
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if kind in (list, tuple, dict):
        return _nested(value)
    return value


def _nested(value: Any) -> str:
    """A list or mapping as Python shows it, without the names of Python's types."""
    if isinstance(value, (Interval, JsonObject, JsonArray)):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_part(name)}: {_part(item)}" for name, item in value.items()) + "}"
    inside = ", ".join(map(_part, value))
    if isinstance(value, tuple):
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return f"[{inside}]"


def _part(value: Any) -> str:
    if type(value) in _AS_PYTHON_SHOWS:
        return repr(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _nested(value)
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (date, time, uuid.UUID, bytes, bytearray)):
        return repr(str(shown(value)))
    return repr(value)
