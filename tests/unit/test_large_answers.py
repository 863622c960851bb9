"""Large answers of an endpoint are read a few at a time; small ones never wait for them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from scripted_endpoint import Scripted, answered, chat_answer, scripted_endpoint

from rowmill.providers import http_endpoint
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import ChatRequest

pytestmark = pytest.mark.anyio
_LARGE = answered(chat_answer("x" * 1_000_000))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_large_answer_waits_for_its_place_and_a_small_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint, "MOST_LARGE_ANSWERS", 1)
    texts: list[str] = []
    async with scripted_endpoint(Scripted([_LARGE[:900_000]], then="wait"), _LARGE, answered()) as endpoint:
        provider = OpenAIProvider(endpoint.url, "small", None, 3)

        async def ask() -> None:
            answer = await provider.chat(ChatRequest([{"role": "user", "content": "?"}], {}, 10.0))
            texts.append(answer.text or "")

        async def until(asked: int) -> None:
            while len(endpoint.requests) < asked:
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            stalled = anyio.CancelScope()

            async def stall() -> None:
                with stalled:
                    await ask()

            group.start_soon(stall)
            with anyio.fail_after(20):
                await until(1)
                while provider._endpoint._large.statistics().tasks_waiting == 0:
                    if len(endpoint.requests) == 1 and provider._endpoint._large.value == 0:
                        group.start_soon(ask)
                        await until(2)
                    await anyio.lowlevel.checkpoint()
                await ask()
                assert texts == ["Yes."]
                stalled.cancel()
        assert [len(text) for text in texts] == [4, 1_000_000]
        await provider.aclose()
