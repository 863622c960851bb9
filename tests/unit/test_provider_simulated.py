"""The in-process simulated provider: the same answers everywhere, failures that pass, no real time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from provider_simulator import provider_simulator

from rowmill.errors import InternalError, ProviderError, RateLimited, Rejected, Transient
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.providers.simulated import Fate, Fates, SimulatedProvider, request_digest, simulated_answer
from rowmill.spec.model import SimulationConfig


def question(content: str, *, timeout_s: float = 60.0, **parameters: Any) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": content}], parameters, timeout_s)


def provider(run_seed: int = 0, **options: Any) -> SimulatedProvider:
    return SimulatedProvider("small", SimulationConfig(**options), run_seed)


def on_virtual_time(main: Callable[[], Awaitable[Any]]) -> Any:
    """Runs ``main`` on a clock that jumps as soon as everything waits."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def outcomes_of(model: SimulatedProvider, requests: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number in range(requests):
        try:
            await model.chat(question(f"Question number {number}"))
            counts["answered"] += 1
        except ProviderError as error:
            counts[type(error).__name__] += 1
    return counts


def test_the_answer_is_the_same_whatever_failed_before() -> None:
    async def main() -> None:
        plain = await provider(latency_ms=0.0).chat(question("Describe the Adelie penguin"))
        failing = provider(latency_ms=0.0, rate_limited=0.5, transient=0.4)
        failures = 0
        while True:
            try:
                assert await failing.chat(question("Describe the Adelie penguin")) == plain
                break
            except (RateLimited, Transient):
                failures += 1
                assert failures < 200

    anyio.run(main)


def test_the_answer_is_the_same_in_every_process() -> None:
    code = """
import json, sys
from rowmill.providers.simulated import request_digest, simulated_answer
messages = [{"role": "user", "content": "Describe the Adelie penguin of Torgersen island"}]
parameters = {"temperature": 0.5, "top_p": 1}
digest = request_digest("small", messages, parameters)
answer = simulated_answer(digest, messages, parameters, text=None, output_tokens=40)
print(json.dumps([answer.text, answer.input_tokens, answer.output_tokens]))
"""
    source = str(Path(__file__).resolve().parents[2] / "src")
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": source, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1
    text = json.loads(told.pop())[0]
    assert any(word in text for word in ("Adelie", "penguin", "Torgersen", "island"))


def test_the_answer_is_that_of_the_http_simulator() -> None:
    async def main(url: str) -> None:
        here = provider(latency_ms=0.0, output_tokens=60)
        there = OpenAIProvider(url, "small", None, 4)
        for number in range(20):
            request = question(f"Describe penguin number {number}", temperature=0.7, max_tokens=5 * number + 1)
            assert await here.chat(request) == await there.chat(request)
        await there.aclose()

    with provider_simulator() as simulator:
        anyio.run(main, simulator.url)


def test_another_prompt_model_or_parameter_gives_another_answer() -> None:
    def text(model: str = "small", content: str = "Describe the penguin", **parameters: Any) -> str:
        messages = [{"role": "user", "content": content}]
        digest = request_digest(model, messages, parameters)
        return simulated_answer(digest, messages, parameters, text=None, output_tokens=80).text

    assert len({text(), text("large"), text(content="Describe the seal"), text(temperature=0.5)}) == 4
    assert text(temperature=0.5, top_p=1) == text(top_p=1, temperature=0.5)


def test_a_given_answer_is_sent_as_it_stands() -> None:
    async def main() -> None:
        answer = await provider(latency_ms=0.0, answer="42").chat(question("What is it?"))
        assert answer == ChatAnswer("42", None, "stop", input_tokens=7, output_tokens=1)

    anyio.run(main)


def test_max_tokens_cuts_the_answer_and_says_so() -> None:
    async def main() -> None:
        answer = await provider(latency_ms=0.0, output_tokens=100).chat(question("Describe it", max_tokens=10))
        assert answer.finish_reason == "length"
        assert answer.output_tokens <= 10

    anyio.run(main)


@given(content=st.text(), tokens=st.integers(1, 500))
def test_any_prompt_gets_an_answer_of_about_the_length_asked_for(content: str, tokens: int) -> None:
    messages = [{"role": "user", "content": content}]
    digest = request_digest("small", messages, {})
    answer = simulated_answer(digest, messages, {}, text=None, output_tokens=tokens)
    assert answer.text
    assert tokens <= answer.output_tokens <= tokens + 35
    answer.text.encode()


def test_requests_fail_in_the_shares_asked_for() -> None:
    async def main() -> Counter[str]:
        return await outcomes_of(provider(latency_ms=0.0, rate_limited=0.2, transient=0.1, rejected=0.3), 4000)

    counts = anyio.run(main)
    shares = {name: count / 4000 for name, count in counts.items()}
    expected = {"RateLimited": 0.2, "Transient": 0.1, "Rejected": 0.3, "answered": 0.4}
    assert shares == pytest.approx(expected, abs=0.03)


def test_the_seed_decides_which_requests_fail() -> None:
    async def fates(run_seed: int, **options: Any) -> list[str]:
        model = provider(run_seed, latency_ms=0.0, transient=0.5, **options)
        fates = []
        for number in range(60):
            try:
                await model.chat(question(f"Question number {number}"))
                fates.append("answered")
            except Transient:
                fates.append("transient")
        return fates

    async def main() -> None:
        assert await fates(1) == await fates(1)
        assert await fates(1) != await fates(2)
        assert await fates(1) != await fates(1, seed=5)

    anyio.run(main)


def test_a_rejected_prompt_is_rejected_every_time() -> None:
    async def main() -> None:
        model = provider(latency_ms=0.0, rejected=0.5, transient=0.25)
        first = await outcomes_of(model, 200)
        rejected = Counter[str]()
        for _ in range(20):
            rejected[str((await outcomes_of(model, 200))["Rejected"])] += 1
        assert rejected == {str(first["Rejected"]): 20}

    anyio.run(main)


@pytest.mark.parametrize(("share", "kind"), [("rate_limited", RateLimited), ("transient", Transient)])
def test_a_share_of_one_fails_for_ever(share: str, kind: type[ProviderError]) -> None:
    async def main() -> None:
        options: dict[str, Any] = {share: 1.0}
        model = provider(latency_ms=0.0, retry_after_s=3.0, **options)
        for _ in range(100):
            with pytest.raises(kind) as caught:
                await model.chat(question("Is it?"))
            assert getattr(caught.value, "retry_after_s", None) == (3.0 if kind is RateLimited else None)

    anyio.run(main)


def test_latency_passes_on_virtual_time_and_stays_within_its_spread() -> None:
    async def main() -> list[float]:
        model = provider(latency_ms=1000.0, latency_jitter=0.2)
        waits = []
        for number in range(300):
            before = trio.current_time()
            await model.chat(question(f"Question number {number}"))
            waits.append(trio.current_time() - before)
        return waits

    waits = on_virtual_time(main)
    assert min(waits) >= 0.8
    assert max(waits) <= 1.2
    assert sum(waits) / len(waits) == pytest.approx(1.0, abs=0.03)
    assert max(waits) - min(waits) > 0.3


def test_a_latency_beyond_the_time_out_is_a_time_out_at_its_moment() -> None:
    async def main() -> None:
        model = provider(latency_ms=90_000.0)
        before = trio.current_time()
        with pytest.raises(Transient) as caught:
            await model.chat(question("Is it?", timeout_s=60.0))
        assert caught.value.error_type == "Timeout"
        assert trio.current_time() - before == pytest.approx(60.0)

    on_virtual_time(main)


def test_only_requests_that_failed_last_are_remembered() -> None:
    fates = Fates({Fate.TRANSIENT: 0.5})
    digests = [number.to_bytes(16, "little") for number in range(500)]
    while digests:
        digests = [digest for digest in digests if fates.decide(digest).fate is not Fate.ANSWERED]
        assert len(fates._failures) == len(digests)


def test_what_becomes_of_a_request_of_a_run_follows_from_its_occasion_alone() -> None:
    shares = {Fate.TRANSIENT: 0.3, Fate.RATE_LIMITED: 0.2}
    digests = [number.to_bytes(16, "little") for number in range(200)]
    occasions = [(digest, f"review\0{row}\0{tries}\0" + "0") for row, digest in enumerate(digests) for tries in (0, 1)]
    one_process, another = Fates(shares), Fates(shares)
    forwards = [one_process.decide(*each).fate for each in occasions]
    backwards = [another.decide(*each).fate for each in reversed(occasions)]
    assert forwards == backwards[::-1]
    assert set(forwards) == {Fate.TRANSIENT, Fate.RATE_LIMITED, Fate.ANSWERED}
    assert forwards[::2] != forwards[1::2]


def test_rows_that_ask_the_same_do_not_all_fail_with_one_of_them() -> None:
    fates = Fates({Fate.TRANSIENT: 0.5})
    found = {fates.decide(bytes(16), f"review\0{row}\0" + "0\0" + "0").fate for row in range(50)}
    assert found == {Fate.TRANSIENT, Fate.ANSWERED}


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes"])
def test_a_request_json_cannot_express_is_rejected(value: Any) -> None:
    async def main() -> None:
        with pytest.raises(Rejected):
            await provider(latency_ms=0.0).chat(question("Is it?", parameter=value))

    anyio.run(main)


def test_asking_a_closed_provider_is_a_contradiction() -> None:
    async def main() -> None:
        model = provider()
        await model.aclose()
        await model.aclose()
        with pytest.raises(InternalError):
            await model.chat(question("Is it?"))

    anyio.run(main)
