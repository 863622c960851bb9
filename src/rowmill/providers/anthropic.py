"""The Messages API of Anthropic, and of servers that offer the same.

Requests come in the form of chat completions, as all of Rowmill speaks, and are translated here: system
messages into ``system``, images into ``image`` blocks, tools and their results into ``tool_use`` and
``tool_result``. Errors are those of :mod:`rowmill.providers.http_endpoint` and
:mod:`rowmill.providers.anthropic_answer`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from rowmill.errors import Rejected
from rowmill.providers.access import DIRECT, Access
from rowmill.providers.anthropic_answer import error_of_message_status, read_message
from rowmill.providers.http_endpoint import HttpEndpoint
from rowmill.providers.model_list import described
from rowmill.providers.protocol import ChatAnswer, ChatRequest

API_VERSION: Final = "2023-06-01"
DEFAULT_MAX_TOKENS: Final = 4096
"""The API requires a bound on the answer; this one is sent when the spec names none."""

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,(?P<data>.*)", re.DOTALL)


class AnthropicProvider:
    """One model of one endpoint. ``base_url`` ends before ``/messages``."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        max_connections: int,
        *,
        proxy: str | None = None,
        access: Access = DIRECT,
        service_tier: str | None = None,
        watch: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        self._endpoint = HttpEndpoint(
            base_url,
            model,
            api_key,
            max_connections,
            authorize=partial(access.authorization, "x-api-key"),
            headers={"anthropic-version": API_VERSION},
            error_of_status=error_of_message_status,
            proxy=proxy,
            access=access,
            watch=watch,
        )
        self._model = model
        self._of_chats = {} if service_tier is None else {"service_tier": service_tier}

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """Makes exactly one request, within ``request.timeout_s`` seconds.

        Raises :class:`RateLimited`, :class:`Transient`, :class:`Rejected` or :class:`RunStopping`.
        """
        system, messages = translated(request.messages)
        document = {
            "max_tokens": DEFAULT_MAX_TOKENS,
            **self._of_chats,
            **_with_tools(request.parameters),
            **({"system": system} if system else {}),
            "model": self._model,
            "messages": messages,
        }
        read = partial(read_message, with_tools="tools" in request.parameters)
        return await self._endpoint.post("/messages", document, request.timeout_s, read)

    async def describe(self, timeout_s: float) -> Mapping[str, Any]:
        """What the endpoint lists of the model; empty if it does not."""
        return described(await self._endpoint.get("/models", timeout_s), self._model)

    async def aclose(self) -> None:
        """Closes all connections; requests under way end as ``Transient``. Safe to call twice."""
        await self._endpoint.aclose()


def translated(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt and the other messages. Raises :class:`Rejected` for content the API does not take."""
    system = "\n\n".join(str(message["content"]) for message in messages if message["role"] == "system")
    others: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
            if others and others[-1]["role"] == "user" and _is_results(others[-1]["content"]):
                others[-1]["content"].append(result)  # all results of one answer belong into one message
            else:
                others.append({"role": "user", "content": [result]})
        elif message.get("tool_calls"):
            others.append({"role": "assistant", "content": _wanted(message)})
        elif message["role"] != "system":
            others.append({"role": message["role"], "content": _content(message["content"])})
    return system, others


def _is_results(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and content[0].get("type") == "tool_result"


def _wanted(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": message["content"]}] if message["content"] else []
    for call in message["tool_calls"]:
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except ValueError:
            arguments = {}
        blocks.append(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": function["name"],
                "input": arguments if isinstance(arguments, dict) else {},
            }
        )
    return blocks


def _with_tools(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with tools in the form of this API."""
    if "tools" not in parameters:
        return parameters
    changed = dict(parameters)
    changed["tools"] = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"].get("description") or "",
            "input_schema": tool["function"].get("parameters") or {"type": "object"},
        }
        for tool in parameters["tools"]
    ]
    if "tool_choice" in parameters:
        changed["tool_choice"] = {"type": parameters["tool_choice"]}
    return changed


def _content(content: Any) -> Any:
    return [_block(part) for part in content] if isinstance(content, list) else content


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind != "image_url":
        raise Rejected(f"Provider 'anthropic' takes text and images, not {kind!r}", "UnsupportedContent")
    url = str(part["image_url"]["url"])
    data = _DATA_URL.fullmatch(url)
    if data is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": data["type"], "data": data["data"]}}
