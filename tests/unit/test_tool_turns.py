"""Turns with tools: bounded, forgiving to the model, and part of what shapes a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from scripted_provider import ScriptedProvider, handle

from rowmill.generators.prompting.tool_turns import ToolTurns
from rowmill.generators.protocol import Call
from rowmill.providers.answer import read_answer
from rowmill.providers.mcp_tools import Tool
from rowmill.providers.protocol import ChatAnswer, ToolCall


class Echo:
    """One tool that says what it was given."""

    definitions = (Tool("echo", "Says it again", {"type": "object", "properties": {"text": {"type": "string"}}}),)
    max_turns = 2

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"{name} {dict(arguments)}"


def wants(name: str = "echo", arguments: str = '{"text": "a"}') -> ChatAnswer:
    return ChatAnswer("", tool_calls=(ToolCall("1", name, arguments),))


def turned(*answers: ChatAnswer) -> tuple[ChatAnswer, list[dict[str, Any]], ScriptedProvider, Call]:
    provider = ScriptedProvider(*answers)
    call = Call(0, [0])
    answer, exchanged = anyio.run(
        ToolTurns(handle(provider), Echo()).chat, [{"role": "user", "content": "?"}], call, {}
    )
    return answer, exchanged, provider, call


def test_tools_are_offered_and_their_results_sent_back() -> None:
    answer, exchanged, provider, call = turned(wants(), ChatAnswer("Done."))
    assert answer.text == "Done."
    assert exchanged[1] == {"role": "tool", "tool_call_id": "1", "content": "echo {'text': 'a'}"}
    assert provider.requests[0].parameters["tools"][0]["function"]["name"] == "echo"
    assert provider.requests[1].messages[1:] == exchanged
    assert len(call.requests) == 2


def test_after_the_last_turn_the_model_must_answer_without_tools() -> None:
    answer, exchanged, provider, _ = turned(wants(), wants(), ChatAnswer("Well."))
    assert answer.text == "Well."
    assert [request.parameters.get("tool_choice") for request in provider.requests] == [None, None, "none"]
    assert len(exchanged) == 4


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (wants(arguments="{"), "Error: the arguments are not valid JSON"),
        (wants(arguments="[]"), "Error: the arguments are not a JSON object."),
        (wants(name="shout"), "Error: there is no tool 'shout'."),
    ],
)
def test_a_mistake_of_the_model_is_told_to_it(wanted: ChatAnswer, reason: str) -> None:
    _, exchanged, _, _ = turned(wanted, ChatAnswer("Sorry."))
    assert exchanged[1]["content"].startswith(reason)


def test_tool_calls_are_read_only_where_tools_were_offered() -> None:
    payload = (
        b'{"choices": [{"message": {"content": null, "tool_calls": [{"id": "1", "function": '
        b'{"name": "echo", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}'
    )
    assert read_answer(payload, "e", "m", with_tools=True).tool_calls == (ToolCall("1", "echo", "{}"),)
    with pytest.raises(Exception, match="asked for a tool instead"):
        read_answer(payload, "e", "m")
