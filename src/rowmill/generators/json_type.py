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
anything else                                  ``JSON``, as text: several types, no type, recursion
=============================================  ==================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rowmill.generators.json_text import written_json
from rowmill.generators.protocol import UnusableAnswer
from rowmill.spec.name import column_name_problem, fold

_DEEPEST = 32
_MAX_FIELDS = 1000


@dataclass(frozen=True, slots=True)
class JsonType:
    """A DuckDB type, and what makes a valid JSON value fit it (null always does)."""

    sql_type: str
    convert: Callable[[Any], Any]


def json_type(schema: object) -> JsonType:
    """The type of the values this schema allows. Any schema has one."""
    return _Typing(schema).of(schema, ())


class _Typing:
    def __init__(self, root: object) -> None:
        self._root = root

    def of(self, schema: object, path: tuple[str, ...]) -> JsonType:
        """``path`` holds the references followed so far: none is followed twice."""
        if not isinstance(schema, Mapping) or len(path) > _DEEPEST:
            return JSON
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._target(reference)
            return JSON if reference in path or target is None else self.of(target, (*path, reference))
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

    def _target(self, reference: str) -> object:
        if not reference.startswith("#"):
            return None
        here: object = self._root
        for part in reference[1:].split("/")[1:]:
            here = here.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
        return here

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
        if "patternProperties" in schema:
            return JSON
        if not properties and isinstance(others, Mapping) and others:
            inner = self.of(others, path)
            return JsonType(
                f"MAP(VARCHAR, {inner.sql_type})",
                _nullable(lambda value: [(name, inner.convert(item)) for name, item in value.items()]),
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


def _nullable(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _text(value: str) -> str:
    if "\0" in value:
        raise UnusableAnswer("It holds a NUL character, which cannot be stored.")
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(value: Any) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise UnusableAnswer(f"The whole number {str(value)[:40]} is too large: it must fit into 64 bits.")
    return number


def _number(value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise UnusableAnswer(f"The number {str(value)[:40]} is too large.")
    if isinstance(value, int) and number != value:
        raise UnusableAnswer(f"The number {str(value)[:40]} has more digits than a 64-bit float can keep.")
    return number


JSON = JsonType("JSON", _nullable(written_json))
"""Values that have no type of their own: JSON text."""
_TEXT = JsonType("VARCHAR", _nullable(_text))
_WHOLE = JsonType("BIGINT", _nullable(_whole))
_NUMBER = JsonType("DOUBLE", _nullable(_number))
_TRUTH = JsonType("BOOLEAN", _nullable(bool))
_SCALARS = {"string": _TEXT, "integer": _WHOLE, "number": _NUMBER, "boolean": _TRUTH}
