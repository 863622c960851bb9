"""Processors: what happens to the finished rows on their way out of a run.

``drop_columns`` leaves columns out of the dataset, ``schema_transform`` gives an export another shape, ``split`` adds
a column that says which part a row belongs to. None of them changes a generated value, so they may differ from one
invocation to the next (but what is dropped is part of the dataset, as with a column's own ``drop``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, SerializeAsAny, field_validator, model_validator

from rowmill.spec.column import Items, StrictModel
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.problems import failing
from rowmill.spec.registry import PROCESSORS

if TYPE_CHECKING:
    import pyarrow as pa

ReadyFormat = Literal["chat", "instruction"]

_READY: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "chat": (frozenset({"user", "assistant"}), frozenset({"system"})),
    "instruction": (frozenset({"instruction", "output"}), frozenset({"input"})),
}
"""Per ready format the parts it must and may have."""


class ProcessorConfig(StrictModel):
    """What every processor has."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For ``rowmill export --processor NAME``."""
    processor_type: str
    """One of the types on this page, or of a plug-in."""


class DropColumnsProcessor(ProcessorConfig):
    """Leaves the columns whose names fit one of the patterns (``scratch_*``) out of the dataset."""

    processor_type: Literal["drop_columns"] = "drop_columns"
    column_names: Items[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """Names, or patterns like ``scratch_*``; their case counts."""

    def drops(self, column: str) -> bool:
        """Does a pattern fit that name? Case counts."""
        return any(fnmatchcase(column, pattern) for pattern in self.column_names)


class SchemaTransformProcessor(ProcessorConfig):
    """A record of another shape for each finished row, for ``rowmill export --processor NAME``.

    Either a ``template``: fields, whose values are Jinja texts, lists and mappings of them, or plain values; or a
    ready ``format`` and its ``parts``, which are Jinja texts.
    """

    processor_type: Literal["schema_transform"] = "schema_transform"
    template: dict[str, JsonValue] | None = None
    """Fields, whose values are Jinja texts, lists and mappings of them, or plain values. Exactly ``{{ column }}``
    passes a value on with its type."""
    format: ReadyFormat | None = None
    """In place of ``template``: a ready shape, filled with ``parts``."""
    parts: dict[str, str] = Field(default_factory=dict)
    """Jinja texts. Of ``chat``: ``user``, ``assistant`` and, if there is one, ``system``; of ``instruction``:
    ``instruction``, ``output`` and, if there is one, ``input``."""

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if (self.template is None) == (self.format is None):
            raise ValueError("Say either template, or format and its parts.")
        if self.format is None:
            if self.parts:
                raise failing("processor", [(("parts",), "Only a ready format has parts.")])
            if not self.template:
                raise failing("processor", [(("template",), "The template is empty; name at least one field.")])
            return self
        required, optional = _READY[self.format]
        errors = [
            (f"Format '{self.format}' needs the part '{part}', a Jinja text like '{{{{ {part} }}}}'.", "parts")
            for part in sorted(required - self.parts.keys())
        ]
        for part in self.parts.keys() - required - optional:
            hint = did_you_mean(part, required | optional) or f" It has: {', '.join(sorted(required | optional))}."
            errors.append((f"Format '{self.format}' has no part '{part}'.{hint}", f"parts.{part}"))
        if errors:
            raise failing("processor", [(tuple(place.split(".")), text) for text, place in errors])
        return self

    @property
    def shape(self) -> dict[str, JsonValue]:
        """The template, written out for a ready format."""
        if self.template is not None:
            return self.template
        if self.format == "instruction":
            return {part: self.parts.get(part, "") for part in ("instruction", "input", "output")}
        roles = [role for role in ("system", "user", "assistant") if role in self.parts]
        return {"messages": [{"role": role, "content": self.parts[role]} for role in roles]}


class SplitProcessor(ProcessorConfig):
    """A further column of every export that says which part a row is in. It follows from the seed and ``row_id``."""

    processor_type: Literal["split"] = "split"
    shares: dict[str, Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]] = Field(min_length=1)
    """The parts and how much of the rows each gets: ``{train: 0.8, validation: 0.1, test: 0.1}``; 1 in all."""
    column: Annotated[str, Field(min_length=1)] = "split"
    """The name of the added column."""

    @field_validator("shares")
    @classmethod
    def _shares_are_a_whole(cls, value: dict[str, float]) -> dict[str, float]:
        total = math.fsum(value.values())
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"The shares add up to {total:g}; they must be 1 in all.")
        broken = [name for name in value if not name or not name.replace("_", "").replace("-", "").isalnum()]
        if broken:
            raise ValueError(f"'{broken[0]}' is no name of a part: use letters, digits, '-' and '_'.")
        return value


class RowProcessor(ProcessorConfig):
    """The base of processors that plug-ins bring: rows in another shape, for ``rowmill export --processor NAME``.

    A subclass has fields of its own and :meth:`process`.
    """

    def process(self, rows: pa.Table) -> pa.Table:
        """A row for each row, in their order, whatever rows are processed together.

        ``rows`` have ``row_id`` and the columns of the dataset. It is also called with a table without rows, to learn
        the schema of the result.
        """
        raise NotImplementedError(type(self).__name__)


def _choose_type(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    name = value.get("processor_type")
    if name is None:
        text = f"Field 'processor_type' is required: one of {', '.join(PROCESSORS.names())}."
        raise failing("processor", [(("processor_type",), text)])
    try:
        cls = PROCESSORS.require(name)
    except ValueError as error:
        raise failing("processor", [(("processor_type",), str(error))]) from error
    assert cls is not None  # every processor is a class
    return cls.model_validate(value)


Processor = Annotated[SerializeAsAny[ProcessorConfig], BeforeValidator(_choose_type)]


def texts_of(shape: JsonValue, place: str) -> Iterator[tuple[str, str]]:
    """Every text of a template with its place in the spec."""
    if isinstance(shape, str):
        yield shape, place
    elif isinstance(shape, Mapping):
        for name, inner in shape.items():
            yield from texts_of(inner, f"{place}.{name}")
    elif isinstance(shape, Sequence):
        for index, inner in enumerate(shape):
            yield from texts_of(inner, f"{place}.{index}")


def repeated_name(processors: Sequence[Any]) -> tuple[int, str] | None:
    """Position and name of a processor that is called like one before it."""
    seen: set[str] = set()
    for index, processor in enumerate(processors):
        if processor.name in seen:
            return index, processor.name
        seen.add(processor.name)
    return None
