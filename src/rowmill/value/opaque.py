"""Values of types that Arrow has no type for, read from the bytes the engine hands them over in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Any

from rowmill.value.moment import Moment, zoned_time_text, zoned_time_value

_MOST_OFFSET_S = 16 * 3600 - 1
"""The engine keeps the offset of a time with zone as what is left to this, so that such times sort."""


def wide_integer(content: bytes) -> int:
    """A HUGEINT."""
    return int.from_bytes(content, "little", signed=True)


def wide_unsigned(content: bytes) -> int:
    """A UHUGEINT."""
    return int.from_bytes(content, "little")


def big_integer(content: bytes) -> int:
    """A BIGNUM: three bytes of sign and length, then the digits; all inverted if it is negative."""
    is_negative = not content[0] & 0x80
    digits = content[3:]
    if is_negative:
        return -int.from_bytes(bytes(byte ^ 0xFF for byte in digits), "big")
    return int.from_bytes(digits, "big")


def bits(content: bytes) -> str:
    """A BIT as its digits: one byte says how many bits of the next are not part of it."""
    return "".join(f"{byte:08b}" for byte in content[1:])[content[0] :]


def zoned_time(content: bytes) -> time | Moment:
    """A TIME WITH TIME ZONE."""
    return zoned_time_value(*_zoned_parts(content))


def zoned_time_as_text(content: bytes) -> str:
    """The same as text."""
    return zoned_time_text(*_zoned_parts(content))


def _zoned_parts(content: bytes) -> tuple[int, int]:
    packed = int.from_bytes(content, "little")
    return packed >> 24, _MOST_OFFSET_S - (packed & 0xFFFFFF)


READERS: dict[str, Callable[[bytes], Any]] = {
    "hugeint": wide_integer,
    "uhugeint": wide_unsigned,
    "bignum": big_integer,
    "bit": bits,
    "time_tz": zoned_time,
}
"""By the name the engine gives the type in Arrow."""
