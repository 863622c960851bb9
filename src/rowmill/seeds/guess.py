"""The type of a column of texts, guessed so that nothing is lost (V4).

A column is of a type if every text of it is the one spelling of a value of that type: written back, the values give
the same texts. ``12`` is an integer, ``12.5`` a float, ``true`` a boolean, ``2026-01-31`` a date,
``2026-01-31 10:00:00`` a time stamp, ``10:00:00`` a time of day. ``007``, ``+1``, ``11.10``, ``1e5``, ``True``
or ``03/04/2025`` stay the texts they are, and with them their whole column. All rows are looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

_TRIED_FIRST = 200
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{5}[1-9])?"
_EXPONENT = r"e(?:-(?:0[5-9]|[1-9][0-9]{1,2})|\+(?:1[6-9]|[2-9][0-9]|[1-9][0-9]{2}))"
_SURE_DIGITS = 15
"""A number of so many digits is what the float nearest to it is written as; of more it may be."""
_EXACT_INTEGERS = 2**53


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column of texts is taken for."""

    sql_type: str
    column: pa.ChunkedArray
    remark: str | None = None
    """Why somebody may have meant another type."""


@dataclass(frozen=True, slots=True)
class _Kind:
    sql_type: str
    arrow_type: pa.DataType
    pattern: str
    """What its one spelling looks like; whether it is one, the conversion tells."""


_KINDS = (
    _Kind("BIGINT", pa.int64(), r"0|-?[1-9][0-9]{0,18}"),
    _Kind(
        "DOUBLE",
        pa.float64(),
        rf"-?(?:0|[1-9][0-9]{{0,15}})\.(?:0|[0-9]*[1-9])|-?[1-9](?:\.[0-9]*[1-9])?{_EXPONENT}",
    ),
    _Kind("BOOLEAN", pa.bool_(), r"true|false"),
    _Kind("DATE", pa.date32(), _DATE),
    _Kind("TIMESTAMP", pa.timestamp("us"), rf"{_DATE} {_TIME}"),
    _Kind("TIME", pa.time64("us"), _TIME),
)
_LIKE = (
    (r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", "numbers", "float"),
    (r"(?i:true|false|yes|no)", "words for true and false", "bool"),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", "dates", "date"),
    (r"[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}", "dates, though not which number is the day", ""),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?", "time stamps", "timestamp"),
    (
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9:.]+ ?(?:Z|[+-][0-9]{2}:?(?:[0-9]{2})?)",
        "time stamps with a time zone",
        "timestamptz",
    ),
)
"""What texts that stay texts look like to a person, in words, and the type that may have been meant."""
_IDENTIFIER = r"[+-]?0[0-9]+|[0-9]{19,}"
"""Numbers that are names of something: nobody means another type than text."""
_NO_VALUE = r"(?i:na|n/a|nan|null|none|nil|-|\?|unknown|missing)"


def guess_type(column: pa.ChunkedArray) -> Guess:
    """The type every text of the column is spelled in, and the column in it; texts if there is none. O(rows)."""
    texts = pc.drop_null(column.slice(0, _TRIED_FIRST)).to_pylist() or _first_texts(column)
    if not texts:
        return Guess("VARCHAR", column)
    for kind in _KINDS:
        if all(re.fullmatch(kind.pattern, text) for text in texts):
            found = _read(column, kind)
            if found is not None:
                return Guess(kind.sql_type, found, _remark_on(found, kind))
    return Guess("VARCHAR", column, _remark_on_texts(column, texts))


def _first_texts(column: pa.ChunkedArray) -> list[str]:
    return list(islice((text.as_py() for chunk in column.chunks for text in chunk.drop_null()), _TRIED_FIRST))


def _read(column: pa.ChunkedArray, kind: _Kind) -> pa.ChunkedArray | None:
    if not _all_match(column, kind.pattern):
        return None
    try:
        found = _time_of_day(column) if kind.sql_type == "TIME" else column.cast(kind.arrow_type)
    except pa.ArrowInvalid:  # 2026-02-30, or an integer of more than 64 bits
        return None
    if kind.sql_type in {"DATE", "TIMESTAMP"} and pc.any(pc.starts_with(column, "0000")).as_py():
        return None
    if kind.sql_type == "DOUBLE" and not _are_shortest(column):
        return None
    return found


def _time_of_day(column: pa.ChunkedArray) -> pa.ChunkedArray:
    moments = pc.binary_join_element_wise(pa.scalar("1970-01-01"), column, pa.scalar(" "))
    return moments.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.time64("us"))


def _are_shortest(column: pa.ChunkedArray) -> bool:
    """Is each of these numbers written with as few digits as tell it from all others, as Python and SQL write it?"""
    doubtful = pc.or_(
        pc.greater(pc.utf8_length(column), _SURE_DIGITS + 1), pc.match_substring_regex(column, r"^-?0\.0000|e")
    )
    return all(repr(float(text)) == text for text in column.filter(doubtful).to_pylist())


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, rf"^(?:{pattern})$"), min_count=0).as_py())


def _remark_on(column: pa.ChunkedArray, kind: _Kind) -> str | None:
    if kind.sql_type != "BIGINT":
        return None
    extremes = pc.min_max(column).as_py()
    if max(-extremes["min"], extremes["max"]) <= _EXACT_INTEGERS:
        return None
    return "it holds integers beyond 2^53, which readers of JSON may round; if they are identifiers, say str"


def _remark_on_texts(column: pa.ChunkedArray, texts: list[str]) -> str | None:
    """Why texts may have been meant for something else, with a value that stands in the way."""
    for pattern, words, meant in _LIKE:
        values = [text for text in texts if not re.fullmatch(_NO_VALUE, text)]
        if not values or not all(re.fullmatch(pattern, text) for text in values):
            continue
        if not _all_match(column, rf"{pattern}|{_NO_VALUE}"):
            continue
        if bool(pc.any(pc.match_substring_regex(column, rf"^(?:{_IDENTIFIER})$")).as_py()):
            return None
        absent = column.filter(pc.match_substring_regex(column, rf"^(?:{_NO_VALUE})$"))
        if len(absent):
            odd = absent.drop_null()[0].as_py()
            return f"{odd!r} is a text, all others look like {words}; where there is no value, leave the field empty"
        odd = _first_odd(texts)
        advice = f"; if they are, say {meant}" if meant else ""
        return f"all look like {words}, but not all are spelled the one way that loses nothing, such as {odd!r}{advice}"
    return None


def _first_odd(texts: list[str]) -> str:
    """A text that is spelled as no value of any type is."""
    patterns = [re.compile(kind.pattern) for kind in _KINDS]
    odd = (text for text in texts if not any(pattern.fullmatch(text) for pattern in patterns))
    return next(odd, texts[0])
