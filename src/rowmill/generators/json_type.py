"""The DuckDB type of the values a JSON Schema allows, so that they can be asked for by name.

Null and absent are null, whatever the type. Of JSON text numbers keep their spelling (``12.10``).

=============================================  ==================================================
schema                                         type
=============================================  ==================================================
``string``, ``integer``, ``number``,           ``VARCHAR``, ``BIGINT``, ``DOUBLE``, ``BOOLEAN``
``boolean``
``object`` with ``properties``                 ``STRUCT``; those an answer leaves out are null, those the
                                               schema does not name are left out
``object`` with only ``additionalProperties``  ``MAP(VARCHAR, …)``
``array`` of ``items``                         a list
``enum``, ``const``                            the type of its values
``… or null``: in ``type``, ``anyOf``          the type of the other
a local ``$ref``                               that of its target
fields that only another keyword names         ``JSON``: ``then``, ``anyOf`` beside ``properties``, …
anything else                                  ``JSON``, as text: several types, no type, recursion
=============================================  ==================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rowmill.generators.json_schema import local_target
from rowmill.generators.json_text import SAME_NAMES, WrittenNumber, written_json
from rowmill.generators.protocol import UnusableAnswer
from rowmill.spec.name import column_name_problem, fold

_DEEPEST = 32
_MAX_FIELDS = 1000
_MAX_PARTS = 20_000
"""Parts of a type, all in all: definitions that name each other several times would have without end."""
_IN_PLACE = ("allOf", "anyOf", "oneOf")
_ALSO_IN_PLACE = ("if", "then", "else")


@dataclass(frozen=True, slots=True)
class JsonType:
    """A DuckDB type, and what makes a valid JSON value fit it (null always does)."""

    sql_type: str
    convert: Callable[[Any], Any]


def json_type(schema: object) -> JsonType:
    """The type of the values this schema allows. Any schema has one."""
    try:
        return _Typing(schema).of(schema, ())
    except _TooWide:
        return JSON


class _TooWide(Exception):
    """A type would have too many parts."""


class _Typing:
    def __init__(self, root: object) -> None:
        self._root = root
        self._parts = 0
        # References within a part that has an address of its own lead to places in that part.
        self._is_one_document = not _has_inner_address(root)

    def of(self, schema: object, path: tuple[str, ...]) -> JsonType:
        """``path`` holds the references followed so far: none is followed twice."""
        if not isinstance(schema, Mapping) or len(path) > _DEEPEST:
            return JSON
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _TooWide
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = local_target(self._root, reference) if self._is_one_document else None
            if reference in path or target is None or _names_beside(schema, target):
                return JSON
            return self.of(target, (*path, reference))
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            return JSON
        for combination in ("anyOf", "oneOf", "allOf"):
            if combination in schema:
                return self._combined(schema, combination, path)
        kinds = schema.get("type")
        names = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
        if len(names) != 1:
            return JSON
        if names[0] is None:
            return self._of_values(schema)
        return self._of_kind(str(names[0]), schema, (*path, ""))

    def _combined(self, schema: Mapping[str, Any], combination: str, path: tuple[str, ...]) -> JsonType:
        if any(key in schema for key in ("type", "properties", "items")):
            return JSON
        branches = [branch for branch in schema[combination] if branch != {"type": "null"}]
        return self.of(branches[0], (*path, "")) if len(branches) == 1 else JSON

    @staticmethod
    def _of_values(schema: Mapping[str, Any]) -> JsonType:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        kinds = {type(value) for value in values} - {type(None)}
        known = {str: _TEXT, int: _WHOLE, float: _NUMBER, bool: _TRUTH}
        return known.get(next(iter(kinds)), JSON) if len(kinds) == 1 else JSON

    def _of_kind(self, kind: str, schema: Mapping[str, Any], path: tuple[str, ...]) -> JsonType:
        if kind == "array":
            return self._list(schema, path)
        if kind == "object":
            return self._object(schema, path)
        return _SCALARS.get(kind, JSON)

    def _list(self, schema: Mapping[str, Any], path: tuple[str, ...]) -> JsonType:
        items = schema.get("items")
        if not isinstance(items, Mapping) or not items or "prefixItems" in schema:
            return JSON
        inner = self.of(items, path)
        return JsonType(f"{inner.sql_type}[]", _nullable(lambda value: [inner.convert(item) for item in value]))

    def _object(self, schema: Mapping[str, Any], path: tuple[str, ...]) -> JsonType:
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties", False)
        if "patternProperties" in schema or schema.get("unevaluatedProperties", False) is not False:
            return JSON
        if _names_beside(schema, schema):
            return JSON
        if not properties and isinstance(others, Mapping) and others:
            inner = self.of(others, path)
            return JsonType(
                f"MAP(VARCHAR, {inner.sql_type})",
                _nullable(lambda value: _entries(value, inner.convert)),
            )
        names = list(properties)
        distinct = len({fold(name) for name in names}) == len(names)
        if not names or others is not False or not distinct or len(names) > _MAX_FIELDS:
            return JSON
        if any(column_name_problem(name) for name in names):
            return JSON
        fields = {name: self.of(inner, path) for name, inner in properties.items()}
        inside = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {field.sql_type}' for name, field in fields.items())
        return JsonType(
            f"STRUCT({inside})",
            _nullable(lambda value: {name: field.convert(value.get(name)) for name, field in fields.items()}),
        )


def _has_inner_address(root: object) -> bool:
    pending = list(root.values()) if isinstance(root, Mapping) else []
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            if isinstance(part.get("$id"), str):
                return True
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return False


def _names_beside(schema: Mapping[str, Any], typed: object) -> bool:
    """Whether a schema names fields that ``typed``, which its type is made of, does not."""
    known = typed.get("properties") if isinstance(typed, Mapping) else None
    return bool(_names_in_place(schema, 0) - set(known or ()))


def _names_in_place(schema: object, depth: int) -> set[str]:
    """The names of all fields that a schema has, or the parts of it that judge the very same value."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return set()
    branches = [part for name in _IN_PLACE for part in schema.get(name) or ()]
    branches += [schema.get(name) for name in _ALSO_IN_PLACE]
    branches += (schema.get("dependentSchemas") or {}).values()
    return {str(name) for name in schema.get("properties") or ()}.union(
        *(_names_in_place(part, depth + 1) for part in branches)
    )


def _entries(value: Mapping[str, Any], convert: Callable[[Any], Any]) -> list[tuple[str, Any]]:
    names = [_text(name) for name in value]
    if len(set(names)) < len(names):
        raise UnusableAnswer(SAME_NAMES)
    return [(name, convert(item)) for name, item in zip(names, value.values(), strict=True)]


def _nullable(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _text(value: str) -> str:
    if "\0" in value:
        raise UnusableAnswer("It holds a NUL character, which cannot be stored.")
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(value: Any) -> int:
    number = int(Decimal(value.text)) if isinstance(value, WrittenNumber) else int(value)
    if not -(2**63) <= number < 2**63:
        raise UnusableAnswer(f"The whole number {_shown(value)} is too large: it must fit into 64 bits.")
    return number


def _number(value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise UnusableAnswer(f"The number {_shown(value)} is too large.")
    if isinstance(value, int) and number != value:
        raise UnusableAnswer(f"The number {_shown(value)} has more digits than a 64-bit float can keep.")
    return number


def _shown(value: Any) -> str:
    return value.text[:40] if isinstance(value, WrittenNumber) else str(value)[:40]


JSON = JsonType("JSON", _nullable(written_json))
"""Values that have no type of their own: JSON text."""
_TEXT = JsonType("VARCHAR", _nullable(_text))
_WHOLE = JsonType("BIGINT", _nullable(_whole))
_NUMBER = JsonType("DOUBLE", _nullable(_number))
_TRUTH = JsonType("BOOLEAN", _nullable(bool))
_SCALARS = {"string": _TEXT, "integer": _WHOLE, "number": _NUMBER, "boolean": _TRUTH}
