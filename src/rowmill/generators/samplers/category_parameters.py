"""Parameters of the samplers that choose from lists: ``category`` and ``subcategory``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from rowmill.counted import plural
from rowmill.generators.samplers.alias_table import alias_table
from rowmill.generators.samplers.parameters import Number, SamplerParameters
from rowmill.spec.column import Items
from rowmill.spec.declaration import ColumnValue, DeclareContext, SamplerCall
from rowmill.spec.name import text_problem

_SQL_TYPES: dict[frozenset[type], str] = {
    frozenset({bool}): "BOOLEAN",
    frozenset({int}): "BIGINT",
    frozenset({float}): "DOUBLE",
    frozenset({int, float}): "DOUBLE",
    frozenset({str}): "VARCHAR",
}


def common_sql_type(values: Sequence[Any]) -> str:
    """The DuckDB type that holds all these values. Raises ValueError where there is none."""
    for value in values:
        if type(value) not in {bool, int, float, str}:
            raise ValueError(f"A value is a text, a number, true or false, not {_shown(value)}.")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"The whole number {value} does not fit into 64 bits.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number.")
        problem = text_problem(value) if isinstance(value, str) else None
        if problem:
            raise ValueError(f"The text {_shown(value)} {problem}.")
    kinds = frozenset(map(type, values))
    if kinds not in _SQL_TYPES:
        first = next(value for value in values if type(value) is not type(values[0]))
        raise ValueError(f"Values of different types: {_shown(values[0])} and {_shown(first)}. Quote them to get text.")
    return _SQL_TYPES[kinds]


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else ascii(value)
    return "nothing" if value is None else text if len(text) <= 40 else text[:39] + "…"


def _of_type(values: Sequence[Any], sql_type: str) -> list[Any]:
    return [float(value) for value in values] if sql_type == "DOUBLE" else list(values)


def as_text(value: object) -> str:
    """A scalar as the database writes it as text: what a parent's values are compared as."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class CategoryParameters(SamplerParameters):
    """One of the values, with the given weights or all equally likely."""

    values: Annotated[Items[Any], Field(min_length=1)]
    """Texts, numbers, or booleans, all of one kind."""
    weights: Items[Annotated[Number, Field(ge=0)]] | None = None
    """As many as values; only their ratios matter. Default: all equal."""

    @field_validator("values")
    @classmethod
    def _have_one_type(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        common_sql_type(values)
        return values

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(
                f"{plural(len(self.values), 'value')} but {plural(len(self.weights), 'weight')}; each value needs one."
            )
        if self.weights is not None and not any(self.weights):
            raise ValueError("All weights are 0; at least one value needs a positive weight.")
        return self

    def sql_type(self) -> str:
        return common_sql_type(self.values)

    def call(self) -> SamplerCall:
        values = _of_type(self.values, self.sql_type())
        if self.weights is None:
            return SamplerCall("sample_category", (values,))
        table = alias_table(self.weights)
        slots = [values[choice] for slot in enumerate(table.aliases) for choice in slot]
        return SamplerCall("sample_weighted_category", (slots, table.thresholds))

    def extent(self) -> tuple[float, float] | None:
        if self.sql_type() not in {"BIGINT", "DOUBLE"}:
            return None
        weights = self.weights or [1.0] * len(self.values)
        likely = [value for value, weight in zip(self.values, weights, strict=True) if weight]
        return (min(likely), max(likely))

    def constants(self) -> list[Any]:
        """Every value there can be."""
        return _of_type(self.values, self.sql_type())


class SubcategoryParameters(SamplerParameters):
    """One of the values that belong to the value of another column, ``category``."""

    category: Annotated[str, Field(min_length=1)]
    """A sampler column of type ``category`` or ``subcategory``."""
    values: Annotated[dict[Any, Annotated[Items[Any], Field(min_length=1)]], Field(min_length=1)]
    """A list of choices for each of its values: ``{value: [choices]}``."""

    @field_validator("values", mode="before")
    @classmethod
    def _keys_are_text(cls, values: object) -> object:
        return {as_text(key): value for key, value in values.items()} if isinstance(values, Mapping) else values

    @field_validator("values")
    @classmethod
    def _have_one_type(cls, values: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        common_sql_type([*values])
        common_sql_type([value for choices in values.values() for value in choices])
        return values

    def sql_type(self) -> str:
        return common_sql_type([value for choices in self.values.values() for value in choices])

    def call(self) -> SamplerCall:
        sql_type = self.sql_type()
        choices = [_of_type(values, sql_type) for values in self.values.values()]
        return SamplerCall("sample_subcategory", (ColumnValue(self.category), list(self.values), choices))

    def parents(self) -> dict[str, str]:
        return {"category": self.category}

    def constants(self) -> list[Any]:
        """Every value there can be."""
        return [value for choices in self.values.values() for value in _of_type(choices, self.sql_type())]

    def check(self, context: DeclareContext, place: str) -> None:
        """Every value the parent can take needs its list, or rows would silently stay empty."""
        parent: Any = context.spec.column_of(self.category)
        taken = parent.choices() if parent is not None and parent.column_type == "sampler" else None
        if taken is None:
            if parent is not None:  # an unknown column is the graph's to report
                context.problem(f"{place}.category", f"Column '{self.category}' is not a category sampler.")
            return
        missing = [value for value in taken if value not in self.values]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            context.problem(f"{place}.values", f"No values for {self.category} = '{missing[0]}'{more}.")
