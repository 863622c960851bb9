"""Python values on their way into the engine: what fits a type, and as what it is handed over (V3).

One rule for every type: a value fits if it is one of the type, or becomes one without any loss. A whole number fits a
type of whole numbers however it is written (3, 3.0, Decimal("3")); a number fits a float as the nearest one, a whole
number only if a float holds it exactly; a decimal must not need more digits than its type has. A truth value is no
number, a number no truth value and no text, a text nothing but a text (or a UUID, or JSON). A date is a time at
midnight and the other way round. What Python has no value for and got as text goes back as what it stands for
(:class:`~rowmill.value.moment.Moment`).
"""

from __future__ import annotations

import functools
import json
import math
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa

from rowmill.counted import plural
from rowmill.value.json_value import JsonArray, JsonNumber, JsonObject, JsonText, json_text
from rowmill.value.kind import is_binary, is_json, is_list, is_text, is_truth, opaque_name
from rowmill.value.moment import Moment
from rowmill.value.plain_arrow import plain_type

_NULL = type(None)
_RANGES = {"hugeint": (-(2**127), 2**127 - 1), "uhugeint": (0, 2**128 - 1)}


class Misfit(ValueError):
    """A value does not fit a type."""


class Fitting(NamedTuple):
    """How values of one type are handed over."""

    staged: pa.DataType
    """What they are on their way: the engine casts texts to what Arrow has no type for."""
    own: frozenset[type]
    """Types of values that Arrow itself takes exactly, or refuses."""
    convert: Callable[[Any], Any]
    """What any other value is; raises Misfit."""
    is_whole: bool = True
    """Arrow's own values of this type fit without a look at each."""

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The values as an array. Raises Misfit or what Arrow raises."""
        if not self.own.issuperset(map(type, values)):
            own, convert = self.own, self.convert
            values = [value if type(value) in own else None if value is None else convert(value) for value in values]
        return pa.array(values, type=self.staged)


def known_array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Values of one of the engine's types (None: of whatever they are) as the Arrow everybody knows."""
    if kind is None:
        return pa.array(values)
    array = fitting(kind).array(values)
    wanted = plain_type(kind)
    return array if array.type == wanted else array.cast(wanted)


@functools.lru_cache(maxsize=4096)
def fitting(kind: pa.DataType) -> Fitting:
    """How values of one of the engine's types are handed over."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(kind)
    if is_list(kind):
        return _list(kind)
    if types.is_struct(kind):
        return _struct(kind)
    if types.is_map(kind):
        return _map(kind)
    if types.is_boolean(kind):
        return _scalar(kind, {bool}, _refused)
    if types.is_integer(kind):
        return _scalar(kind, {int}, _whole)
    if types.is_floating(kind):
        return _scalar(kind, {float}, _double) if types.is_float64(kind) else _scalar(kind, set(), _single)
    if types.is_decimal(kind):
        return _scalar(kind, {Decimal, int}, _decimal)
    if is_text(kind) or types.is_dictionary(kind):
        return _scalar(kind, {str}, _plain_text)
    if is_binary(kind):
        return _scalar(kind, {bytes}, _bytes)
    if types.is_date(kind):
        return _scalar(kind, {date}, _date)
    if types.is_timestamp(kind):
        unit, zoned = kind.unit, kind.tz is not None
        return _scalar(kind, set(), lambda value: _timestamp(value, unit, zoned=zoned))
    if types.is_time(kind):
        return _scalar(kind, set(), lambda value: _time(value, kind.unit))
    if types.is_interval(kind):
        return _scalar(kind, {timedelta}, _interval)
    return _scalar(kind, set(), lambda value: value)


def _scalar(staged: pa.DataType, own: set[type], convert: Callable[[Any], Any]) -> Fitting:
    return Fitting(staged, frozenset({*own, _NULL}), lambda value: convert(_plain(value)))


def _of_extension(kind: pa.BaseExtensionType) -> Fitting:
    if is_json(kind):
        return Fitting(pa.string(), frozenset({_NULL}), _json, is_whole=False)
    if is_truth(kind):
        return _scalar(pa.bool_(), {bool}, _refused)
    return _as_text(kind)._replace(is_whole=False)


def _as_text(kind: pa.BaseExtensionType) -> Fitting:
    if isinstance(kind, pa.UuidType):
        return _scalar(pa.string(), set(), _uuid)
    name = opaque_name(kind) or ""
    if name in _RANGES:
        low, high = _RANGES[name]
        return _scalar(pa.string(), set(), lambda value: _digits(value, low, high))
    if name == "bignum":
        return _scalar(pa.string(), set(), lambda value: str(_whole(value)))
    if name == "bit":
        return _scalar(pa.string(), set(), _bits)
    if name == "time_tz":
        return _scalar(pa.string(), set(), _zoned_time)
    return _scalar(kind.storage_type, set(), lambda value: value)


# Scalars -----------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _refused(value: Any) -> Any:
    if type(value) is bool:
        return value
    raise Misfit(f"a {type(value).__name__} is none")


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise Misfit("a truth value is no number")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, JsonNumber):
        value = Decimal(value.text)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    raise Misfit("it is no whole number")


def _digits(value: Any, low: int, high: int) -> str:
    number = _whole(value)
    if not low <= number <= high:
        raise Misfit("it is too large")
    return str(number)


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise Misfit("it is no number")
    number = float(value)
    if isinstance(value, int) and number != value:
        raise Misfit("a float does not hold it exactly")
    if math.isinf(number) and isinstance(value, Decimal) and value.is_finite():
        raise Misfit("it is too large")
    return number


def _single(value: Any) -> float:
    number = _double(value)
    kept: float = struct.unpack("<f", struct.pack("<f", number))[0]  # OverflowError if it is too large
    if isinstance(value, int) and kept != value:
        raise Misfit("a float does not hold it exactly")
    return number


def _decimal(value: Any) -> Decimal | int:
    if isinstance(value, JsonNumber):
        return Decimal(value.text)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise Misfit("it is no number")
    return Decimal(repr(float(value))) if isinstance(value, float) else value


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise Misfit("it is no text")


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise Misfit("it is no binary")


def _bits(value: Any) -> str:
    if isinstance(value, str) and value and set(value) <= {"0", "1"}:
        return str(value)
    raise Misfit("it is no text of 0 and 1")


def _uuid(value: Any) -> str:
    if isinstance(value, (str, uuid.UUID)):
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))
    raise Misfit("it is no UUID")


# Dates and times ---------------------------------------------------------------------------------


def _date(value: Any) -> date | int:
    if isinstance(value, Moment) and value.kind == "date":
        return value.ticks
    if isinstance(value, datetime):
        if value.tzinfo is not None or value.time() != time(0) or getattr(value, "nanosecond", False):
            raise Misfit("it is more than a date")
        return value.date()
    if isinstance(value, date):
        return value
    raise Misfit("it is no date")


def _timestamp(value: Any, unit: str, *, zoned: bool) -> datetime | int:
    if isinstance(value, Moment) and value.kind == f"timestamp[{unit}]":
        return value.ticks
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise Misfit("it is no time")
    if unit != "ns" and getattr(value, "nanosecond", False):
        raise Misfit("its nanoseconds would be lost")
    if value.microsecond % {"s": 1_000_000, "ms": 1_000}.get(unit, 1):
        raise Misfit("part of its second would be lost")
    if zoned:
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if value.tzinfo is None:
        return value
    if value.utcoffset():
        raise Misfit("its time zone would be lost")
    return value.replace(tzinfo=None)


def _time(value: Any, unit: str) -> time | int:
    if isinstance(value, Moment) and value.kind == f"time[{unit}]":
        return value.ticks
    if isinstance(value, time) and value.tzinfo is None:
        return value
    raise Misfit("it is no time of day without a time zone")


def _zoned_time(value: Any) -> str:
    if isinstance(value, Moment) and value.kind == "timetz":
        return str(value)
    if isinstance(value, time):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()
    raise Misfit("it is no time of day")


def _interval(value: Any) -> Any:
    if isinstance(value, timedelta) or (isinstance(value, tuple) and len(value) == 3):
        return value
    if hasattr(value, "nanoseconds") and hasattr(value, "months"):  # pandas' DateOffset
        return value
    raise Misfit("it is no interval")


# JSON --------------------------------------------------------------------------------------------


def _json(value: Any) -> str:
    if isinstance(value, JsonText):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, str):
        return _checked_json(value)
    if isinstance(value, (JsonObject, JsonArray)):
        return _checked_json(str(value))
    return json_text(_plain(value), is_strict=True)


def _checked_json(text: str) -> str:
    """The text, if it is JSON by the standard; the engine takes more."""
    value = json.loads(text, parse_constant=_not_json)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError for half a surrogate pair
    return text


def _not_json(name: str) -> None:
    raise Misfit(f"{name} is not JSON")


# Nested ------------------------------------------------------------------------------------------


def _list(kind: pa.DataType) -> Fitting:
    inner = fitting(kind.value_type)
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    staged = pa.list_(inner.staged) if size is None else pa.list_(inner.staged, size)
    own, convert = inner.own, inner.convert

    def items(value: Any) -> list[Any]:
        if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            value = value.tolist()
        if not isinstance(value, (list, tuple)):
            raise Misfit("it is no list")
        if size is not None and len(value) != size:
            raise Misfit(f"it has {plural(len(value), 'element')}")
        if own.issuperset(map(type, value)):
            return list(value)
        return [item if type(item) in own else None if item is None else convert(item) for item in value]

    return Fitting(staged, frozenset({_NULL}), items, inner.is_whole)


def _struct(kind: pa.DataType) -> Fitting:
    fields = {field.name: fitting(field.type) for field in kind}
    staged = pa.struct([pa.field(name, inner.staged) for name, inner in fields.items()])

    def parts(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit("it is no mapping")
        return {name: _part(value.get(name), inner) for name, inner in fields.items()}

    return Fitting(staged, frozenset({_NULL}), parts, all(inner.is_whole for inner in fields.values()))


def _map(kind: pa.DataType) -> Fitting:
    key, item = fitting(kind.key_type), fitting(kind.item_type)
    staged = pa.map_(key.staged, item.staged)

    def entries(value: Any) -> list[tuple[Any, Any]]:
        pairs = [(_part(name, key), _part(content, item)) for name, content in _pairs(value)]
        names = [repr(name) for name, _ in pairs]
        if len(set(names)) < len(names) or any(name is None for name, _ in pairs):
            raise Misfit("a key is null, or there twice")
        return pairs

    return Fitting(staged, frozenset({_NULL}), entries, is_whole=False)


def _pairs(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        pairs = [
            (pair["key"], pair["value"]) if isinstance(pair, Mapping) and pair.keys() == {"key", "value"} else pair
            for pair in value
        ]
        if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            return pairs
    raise Misfit("it is no mapping")


def _part(value: Any, of: Fitting) -> Any:
    return value if type(value) in of.own else None if value is None else of.convert(value)
