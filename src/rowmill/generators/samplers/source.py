"""The source of a sampler column: its macro calls with conditions, bounds and conversion, as the store renders them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from rowmill.generators.samplers.conditions import condition_place
from rowmill.generators.samplers.constraint_check import (
    NUMBERS,
    Report,
    check_extents,
    constraints_of,
    scalar_bounds,
    unmet_message,
)
from rowmill.generators.samplers.conversion import Conversion
from rowmill.generators.samplers.parameters import SamplerParameters
from rowmill.spec.constraint import ColumnInequality, Constraint
from rowmill.spec.declaration import (
    Bound,
    ColumnValue,
    Reference,
    SampledValue,
    SamplerCall,
    SqlExpression,
    UnformattedValue,
)
from rowmill.spec.spec import Spec

ATTEMPTS = 5000
"""How often a value is drawn, at most, until it meets its constraints."""

_MOMENT = "TIMESTAMP"


class Sampled(Protocol):
    """What is needed of a sampler column."""

    name: str
    params: SamplerParameters
    conditional_params: dict[str, SamplerParameters]

    def conversion(self) -> Conversion:
        """How values become those of the column."""
        ...

    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest value there can be."""
        ...


def sampler_source(
    column: Sampled,
    conversion: Conversion,
    spec: Spec,
    place: str,
    report: Report,
    within: frozenset[str] = frozenset(),
) -> SamplerCall | SampledValue:
    """One call where that is all, else all that shapes the value.

    ``within`` are the columns whose sources this one becomes a part of: columns in a circle end there, and are
    the graph's to report.
    """
    values = _Values(spec, within | {column.name})
    default = values.complete(column.params.call())
    cases = tuple(
        (SqlExpression(condition, condition_place(place, condition)), values.complete(parameters.call()))
        for condition, parameters in column.conditional_params.items()
    )
    bounds, unmet = _bounds(column, conversion, values, report)
    can_fail = bool(cases or bounds) or conversion.can_fail or _refers_to_unsafe_moment(column, spec)
    own_type = column.params.sql_type()
    if not can_fail and conversion == Conversion(own_type, own_type) and not _has_unformatted(default):
        return default
    return SampledValue(
        call=default,
        cases=cases,
        sql_type=conversion.compared_type,
        rounded=conversion.rounded,
        bounds=bounds,
        attempts=ATTEMPTS if bounds else 1,
        unmet=unmet,
        strftime=conversion.strftime,
        can_fail=can_fail,
    )


def column_bounds(column: Sampled, conversion: Conversion, spec: Spec, report: Report) -> tuple[tuple[Bound, ...], str]:
    """The bounds constraints set to a column's values, and what to say where they are not met."""
    return _bounds(column, conversion, _Values(spec, frozenset({column.name})), report)


def bound_references(constraints: Sequence[tuple[int, Constraint]]) -> list[Reference]:
    """The columns that constraints compare with."""
    return [
        Reference(constraint.rhs, f"constraints.{index}.rhs")
        for index, constraint in constraints
        if isinstance(constraint, ColumnInequality)
    ]


def _bounds(column: Sampled, conversion: Conversion, values: _Values, report: Report) -> tuple[tuple[Bound, ...], str]:
    constraints = constraints_of(values.spec, column.name)
    if not constraints:
        return (), ""
    compared = conversion.compared_type
    if conversion.sql_type == "VARCHAR" and conversion.strftime is None:
        report(
            f"constraints.{constraints[0][0]}.target_column",
            f"Values of column '{column.name}' are text; constraints compare numbers and moments.",
        )
        return (), ""
    bounds = scalar_bounds(report, constraints, compared, column.extent())
    for index, constraint in constraints:
        if isinstance(constraint, ColumnInequality):
            other = _sampler(values.spec, constraint.rhs)
            if other is None:
                bounds.append(Bound(constraint.operator, ColumnValue(constraint.rhs)))
                continue
            other_type = _compared_type(other)
            if other_type != compared and not {other_type, compared} <= NUMBERS:
                report(
                    f"constraints.{index}.rhs",
                    f"Columns '{column.name}' and '{constraint.rhs}' cannot be compared: constraints compare two "
                    "numbers or two moments.",
                )
                continue
            check_extents(report, index, constraint, column.extent(), other.extent())
            bounds.append(Bound(constraint.operator, values.value_of(constraint.rhs)))
    return tuple(bounds), unmet_message(column.name, constraints, ATTEMPTS)


def _sampler(spec: Spec, name: str) -> Any:
    column = spec.column_of(name)
    return column if column is not None and column.column_type == "sampler" else None


def _compared_type(column: Sampled) -> str | None:
    try:
        conversion = column.conversion()
    except ValueError:  # reported where that column declares itself
        return None
    return "VARCHAR" if conversion.sql_type == "VARCHAR" and not conversion.strftime else conversion.compared_type


class _Values:
    """What columns named in a sampler stand for: moments in place of texts made from them."""

    def __init__(self, spec: Spec, within: frozenset[str]) -> None:
        self.spec = spec
        self._within = within

    def value_of(self, name: str) -> ColumnValue | UnformattedValue:
        """A column's value; of a sampler that writes moments as text, the moment."""
        column = _sampler(self.spec, name)
        try:
            conversion = column.conversion() if column is not None else None
        except ValueError:  # reported where that column declares itself
            conversion = None
        if conversion is None or conversion.strftime is None or name in self._within:
            return ColumnValue(name)
        source = sampler_source(column, conversion, self.spec, "", lambda place, message: None, self._within)
        if isinstance(source, SampledValue):
            source = dataclasses.replace(source, strftime=None)
        return UnformattedValue(name, source)

    def complete(self, call: SamplerCall) -> SamplerCall:
        """The call with such values for its columns."""
        arguments = tuple(
            self.value_of(argument.name) if isinstance(argument, ColumnValue) else argument
            for argument in call.arguments
        )
        return SamplerCall(call.function, arguments)


def _has_unformatted(call: SamplerCall) -> bool:
    return any(isinstance(argument, UnformattedValue) for argument in call.arguments)


def _refers_to_unsafe_moment(column: Sampled, spec: Spec) -> bool:
    """Whether a reference may be no moment, or so late that what is added leads beyond all calendars."""
    for parameters in (column.params, *column.conditional_params.values()):
        if parameters.sql_type() == _MOMENT:
            for name in parameters.parents().values():
                reference = _sampler(spec, name)
                if reference is None or reference.sampler_type != "datetime":
                    return True
    return False
