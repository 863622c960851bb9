"""JSON values in Python: objects, lists, numbers; and the JSON text of any value.

What JSON holds becomes Python's: an object a dict, a list a list. They are dicts and lists that know they are JSON: as
text they are JSON (``{"a": true}``, not ``{'a': True}``), and one that was not changed is the very text it came from. A
text is a ``str`` that knows it: given back for a JSON column, it is that text and is not read as JSON. A number is an
int or a float, which keeps its spelling; one beyond a float is a ``Decimal``. JSON's null is None, as SQL's is.
"""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rowmill.value.interval import Interval


class JsonObject(dict[str, Any]):
    """An object of a JSON column."""

    source: str | None = None
    """The whole text of the column, if this is all of it."""

    def __str__(self) -> str:
        return _as_written(self)


class JsonArray(list[Any]):
    """A list of a JSON column."""

    source: str | None = None
    """The whole text of the column, if this is all of it."""

    def __str__(self) -> str:
        return _as_written(self)


class JsonText(str):
    """A text of a JSON column."""

    __slots__ = ()


class JsonNumber(float):
    """A number of a JSON column that a float spells otherwise (``1.10``), or holds with fewer digits."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> JsonNumber:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[JsonNumber], tuple[str]]:
        return JsonNumber, (self.text,)


def parsed(text: str) -> Any:
    """The value a JSON text stands for. One that Python cannot hold (nested too deeply) stays its text."""
    try:
        value = _marked(_DECODER.decode(text.strip(" \t\n\r")))
    except (ValueError, RecursionError):
        return text
    if isinstance(value, (JsonObject, JsonArray)):
        value.source = text
    return value


def _as_written(value: JsonObject | JsonArray) -> str:
    """The text it came from, unless somebody changed it since."""
    text = json_text(value)
    return value.source if value.source is not None and json_text(parsed(value.source)) == text else text


def _number(text: str) -> float | Decimal:
    number = float(text)
    if not math.isfinite(number):
        return Decimal(text)
    return number if repr(number) == text else JsonNumber(text)


def _marked(value: Any) -> Any:
    if type(value) is list:
        return JsonArray([_marked(item) for item in value])
    return JsonText(value) if type(value) is str else value


def _object(pairs: Iterable[tuple[str, Any]]) -> JsonObject:
    return JsonObject((name, _marked(value)) for name, value in pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number)
_text = json.JSONEncoder(ensure_ascii=False).encode
_ascii_text = json.JSONEncoder(ensure_ascii=True).encode


def json_text(
    value: Any,
    *,
    ensure_ascii: bool = False,
    sort_keys: bool = False,
    indent: int | None = None,
    is_strict: bool = False,
) -> str:
    """A value as JSON. Raises TypeError for one of no type that a column can have, RecursionError.

    What JSON has no type for is text as in exports: NaN and the infinities as ``NaN``, ``Infinity``, ``-Infinity``,
    dates and times as ISO 8601, intervals as the engine spells them, binary as base64. Decimals are numbers with all
    their digits. A mapping whose keys are no texts is a list of ``{"key", "value"}``. ``is_strict``: for a JSON column;
    NaN and the infinities raise ValueError, and numbers as keys become text.
    """
    return _Writer(_ascii_text if ensure_ascii else _text, sort_keys, indent, is_strict).text(value, 0)


def export_text(text: str) -> str:
    """A JSON text of the engine, which takes more than JSON has, as JSON without line breaks.

    Other than in what is no JSON by the standard (NaN, a comma at the end of a list), it is the same text.
    """
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        try:
            return json_text(json.loads(text, parse_float=_number))
        except (ValueError, RecursionError):
            return _text(text)
    return text.replace("\n", " ").replace("\r", " ") if "\n" in text or "\r" in text else text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def number_text(value: float) -> str:
    """A float as JSON."""
    if math.isfinite(value):
        return repr(float(value))
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


class _Writer:
    def __init__(self, text_of: Any, sort_keys: bool, indent: int | None, is_strict: bool) -> None:
        self._text_of = text_of
        self._sort_keys = sort_keys
        self._indent = indent
        self._is_strict = is_strict

    def text(self, value: Any, depth: int) -> str:
        if value is None or value is True or value is False:
            return "null" if value is None else "true" if value else "false"
        if isinstance(value, str):
            return str(self._text_of(str(value)))
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return value.text if isinstance(value, JsonNumber) else self._number(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple)) and not isinstance(value, Interval):
            return self._joined("[", [self.text(item, depth + 1) for item in value], "]", depth)
        if isinstance(value, Decimal):
            return format(value, "f") if value.is_finite() else self._number(float(value))
        return str(_scalar_text(value, self._text_of))

    def _number(self, value: float) -> str:
        if self._is_strict and not math.isfinite(value):
            raise ValueError(f"{value} is not JSON")
        return number_text(value)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> str:
        if self._is_strict:
            value = {_name(name): item for name, item in value.items()}
        if not all(isinstance(name, str) for name in value):
            return self.text([{"key": name, "value": item} for name, item in value.items()], depth)
        items = sorted(value.items()) if self._sort_keys else value.items()
        parts = [f"{self._text_of(str(name))}: {self.text(item, depth + 1)}" for name, item in items]
        return self._joined("{", parts, "}", depth)

    def _joined(self, opening: str, parts: list[str], closing: str, depth: int) -> str:
        if self._indent is None or not parts:
            return f"{opening}{', '.join(parts)}{closing}"
        inner, outer = "\n" + " " * (self._indent * (depth + 1)), "\n" + " " * (self._indent * depth)
        return f"{opening}{inner}{f',{inner}'.join(parts)}{outer}{closing}"


def _name(key: Any) -> Any:
    """A number, truth value or null that is a key as :mod:`json` writes it."""
    return key if isinstance(key, str) or not isinstance(key, (int, float, type(None))) else json.dumps(key)


def _scalar_text(value: Any, text_of: Any) -> str:
    if isinstance(value, (date, datetime, time)):
        return str(text_of(value.isoformat()))
    if isinstance(value, (uuid.UUID, Interval)):
        return str(text_of(str(value)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f'"{base64.b64encode(value).decode("ascii")}"'
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    raise TypeError(f"a {type(value).__name__} is no JSON")
