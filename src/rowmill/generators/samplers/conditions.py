"""Conditions of ``conditional_params``: SQL predicates, as ``skip.when`` of columns that are made in the database."""

from __future__ import annotations

from rowmill.spec.declaration import DeclareContext, Reference
from rowmill.spec.template import is_template


def condition_place(column_place: str, condition: str) -> str:
    """Where in the spec a condition stands."""
    return f"{column_place}.conditional_params.{condition}"


def condition_references(condition: str, column: str, context: DeclareContext, column_place: str) -> list[Reference]:
    """The columns a condition names. Records what is wrong with it."""
    place = condition_place(column_place, condition)
    if not condition.strip():
        context.problem(place, "The condition is empty.")
        return []
    if is_template(condition):
        context.problem(
            place,
            f"Conditions of column '{column}' are SQL, not Jinja: for example 'age > 21' in place of "
            "'{{ age > 21 }}'. What SQL cannot say can be an expression column (dtype: bool, drop: true), named here.",
        )
        return []
    analysis = context.analyse_sql(condition)
    if analysis.problem is not None:
        context.problem(place, analysis.problem)
    return [Reference(name, place) for name in analysis.columns]
