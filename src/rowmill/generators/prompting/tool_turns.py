"""Turns of a conversation in which the model calls tools, until it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.generators.protocol import Call, Model, Toolbox
from rowmill.providers.finish_reason import LENGTH
from rowmill.providers.protocol import ChatAnswer, ToolCall

_LONGEST_RESULT = 200_000
_CUT_OFF = "Error: the call was cut off at the output limit, and not made. Use shorter arguments."


class ToolTurns:
    """A model and the tools it may call. Each turn is a request of its own, and journaled as one."""

    def __init__(self, model: Model, tools: Toolbox) -> None:
        self._model = model
        self._tools = tools
        self._definitions = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in tools.definitions
        ]

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], call: Call, parameters: Mapping[str, Any]
    ) -> tuple[ChatAnswer, list[dict[str, Any]]]:
        """The answer, and the messages that were exchanged with tools before it."""
        exchanged: list[dict[str, Any]] = []
        for turns_left in range(self._tools.max_turns, -1, -1):
            choice = {} if turns_left else {"tool_choice": "none"}
            offered = {**parameters, "tools": self._definitions, **choice}
            answer = await self._model.chat([*messages, *exchanged], call, offered)
            if not answer.tool_calls or not turns_left:
                break
            exchanged.append(_asked(answer))
            for wanted in answer.tool_calls:
                result = _CUT_OFF if answer.finish_reason == LENGTH else await self._result(wanted)
                exchanged.append({"role": "tool", "tool_call_id": wanted.id, "content": result[:_LONGEST_RESULT]})
        return answer, exchanged

    async def _result(self, wanted: ToolCall) -> str:
        """What the tool says; a mistake of the model's is told to it, as a result."""
        try:
            arguments = json.loads(wanted.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return f"Error: the arguments are not valid JSON: {error}"
        if not isinstance(arguments, dict):
            return "Error: the arguments are not a JSON object."
        if wanted.name not in {tool.name for tool in self._tools.definitions}:
            return f"Error: there is no tool {wanted.name!r}."
        return await self._tools.call(wanted.name, arguments)


def _asked(answer: ChatAnswer) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": answer.text or None,
        "tool_calls": [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in answer.tool_calls
        ],
    }
