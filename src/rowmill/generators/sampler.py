"""Columns of type ``sampler``: random values, functions of (run seed, column, row_id) alone (V1)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from rowmill.generators.category_parameters import CategoryParameters, SubcategoryParameters
from rowmill.generators.sampler_parameters import (
    BernoulliParameters,
    DatetimeParameters,
    GaussianParameters,
    SamplerParameters,
    UniformParameters,
    UuidParameters,
)
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.registry import register_column_type

_PARAMETERS: dict[str, type[SamplerParameters]] = {
    "category": CategoryParameters,
    "subcategory": SubcategoryParameters,
    "uniform": UniformParameters,
    "gaussian": GaussianParameters,
    "bernoulli": BernoulliParameters,
    "uuid": UuidParameters,
    "datetime": DatetimeParameters,
}


@register_column_type
class SamplerColumn(ColumnConfig):
    """A column of random values, made by the database."""

    column_type: Literal["sampler"] = "sampler"
    sampler_type: Literal["category", "subcategory", "uniform", "gaussian", "bernoulli", "uuid", "datetime"]
    params: (
        CategoryParameters
        | SubcategoryParameters
        | UniformParameters
        | GaussianParameters
        | BernoulliParameters
        | UuidParameters
        | DatetimeParameters
    ) = Field(default_factory=dict, validate_default=True)

    @field_validator("params", mode="wrap")
    @classmethod
    def _of_the_sampler_type(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        sampler_type = info.data.get("sampler_type")
        return value if sampler_type is None else _PARAMETERS[sampler_type].model_validate(value)

    def declare(self, context: DeclareContext) -> Declaration:
        """One output, evaluated set-wise; a subcategory's input is its parent."""
        place = f"columns.{context.index}"
        self.params.check(context, f"{place}.params")
        parents = self.params.parents().items()
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=tuple(Reference(column, f"{place}.params.{field}") for field, column in parents),
            outputs=(Output(self.name, self.params.sql_type(), drop=self.drop),),
            strategy=Strategy.SQL,
            reason=f"{self.sampler_type} sampler: evaluated in the database",
            sql=self.params.call(),
            propagate_skip=self.propagate_skip,
            fingerprint={"sampler_type": self.sampler_type, "params": self.params.model_dump(mode="json")},
        )
