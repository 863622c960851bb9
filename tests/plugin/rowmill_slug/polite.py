"""The provider ``polite``."""

from dataclasses import replace

from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.spec.model import ModelConfig


class PoliteProvider:
    """Asks any OpenAI-compatible server, and says please."""

    def __init__(self, config: ModelConfig, api_key: str | None) -> None:
        url = config.effective_base_url() or ""
        self._server = OpenAIProvider(url, config.model, api_key, config.max_parallel_requests)

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """One request; errors are those of ``rowmill.errors``: RateLimited, Transient, Rejected, RunStopping."""
        please = {"role": "system", "content": "Please."}
        return await self._server.chat(replace(request, messages=[please, *request.messages]))

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._server.aclose()
