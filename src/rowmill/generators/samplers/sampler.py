"""Columns of type ``sampler``: random values, functions of (run seed, column, row_id) alone (V1)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from rowmill.generators.protocol import CellGenerator, Runtime
from rowmill.generators.samplers.category_parameters import CategoryParameters, SubcategoryParameters, as_text
from rowmill.generators.samplers.conditions import condition_references
from rowmill.generators.samplers.constraint_check import constraints_of
from rowmill.generators.samplers.conversion import Conversion, conversion_of
from rowmill.generators.samplers.drawn_column import (
    ROWS_PER_CALL,
    DrawnCells,
    chooser,
    chooser_name,
    common_type,
    content_of,
    parameters_problem,
)
from rowmill.generators.samplers.drawn_parameters import DrawnParameters
from rowmill.generators.samplers.parameters import SamplerParameters
from rowmill.generators.samplers.source import ATTEMPTS, bound_references, column_bounds, sampler_source
from rowmill.spec.column import ColumnConfig
from rowmill.spec.constraint import Constraint
from rowmill.spec.declaration import THREADS, Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.registry import SAMPLERS, register_column_type

if TYPE_CHECKING:
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
        "scipy",
        "bernoulli_mixture",
        "person",
        "person_from_faker",
    ]
else:
    SamplerType = str  # those of plug-ins, too


@functools.cache
def _by_condition(cls: type[SamplerParameters]) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(dict[str, cls])  # type: ignore[valid-type]


@register_column_type
class SamplerColumn(ColumnConfig):
    """A column of random values, made by the database or, of the last four types, in Python."""

    column_type: Literal["sampler"] = "sampler"
    sampler_type: SamplerType
    """One of the samplers of [this page](samplers.md), or of a plug-in."""
    params: SerializeAsAny[SamplerParameters] = Field(default_factory=dict, validate_default=True)
    """What that sampler is told."""
    conditional_params: dict[str, SerializeAsAny[SamplerParameters]] = Field(default_factory=dict)
    """SQL condition over the row (``age < 18 and sex = 'Male'``) → the parameters where it holds. Where several hold,
    the **last** counts, as in DataDesigner; a null does not hold."""
    convert_to: str | None = None
    """``float``, ``int`` (rounded half to even) or ``str``; for moments a [strftime
    format](https://duckdb.org/docs/stable/sql/functions/dateformat), which makes text."""

    @field_validator("sampler_type")
    @classmethod
    def _is_known(cls, value: SamplerType) -> SamplerType:
        SAMPLERS.require(value)
        return value

    @field_validator("params", mode="wrap")
    @classmethod
    def _of_the_sampler_type(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        parameters = SAMPLERS.find(info.data.get("sampler_type", ""))
        return value if parameters is None else parameters.model_validate(value)

    @field_validator("conditional_params", mode="wrap")
    @classmethod
    def _all_of_the_sampler_type(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        parameters = SAMPLERS.find(info.data.get("sampler_type", ""))
        return value if parameters is None else _by_condition(parameters).validate_python(value)

    @classmethod
    def field_model(cls, field: str, data: Mapping[str, Any]) -> type[BaseModel] | None:
        """The parameters of the sampler type at hand."""
        is_parameters = field in {"params", "conditional_params"}
        return SAMPLERS.find(str(data.get("sampler_type"))) if is_parameters else None

    def declare(self, context: DeclareContext) -> Declaration:
        """One output; the inputs are parents, columns of conditions and of constraints."""
        place = f"columns.{context.index}"
        inputs: dict[Reference, None] = {}
        for where, parameters in self._parameter_sets():
            parameters.check(context, f"{place}.{where}")
            for field, column in parameters.parents().items():
                inputs.setdefault(Reference(column, f"{place}.{where}.{field}"))
        constraints = constraints_of(context.spec, self.name)
        inputs |= dict.fromkeys(bound_references(constraints))
        is_drawn = isinstance(self.params, DrawnParameters)
        if self.conditional_params and is_drawn:
            inputs[Reference(chooser_name(self.name), f"{place}.conditional_params")] = None
        else:
            inputs |= dict.fromkeys(self._condition_references(context, place))
        conversion = self._conversion_or_problem(context, place)
        source: dict[str, Any]
        if is_drawn:
            self._check_drawn(context, place, conversion)
            source = {
                "strategy": Strategy.CELL,
                "reason": f"{self.sampler_type} sampler: {ROWS_PER_CALL} rows a call",
                "resource": THREADS,
                "max_rows_per_call": ROWS_PER_CALL,
            }
        else:
            source = {
                "strategy": Strategy.SQL,
                "reason": f"{self.sampler_type} sampler: evaluated in the database",
                "sql": sampler_source(self, conversion, context.spec, place, context.problem),
            }
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=tuple(inputs),
            outputs=(Output(self.name, conversion.sql_type, drop=self.drop),),
            propagate_skip=self.propagate_skip,
            fingerprint=self._fingerprint(constraints, context.spec_directory),
            **source,
        )

    def companions(self, context: DeclareContext) -> tuple[Declaration, ...]:
        """Of a sampler made in Python: the column that says which parameters count."""
        if not self.conditional_params or not isinstance(self.params, DrawnParameters):
            return ()
        place = f"columns.{context.index}"
        inputs = self._condition_references(context, place)
        return (chooser(self.name, place, list(self.conditional_params), inputs),)

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The generator of a sampler made in Python; those made in the database have none."""
        sets = [parameters for _, parameters in self._parameter_sets() if isinstance(parameters, DrawnParameters)]
        conversion = self._conversion_in(runtime.spec_directory)
        bounds, unmet = column_bounds(self, conversion, runtime.spec, lambda place, message: None)
        samplers = [parameters.sampler(runtime.spec_directory) for parameters in sets]
        return DrawnCells(
            self.name,
            runtime.spec.seed,
            samplers,
            conversion,
            bounds=bounds,
            attempts=ATTEMPTS if bounds else 1,
            unmet=unmet,
        )

    def _condition_references(self, context: DeclareContext, place: str) -> list[Reference]:
        return [
            reference
            for condition in self.conditional_params
            for reference in condition_references(condition, self.name, context, place)
        ]

    def _check_drawn(self, context: DeclareContext, place: str, conversion: Conversion) -> None:
        for where, parameters in self._parameter_sets():
            problem = isinstance(parameters, DrawnParameters) and parameters_problem(parameters, context.spec_directory)
            if problem:
                field, message = problem
                context.problem(f"{place}.{where}.{field}".rstrip("."), message)
        column_bounds(self, conversion, context.spec, context.problem)

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
            return self._conversion_in(context.spec_directory)
        except ValueError as error:
            context.problem(f"{place}.{'conditional_params' if self.convert_to is None else 'convert_to'}", str(error))
            return Conversion("VARCHAR", "VARCHAR")

    def _conversion_in(self, directory: Path | None) -> Conversion:
        """The conversion, also of values whose type only a file knows. Raises ValueError where there is none."""
        drawn = [each for _, each in self._parameter_sets() if isinstance(each, DrawnParameters)]
        if not drawn or drawn[0].converts_to or self.convert_to is not None:
            return self.conversion()
        sql_type = common_type(drawn, directory)
        return Conversion(sql_type, sql_type)

    def _fingerprint(self, constraints: list[tuple[int, Constraint]], directory: Path | None) -> dict[str, Any]:
        shaping: dict[str, Any] = {
            "sampler_type": self.sampler_type,
            "params": self.params.model_dump(mode="json"),
            **SAMPLERS.shaping(self.sampler_type),
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
        for where, parameters in self._parameter_sets():
            content = content_of(parameters, directory)
            if content:
                shaping.setdefault("content", []).append([where, content])
        return shaping
