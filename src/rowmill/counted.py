"""Numbers of things, spelled: ``1 row``, ``2,000 rows``."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """The number and its noun; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
