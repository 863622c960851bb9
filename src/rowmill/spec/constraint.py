"""Constraints: what sampled values must be in relation to a number or to another column of the row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator

from rowmill.spec.column import StrictModel

Operator = Literal["lt", "le", "gt", "ge"]
SYMBOLS: dict[str, str] = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


class Constraint(StrictModel):
    """The base of both kinds. ``target_column`` is a sampler; its value is drawn again until the constraint holds."""

    constraint_type: str
    """Told by ``rhs``; only needed for a column whose name is a number."""
    target_column: Annotated[str, Field(min_length=1)]
    """A column of type ``sampler`` whose values are numbers or moments (with ``convert_to``: the number it makes, the
    moment before it is written)."""
    operator: Operator
    """Less than, at most, greater than, at least."""
    rhs: Any
    """A number, or the name of a column. A null there meets every constraint."""

    def __str__(self) -> str:
        return f"{self.target_column} {SYMBOLS[self.operator]} {self.rhs}"


class ScalarInequality(Constraint):
    """Compares a column with a number."""

    constraint_type: Literal["scalar_inequality"] = "scalar_inequality"
    """Told by ``rhs``."""
    rhs: Annotated[float, Field(allow_inf_nan=False)]
    """The number."""

    def __str__(self) -> str:
        return f"{self.target_column} {SYMBOLS[self.operator]} {self.rhs:g}"


class ColumnInequality(Constraint):
    """Compares a column with another column, which is made before it."""

    constraint_type: Literal["column_inequality"] = "column_inequality"
    """Only needed for a column whose name is a number."""
    rhs: Annotated[str, Field(min_length=1)]
    """The other column's name. A null there meets every constraint."""


_CLASSES: dict[object, type[Constraint]] = {
    "scalar_inequality": ScalarInequality,
    "column_inequality": ColumnInequality,
}


def constraint_class(data: Mapping[Any, Any]) -> type[Constraint]:
    """The class of a constraint's data: what ``constraint_type`` says, else as ``rhs`` is a number or a name."""
    kind = data.get("constraint_type")
    if kind is not None:
        return _CLASSES.get(kind, ScalarInequality)
    return ColumnInequality if isinstance(data.get("rhs"), str) and not _is_number(data["rhs"]) else ScalarInequality


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _choose(value: object, handler: ValidatorFunctionWrapHandler) -> Constraint:
    if isinstance(value, (ScalarInequality, ColumnInequality)):
        return value
    if isinstance(value, Mapping):
        kind = value.get("constraint_type")
        if kind is not None and kind not in _CLASSES:
            raise ValueError(f"constraint_type is scalar_inequality or column_inequality, not '{str(kind)[:60]}'.")
        return constraint_class(value).model_validate(value)
    made: Constraint = handler(value)
    return made


AnyConstraint = Annotated[SerializeAsAny[Constraint], WrapValidator(_choose)]
"""A field of either kind; the kind may be left out, as ``rhs`` tells it."""
