"""Keywords of JSON Schema, checked exactly and with a budget, beside the library jsonschema.

Numbers are compared as they were written: ``19.99`` is a multiple of ``0.01``, ``1.00000000000000000001`` is no whole
number. Work is counted, so that nested unions and regular expressions that try everything come to an end: first with
little, then, in a thread, with all (:mod:`rowmill.generators.rendering`). Regular expressions are the only part that is
timed, since nothing counts their steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Any

from rowmill.generators.json_text import WrittenNumber
from rowmill.spec.rendering_budget import NeedsThread
from rowmill.value.json_value import JsonNumber

_BRIEF_STEPS = 5_000
_STEPS = 500_000
_STEPS_A_VALUE = 50
"""Steps beside those, for each value within the one that is checked."""
_BRIEF_PATTERN_S = 0.02
_PATTERN_S = 2.0
_COSTS = {"$ref": 20, "$dynamicRef": 20, "$recursiveRef": 20, "anyOf": 5, "oneOf": 5, "unevaluatedProperties": 20}
_LONGEST_NUMBER = 400

_Written = (WrittenNumber, JsonNumber)
_Keyword = Callable[[Any, Any, Any, Any], Any]


class TooCostly(Exception):
    """A check used up its budget. The message says what for."""


class Spending:
    """What one check may still do."""

    def __init__(self, value: Any, *, is_brief: bool) -> None:
        self._is_brief = is_brief
        self._steps = _BRIEF_STEPS if is_brief else _STEPS + _STEPS_A_VALUE * _size(value)
        self._pattern_s = _BRIEF_PATTERN_S if is_brief else _PATTERN_S

    def __enter__(self) -> None:
        _of_thread.spending = self

    def __exit__(self, *_: object) -> None:
        _of_thread.spending = None

    def step(self, steps: int = 1) -> None:
        """Takes steps. Raises NeedsThread or :class:`TooCostly` when there are none left."""
        self._steps -= steps
        if self._steps < 0:
            self._refuse("too many steps, in unions within unions or in very long lists")

    def matches(self, pattern: str, text: str) -> bool:
        """Whether the pattern is found in the text."""
        import regex

        self.step()
        begun = time.monotonic()
        try:
            found = regex.search(pattern, text, timeout=max(self._pattern_s, 0.001), concurrent=True) is not None
        except TimeoutError:
            self._refuse(f"too long for the regular expression {pattern[:200]!r}")
        self._pattern_s -= time.monotonic() - begun
        return found

    def _refuse(self, why: str) -> None:
        if self._is_brief:
            raise NeedsThread
        raise TooCostly(why)


_of_thread = threading.local()


def _spending() -> Spending:
    """That of the check this thread is at."""
    spending: Spending = _of_thread.spending
    return spending


def has_patterns(schema: object) -> bool:
    """Whether a regular expression stands anywhere in a schema."""
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            if "pattern" in part or "patternProperties" in part:
                return True
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return False


def exact_and_bounded(kind: Any) -> Any:
    """A validator class of jsonschema whose checks are exact, and need :class:`Spending`."""
    import jsonschema

    keywords = {name: _counted(check, _COSTS.get(name, 1)) for name, check in kind.VALIDATORS.items()}
    own: dict[str, _Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties(kind.VALIDATORS.get("additionalProperties")),
        "uniqueItems": _unique_items,
        "multipleOf": _multiple_of,
    }
    keywords |= {name: check for name, check in own.items() if name in keywords}
    loosely = kind.TYPE_CHECKER.is_type

    def is_whole(_checker: Any, value: Any) -> bool:
        return bool(loosely(value, "integer")) and (not isinstance(value, _Written) or _is_whole_number(value))

    extend: Callable[..., Any] = jsonschema.validators.extend
    return extend(kind, keywords, type_checker=kind.TYPE_CHECKER.redefine("integer", is_whole))


def _is_whole_number(number: WrittenNumber | JsonNumber) -> bool:
    """Whether a number is whole as it was written."""
    if not number.is_integer():
        return False
    written = Decimal(number.text)
    return written == written.to_integral_value()


def _counted(check: _Keyword, cost: int) -> _Keyword:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _spending().step(cost + len(value) // 20 if isinstance(value, list) else cost)
        return check(validator, value, instance, schema)

    return counted


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _spending().matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _spending().matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(original: _Keyword | None) -> _Keyword:
    def check(validator: Any, others: Any, instance: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties")
        _spending().step()
        if original is not None and (not patterns or not validator.is_type(instance, "object")):
            yield from original(validator, others, instance, schema) or ()
            return
        named = schema.get("properties", {})
        rest = {
            name: value
            for name, value in instance.items()
            if name not in named and not any(_spending().matches(pattern, name) for pattern in patterns)
        }
        # What is left is judged without the patterns: none of it is like one.
        if original is not None:
            yield from original(validator, others, rest, {"properties": {}}) or ()

    return check


def _unique_items(validator: Any, is_wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if is_wanted and validator.is_type(instance, "array"):
        _spending().step(_size(instance))
        if len({_key(item) for item in instance}) < len(instance):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    _spending().step()
    if not validator.is_type(instance, "number"):
        return
    value = _fraction(instance)
    if value is None or (value / (_fraction(divisor) or 1)).denominator != 1:
        yield ValidationError(f"{instance!r} is not a multiple of {divisor}")


def _fraction(number: Any) -> Fraction | None:
    """A number as it is written; None if it is infinite or none."""
    text = repr(number)
    if isinstance(number, int | Decimal) or number == 0:
        text = ""
    try:
        return Fraction(number) if not text or len(text) > _LONGEST_NUMBER else Fraction(Decimal(text))
    except (ValueError, OverflowError, DecimalException):
        return None


def _key(value: Any) -> Hashable:
    """The same for values that are equal in JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return ("truth", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _key(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(_key(item) for item in value))
    return value if isinstance(value, Hashable) else ("other", repr(value))


def _size(value: Any) -> int:
    """How many values there are in a value, itself included."""
    size, pending = 0, [value]
    while pending:
        part = pending.pop()
        size += 1
        if isinstance(part, Mapping):
            pending += part.values()
        elif isinstance(part, list | tuple):
            pending += part
    return size
