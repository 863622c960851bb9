"""Conversations: asking a model until its answer can be used, or giving up.

Every request is journaled; one whose answer could not be read is marked with the reason. What cannot be
read after all corrections and restarts rejects its row (F3).

A part of an answer is never the answer (V7). One that ended at its limit (``finish_reason`` ``length``) is unusable,
except as the text of a column that keeps such texts. What the model thought aloud in its text is no part of the value:
see :mod:`rowmill.generators.prompting.thoughts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rowmill.errors import GeneratorError, Rejected
from rowmill.generators.prompting.media import MediaContext, MediaFiles, media_parts, without_media
from rowmill.generators.prompting.thoughts import Separated, kinds_named_in, separated
from rowmill.generators.prompting.tool_turns import ToolTurns
from rowmill.generators.protocol import Call, CellGenerator, Model, UnusableAnswer
from rowmill.generators.rendering import rendered, unhurried
from rowmill.providers.finish_reason import CONTENT_FILTER, LENGTH
from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.template import Template
from rowmill.task import Row

_LONGEST_REASON = 1500
_CUT_OFF = "It was cut off at the output limit, so a part of it is missing."
_NOTHING = "(nothing)"
"""In place of an empty answer, which some endpoints refuse to be told."""
_ADVICE = {"OutputLimit": " To make room for it, raise max_tokens, or ask for less."}
"""What the user can do about a kind of fault, and the model cannot."""

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
    is_text: bool = False
    """The value is the answer's text itself, without what the model thought aloud."""
    keeps_cut_off: bool = False
    """A text that ended at its limit is taken as it is."""


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
        # Tags the prompts ask for are part of the text, unless the reasoning is to go into a column of its own.
        asked_for = kinds_named_in(conversation.prompt, system)
        self._kept_thoughts = frozenset[str]() if conversation.reasoning else asked_for

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
                try:
                    answer, turns = await self._asked(messages, call)
                except Rejected as error:
                    if self._conversation.is_text and error.error_type == "OutputLimit" and corrections_left:
                        continue  # it thought until its limit: there is nothing to correct, but another time it may not
                    raise
                if turns:
                    messages, trace = [*messages, *turns], [*trace, *turns]
                answered = self._without_thoughts(answer)
                try:
                    value = await unhurried(self._value, answer, answered)
                except UnusableAnswer as error:
                    reason = str(error)[:_LONGEST_REASON]
                    call.mark_unusable(error.error_type, reason + _ADVICE.get(error.error_type, ""))
                    if not (corrections_left or restarts_left) or error.error_type == "Refusal":
                        raise self._given_up(error.error_type, reason) from None
                    correction = {"role": "user", "content": self._correction(error.error_type, reason)}
                    trace = [*trace, _reply(answer), correction]
                    # Without the reasoning: some endpoints refuse messages that carry it.
                    said = answered.text if answered.text.strip() else answer.text or _NOTHING
                    messages = [*messages, {"role": "assistant", "content": said}, correction]
                else:
                    return self._values(value, trace, answer, answered.thoughts)
        raise AssertionError("unreachable: the last request of a conversation returns or raises")

    async def _asked(
        self, messages: Sequence[Mapping[str, Any]], call: Call
    ) -> tuple[ChatAnswer, Sequence[dict[str, Any]]]:
        """The answer, and what was exchanged with tools before it."""
        if self._tools is None:
            return await self._model.chat(messages, call, self._conversation.parameters), ()
        return await self._tools.chat(messages, call, self._conversation.parameters)

    def _without_thoughts(self, answer: ChatAnswer) -> Separated:
        if not self._conversation.is_text and answer.text.lstrip()[:1] in ("{", "["):
            return Separated(answer.text, None)  # tags in texts of the value
        return separated(answer.text, self._kept_thoughts)

    def _value(self, answer: ChatAnswer, parts: Separated) -> Any:
        """The value of an answer. Raises :class:`UnusableAnswer` if it has none, or is not all there."""
        if answer.finish_reason == CONTENT_FILTER:
            raise UnusableAnswer("A content filter stopped it.", "Refusal")
        if self._conversation.is_text:
            has_thoughts = bool(parts.thoughts or answer.reasoning_content)
            if answer.finish_reason == LENGTH and not (self._conversation.keeps_cut_off and parts.text.strip()):
                raise UnusableAnswer(_CUT_OFF, "OutputLimit")
            if has_thoughts and not parts.text.strip():
                raise UnusableAnswer("It holds what the model thought, and no answer after it.", "NoAnswer")
            return self._read(parts.text)
        if answer.finish_reason == LENGTH:
            raise UnusableAnswer(_CUT_OFF, "OutputLimit")
        return self._read(answer.text)

    def _given_up(self, kind: str, reason: str) -> GeneratorError:
        reason += _ADVICE.get(kind, "")
        return GeneratorError(f"The answer for column '{self._column}' cannot be used: {reason}", kind)

    def _correction(self, kind: str, reason: str) -> str:
        """What the model is told about an answer of its own."""
        form = "" if self._conversation.is_text else ", in the form that was asked for and with nothing else"
        if kind == "OutputLimit":
            return (
                f"This answer cannot be used: {reason}\nAnswer again from the beginning, shorter, so that all of it is"
                f" there{form}."
            )
        return f"This answer cannot be used: {reason}\nAnswer again{form}."

    def _values(
        self, value: Any, messages: Sequence[dict[str, Any]], answer: ChatAnswer, thoughts: str | None
    ) -> Sequence[Any]:
        values = [value]
        if self._conversation.trace:
            kept = [] if self._conversation.trace == "last_message" else without_media(messages)
            values.append(json.dumps([*kept, _reply(answer)], ensure_ascii=False))
        if self._conversation.reasoning:
            reasoning = [part for part in (answer.reasoning_content, thoughts) if part]
            values.append("\n\n".join(reasoning) or None)
        return values

    async def _opening(self, row: Row) -> list[dict[str, Any]]:
        prompt = await rendered(self._prompt, row)
        if not prompt.strip():
            raise GeneratorError(f"The prompt of column '{self._column}' is empty for this row.", "EmptyPrompt")
        system = await rendered(self._system, row) if self._system is not None else ""
        return opening(system, prompt + self._conversation.instruction)


def opening(system: str, prompt: str) -> list[dict[str, Any]]:
    """The messages a conversation begins with, of rendered texts."""
    messages = [{"role": "system", "content": system}] if system.strip() else []
    return [*messages, {"role": "user", "content": prompt}]


def _reply(answer: ChatAnswer) -> dict[str, Any]:
    reply = {"role": "assistant", "content": answer.text}
    if answer.reasoning_content is not None:
        reply["reasoning_content"] = answer.reasoning_content
    return reply
