"""Dates and times: Python's own where they hold the value exactly, its text where they cannot.

Python's dates begin with year 1, end with 9999 and know no infinity; its times end before 24:00 and count microseconds.
What lies beyond is a :class:`Moment`: a text, spelled as the engine spells it, that knows which value it stands for, so
that it can be given back.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

from rowmill.value.interval import clock

TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INFINITE_DAYS = 2**31 - 1
_INFINITE_TICKS = 2**63 - 1
_FIRST_DAY = date.min.toordinal() - date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - date(1970, 1, 1).toordinal()
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86_400
_DAYS_OF_400_YEARS = 146_097


class Moment(str):
    """A date or time that Python has no value for, as text. ``ticks`` is the number the engine keeps."""

    kind: str
    """``date``, ``timestamp`` or ``time``, and the unit: ``timestamp[us]``."""
    ticks: int

    def __new__(cls, text: str, kind: str, ticks: int) -> Moment:
        made = super().__new__(cls, text)
        made.kind = kind
        made.ticks = ticks
        return made

    def __reduce__(self) -> tuple[type[Moment], tuple[str, str, int]]:
        return Moment, (str(self), self.kind, self.ticks)


def date_value(days: int) -> date | Moment:
    """The date so many days after 1970-01-01."""
    if _FIRST_DAY <= days <= _LAST_DAY:
        return date.fromordinal(days + _EPOCH_ORDINAL)
    return Moment(date_text(days), "date", days)


def date_text(days: int) -> str:
    """``2024-02-29``, ``20000-01-01``, ``0044-03-15 (BC)``, ``infinity``: so many days after 1970-01-01."""
    if abs(days) == _INFINITE_DAYS:
        return "infinity" if days > 0 else "-infinity"
    if _FIRST_DAY <= days <= _LAST_DAY:
        return date.fromordinal(days + _EPOCH_ORDINAL).isoformat()
    eras, day = divmod(days - _FIRST_DAY, _DAYS_OF_400_YEARS)
    inside = date.fromordinal(day + 1)
    year = inside.year + 400 * eras
    text = f"{year if year > 0 else 1 - year:04d}-{inside.month:02d}-{inside.day:02d}"
    return text if year > 0 else f"{text} (BC)"


def timestamp_value(ticks: int, unit: str, *, zoned: bool) -> datetime | Moment:
    """The time so many ticks after 1970, with the zone UTC if it has one."""
    per_second = TICKS_PER_SECOND[unit]
    seconds, fraction = divmod(ticks, per_second)
    if _FIRST_DAY * _DAY_S <= seconds < (_LAST_DAY + 1) * _DAY_S and fraction * 1_000_000 % per_second == 0:
        after = timedelta(seconds=seconds, microseconds=fraction * 1_000_000 // per_second)
        return (_EPOCH_UTC if zoned else _EPOCH) + after
    return Moment(timestamp_text(ticks, unit, zoned=zoned, separator=" "), f"timestamp[{unit}]", ticks)


def timestamp_text(ticks: int, unit: str, *, zoned: bool, separator: str = "T") -> str:
    """``2024-02-29T12:30:00.250000``, with ``+00:00`` if it has a zone; beyond Python's years as :func:`date_text`."""
    if abs(ticks) == _INFINITE_TICKS:
        return "infinity" if ticks > 0 else "-infinity"
    per_second = TICKS_PER_SECOND[unit]
    days, rest = divmod(ticks, per_second * _DAY_S)
    text = f"{date_text(days)}{separator}{_padded(rest, per_second)}"
    return f"{text}+00:00" if zoned else text


def time_value(ticks: int, unit: str) -> time | Moment:
    """The time of day so many ticks after midnight."""
    per_second = TICKS_PER_SECOND[unit]
    seconds, fraction = divmod(ticks, per_second)
    if 0 <= seconds < _DAY_S and fraction * 1_000_000 % per_second == 0:
        microsecond = fraction * 1_000_000 // per_second
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, microsecond)
    return Moment(time_text(ticks, unit), f"time[{unit}]", ticks)


def time_text(ticks: int, unit: str) -> str:
    """``04:00:00.250000``, ``24:00:00``: so many ticks after midnight."""
    return _padded(ticks, TICKS_PER_SECOND[unit])


def zoned_time_value(ticks: int, offset_s: int) -> time | Moment:
    """The time of day so many microseconds after midnight, in a zone so many seconds east of UTC."""
    found = time_value(ticks, "us")
    if isinstance(found, time) and abs(offset_s) < _DAY_S:
        return found.replace(tzinfo=timezone(timedelta(seconds=offset_s)))
    return Moment(zoned_time_text(ticks, offset_s), "timetz", ticks)


def zoned_time_text(ticks: int, offset_s: int) -> str:
    """``04:00:00+02:30``."""
    ahead = clock(abs(offset_s), 1)
    return f"{_padded(ticks, 1_000_000)}{'-' if offset_s < 0 else '+'}{ahead.removesuffix(':00')}"


def _padded(ticks: int, per_second: int) -> str:
    """As :func:`clock`, with all digits of the unit if there is a fraction, as ISO 8601 in Python has them."""
    text = clock(ticks - ticks % per_second, per_second)
    fraction = ticks % per_second
    return f"{text}.{fraction:0{len(str(per_second)) - 1}d}" if fraction else text
