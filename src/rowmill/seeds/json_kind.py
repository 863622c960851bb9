"""What kind of values a JSON column, list or field holds, and the type that keeps all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from rowmill.seeds.said import is_spelling
from rowmill.seeds.text_rows import doubled

_DEEPEST = 16
"""Lists and objects further inside are JSON."""
_MOST_FIELDS = 200
"""Objects with more names than that between them are maps: their names are data."""
_LEAST, _MOST, _MOST_UNSIGNED, _MOST_DIGITS = -(2**63), 2**63 - 1, 2**64 - 1, 10**38 - 1


class Spelled(float):
    """A number whose text says more than the float nearest to it."""

    text: str

    def __new__(cls, text: str) -> Spelled:
        value = super().__new__(cls, text)
        value.text = text
        return value


class BigNumberError(Exception):
    """A number no type of the column keeps."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text
        self.shown = text if len(text) <= 60 else text[:59] + "…"
        self.reason = reason


class Kind:
    """Learns values, and never forgets one."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._has_bool = self._has_text = self._has_float = self._is_too_deep = False
        self._least: int | None = None
        self._most: int | None = None
        self._inexact: str | None = None
        """An integer that no float is."""
        self._element: Kind | None = None
        self._fields: dict[str, Kind] | None = None
        self._value: Kind | None = None
        """Of the values of all fields, once there are too many of them."""

    def learn(self, values: Iterable[Any]) -> None:
        """Takes note of values. Raises BigNumberError."""
        values = list(values)
        kinds = set(map(type, values))
        self._has_text |= str in kinds
        self._has_bool |= bool in kinds
        self._has_float |= float in kinds
        if int in kinds:
            self._learn_integers([value for value in values if type(value) is int])
        if Spelled in kinds:
            for value in values:
                if isinstance(value, Spelled):
                    self._learn_spelled(value)
        if self._has_float and self._inexact is not None:
            raise BigNumberError(self._inexact, "which no float is exactly, beside numbers that are no integers")
        if self._depth == _DEEPEST and kinds & {list, dict}:
            self._is_too_deep = True
            return
        if list in kinds:
            self._element = self._element or Kind(self._depth + 1)
            self._element.learn(each for value in values if type(value) is list for each in value)
        if dict in kinds:
            self._learn_objects([value for value in values if type(value) is dict])

    def _learn_integers(self, values: Sequence[int]) -> None:
        least, most = min(values), max(values)
        self._least = least if self._least is None else min(least, self._least)
        self._most = most if self._most is None else max(most, self._most)
        if self._inexact is None and (most > 2**53 or least < -(2**53)):
            self._inexact = next((str(value) for value in values if int(float(value)) != value), None)
        if most > _MOST_DIGITS or least < -_MOST_DIGITS:
            raise BigNumberError(str(most if most > _MOST_DIGITS else least), "an integer of more than 38 digits")

    def _learn_spelled(self, value: Spelled) -> None:
        if value.text.lstrip("-").isdecimal() and value.text != "-0":
            raise BigNumberError(value.text, "an integer of more than 38 digits")
        if not is_spelling(value.text, value):
            raise BigNumberError(value.text, "which no float is exactly")
        self._has_float = True

    def _learn_objects(self, values: Sequence[dict[str, Any]]) -> None:
        if self._value is None:
            self._fields = {} if self._fields is None else self._fields
            names = dict.fromkeys(name for value in values for name in value)
            for name in names:
                kind = self._fields.setdefault(name, Kind(self._depth + 1))
                kind.learn(value[name] for value in values if name in value)
            if len(self._fields) > _MOST_FIELDS:
                self._value = Kind(self._depth + 1)
                for kind in self._fields.values():
                    self._value.merge(kind)
                self._fields = {}
        else:
            self._value.learn(each for value in values for each in value.values())

    def merge(self, other: Kind) -> None:
        """Takes note of all another kind has. Raises BigNumberError."""
        self._has_bool |= other._has_bool
        self._has_text |= other._has_text
        self._has_float |= other._has_float
        self._is_too_deep |= other._is_too_deep
        self._inexact = self._inexact or other._inexact
        if other._least is not None and other._most is not None:
            self._least = other._least if self._least is None else min(self._least, other._least)
            self._most = other._most if self._most is None else max(self._most, other._most)
        if self._has_float and self._inexact is not None:
            raise BigNumberError(self._inexact, "which no float is exactly, beside numbers that are no integers")
        if other._element is not None:
            self._element = self._element or Kind(self._depth + 1)
            self._element.merge(other._element)
        if other._fields is not None or other._value is not None:
            self._fields = self._fields or {}
            for name, kind in (other._fields or {}).items():
                self._fields.setdefault(name, Kind(self._depth + 1)).merge(kind)
            if other._value is not None or self._value is not None:
                self._value = self._value or Kind(self._depth + 1)
                for kind in [*self._fields.values(), *([other._value] if other._value else [])]:
                    self._value.merge(kind)
                self._fields = {}

    # The type ---------------------------------------------------------------------------------

    @property
    def _is_number(self) -> bool:
        return self._has_float or self._least is not None

    @property
    def is_json(self) -> bool:
        """Have the values no type in common but that of all JSON?"""
        bases = [self._has_bool, self._is_number, self._has_text, self._element is not None, self._fields is not None]
        if sum(bases) != 1 or self._is_too_deep:
            return sum(bases) > 1 or self._is_too_deep
        if self._value is not None:
            return self._value.is_json or self._value.is_empty
        if self._fields is not None:
            return not self._fields or "" in self._fields or bool(doubled(list(self._fields)))
        return False

    @property
    def is_empty(self) -> bool:
        """Was there nothing but null?"""
        return not (
            self._is_too_deep
            or self._has_bool
            or self._is_number
            or self._has_text
            or self._element is not None
            or self._fields is not None
        )

    @property
    def sql_type(self) -> str:
        """The type as DuckDB writes it."""
        if self.is_json:
            return "JSON"
        if self._has_bool:
            return "BOOLEAN"
        if self._has_float:
            return "DOUBLE"
        if self._least is not None and self._most is not None:
            if self._least >= _LEAST and self._most <= _MOST:
                return "BIGINT"
            return "UBIGINT" if self._least >= 0 and self._most <= _MOST_UNSIGNED else "DECIMAL(38,0)"
        if self._element is not None:
            return f"{self._element.sql_type}[]"
        if self._value is not None:
            return f"MAP(VARCHAR, {self._value.sql_type})"
        if self._fields is not None:
            fields = (f"{_quoted(name)} {kind.sql_type}" for name, kind in self._fields.items())
            return f"STRUCT({', '.join(fields)})"
        return "VARCHAR"

    @property
    def arrow_type(self) -> pa.DataType:
        """The type of :meth:`array`; JSON is text there."""
        if self.is_json:
            return pa.string()
        if self._element is not None:
            return pa.list_(self._element.arrow_type)
        if self._value is not None:
            return pa.map_(pa.string(), self._value.arrow_type)
        if self._fields is not None:
            return pa.struct([(name, kind.arrow_type) for name, kind in self._fields.items()])
        return _ARROW_TYPES[self.sql_type]

    def array(self, values: Sequence[Any]) -> pa.Array:
        """Values that were learned, in the type they have so far."""
        return pa.array(self._plain(values), self.arrow_type)

    def _plain(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values with what has a type of its own in Arrow only in another form."""
        if self.is_json:
            return [None if value is None else json_text(value) for value in values]
        if self._has_float and self._least is not None:
            return [None if value is None else float(value) for value in values]
        if not self._is_converted:
            return values
        return [None if value is None else self._plain_one(value) for value in values]

    def _plain_one(self, value: Any) -> Any:
        if self._element is not None:
            return self._element._plain(value)
        if self._value is not None:
            return list(zip(value, self._value._plain(list(value.values())), strict=True))
        fields = self._fields or {}
        return {name: fields[name]._plain([each])[0] for name, each in value.items()}

    @property
    def _is_converted(self) -> bool:
        if self.is_json or self._value is not None or (self._has_float and self._least is not None):
            return True
        inner = [*([self._element] if self._element else []), *(self._fields or {}).values()]
        return any(kind._is_converted for kind in inner)


def json_text(value: Any) -> str:
    """A value as JSON, its numbers as they were spelled. Raises UnicodeEncodeError only when encoded."""
    if isinstance(value, Spelled):
        return value.text
    if isinstance(value, list):
        return f"[{', '.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {json_text(each)}" for name, each in value.items())
            + "}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("a float that is no JSON number")
    return json.dumps(value, ensure_ascii=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_ARROW_TYPES = {
    "BOOLEAN": pa.bool_(), "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "UBIGINT": pa.uint64(),
    "DECIMAL(38,0)": pa.decimal128(38, 0), "VARCHAR": pa.string(),
}  # fmt: skip
