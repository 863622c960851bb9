"""A provider that answers what a test says, and a model over it."""

from __future__ import annotations

from typing import Any

from rowmill.generators.prompting.model_handle import ModelHandle
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.spec.model import ModelConfig


class ScriptedProvider:
    """A provider that keeps what it was asked and answers, or raises, what it was given."""

    def __init__(self, *answers: ChatAnswer | BaseException) -> None:
        self.requests: list[ChatRequest] = []
        self._answers = list(answers)

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Nothing to close."""


def handle(provider: Any, **config: Any) -> ModelHandle:
    parameters = {"temperature": 0.5, "extra_body": {"seed": 3}}
    fields = {"alias": "writer", "provider": "simulated", "model": "small", "inference_parameters": parameters}
    return ModelHandle(ModelConfig.model_validate(fields | config), provider)
