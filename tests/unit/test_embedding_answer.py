"""Embeddings over HTTP, from the simulator and as endpoints may send them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import anyio
import pytest
from provider_simulator import provider_simulator

from rowmill.errors import ProviderError, RateLimited, Rejected, RunStopping, Transient, Unavailable
from rowmill.providers.embedding_answer import read_embeddings
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.protocol import EmbeddingAnswer, EmbeddingRequest
from rowmill.providers.simulated import simulated_embeddings


def answer(*vectors: Any, **more: Any) -> bytes:
    data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 4}} | more).encode()


def read(payload: bytes, texts: int = 2) -> EmbeddingAnswer:
    return read_embeddings(payload, "http://host/v1", "small", texts=texts)


def test_vectors_come_in_the_order_of_their_index() -> None:
    data = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1.5, 2]}]
    assert read(json.dumps({"data": data}).encode()) == EmbeddingAnswer([[1.5, 2.0], [3.0, 4.0]], 0)


def test_base64_is_read_as_32_bit_floats() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    assert read(answer(packed), texts=1) == EmbeddingAnswer([[0.5, -2.0]], 4)


@pytest.mark.parametrize(
    "payload",
    [
        answer([1.0]),
        answer([1.0], [1.0], [1.0]),
        answer([1.0], [1.0, 2.0]),
        answer([], []),
        answer([1.0], [None]),
        answer([1.0], ["x"]),
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}',
        b"[]",
        b"{}",
        b'{"data": [',
        answer([1.0], "AAA"),
        answer([1.0], {"0": 0.5}),
        answer([1.0], [True]),
        answer([1.0], ["0.5"]),
        answer([1.0], [[0.5]]),
        b'{"data": [{"index": true, "embedding": [1]}, {"index": false, "embedding": [1]}]}',
        b'{"data": [{"index": 1, "embedding": [1]}, {"embedding": [1]}]}',
    ],
)
def test_anything_but_one_vector_a_text_is_worth_another_attempt(payload: bytes) -> None:
    with pytest.raises(Transient, match="without usable embeddings"):
        read(payload)


def test_an_error_in_place_of_vectors_is_that_error() -> None:
    with pytest.raises(RateLimited):
        read(b'{"error": {"code": 429, "message": "slow down"}}')


def embed(url: str, *texts: str, key: str | None = None, **parameters: Any) -> EmbeddingAnswer:
    async def ask() -> EmbeddingAnswer:
        provider = OpenAIProvider(url, "small", key, 2)
        try:
            return await provider.embed(EmbeddingRequest(texts, parameters, 10))
        finally:
            await provider.aclose()

    return anyio.run(ask)


def test_the_simulator_makes_vectors_that_depend_on_model_and_text_alone() -> None:
    with provider_simulator() as simulator:
        both = embed(simulator.url, "a", "bb")
        assert both == simulated_embeddings("small", ["a", "bb"], {})
        assert embed(simulator.url, "bb").vectors == both.vectors[1:]
        packed = embed(simulator.url, "a", encoding_format="base64", dimensions=100).vectors[0]
        assert len(packed) == 100
        assert packed == pytest.approx(simulated_embeddings("small", ["a"], {"dimensions": 100}).vectors[0], abs=1e-6)
        assert simulator.statistics()["requests"] == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"rate_limited": 1}, RateLimited),
        ({"transient": 1}, Unavailable),
        ({"truncated": 1}, Transient),
        ({"rejected": 1}, Rejected),
        ({"api_key": "wanted"}, RunStopping),
    ],
)
def test_failures_are_the_same_as_of_chats(options: dict[str, Any], error: type[ProviderError]) -> None:
    with provider_simulator(**options) as simulator, pytest.raises(error) as caught:
        embed(simulator.url, "a", key="not-this-one")
    assert type(caught.value) is error
    assert "not-this-one" not in str(caught.value)
