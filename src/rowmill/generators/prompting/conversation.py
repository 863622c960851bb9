"""Conversations: asking a model until its answer can be used, or giving up.

Every request is journaled; one whose answer could not be read is marked with the reason. What cannot be
read after all corrections and restarts rejects its row (F3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rowmill.errors import GeneratorError
from rowmill.generators.prompting.media import MediaContext, MediaFiles, media_parts, without_media
from rowmill.generators.prompting.tool_turns import ToolTurns
from rowmill.generators.protocol import Call, CellGenerator, Model, UnusableAnswer
from rowmill.generators.rendering import rendered
from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.template import Template
from rowmill.task import Row

_LONGEST_REASON = 1500


AnswerReader = Callable[[str], Any]
"""Makes a column's value of an answer's text, or raises :class:`UnusableAnswer`."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is asked, how often, and what is kept of it."""

    prompt: str
    system_prompt: str | None = None
    instruction: str = ""
    """Added to the prompt as it is: the form the answer must have."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    corrections: int = 0
    restarts: int = 0
    trace: bool | Literal["last_message"] = False
    reasoning: bool = False
    media: Sequence[MediaContext] = ()
    """Shown before the prompt."""


class ConversationGenerator(CellGenerator):
    """Renders the prompts of a row and holds the conversation."""

    def __init__(
        self,
        column: str,
        model: Model,
        conversation: Conversation,
        read: AnswerReader,
        files: MediaFiles | None = None,
        tools: ToolTurns | None = None,
    ) -> None:
        self._column = column
        self._model = model
        self._conversation = conversation
        self._read = read
        self._files = files
        self._tools = tools
        self._prompt = Template(conversation.prompt, f"{column}.prompt")
        system = conversation.system_prompt
        self._system = Template(system, f"{column}.system_prompt") if system else None

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The value, then the trace, then the reasoning, as declared."""
        opening = await self._opening(row)
        if self._conversation.media:
            parts = await media_parts(self._conversation.media, row, self._files)
            if parts:
                opening[-1]["content"] = [*parts, {"type": "text", "text": opening[-1]["content"]}]
        for restarts_left in range(self._conversation.restarts, -1, -1):
            messages = trace = opening
            for corrections_left in range(self._conversation.corrections, -1, -1):
                if self._tools is None:
                    answer = await self._model.chat(messages, call, self._conversation.parameters)
                else:
                    answer, turns = await self._tools.chat(messages, call, self._conversation.parameters)
                    messages, trace = [*messages, *turns], [*trace, *turns]
                try:
                    value = self._read(answer.text)
                except UnusableAnswer as error:
                    reason = str(error)[:_LONGEST_REASON]
                    if answer.finish_reason == "length":
                        reason += " The answer ends at the output limit: raise max_tokens, or ask for less."
                    call.mark_unusable("UnusableAnswer", reason)
                    if not (corrections_left or restarts_left):
                        raise GeneratorError(
                            f"The answer for column '{self._column}' cannot be used: {reason}", "UnusableAnswer"
                        ) from None
                    correction = {"role": "user", "content": _correction(reason)}
                    trace = [*trace, _reply(answer), correction]
                    # Without the reasoning: some endpoints refuse messages that carry it.
                    messages = [*messages, {"role": "assistant", "content": answer.text}, correction]
                else:
                    return self._values(value, trace, answer)
        raise AssertionError("unreachable: the last request of a conversation returns or raises")

    def _values(self, value: Any, messages: Sequence[dict[str, Any]], answer: ChatAnswer) -> Sequence[Any]:
        values = [value]
        if self._conversation.trace:
            kept = [] if self._conversation.trace == "last_message" else without_media(messages)
            values.append(json.dumps([*kept, _reply(answer)], ensure_ascii=False))
        if self._conversation.reasoning:
            values.append(answer.reasoning_content)
        return values

    async def _opening(self, row: Row) -> list[dict[str, Any]]:
        prompt = await rendered(self._prompt, row)
        if not prompt.strip():
            raise GeneratorError(f"The prompt of column '{self._column}' is empty for this row.", "EmptyPrompt")
        prompt += self._conversation.instruction
        system = await rendered(self._system, row) if self._system is not None else ""
        messages = [{"role": "system", "content": system}] if system.strip() else []
        return [*messages, {"role": "user", "content": prompt}]


def _reply(answer: ChatAnswer) -> dict[str, Any]:
    reply = {"role": "assistant", "content": answer.text}
    if answer.reasoning_content is not None:
        reply["reasoning_content"] = answer.reasoning_content
    return reply


def _correction(reason: str) -> str:
    return f"This answer cannot be used: {reason}\nAnswer again, in the form that was asked for and with nothing else."
