"""Chat completions, embeddings and pictures of any OpenAI-compatible endpoint.

Errors are those of :mod:`rowmill.providers.http_endpoint` and :mod:`rowmill.providers.answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rowmill.providers.access import DIRECT, Access
from rowmill.providers.answer import read_answer
from rowmill.providers.embedding_answer import read_embeddings
from rowmill.providers.http_endpoint import LARGEST_ANSWER_BYTES, HttpEndpoint
from rowmill.providers.image_answer import as_answer, read_picture
from rowmill.providers.model_list import described
from rowmill.providers.protocol import (
    ChatAnswer,
    ChatRequest,
    EmbeddingAnswer,
    EmbeddingRequest,
    ImageAnswer,
    ImageRequest,
)

__all__ = ["LARGEST_ANSWER_BYTES", "OpenAIProvider"]


class OpenAIProvider:
    """One model of one OpenAI-compatible endpoint. Needs asyncio; opens connections on first use.

    ``base_url`` ends before ``/chat/completions``. ``extra_body`` is added to every request and wins over
    its parameters. The rest is as for :class:`~rowmill.providers.http_endpoint.HttpEndpoint`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        max_connections: int,
        extra_body: Mapping[str, Any] | None = None,
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
            authorize=partial(access.authorization, "Authorization"),
            proxy=proxy,
            access=access,
            watch=watch,
        )
        self._model = model
        self._extra_body = dict(extra_body or {})
        self._of_chats = {} if service_tier is None else {"service_tier": service_tier}

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """Makes exactly one request, within ``request.timeout_s`` seconds.

        Raises :class:`RateLimited`, :class:`Transient`, :class:`Rejected` or :class:`RunStopping`.
        """
        document = {
            **self._of_chats,
            **request.parameters,
            **self._extra_body,
            "model": self._model,
            "messages": request.messages,
        }
        read = partial(read_answer, with_tools=True) if "tools" in request.parameters else read_answer
        return await self._endpoint.post("/chat/completions", document, request.timeout_s, read)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """Makes exactly one request for the vectors of all texts; raises the same errors."""
        document = {
            **request.parameters,
            **self._extra_body,
            "model": self._model,
            "input": list(request.texts),
        }
        read = partial(read_embeddings, texts=len(request.texts))
        return await self._endpoint.post("/embeddings", document, request.timeout_s, read)

    async def draw(self, request: ImageRequest) -> ImageAnswer:
        """Makes one request for a picture, and one more to fetch it if the answer is a URL (without the key)."""
        document: dict[str, Any] = {**request.parameters, **self._extra_body, "model": self._model}
        if request.in_chat:
            content = [*request.parts, {"type": "text", "text": request.prompt}] if request.parts else request.prompt
            document = {"modalities": ["image", "text"], **document}
            document["messages"] = [{"role": "user", "content": content}]
        else:
            document["prompt"] = request.prompt
        path = "/chat/completions" if request.in_chat else "/images/generations"
        found = await self._endpoint.post(path, document, request.timeout_s, read_picture)
        content_bytes = found.content
        if content_bytes is None:
            content_bytes = await self._endpoint.fetch(found.url or "", request.timeout_s)
        return as_answer(content_bytes, found)

    async def describe(self, timeout_s: float) -> Mapping[str, Any]:
        """What the endpoint lists of the model; empty if it does not."""
        return described(await self._endpoint.get("/models", timeout_s), self._model)

    async def aclose(self) -> None:
        """Closes all connections; requests under way end as ``Transient``. Safe to call twice."""
        await self._endpoint.aclose()
