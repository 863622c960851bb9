"""Columns of type ``validation``: a verdict on the values of other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from rowmill.counted import plural
from rowmill.errors import GeneratorError
from rowmill.generators.custom.function import CustomFunction, FunctionProblem, load_function
from rowmill.generators.json_schema import schema_problem
from rowmill.generators.protocol import Call, CellGenerator, Runtime
from rowmill.generators.validators import python_code, sql_code
from rowmill.generators.validators.function import FunctionValidator
from rowmill.generators.validators.parameters import (
    CodeParameters,
    FunctionParameters,
    RemoteParameters,
    SchemaParameters,
    SqlParameters,
    ValidatorParameters,
    ValidatorType,
)
from rowmill.generators.validators.schema import SchemaValidator
from rowmill.generators.validators.verdict import (
    PLAIN_TYPE,
    PlugInValidator,
    Validator,
    Verdict,
    type_of_verdicts,
)
from rowmill.spec.column import ColumnConfig, Items
from rowmill.spec.declaration import (
    LOCAL,
    THREADS,
    Declaration,
    DeclareContext,
    Output,
    Reference,
    RegenerationRule,
    SqlExpression,
    Strategy,
)
from rowmill.spec.name import fold
from rowmill.spec.registry import VALIDATORS, register_column_type
from rowmill.task import InvalidRow, Row
from rowmill.value.shown import shown, with_values

_REGENERATIONS = 3


@register_column_type
class ValidationColumn(ColumnConfig):
    """Whether the values of ``target_columns`` are valid, and what is wrong with those that are not."""

    column_type: Literal["validation"] = "validation"
    target_columns: Items[str] = Field(min_length=1)
    """The columns to judge."""
    validator_type: ValidatorType
    """One of the validators below, or of a plug-in."""
    validator_params: SerializeAsAny[ValidatorParameters]
    """What that validator is told."""
    batch_size: int = Field(default=10, strict=True, ge=1, le=100_000)
    """Rows judged in one call."""
    on_invalid: Literal["keep", "drop", "regenerate"] = "keep"
    """``drop``: a row that is not valid is dropped, with reason ``invalid`` and what is wrong; it does not count as a
    failure. ``regenerate``: what made its targets is asked again first."""
    max_regenerations: int | None = Field(default=None, strict=True, ge=1, le=100)
    """Only with ``regenerate``: how often a row is made again. Default: 3."""
    on_still_invalid: Literal["drop", "keep"] | None = None
    """Only with ``regenerate``, what becomes of a row that is not valid then: ``drop``, or ``keep`` with its verdict.
    Default: ``drop``."""

    @field_validator("validator_type")
    @classmethod
    def _is_known(cls, value: ValidatorType) -> ValidatorType:
        VALIDATORS.require(value)
        return value

    @field_validator("validator_params", mode="before")
    @classmethod
    def _of_the_type(cls, value: object, info: ValidationInfo) -> object:
        kind = VALIDATORS.find(info.data.get("validator_type", ""))
        return value if kind is None or isinstance(value, kind) else kind.model_validate(value)

    @classmethod
    def field_model(cls, field: str, data: Mapping[str, Any]) -> type[BaseModel] | None:
        """The parameters of the validator type at hand."""
        return VALIDATORS.find(str(data.get("validator_type"))) if field == "validator_params" else None

    @field_validator("target_columns")
    @classmethod
    def _are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({fold(name) for name in value}) < len(value):
            raise ValueError("A column is named twice.")
        return value

    @model_validator(mode="after")
    def _regenerates_if_it_says_how(self) -> Self:
        given = [name for name in ("max_regenerations", "on_still_invalid") if getattr(self, name) is not None]
        if given and self.on_invalid != "regenerate":
            raise ValueError(f"{given[0]} belongs to on_invalid: regenerate, not to {self.on_invalid}.")
        return self

    def declare(self, context: DeclareContext) -> Declaration:
        """One verdict a row: an SQL predicate is evaluated in the database, all others take rows in calls."""
        place = f"columns.{context.index}"
        given = self.validator_params
        common: dict[str, Any] = {
            "name": self.name,
            "column_type": self.column_type,
            "place": place,
            "outputs": (Output(self.name, self._sql_type, drop=self.drop),),
            "propagate_skip": self.propagate_skip,
            "judges": self.target_columns,
            "drops_invalid": self.on_invalid == "drop",
            "regeneration": self._regeneration(),
        }
        targets = tuple(Reference(name, f"{place}.target_columns") for name in self.target_columns)
        fingerprint = {
            "validator": self.validator_type,
            "params": given.fingerprint(),
            **VALIDATORS.shaping(self.validator_type),
            "targets": list(self.target_columns),
            **({"on_invalid": self.on_invalid} if self.on_invalid != "keep" else {}),
            **({"on_still_invalid": "keep"} if self.on_still_invalid == "keep" else {}),
        }
        if isinstance(given, SqlParameters):
            where = f"{place}.validator_params.predicate"
            analysis = context.analyse_sql(given.predicate)
            if analysis.problem is not None:
                context.problem(where, analysis.problem)
            inputs = (
                *targets,
                *(Reference(name, where) for name in analysis.columns if name not in self.target_columns),
            )
            return Declaration(
                **common,
                inputs=inputs,
                strategy=Strategy.SQL,
                reason="a predicate, evaluated in the database",
                sql=SqlExpression(given.verdict(), where, analysis.references),
                fingerprint=fingerprint,
            )
        resource, function = self._where(context, f"{place}.validator_params")
        retries = (given.max_retries + 1, given.retry_backoff) if isinstance(given, RemoteParameters) else (None, None)
        return Declaration(
            **common,
            inputs=targets,
            strategy=Strategy.CELL,
            reason=f"up to {plural(self.batch_size, 'row')} a call",
            resource=resource,
            max_rows_per_call=self.batch_size,
            max_attempts=retries[0],
            backoff_base_s=retries[1],
            fingerprint=fingerprint | ({"code_sha256": function.code_sha256} if function else {}),
            source_sha256=function.source_sha256 if function else None,
        )

    def _regeneration(self) -> RegenerationRule | None:
        if self.on_invalid != "regenerate":
            return None
        at_most = self.max_regenerations or _REGENERATIONS
        return RegenerationRule(tuple(self.target_columns), at_most, then_drops=self.on_still_invalid != "keep")

    def _where(self, context: DeclareContext, place: str) -> tuple[str, CustomFunction | None]:
        """The resource of its calls, and the function that judges, if one does. Records what is missing."""
        given = self.validator_params
        schema = getattr(given, "output_schema", None) or getattr(given, "json_schema", None)
        if schema is not None:
            problem = schema_problem(schema)
            if problem:
                field = "json_schema" if isinstance(given, SchemaParameters) else "output_schema"
                context.problem(f"{place}.{field}", problem)
        if isinstance(given, RemoteParameters):
            return given.resource, None
        if isinstance(given, FunctionParameters):
            try:
                function = load_function(given.validation_function, context.spec_directory)
            except FunctionProblem as problem_of_function:
                context.problem(f"{place}.validation_function", str(problem_of_function))
                return THREADS, None
            if function.parameters != 1:
                message = f"'{function.signature}' cannot be called: a validation function is fn(rows)."
                context.problem(f"{place}.validation_function", message)
            return LOCAL if function.is_async else THREADS, function
        if isinstance(given, CodeParameters):
            kind = python_code if given.code_lang == "python" else sql_code
            if not kind.is_installed():
                context.problem(f"{place}.code_lang", kind.MISSING)
            return THREADS, None
        return LOCAL, None

    @property
    def _sql_type(self) -> str:
        given = self.validator_params
        if isinstance(given, (RemoteParameters, FunctionParameters)):
            return type_of_verdicts(given.output_schema)
        if isinstance(given, SqlParameters):
            return PLAIN_TYPE
        if not isinstance(given, (CodeParameters, SchemaParameters)):
            return type_of_verdicts(None)
        is_python = isinstance(given, CodeParameters) and given.code_lang == "python"
        of_one = python_code.PYTHON_TYPE if is_python else PLAIN_TYPE
        if len(self.target_columns) == 1:
            return of_one
        inside = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {of_one}' for name in self.target_columns)
        return f"STRUCT({inside})"

    def own_resources(self) -> dict[str, int]:
        """The endpoint of a remote validator, with how many requests it takes at once."""
        given = self.validator_params
        return {given.resource: given.max_parallel_requests} if isinstance(given, RemoteParameters) else {}

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The validator, ready to judge."""
        return ValidationGenerator(self._validator(runtime), self.target_columns, keeps_all=self.on_invalid == "keep")

    def _validator(self, runtime: Runtime) -> Validator:
        given = self.validator_params
        targets = self.target_columns
        if isinstance(given, CodeParameters):
            if given.code_lang == "python":
                return python_code.PythonValidator(targets)
            return sql_code.SqlCodeValidator(targets, given.code_lang.partition(":")[2])
        if isinstance(given, SchemaParameters):
            return SchemaValidator(targets, given.json_schema)
        if isinstance(given, FunctionParameters):
            function = load_function(given.validation_function, runtime.spec_directory)
            return FunctionValidator(function, targets, given.output_schema, runtime.arrow_types)
        if not isinstance(given, RemoteParameters):
            return PlugInValidator(given.validator(targets), self.validator_type)
        from rowmill.generators.validators.remote import RemoteValidator  # aiohttp is imported only if there is a need

        return RemoteValidator(given.endpoint_url, given.timeout, given.max_parallel_requests, given.output_schema)


class ValidationGenerator(CellGenerator):
    """Asks a validator, and says of rows that are not valid that they are not to be kept."""

    def __init__(self, validator: Validator, targets: Sequence[str], *, keeps_all: bool) -> None:
        self._validator = validator
        self._targets = tuple(targets)
        self._keeps_all = keeps_all

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The verdict on one row."""
        (verdict,) = await self.generate_rows([row], call)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """The verdicts on some rows, each at the place of its row."""
        values = [{target: row[target] for target in self._targets} for row in rows]
        judged = await self._validator.judge(values, call)
        if len(judged) != len(rows):
            raise GeneratorError(
                f"The validator gave {plural(len(judged), 'verdict')} for {plural(len(rows), 'row')}.",
                "MalformedVerdict",
            )
        return [
            each if isinstance(each, Exception) else self._outcome(each, row)
            for each, row in zip(judged, values, strict=True)
        ]

    def _outcome(self, verdict: Verdict, row: Row) -> Sequence[Any]:
        faults = _faults(verdict, self._targets)
        if self._keeps_all or faults is None:
            return (verdict,)
        return InvalidRow((verdict,), with_values(faults, {name: shown(value) for name, value in row.items()}))

    async def aclose(self) -> None:
        """Closes the validator."""
        await self._validator.aclose()


def _faults(verdict: Verdict, targets: Sequence[str]) -> str | None:
    """What is wrong, in words; None if nothing is."""
    if "is_valid" in verdict:
        return None if verdict["is_valid"] else _words(verdict)
    wrong = [f"{name}: {_words(verdict[name])}" for name in targets if not verdict[name]["is_valid"]]
    return "; ".join(wrong) or None


def _words(verdict: Verdict) -> str:
    messages = verdict.get("error_messages") or verdict.get("details")
    for each in verdict.get("python_linter_messages") or ():
        messages = messages or f"{each['symbol']} in line {each['line']}: {each['message']}"
    others = {name: value for name, value in verdict.items() if name != "is_valid" and value is not None}
    return str(messages or others or "not valid")
