"""Constraints of a sampler column as bounds of its values, and what makes them impossible whatever is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rowmill.spec.constraint import ColumnInequality, Constraint, ScalarInequality
from rowmill.spec.declaration import Bound
from rowmill.spec.spec import Spec

Extent = tuple[float, float]
Report = Callable[[str, str], None]
"""Takes the place and the message of a problem."""

NUMBERS = frozenset({"BIGINT", "DOUBLE"})
"""The types constraints compare with numbers."""

_UPPER = frozenset({"lt", "le"})
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
}


def constraints_of(spec: Spec, column: str) -> list[tuple[int, Constraint]]:
    """The constraints on a column with their positions in the spec."""
    return [
        (index, constraint) for index, constraint in enumerate(spec.constraints) if constraint.target_column == column
    ]


def scalar_bounds(
    report: Report, constraints: Sequence[tuple[int, Constraint]], sql_type: str, extent: Extent | None
) -> list[Bound]:
    """The bounds numbers set. Records constraints that do not fit the values or that no value can meet."""
    bounds = []
    low, high = extent or (-math.inf, math.inf)
    tightest: dict[bool, tuple[int, ScalarInequality]] = {}
    for index, constraint in constraints:
        if not isinstance(constraint, ScalarInequality):
            continue
        if sql_type not in NUMBERS:
            report(
                f"constraints.{index}.target_column",
                f"Values of column '{constraint.target_column}' are no numbers, so they cannot be compared with "
                f"{constraint.rhs:g}.",
            )
            continue
        is_upper = constraint.operator in _UPPER
        if not _HOLDS[constraint.operator](low if is_upper else high, constraint.rhs):
            report(
                f"constraints.{index}",
                f"No value can meet '{constraint}': those of '{constraint.target_column}' are "
                f"from {low:g} to {high:g}.",
            )
        known = tightest.get(is_upper)
        if known is None or (constraint.rhs < known[1].rhs) == is_upper:
            tightest[is_upper] = (index, constraint)
        bounds.append(Bound(constraint.operator, constraint.rhs))
    if len(tightest) == 2:
        (_, above), (index, below) = tightest[False], tightest[True]
        both_included = above.operator == "ge" and below.operator == "le"
        if above.rhs > below.rhs or (above.rhs == below.rhs and not both_included):
            report(f"constraints.{index}", f"No value can meet both '{below}' and '{above}'.")
    return bounds


def check_extents(
    report: Report, index: int, constraint: ColumnInequality, own: Extent | None, other: Extent | None
) -> None:
    """Records a comparison of two columns that no pair of their values can meet."""
    if own is None or other is None:
        return
    best, worst = (own[0], other[1]) if constraint.operator in _UPPER else (own[1], other[0])
    if not _HOLDS[constraint.operator](best, worst):
        report(
            f"constraints.{index}", f"No values can meet '{constraint}': the columns' ranges have nothing in common."
        )


def unmet_message(column: str, constraints: Sequence[tuple[int, Constraint]], attempts: int) -> str:
    """What to say of a row whose attempts all failed."""
    named = " and ".join(f"'{constraint}' (constraints.{index})" for index, constraint in constraints)
    return f"None of {attempts:,} values drawn for column '{column}' meets {named}."


def as_check(constraint: Constraint) -> Callable[[Any, Any], bool]:
    """The comparison itself, for samplers made in Python; a null on the other side holds."""
    holds = _HOLDS[constraint.operator]
    return lambda value, other: other is None or holds(value, other)
