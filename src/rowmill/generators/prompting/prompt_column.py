"""What every column has that a model answers from a prompt: its fields, side effects and what of it shapes values."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rowmill.generators.prompting.conversation import AnswerReader, Conversation, ConversationGenerator, opening
from rowmill.generators.prompting.media import MediaContext, media_references
from rowmill.generators.prompting.offered_tools import offered_tools
from rowmill.generators.prompting.tool_turns import ToolTurns
from rowmill.generators.protocol import CellGenerator, Runtime
from rowmill.generators.template_field import template_references
from rowmill.spec.column import ColumnConfig, Items
from rowmill.spec.declaration import Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.model import ModelConfig
from rowmill.spec.template import Template
from rowmill.task import Row

_TRACES = {"none": False, "all_messages": True}

Trace = Annotated[
    bool | Literal["last_message"],
    BeforeValidator(
        lambda value: _TRACES.get(value, value) if isinstance(value, str) else value,
        json_schema_input_type=bool | Literal["none", "all_messages", "last_message"],
    ),
]
"""No trace (``false``, ``none``), all messages (``true``, ``all_messages``), or only the ``last_message``."""


class PromptColumn(ColumnConfig):
    """The base of ``llm-*`` columns: a conversation with a model for each row."""

    model_alias: str = Field(min_length=1)
    """A model of the spec."""
    prompt: str = Field(min_length=1)
    """What is asked: a Jinja template. An empty one rejects its row."""
    system_prompt: str | None = None
    """A Jinja template."""
    multi_modal_context: Items[MediaContext] | None = None
    """Images, sound and films of the row to show before the prompt; see [media](columns.md#media)."""
    tool_alias: str | None = Field(default=None, min_length=1)
    """Tools the model may call, of the spec's ``tool_configs``; see [tools](tools.md)."""
    with_trace: Trace = False
    """Also make ``<name>__trace``: the messages exchanged, as JSON text. ``true`` or ``all_messages``;
    ``last_message``; ``false`` or ``none``."""
    extract_reasoning_content: bool = False
    """Also make ``<name>__reasoning_content``: what the model thought, found in the fields endpoints have for it, in
    parts of the content, and in the text; null if it does not say."""

    def declare(self, context: DeclareContext) -> Declaration:
        """The answer and its side effects. Moving the endpoint elsewhere does not change the fingerprint (V2)."""
        place = f"columns.{context.index}"
        model = context.spec.model_of(self.model_alias)
        tools = offered_tools(self.tool_alias, context)
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=self._inputs(context),
            outputs=self._outputs(),
            strategy=Strategy.CELL,
            reason="one request a row" if self._requests_at_most() == 1 else "one conversation a row",
            resource=context.endpoint(self.model_alias, f"{place}.model_alias"),
            timeout_s=tools.deadline_s(model.timeout_s) * self._requests_at_most() if model else None,
            models={self.model_alias: "chat"},
            can_answer_differently=True,
            propagate_skip=self.propagate_skip,
            fingerprint={
                "prompt": self.prompt,
                "system_prompt": self.system_prompt,
                "model": model.fingerprint() if model else None,
                "with_trace": self.with_trace,
                "extract_reasoning_content": self.extract_reasoning_content,
            }
            | self._media_shaping()
            | dict(tools.fingerprint)
            | self._shaping(model),
        )

    def _media_shaping(self) -> dict[str, Any]:
        media = self.multi_modal_context or ()
        return {"multi_modal_context": [one.model_dump(mode="json") for one in media]} if media else {}

    def _inputs(self, context: DeclareContext) -> tuple[Reference, ...]:
        return (
            *template_references(context, self.prompt, "prompt"),
            *template_references(context, self.system_prompt, "system_prompt"),
            *media_references(context, self.multi_modal_context or ()),
        )

    def _outputs(self) -> tuple[Output, ...]:
        outputs = [Output(self.name, self._sql_type(), drop=self.drop)]
        if self.with_trace:
            outputs.append(Output(f"{self.name}__trace", "VARCHAR", side_effect=True, drop=self.drop))
        if self.extract_reasoning_content:
            outputs.append(Output(f"{self.name}__reasoning_content", "VARCHAR", side_effect=True, drop=self.drop))
        return tuple(outputs)

    def bind(self, runtime: Runtime) -> CellGenerator:
        """Compiles the templates, once for the invocation."""
        model = runtime.model(self.model_alias)
        return ConversationGenerator(
            self.name,
            model,
            Conversation(
                prompt=self.prompt,
                system_prompt=self.system_prompt,
                instruction=self._instruction(model.config),
                parameters=self._parameters(model.config),
                corrections=self._corrections(),
                restarts=self._restarts(),
                trace=self.with_trace,
                reasoning=self.extract_reasoning_content,
                media=self.multi_modal_context or (),
                is_text=self._is_text(),
                keeps_cut_off=self._keeps_cut_off(),
            ),
            self._reader(),
            runtime.files,
            ToolTurns(model, runtime.toolbox(self.tool_alias)) if self.tool_alias else None,
        )

    def opening(self, row: Row, model: ModelConfig) -> list[dict[str, Any]]:
        """The messages a row's conversation begins with, rendered again; media before the prompt are left out.

        Raises :class:`~rowmill.errors.GeneratorError` if a template fails for the row.
        """
        place = f"{self.name}.prompt"
        system = Template(self.system_prompt, f"{self.name}.system_prompt").render(row) if self.system_prompt else ""
        return opening(system, Template(self.prompt, place).render(row) + self._instruction(model))

    # What column types say differently ---------------------------------------------------------------

    def _sql_type(self) -> str:
        return "VARCHAR"

    @abstractmethod
    def _reader(self) -> AnswerReader:
        """Makes the value of an answer's text."""

    def _instruction(self, model: ModelConfig) -> str:
        """What is added to the prompt, for the form of the answer."""
        return ""

    def _parameters(self, model: ModelConfig) -> dict[str, Any]:
        """Fields of each request beside the model's own."""
        return {}

    def _is_text(self) -> bool:
        """Is the value the text itself?"""
        return False

    def _keeps_cut_off(self) -> bool:
        """Is a text kept that ended at its limit?"""
        return False

    def _corrections(self) -> int:
        return 0

    def _restarts(self) -> int:
        return 0

    def _requests_at_most(self) -> int:
        return (1 + self._corrections()) * (1 + self._restarts())

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        """What else shapes values (V2). Not how often an answer may be corrected: that decides whether there is one."""
        return {}


class FormattedColumn(PromptColumn):
    """The base of columns whose answers must have a form: what cannot be read is corrected, then asked anew."""

    max_conversation_correction_steps: int = Field(default=2, strict=True, ge=0, le=100)
    """How often the model is told what was wrong with its answer, within one conversation."""
    max_conversation_restarts: int = Field(default=0, strict=True, ge=0, le=100)
    """How often a conversation begins anew after its corrections were used up."""

    def _corrections(self) -> int:
        return self.max_conversation_correction_steps

    def _restarts(self) -> int:
        return self.max_conversation_restarts

    def _shaping(self, model: ModelConfig | None) -> dict[str, Any]:
        if model is None:
            return {}
        return {"instruction": self._instruction(model), "parameters": self._parameters(model)}
