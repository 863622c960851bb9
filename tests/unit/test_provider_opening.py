"""From a model's configuration to its provider, its key and its proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from scripted_endpoint import answered, scripted_endpoint

from rowmill.errors import SpecError, UsageError
from rowmill.providers.openai import OpenAIProvider
from rowmill.providers.opening import open_provider, proxy_of
from rowmill.providers.protocol import ChatRequest
from rowmill.providers.simulated import SimulatedProvider
from rowmill.spec.model import ModelConfig


def config(**fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"alias": "writer", "model": "small", **fields})


def test_each_kind_of_provider_is_opened_by_its_name() -> None:
    assert isinstance(open_provider(config(provider="simulated"), {}, 4), SimulatedProvider)
    assert isinstance(open_provider(config(base_url="http://host/v1"), {}, 4), OpenAIProvider)


def test_the_key_comes_from_the_environment() -> None:
    async def main() -> None:
        async with scripted_endpoint(answered()) as endpoint:
            model = config(base_url=endpoint.url, api_key="${WRITER_KEY}")
            provider = open_provider(model, {"WRITER_KEY": "sk-1"}, 4)
            await provider.chat(ChatRequest([{"role": "user", "content": "Is it?"}]))
            await provider.aclose()
        assert endpoint.requests[0].headers["authorization"] == "Bearer sk-1"

    anyio.run(main)


def test_a_missing_key_is_named_by_its_variable() -> None:
    with pytest.raises(SpecError, match="WRITER_KEY"):
        open_provider(config(base_url="http://host/v1", api_key="${WRITER_KEY}"), {}, 4)


@pytest.mark.parametrize(
    ("base_url", "environ", "proxy"),
    [
        ("http://models.example/v1", {}, None),
        ("http://models.example/v1", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("http://models.example/v1", {"HTTP_PROXY": "p:1"}, "http://p:1"),
        ("http://models.example/v1", {"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://models.example/v1", {"https_proxy": "http://p:1"}, None),
        ("https://models.example/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://models.example/v1", {"all_proxy": "http://p:1"}, "http://p:1"),
        ("https://models.example/v1", {"HTTPS_PROXY": "http://p:1", "no_proxy": "other, .example"}, None),
        ("https://models.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://models.example:8/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "models.example:8"}, None),
        ("https://models.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "els.example"}, "http://p:1"),
        ("https://models.example/v1", {"https_proxy": "", "HTTPS_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8000/v1", {"http_proxy": "http://p:1", "all_proxy": "http://p:1"}, None),
        ("http://127.9.9.9/v1", {"http_proxy": "http://p:1"}, None),
        ("http://[::1]:8000/v1", {"http_proxy": "http://p:1"}, None),
        ("http://localhost:8000/v1", {"http_proxy": "http://p:1"}, None),
        ("http://10.0.0.1/v1", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("http://localhost:8000/v1", {"all_proxy": "socks5://p:1"}, None),
    ],
)
def test_the_proxy_is_the_one_other_programs_would_use_and_none_for_loopback(
    base_url: str, environ: Mapping[str, str], proxy: str | None
) -> None:
    assert proxy_of(base_url, environ) == proxy


def test_a_proxy_that_does_not_speak_http_is_a_usage_error_without_its_password() -> None:
    with pytest.raises(UsageError, match="socks5") as caught:
        proxy_of("https://models.example/v1", {"ALL_PROXY": "socks5://user:a-password@p:1"})
    assert "a-password" not in str(caught.value)
