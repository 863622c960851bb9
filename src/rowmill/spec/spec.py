"""The spec: everything a user asks for, as one immutable value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import ColumnConfig, Items, StrictModel
from rowmill.spec.constraint import AnyConstraint
from rowmill.spec.model import ModelConfig
from rowmill.spec.name import fold, spec_name_problem
from rowmill.spec.problems import failing as _failing
from rowmill.spec.problems import in_document_order, problems_of
from rowmill.spec.processor import Processor, ProcessorConfig, repeated_name
from rowmill.spec.records import AcceptedRecords, Records
from rowmill.spec.registry import COLUMN_TYPES
from rowmill.spec.run_settings import RunSettings
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.tools import ToolConfig, ToolProvider, tool_problem
from rowmill.spec.yaml_text import yaml_text


def _choose_column_type(value: object, handler: ValidatorFunctionWrapHandler) -> ColumnConfig:
    """Validates a column as the class its ``column_type`` names; errors keep their place."""
    if isinstance(value, ColumnConfig):
        if type(value) is ColumnConfig:
            raise ValueError("A column is an object of a column type, like LlmTextColumn, not of their base.")
        return value
    if not isinstance(value, Mapping):
        validated: ColumnConfig = handler(value)
        return validated
    name = value.get("column_type")
    if name is None:
        text = f"Field 'column_type' is required: one of {', '.join(COLUMN_TYPES.names())}."
        raise _failing("column", [(("column_type",), text)])
    try:
        cls = COLUMN_TYPES.require(name)
    except ValueError as error:
        raise _failing("column", [(("column_type",), str(error))]) from error
    assert cls is not None  # every column type is a class
    return cls.model_validate(value)


Column = Annotated[SerializeAsAny[ColumnConfig], WrapValidator(_choose_column_type)]


MOST_COLUMNS = 10_000
"""Each is a column of a table, and takes part in every statement over the spec's rows."""


class Spec(StrictModel):
    """What to generate: how many records, from which seed data, with which models, column by column."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = "dataset"
    """Names the run and its file, ``<name>.duckdb`` in the current directory; letters, digits, ``-``, ``_``, ``.``.
    Default: the name of the spec file."""
    records: Records
    """Rows to generate. Raise it and run again to extend a dataset; it cannot be lowered. ``{accepted: N, at_most: M}``
    plans rows until N of them survive, exactly N, and tries at most M (P6). ``all`` takes each seed row once."""
    row_group_size: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 500
    """Rows generated and finished together, and what a ``batch`` function gets at once. A change applies to row groups
    added later."""
    seed: Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)] = 0
    """Sampled values are functions of (seed, column name, row_id) (V1)."""
    models: Items[ModelConfig] = ()
    """[Models](models.md) under the aliases columns use."""
    mcp_providers: Items[ToolProvider] = ()
    """MCP servers whose [tools](tools.md) models may call."""
    tool_configs: Items[ToolConfig] = ()
    """Which of their tools, under an alias columns name."""
    seed_dataset: SeedDatasetConfig | None = None
    """[Rows](seeds.md) to start from."""
    columns: Items[Column] = ()
    """The [columns](columns.md); their order is the order of the dataset."""
    constraints: Items[AnyConstraint] = ()
    """What values of sampler columns must be; see [constraints](samplers.md#constraints)."""
    processors: Items[Processor] = ()
    """What happens to the finished rows on their way out; see [processors](processors.md)."""
    run: RunSettings = Field(default_factory=RunSettings)
    """How hard and how patiently a run works; see [running](running.md#the-settings-of-run)."""

    @property
    def planned_records(self) -> int:
        """Rows a new run plans to begin with. ``all`` is a number once the seed data is known."""
        if self.records == "all":
            return 0
        return self.records.accepted if isinstance(self.records, AcceptedRecords) else self.records

    @property
    def accepted_records(self) -> AcceptedRecords | None:
        """How many rows must survive; None if a number of rows is planned, whatever becomes of them."""
        return self.records if isinstance(self.records, AcceptedRecords) else None

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, value: str) -> str:
        problem = spec_name_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("processors")
    @classmethod
    def _processors_have_names_of_their_own(cls, value: tuple[ProcessorConfig, ...]) -> tuple[ProcessorConfig, ...]:
        twice = repeated_name(value)
        if twice is not None:
            raise _failing("processors", [((twice[0], "name"), f"There is a processor '{twice[1]}' already.")])
        return value

    @model_validator(mode="after")
    def _tools_have_their_servers(self) -> Self:
        problem = tool_problem(self.mcp_providers, self.tool_configs)
        if problem is not None:
            raise _failing("Spec", [problem])
        return self

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        unpriced = [model.alias for model in self.models if model.cost_usd(1, 1) is None]
        if self.run.max_cost_usd is not None and unpriced:
            message = (
                f"Model '{unpriced[0]}' has no price, so its requests would not count: give it "
                "input_usd_per_million_tokens and output_usd_per_million_tokens, or bound max_tokens instead."
            )
            raise _failing("Spec", [(("run", "max_cost_usd"), message)])
        return self

    @model_validator(mode="after")
    def _servers_belong_together(self) -> Self:
        for place, model in enumerate(self.models):
            for other in self.models[:place]:
                same = (model.provider, model.model) == (other.provider, other.model)
                mine, others = model.comparable_urls(), other.comparable_urls()
                if same and mine & others and mine != others:
                    message = (
                        f"'{model.alias}' and '{other.alias}' share some servers of the model, but not all, so neither "
                        "could keep to its limits. Give both the same list, or lists without a server in common."
                    )
                    raise _failing("Spec", [(("models", place, "base_url"), message)])
        return self

    @model_validator(mode="after")
    def _has_no_contradictions(self) -> Self:
        errors = [
            (tuple(int(part) if part.isdecimal() else part for part in problem.place.split(".")), problem.message)
            for problem in _contradictions(self.models, self.columns, lambda item, name: getattr(item, name, None))
        ]
        if errors:
            raise _failing("Spec", errors)
        return self

    @classmethod
    def from_data(cls, data: object) -> Spec:
        """A spec from plain data (dicts, lists, scalars). Raises SpecError with every problem found."""
        count = len(_items(data, "columns")) if isinstance(data, Mapping) else 0
        if count > MOST_COLUMNS:
            raise SpecError(
                [Problem("columns", f"The spec has {count:,} columns; a dataset may have {MOST_COLUMNS:,} of them.")]
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problems = problems_of(error, cls, data)
        except UnicodeEncodeError:  # pydantic cannot read such a text at all
            raise SpecError(
                [Problem("", "A text contains half of a surrogate pair, which is not valid Unicode.")]
            ) from None
        if isinstance(data, Mapping):
            problems += _contradictions(_items(data, "models"), _items(data, "columns"), _field_of_mapping)
        raise SpecError(in_document_order(problems, data))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The spec whose :meth:`to_json` is ``text``. Raises SpecError with every problem found."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise SpecError([Problem("", f"The spec is not valid JSON: {error}")]) from error
        return cls.from_data(data)

    def to_json(self) -> str:
        """The spec as one line of JSON, the same for equal specs, secrets only as ``${NAME}``.

        Fields come in the order of their declaration. Keys of free mappings keep the user's order,
        since it may mean something (the first condition that holds).
        """
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def to_yaml(self) -> str:
        """The spec as the text of a YAML file; :func:`~rowmill.spec.loading.load_spec` makes an equal one of it.

        Functions are written as ``module:function``; rows given as a table are left out. Raises UsageError for a
        function of the program itself (``__main__``), which a spec file cannot name.
        """
        return yaml_text(self)

    def model_of(self, alias: str) -> ModelConfig | None:
        """The model of that alias, or None."""
        return next((model for model in self.models if model.alias == alias), None)

    def column_of(self, name: str) -> ColumnConfig | None:
        """The declared column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def _items(data: Mapping[Any, Any], field: str) -> Sequence[object]:
    value = data.get(field)
    return value if isinstance(value, (list, tuple)) else ()


def _field_of_mapping(item: object, name: str) -> object:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _contradictions(
    models: Sequence[object], columns: Sequence[object], field: Callable[[object, str], object]
) -> list[Problem]:
    """What no single part of the spec can see: names given twice, one endpoint with two behaviours.

    Works on data that is not validated yet, so that these are reported along with everything else.
    """
    problems = [
        Problem(f"models.{again}.alias", f"Model alias '{alias}' is taken by models.{first} already.")
        for first, again, alias in _repeated([field(model, "alias") for model in models], lambda text: text)
    ]
    for first, again, name in _repeated([field(column, "name") for column in columns], fold):
        other = field(columns[first], "name")
        differs = "" if other == name else f" (as '{other}': column names must differ by more than case)"
        problems.append(
            Problem(f"columns.{again}.name", f"Column '{name}' is declared by columns.{first} already{differs}.")
        )
    simulated: dict[object, int] = {}
    for index, model in enumerate(models):
        if field(model, "provider") == "simulated" and isinstance(field(model, "model"), str):
            first = simulated.setdefault(field(model, "model"), index)
            if field(models[first], "simulation") != field(model, "simulation"):
                problems.append(
                    Problem(
                        f"models.{index}.simulation",
                        f"models.{first} simulates the same model '{field(model, 'model')}' with other settings; "
                        "give one of them another model name.",
                    )
                )
    return problems


def _repeated(values: Sequence[object], key: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if isinstance(value, str) and value:
            known = first.setdefault(key(value), index)
            if known != index:
                yield known, index, value
