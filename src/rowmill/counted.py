"""Numbers of things, spelled: ``1 row``, ``2,000 rows``."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """The number and its noun; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def beside(dollars: float, bound: float) -> tuple[str, str]:
    """Two amounts, in as many digits as they need to look different: ``$0.503`` and ``$0.500``."""
    digits = 2
    while dollars != bound and f"{dollars:,.{digits}f}" == f"{bound:,.{digits}f}" and digits < 8:
        digits += 1
    while digits < 8 and bound and round(bound, digits) != bound:
        digits += 1
    return f"${dollars:,.{digits}f}", f"${bound:,.{digits}f}"
