"""Texts as values of a type somebody said: exactly what the text says, or a misfit with its row and the reason.

The type is a DuckDB type as :func:`rowmill.spec.dtype.sql_type` writes it. Types Arrow has no values for (JSON, UUID,
HUGEINT, nested ones, …) are checked here as far as their texts go and made by the engine.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

import pyarrow as pa

from rowmill.seeds.guess import guess_type

_INTEGERS = {
    "TINYINT": (8, pa.int8()), "SMALLINT": (16, pa.int16()), "INTEGER": (32, pa.int32()), "BIGINT": (64, pa.int64()),
    "HUGEINT": (128, pa.string()),
}  # fmt: skip
_UNSIGNED = {
    "UTINYINT": (8, pa.uint8()), "USMALLINT": (16, pa.uint16()), "UINTEGER": (32, pa.uint32()),
    "UBIGINT": (64, pa.uint64()),
}  # fmt: skip
_FLOATS = {"DOUBLE": ("d", pa.float64()), "FLOAT": ("f", pa.float32())}
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")
_INTEGER_TEXT = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_DATE_TEXT = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_TIME = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
_TIME_TEXT = re.compile(_TIME)
_MOMENT_TEXT = re.compile(rf"([0-9-]+)(?:[T ]{_TIME} ?(Z|z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?)?")
_UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_EPOCH = datetime(1970, 1, 1)
_EXACT = Context(prec=1100)


class MisfitError(Exception):
    """A text is no value of the type."""

    def __init__(self, row: int, text: str, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.text = text
        self.reason = reason


class _NoValueError(ValueError):
    """Why a text is none."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """How texts become values of a type."""

    arrow_type: pa.DataType
    value: Callable[[str], Any]
    """Raises _NoValueError."""


def read_as(column: pa.ChunkedArray, sql_type: str) -> pa.ChunkedArray:
    """The texts of a column as values of that type, as texts where only the engine can make it.

    Blanks around a value that is no text do not count; an empty text is null then. Raises MisfitError.
    """
    if sql_type == "VARCHAR":
        return column
    guess = guess_type(column)
    if guess.sql_type == sql_type:
        return guess.column
    reading = _reading(sql_type)
    chunks = []
    row = 0
    for chunk in column.chunks:
        values = []
        for text in chunk.to_pylist():
            stripped = text.strip() if text is not None else ""
            try:
                values.append(reading.value(stripped) if stripped else None)
            except _NoValueError as error:
                raise MisfitError(row, text, str(error)) from None
            row += 1
        chunks.append(pa.array(values, reading.arrow_type))
    return pa.chunked_array(chunks, reading.arrow_type)


def _reading(sql_type: str) -> _Reading:
    if sql_type in _INTEGERS:
        bits, arrow_type = _INTEGERS[sql_type]
        return _Reading(
            arrow_type, _Integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, is_text=arrow_type == pa.string())
        )
    if sql_type in _UNSIGNED:
        bits, arrow_type = _UNSIGNED[sql_type]
        return _Reading(arrow_type, _Integer(0, 2**bits - 1))
    if sql_type in _FLOATS:
        code, arrow_type = _FLOATS[sql_type]
        return _Reading(arrow_type, lambda text: _float(text, code))
    if decimal := _DECIMAL.fullmatch(sql_type):
        precision, scale = int(decimal[1]), int(decimal[2])
        return _Reading(pa.decimal128(precision, scale), lambda text: _decimal(text, precision, scale))
    return _READINGS.get(sql_type) or _Reading(pa.string(), lambda text: text)


@dataclass(frozen=True, slots=True)
class _Integer:
    least: int
    most: int
    is_text: bool = False

    def __call__(self, text: str) -> int | str:
        if not _INTEGER_TEXT.fullmatch(text):
            raise _NoValueError("it is no whole number")
        digits = text.partition(".")[0]
        value = int(digits) if len(digits) < 60 else None
        if value is None or not self.least <= value <= self.most:
            raise _NoValueError(f"it is not from {self.least} to {self.most}")
        return str(value) if self.is_text else value


def _float(text: str, code: str) -> float:
    lowered = text.lower().removeprefix("+")
    if lowered in {"nan", "inf", "-inf", "infinity", "-infinity"}:
        return float(lowered)
    if not _NUMBER_TEXT.fullmatch(text):
        raise _NoValueError("it is no number")
    try:
        (value,) = struct.unpack(code, struct.pack(code, float(text)))
    except OverflowError:
        value = math.inf
    if not is_spelling(text, value, shortest=f"{value:.9g}" if code == "f" else repr(value)):
        raise _NoValueError("no float is exactly this number; say DECIMAL or str")
    return float(value)


def is_spelling(text: str, value: float, shortest: str | None = None) -> bool:
    """Does the text of a number say this very float: in the shortest way, or with some of the digits it really has?"""
    if not math.isfinite(value):
        return False
    with localcontext(_EXACT):
        said = Decimal(text)
        if said == Decimal(repr(value) if shortest is None else shortest):
            return True
        digits = len(said.as_tuple().digits)
        return digits <= _EXACT.prec and said == Context(prec=digits, rounding=ROUND_HALF_EVEN).plus(Decimal(value))


def _decimal(text: str, precision: int, scale: int) -> Decimal:
    if not _NUMBER_TEXT.fullmatch(text):
        raise _NoValueError("it is no number")
    value = Decimal(text)
    if not value:
        return Decimal(0)
    if value.adjusted() >= precision - scale:
        raise _NoValueError(f"it has more than {precision - scale} digits before the point")
    kept = value.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    if kept != value:
        raise _NoValueError(f"it has more than {scale} digits after the point")
    return kept


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise _NoValueError("it is none of true, false, yes, no, t, f, y, n, on, off, 1, 0")


def _date(text: str) -> date:
    match = _DATE_TEXT.fullmatch(text)
    if match is None:
        raise _NoValueError("it is no date like 2026-01-31")
    try:
        return date(*map(int, match.groups()))
    except ValueError as error:
        raise _NoValueError(f"there is no such date ({error})") from None


def _microseconds(hours: str, minutes: str, seconds: str | None, fraction: str | None) -> int:
    fraction = (fraction or "").rstrip("0")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds or 0) > 59:
        raise _NoValueError("there is no such time of day")
    if len(fraction) > 6:
        raise _NoValueError("it is finer than microseconds")
    whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    return whole * 1_000_000 + int(fraction.ljust(6, "0"))


def _time(text: str) -> time:
    match = _TIME_TEXT.fullmatch(text)
    if match is None:
        raise _NoValueError("it is no time of day like 10:30:00")
    return (_EPOCH + timedelta(microseconds=_microseconds(*match.groups()))).time()


def _moment(text: str, *, zoned: bool) -> datetime:
    match = _MOMENT_TEXT.fullmatch(text)
    if match is None:
        raise _NoValueError("it is no time stamp like 2026-01-31 10:30:00")
    day, hours, minutes, seconds, fraction, zone = match.groups()
    if zone is None and zoned:
        raise _NoValueError("it says no time zone; say timestamp, or write it like 2026-01-31 10:30:00+02:00")
    if zone is not None and not zoned:
        raise _NoValueError("it says a time zone, which a timestamp has no room for; say timestamptz")
    found = datetime.combine(_date(day), time())
    if hours is not None:
        found += timedelta(microseconds=_microseconds(hours, minutes, seconds, fraction))
    if zone in {None, "Z", "z"}:
        return found.replace(tzinfo=UTC) if zoned else found
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    try:
        return (found - offset if zone[0] == "+" else found + offset).replace(tzinfo=UTC)
    except OverflowError:
        raise _NoValueError("it is outside of the years 1 to 9999") from None


def _uuid(text: str) -> str:
    if not _UUID_TEXT.fullmatch(text):
        raise _NoValueError("it is no UUID like 00000000-0000-0000-0000-000000000000")
    return text.lower()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _json(text: str) -> str:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _NoValueError(f"it is no JSON ({error})") from None
    return text


_ZONED = _Reading(pa.timestamp("us", "UTC"), lambda text: _moment(text, zoned=True))
_READINGS = {
    "BOOLEAN": _Reading(pa.bool_(), _boolean),
    "DATE": _Reading(pa.date32(), _date),
    "TIME": _Reading(pa.time64("us"), _time),
    "TIMESTAMP": _Reading(pa.timestamp("us"), lambda text: _moment(text, zoned=False)),
    "TIMESTAMPTZ": _ZONED,
    "TIMESTAMP WITH TIME ZONE": _ZONED,
    "UUID": _Reading(pa.string(), _uuid),
    "JSON": _Reading(pa.string(), _json),
    "BLOB": _Reading(pa.binary(), lambda text: text.encode()),
}
