"""Columns of type ``llm-structured``: values of a JSON Schema, made by a model from a prompt."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from pydantic import BaseModel, JsonValue, field_validator

from rowmill.generators.json_schema import SchemaCheck, outermost, reference_problem, schema_problem
from rowmill.generators.json_type import json_type
from rowmill.generators.prompting.answer_json import Wanted, json_value
from rowmill.generators.prompting.conversation import AnswerReader
from rowmill.generators.prompting.json_column import JsonColumn
from rowmill.generators.protocol import UnusableAnswer
from rowmill.spec.declaration import Declaration, DeclareContext
from rowmill.spec.model import ModelConfig
from rowmill.spec.registry import register_column_type


@register_column_type
class LlmStructuredColumn(JsonColumn):
    """A value of ``output_format``, checked against it. Its type follows from the schema (``json_type``)."""

    column_type: Literal["llm-structured"] = "llm-structured"
    output_format: dict[str, JsonValue]
    """A JSON Schema, against which values are checked; in Python also a pydantic class, which stands for its schema
    (for a file: what its ``model_json_schema()`` returns). A ``$ref`` leads to a place within it. Needs
    ``pip install 'rowmill[structured]'``."""

    @field_validator("output_format", mode="before")
    @classmethod
    def _schema_of_class(cls, value: object) -> object:
        if inspect.isclass(value) and issubclass(value, BaseModel):
            return value.model_json_schema()
        if isinstance(value, str):
            raise ValueError(
                f"Expected a JSON Schema, not the text '{value[:80]}'. A pydantic class can be given from Python "
                "(rowmill.config); its schema for a file is what its model_json_schema() returns."
            )
        return value

    def declare(self, context: DeclareContext) -> Declaration:
        """The value and its side effects; says what is wrong with the schema."""
        place = f"columns.{context.index}.output_format"
        problem = schema_problem(self.output_format)
        if problem is not None:
            context.problem(place, problem)
        else:
            leads_nowhere = reference_problem(self.output_format)
            if leads_nowhere is not None:
                context.judge(place, leads_nowhere)
        return super().declare(context)

    def _schema(self) -> Any:
        return self.output_format

    def _sql_type(self) -> str:
        return json_type(self.output_format).sql_type

    def _reader(self) -> AnswerReader:
        check = SchemaCheck(self.output_format)
        convert = json_type(self.output_format).convert
        wanted = Wanted(*outermost(self.output_format))

        def read(text: str) -> Any:
            value = json_value(text, wanted)
            check(value)
            try:
                return convert(value)
            except RecursionError:
                raise UnusableAnswer("It is nested too deeply.") from None

        return read

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        return super()._shaping(model) | {"output_format": self.output_format}
