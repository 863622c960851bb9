"""Intervals of the engine: months, days and a time, none of which can be turned into another."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """An INTERVAL as Python has it. Its text is the engine's: ``1 year 2 months 3 days 04:00:00.5``."""

    months: int
    days: int
    nanoseconds: int

    def __str__(self) -> str:
        units = {"year": _quotient(self.months, 12), "month": _rest(self.months, 12), "day": self.days}
        parts = [f"{amount} {unit}{'' if abs(amount) == 1 else 's'}" for unit, amount in units.items() if amount]
        if self.nanoseconds or not parts:
            parts.append(("-" if self.nanoseconds < 0 else "") + clock(abs(self.nanoseconds), 1_000_000_000))
        return " ".join(parts)


def clock(ticks: int, per_second: int) -> str:
    """``04:00:00.5``: so many ticks as hours, minutes and seconds, without zeros at the end of the fraction."""
    seconds, fraction = divmod(ticks, per_second)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if not fraction:
        return text
    digits = f"{fraction:0{len(str(per_second)) - 1}d}".rstrip("0")
    return f"{text}.{digits}"


def _quotient(number: int, by: int) -> int:
    return -(-number // by) if number < 0 else number // by


def _rest(number: int, by: int) -> int:
    return -(-number % by) if number < 0 else number % by
