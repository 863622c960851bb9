"""A model endpoint for simulations: seeded, on a virtual clock, with every bad habit endpoints have.

What becomes of a request follows from the seed, the request and how often it was made, and from what the endpoint
goes through at the time (:class:`Phase`). Answers follow from the request alone, as the promise of the same dataset
after a crash demands. It keeps its own books, for the run's to be compared with.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import anyio

from rowmill.errors import RateLimited, Rejected, RunStopping, Transient
from rowmill.providers.protocol import ChatAnswer, ChatRequest

DEFAULT_COOL_DOWN_S = 2.0


class BrokenPromise(AssertionError):
    """The run did what it must never do."""


@dataclass(frozen=True)
class Phase:
    """Something an endpoint goes through for a while, in seconds since the run began."""

    kind: Literal["dead", "hanging", "refusing", "failing", "slow"]
    starts_s: float
    ends_s: float
    retry_after_s: float | None = None
    """What its 429s say, while it refuses everything."""


@dataclass(frozen=True)
class Mood:
    """How an endpoint behaves. Shares are of all requests."""

    latency: Literal["constant", "uniform", "lognormal"] = "constant"
    latency_s: float = 1.0
    rate_limited: float = 0.0
    retry_after_s: float = 5.0
    """What half of its 429s say; the others say nothing."""
    transient: float = 0.0
    truncated: float = 0.0
    hanging: float = 0.0
    rejected: float = 0.0
    """Share of requests refused every time they are made."""
    slow_start_s: float = 0.0
    """It is ten times slower for so long, whenever an invocation begins."""
    phases: tuple[Phase, ...] = ()
    stops_at_request: int | None = None
    """This request is answered with 401: the key is wrong for a moment."""


@dataclass
class Books:
    """What an endpoint knows of its past."""

    requests: int = 0
    made: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)


def answer_to(prompt: str) -> str:
    """The answer to a request; the same whenever and however often it is made."""
    return blake2b(prompt.encode(), digest_size=6).hexdigest()


class MoodyEndpoint:
    """One endpoint, over all invocations of a run."""

    def __init__(self, name: str, mood: Mood, seed: str, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since the run began."""
        self.name = name
        self.running = 0
        self.books = Books()
        self.on_request: Callable[[MoodyEndpoint], None] = lambda endpoint: None
        self.resting_until = -math.inf
        """No request may come before this: a 429 said so."""
        self.began_at = 0.0
        """When the invocation began."""
        self._mood = mood
        self._seed = f"{seed}/{name}"
        self._clock = clock

    async def chat(self, request: ChatRequest) -> ChatAnswer:
        """See :class:`rowmill.providers.protocol.Provider`."""
        prompt = str(request.messages[-1]["content"])
        self.on_request(self)
        self.books.requests += 1
        self.books.made[prompt] += 1
        self.running += 1
        try:
            await self._think(prompt, request.timeout_s, self.books.requests)
        finally:
            self.running -= 1
        self.books.answered[prompt] += 1
        text = answer_to(prompt)
        return ChatAnswer(text, None, "stop", len(prompt) // 4 + 1, len(text) // 4 + 1)

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _think(self, prompt: str, timeout_s: float, number: int) -> None:
        chance = random.Random(f"{self._seed}/{prompt}/{self.books.made[prompt]}")
        phase = self._phase()
        latency_s = self._latency_s(chance)
        mood = self._mood
        if number == mood.stops_at_request:
            await anyio.sleep(latency_s)
            raise RunStopping("401: the key is wrong", "HTTP 401")
        if phase == "dead":
            await anyio.sleep(0.01)
            raise Transient("connection refused", "ConnectionRefused")
        lot = chance.random()
        if phase == "hanging" or lot < mood.hanging:
            if chance.random() < 0.5:
                await anyio.sleep_forever()  # until the dispatcher's own deadline
            await anyio.sleep(timeout_s)
            raise Transient("no answer", "Timeout")
        if latency_s >= timeout_s:
            await anyio.sleep(timeout_s)
            raise Transient("no answer", "Timeout")
        await anyio.sleep(latency_s)
        if self._phase() == "refusing":
            self._refuse(next(p.retry_after_s for p in mood.phases if p.kind == "refusing"))
        if random.Random(f"{self._seed}/{prompt}").random() < mood.rejected:
            raise Rejected("400: no such thing", "HTTP 400")
        lot -= mood.hanging
        if lot < mood.rate_limited:
            self._refuse(mood.retry_after_s if chance.random() < 0.5 else None)
        lot -= mood.rate_limited
        failing = 0.9 if phase == "failing" else mood.transient
        if lot < failing:
            raise Transient("503", "HTTP 503", 3.0 if chance.random() < 0.2 else None)
        if lot - failing < mood.truncated:
            raise Transient("the answer ends in the middle", "Truncated")

    def _phase(self) -> str | None:
        now = self._clock()
        return next((phase.kind for phase in self._mood.phases if phase.starts_s <= now < phase.ends_s), None)

    def _latency_s(self, chance: random.Random) -> float:
        mood = self._mood
        factor = 1.0
        if mood.latency == "uniform":
            factor = chance.uniform(0.5, 1.5)
        elif mood.latency == "lognormal":
            factor = min(20.0, math.exp(chance.gauss(0.0, 0.8)))
        if self._phase() == "slow" or self._clock() < self.began_at + mood.slow_start_s:
            factor *= 10.0
        return mood.latency_s * factor

    def _refuse(self, retry_after_s: float | None) -> None:
        rest = DEFAULT_COOL_DOWN_S if retry_after_s is None else retry_after_s
        self.resting_until = max(self.resting_until, self._clock() + rest)
        raise RateLimited("429", retry_after_s)
