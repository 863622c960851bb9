"""Models as a custom function sees them: ``models["writer"].chat("…")``, journaled through its call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.from_thread

from rowmill.generators.protocol import Call, Model
from rowmill.providers.protocol import ChatAnswer


class AskedModel:
    """A model for an async function: ``answer = await model.chat(prompt, temperature=0.2)``."""

    def __init__(self, model: Model, call: Call) -> None:
        self._model = model
        self._call = call

    async def chat(self, messages: str | Sequence[Mapping[str, Any]], **parameters: Any) -> ChatAnswer:
        """One request. ``messages``: a prompt, or messages with ``role`` and ``content``. Provider errors are raised
        as they come: let them pass, and the row is deferred or rejected as for any other column."""
        return await self._model.chat(_as_messages(messages), self._call, parameters)


class BlockingModel:
    """The same for a function in a worker thread: ``answer = model.chat(prompt)``."""

    def __init__(self, model: Model, call: Call) -> None:
        self._asked = AskedModel(model, call)

    def chat(self, messages: str | Sequence[Mapping[str, Any]], **parameters: Any) -> ChatAnswer:
        """One request, made on the event loop; this thread waits for the answer."""
        return anyio.from_thread.run(lambda: self._asked.chat(messages, **parameters))


def _as_messages(messages: str | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
