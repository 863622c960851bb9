"""Columns of type ``llm-text``: a text a model writes from a prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import Call, CellGenerator, Model, Runtime
from rowmill.generators.template_field import template_references
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import Declaration, DeclareContext, Output, Strategy
from rowmill.spec.registry import register_column_type
from rowmill.spec.template import Template
from rowmill.task import Row


@register_column_type
class LlmTextColumn(ColumnConfig):
    """The answer of a model to ``prompt``, a template over other columns. One request a row."""

    column_type: Literal["llm-text"] = "llm-text"
    model_alias: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    system_prompt: str | None = None
    with_trace: bool = False
    """Also make ``<name>__trace``: the messages exchanged, as JSON text."""
    extract_reasoning_content: bool = False
    """Also make ``<name>__reasoning_content``: what the model thought, null if it does not say."""

    def declare(self, context: DeclareContext) -> Declaration:
        """The answer and its side effects. Moving the endpoint elsewhere does not change the fingerprint (V2)."""
        place = f"columns.{context.index}"
        model = context.spec.model_of(self.model_alias)
        inputs = (
            *template_references(context, self.prompt, "prompt"),
            *template_references(context, self.system_prompt, "system_prompt"),
        )
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=inputs,
            outputs=self._outputs(),
            strategy=Strategy.CELL,
            reason="one request a row",
            resource=context.endpoint(self.model_alias, f"{place}.model_alias"),
            timeout_s=model.timeout_s if model else None,
            propagate_skip=self.propagate_skip,
            fingerprint={
                "prompt": self.prompt,
                "system_prompt": self.system_prompt,
                "model": model.fingerprint() if model else None,
                "with_trace": self.with_trace,
                "extract_reasoning_content": self.extract_reasoning_content,
            },
        )

    def _outputs(self) -> tuple[Output, ...]:
        outputs = [Output(self.name, "VARCHAR", drop=self.drop)]
        if self.with_trace:
            outputs.append(Output(f"{self.name}__trace", "VARCHAR", side_effect=True, drop=self.drop))
        if self.extract_reasoning_content:
            outputs.append(Output(f"{self.name}__reasoning_content", "VARCHAR", side_effect=True, drop=self.drop))
        return tuple(outputs)

    def bind(self, runtime: Runtime) -> CellGenerator:
        """Compiles the templates, once for the invocation."""
        return LlmTextGenerator(self, runtime.model(self.model_alias))


class LlmTextGenerator(CellGenerator):
    """Renders the prompts of a row and asks the model once."""

    def __init__(self, column: LlmTextColumn, model: Model) -> None:
        self._column = column
        self._model = model
        self._prompt = Template(column.prompt, f"{column.name}.prompt")
        self._system = Template(column.system_prompt, f"{column.name}.system_prompt") if column.system_prompt else None

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The answer, then the trace, then the reasoning, as declared."""
        messages = self._messages(row)
        answer = await self._model.chat(messages, call)
        values: list[Any] = [answer.text]
        if self._column.with_trace:
            reply = {"role": "assistant", "content": answer.text}
            if answer.reasoning_content is not None:
                reply["reasoning_content"] = answer.reasoning_content
            values.append(json.dumps([*messages, reply], ensure_ascii=False))
        if self._column.extract_reasoning_content:
            values.append(answer.reasoning_content)
        return values

    def _messages(self, row: Row) -> list[dict[str, str]]:
        prompt = self._prompt.render(row)
        if not prompt.strip():
            raise GeneratorError(f"The prompt of column '{self._column.name}' is empty for this row.", "EmptyPrompt")
        system = self._system.render(row) if self._system is not None else ""
        messages = [{"role": "system", "content": system}] if system.strip() else []
        return [*messages, {"role": "user", "content": prompt}]
