"""An endpoint or a function that is rate limited for ever, beside three healthy endpoints, in virtual time (A6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import trio
from trio.testing import MockClock
from virtual_run import EPOCH, Row, custom, llm, model, prepared, sampler

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.engine.invocation import work
from rowmill.engine.writer import InlineWriter
from rowmill.errors import RateLimited
from rowmill.providers.opening import open_provider
from rowmill.providers.protocol import ChatAnswer, ChatRequest, Provider
from rowmill.spec.model import ModelConfig
from rowmill.store.run_store import RunStore

HEALTHY = ("one", "two", "three")
LATENCY_S = 0.020
LIMIT = 32


@dataclass
class Storm:
    """What came of it, and the database, still open."""

    store: RunStore
    answered_at: dict[str, list[float]] = field(default_factory=dict)
    """Per model when its answers came, in seconds since the run began."""
    refused_at: list[float] = field(default_factory=list)
    turns_until_idle: int = 0
    turns: int = 0
    idle_s: float = 0.0
    has_ended: bool = False
    """The run ended by itself."""

    def took_s(self) -> float:
        """Until the last answer of the healthy endpoints, in seconds."""
        return max(moment for name in HEALTHY for moment in self.answered_at[name])

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.store.connection.execute(query)


class _Counted:
    """A provider whose answers are counted."""

    def __init__(self, inner: Provider, answered_at: list[float], refused_at: list[float]) -> None:
        self._inner = inner
        self._answered_at = answered_at
        self._refused_at = refused_at

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        try:
            answer = await self._inner.chat(request)
        except Exception:
            self._refused_at.append(anyio.current_time())
            raise
        self._answered_at.append(anyio.current_time())
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


def storm(
    row_groups: int, *, with_bad: bool, with_function: bool = False, idle_s: float = 0.0, **settings: Any
) -> Storm:
    """The run until the healthy columns are done and ``idle_s`` more; it is cut off then unless it has ended.

    ``with_bad``: beside an endpoint that answers 429 for ever; ``with_function``: beside a custom function that does.
    """
    names = [*HEALTHY, *(["bad"] if with_bad else [])]
    result = Storm(RunStore.in_memory(), {name: [] for name in names})

    async def refusing(row: Row) -> str:
        await anyio.sleep(LATENCY_S)
        result.refused_at.append(anyio.current_time())
        raise RateLimited("slow down")

    simulation: dict[str, Any] = {"latency_ms": LATENCY_S * 1000, "answer": "yes"}
    moods = {name: simulation | ({"rate_limited": 1.0} if name == "bad" else {}) for name in names}
    spec = prepared(
        sampler("rating"),
        *[llm(f"by_{name}", "{{ rating }}", name) for name in names],
        *([custom("by_function", refusing)] if with_function else []),
        models=[model(name, LIMIT, simulation=moods[name]) for name in names],
        records=20 * row_groups,
        row_group_size=20,
        run=settings,
    )

    def opened(config: ModelConfig, environ: Mapping[str, str], limit: int) -> Provider:
        return _Counted(open_provider(config, environ, limit), result.answered_at[config.model], result.refused_at)

    async def main() -> None:
        begun = anyio.current_time()
        dispatchers: list[Dispatcher] = []
        is_over = False
        async with anyio.create_task_group() as group:

            async def works() -> None:
                await work(
                    result.store,
                    InlineWriter(),
                    spec,
                    wall_clock=lambda: EPOCH + anyio.current_time() - begun,
                    environ={},
                    open_provider=opened,
                    on_dispatcher=dispatchers.append,
                )
                result.has_ended = not is_over

            group.start_soon(works)
            wanted = 20 * row_groups
            while not all(len(result.answered_at[name]) >= wanted for name in HEALTHY):
                await anyio.sleep(0.25)
                assert anyio.current_time() - begun < 10_000.0, {n: len(t) for n, t in result.answered_at.items()}
            await anyio.sleep(1.0)
            if idle_s:
                result.turns_until_idle = dispatchers[0].statistics().turns
                await anyio.sleep(idle_s)
                result.turns = dispatchers[0].statistics().turns
                result.idle_s = idle_s
            is_over = True
            if not result.has_ended:
                dispatchers[0].cancel()
        for times in [*result.answered_at.values(), result.refused_at]:
            times[:] = [moment - begun for moment in times]

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return result
