"""Numbers of things, spelled: ``1 row``, ``2,000 rows``."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """The number and its noun; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def beside(dollars: float, bound: float) -> tuple[str, str]:
    """Two amounts, in as many digits as they need to look different: ``$0.503`` and ``$0.500``."""
    of_bound = next(digits for digits in range(2, 9) if digits == 8 or round(bound, digits) == bound)
    of_dollars = next(digits for digits in range(2, 9) if digits == 8 or not 0 < dollars < 10 ** (1 - digits))
    while dollars != bound and f"{dollars:,.{of_dollars}f}" == f"{bound:,.{of_bound}f}" and of_dollars < 8:
        of_dollars = of_bound = max(of_dollars, of_bound) + 1
    return f"${dollars:,.{of_dollars}f}", f"${bound:,.{of_bound}f}"
