"""Columns of type ``sampler``: random values, functions of (run seed, column, row_id) alone (V1)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from rowmill.generators.category_parameters import CategoryParameters, SubcategoryParameters, as_text
from rowmill.generators.constraint_check import constraints_of
from rowmill.generators.conversion import Conversion, conversion_of
from rowmill.generators.count_parameters import BinomialParameters, PoissonParameters
from rowmill.generators.sampler_conditions import condition_references
from rowmill.generators.sampler_parameters import (
    BernoulliParameters,
    DatetimeParameters,
    GaussianParameters,
    SamplerParameters,
    TimedeltaParameters,
    UniformParameters,
    UuidParameters,
)
from rowmill.generators.sampler_source import bound_references, sampler_source
from rowmill.spec.column import ColumnConfig
from rowmill.spec.constraint import Constraint
from rowmill.spec.declaration import Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.registry import register_column_type

PARAMETERS: dict[str, type[SamplerParameters]] = {
    "category": CategoryParameters,
    "subcategory": SubcategoryParameters,
    "uniform": UniformParameters,
    "gaussian": GaussianParameters,
    "bernoulli": BernoulliParameters,
    "binomial": BinomialParameters,
    "poisson": PoissonParameters,
    "uuid": UuidParameters,
    "datetime": DatetimeParameters,
    "timedelta": TimedeltaParameters,
}
"""The class of each sampler type's parameters."""

SamplerType = Literal[
    "category",
    "subcategory",
    "uniform",
    "gaussian",
    "bernoulli",
    "binomial",
    "poisson",
    "uuid",
    "datetime",
    "timedelta",
]


@functools.cache
def _by_condition(cls: type[SamplerParameters]) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(dict[str, cls])  # type: ignore[valid-type]


@register_column_type
class SamplerColumn(ColumnConfig):
    """A column of random values, made by the database."""

    column_type: Literal["sampler"] = "sampler"
    sampler_type: SamplerType
    params: SerializeAsAny[SamplerParameters] = Field(default_factory=dict, validate_default=True)
    conditional_params: dict[str, SerializeAsAny[SamplerParameters]] = Field(default_factory=dict)
    """SQL condition over the row → the parameters where it holds. Where several hold, the last counts."""
    convert_to: str | None = None
    """``float``, ``int`` or ``str``; for moments a strftime format."""

    @field_validator("params", mode="wrap")
    @classmethod
    def _of_the_sampler_type(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        sampler_type = info.data.get("sampler_type")
        return value if sampler_type is None else PARAMETERS[sampler_type].model_validate(value)

    @field_validator("conditional_params", mode="wrap")
    @classmethod
    def _all_of_the_sampler_type(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        sampler_type = info.data.get("sampler_type")
        return value if sampler_type is None else _by_condition(PARAMETERS[sampler_type]).validate_python(value)

    @classmethod
    def field_model(cls, field: str, data: Mapping[str, Any]) -> type[BaseModel] | None:
        """The parameters of the sampler type at hand."""
        sampler_type = data.get("sampler_type")
        if field not in {"params", "conditional_params"} or not isinstance(sampler_type, str):
            return None
        return PARAMETERS.get(sampler_type)

    def declare(self, context: DeclareContext) -> Declaration:
        """One output, evaluated set-wise; the inputs are parents, columns of conditions and of constraints."""
        place = f"columns.{context.index}"
        inputs: dict[Reference, None] = {}
        for where, parameters in self._parameter_sets():
            parameters.check(context, f"{place}.{where}")
            for field, column in parameters.parents().items():
                inputs.setdefault(Reference(column, f"{place}.{where}.{field}"))
        for condition in self.conditional_params:
            inputs |= dict.fromkeys(condition_references(condition, self.name, context, place))
        constraints = constraints_of(context.spec, self.name)
        inputs |= dict.fromkeys(bound_references(constraints))
        conversion = self._conversion_or_problem(context, place)
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=tuple(inputs),
            outputs=(Output(self.name, conversion.sql_type, drop=self.drop),),
            strategy=Strategy.SQL,
            reason=f"{self.sampler_type} sampler: evaluated in the database",
            sql=sampler_source(self, conversion, context.spec, place, context.problem),
            propagate_skip=self.propagate_skip,
            fingerprint=self._fingerprint(constraints),
        )

    def conversion(self) -> Conversion:
        """How values become those of the column. Raises ValueError where they cannot."""
        return conversion_of([parameters for _, parameters in self._parameter_sets()], self.convert_to)

    def extent(self) -> tuple[float, float] | None:
        """No value is less than the first or greater than the second, if that is known."""
        extents = [parameters.extent() for _, parameters in self._parameter_sets()]
        known = [extent for extent in extents if extent is not None]
        if len(known) < len(extents):
            return None
        low, high = min(low for low, _ in known), max(high for _, high in known)
        # Whole numbers come from rounding, which goes half a unit further.
        return (low - 0.5, high + 0.5) if self.convert_to == "int" else (low, high)

    def choices(self) -> list[str] | None:
        """Every value there can be, as text; None if this is no choice from a list."""
        made: dict[str, None] = {}
        for _, parameters in self._parameter_sets():
            if not isinstance(parameters, (CategoryParameters, SubcategoryParameters)):
                return None
            made |= dict.fromkeys(as_text(self._converted(value)) for value in parameters.constants())
        return list(made)

    def _converted(self, value: Any) -> Any:
        if self.convert_to == "int":
            return round(value) if isinstance(value, float) else int(value)
        return float(value) if self.convert_to == "float" else value

    def _parameter_sets(self) -> Iterator[tuple[str, SamplerParameters]]:
        yield "params", self.params
        for condition, parameters in self.conditional_params.items():
            yield f"conditional_params.{condition}", parameters

    def _conversion_or_problem(self, context: DeclareContext, place: str) -> Conversion:
        try:
            return self.conversion()
        except ValueError as error:
            context.problem(f"{place}.{'conditional_params' if self.convert_to is None else 'convert_to'}", str(error))
            return Conversion(self.params.sql_type(), self.params.sql_type())

    def _fingerprint(self, constraints: list[tuple[int, Constraint]]) -> dict[str, Any]:
        shaping: dict[str, Any] = {
            "sampler_type": self.sampler_type,
            "params": self.params.model_dump(mode="json"),
        }
        if self.conditional_params:
            shaping["conditional_params"] = [
                [condition, parameters.model_dump(mode="json")]
                for condition, parameters in self.conditional_params.items()
            ]
        if self.convert_to is not None:
            shaping["convert_to"] = self.convert_to
        if constraints:
            shaping["constraints"] = [[constraint.operator, constraint.rhs] for _, constraint in constraints]
        return shaping
