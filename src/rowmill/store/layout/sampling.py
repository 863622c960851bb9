"""Sampler columns as SQL text: calls of the macros of ``sql/functions/``, with conditions, bounds and conversions.

Bounds are met by seeded rejection (von Neumann, 1951): attempt 0 is the very value the column has without bounds,
attempt a is drawn as if the column were named ``<name>`` + U+001F + a, which no column can be. So a value stays a
function of (seed, column, row_id) and the spec (V1), whatever else is made with it. The attempts are made in stages
that grow fourfold, each a list for the rows that are still without a value: the engine evaluates a later argument of
``coalesce`` for those only.
"""

from __future__ import annotations

from collections.abc import Iterator

from rowmill.spec.declaration import Bound, SampledValue, SamplerCall, UnformattedValue
from rowmill.store.database.connection import quote
from rowmill.store.database.literal import literal
from rowmill.store.layout.catchable import catchable

_STAGE_GROWTH = 4
_MACRO_SLOTS = ("gt", "ge", "lt", "le")


def _condition(text: str) -> str:
    """A user's condition; several of one column may share a part that fails."""
    return catchable(f"cast(({text}\n) as boolean)")


def sampler_call(call: SamplerCall, seed: int, column: str) -> str:
    """A call of a sampler macro for the row at hand: (seed, column, row_id, arguments…)."""
    return _call(call, seed, literal(column))


def sampled_value(value: SampledValue, seed: int, column: str, sql_type: str) -> str:
    """The value of a sampler column, cast to the column's type.

    Where the bounds are not met within the attempts, it is an error of the row.
    """
    found = unformatted_value(value, seed, column)
    if value.bounds:
        found = f"coalesce({found}, cast(unmet_bounds({literal(column)}, row_id) as {value.sql_type}))"
    if value.strftime is not None:
        found = f"strftime({found}, {literal(value.strftime)})"
    return f"cast({found} as {sql_type})"


def unformatted_value(value: SampledValue, seed: int, column: str) -> str:
    """The same before it becomes text; null where the bounds are not met."""
    default = _within_bounds(value.call, value, seed, column)
    if not value.cases:
        return default
    branches = [
        f"when {_condition(condition.text)} then {_within_bounds(call, value, seed, column)}"
        for condition, call in reversed(value.cases)
    ]
    return f"case {' '.join(branches)} else {default} end"


def _within_bounds(call: SamplerCall, value: SampledValue, seed: int, column: str) -> str:
    first = _converted(_call(call, seed, literal(column)), value)
    if not value.bounds:
        return first
    limits = ", ".join(_limit(operator, value.bounds, seed) for operator in _MACRO_SLOTS)
    stages = [f"first_within([{first}], {limits})"]
    attempt = quote(f"\x1f{column}")  # of no other column, as these may be nested
    later = _converted(_call(call, seed, f"({literal(column + chr(31))} || {attempt})"), value)
    for start, end in _stages(value.attempts):
        candidates = f"list_transform(range({start}, {end}), lambda {attempt}: {later})"
        stages.append(f"first_within({candidates}, {limits})")
    return f"coalesce({', '.join(stages)})"


def _stages(attempts: int) -> Iterator[tuple[int, int]]:
    start, end = 1, _STAGE_GROWTH
    while start < attempts:
        yield start, min(end, attempts)
        start, end = end, end * _STAGE_GROWTH


def _limit(operator: str, bounds: tuple[Bound, ...], seed: int) -> str:
    """The tightest of the bounds with this operator, or null."""
    values = [_argument(bound.value, seed) for bound in bounds if bound.operator == operator]
    if len(values) < 2:
        return values[0] if values else "null"
    return f"{'greatest' if operator in {'gt', 'ge'} else 'least'}({', '.join(values)})"


def _converted(expression: str, value: SampledValue) -> str:
    return f"cast({f'round_even({expression}, 0)' if value.rounded else expression} as {value.sql_type})"


def _call(call: SamplerCall, seed: int, column: str) -> str:
    arguments = [literal(seed), column, "row_id", *(_argument(argument, seed) for argument in call.arguments)]
    return f"{call.function}({', '.join(arguments)})"


def _argument(argument: object, seed: int) -> str:
    if not isinstance(argument, UnformattedValue):
        return literal(argument)
    source = argument.source
    found = (
        unformatted_value(source, seed, argument.column)
        if isinstance(source, SampledValue)
        else sampler_call(source, seed, argument.column)
    )
    return f"case when {quote(argument.column)} is not null then {found} end"
