"""Models: endpoints, keys, parameters, simulation."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rowmill.errors import SpecError
from rowmill.spec.model import InferenceParameters, ModelConfig
from rowmill.spec.secret_reference import resolve_secret
from rowmill.spec.spec import Spec

SECRET = "sk-very-secret-4711"


def model(**fields: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {"alias": "w", "provider": "openai", "base_url": "http://127.0.0.1:8000/v1", "model": "m", **fields}
    )


def refusal(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Spec.from_data({"records": 1, "models": [{"alias": "w", "model": "m", "base_url": "http://h/v1", **fields}]})
    return str(caught.value)


def test_the_defaults_are_those_of_data_designer() -> None:
    assert model().max_parallel_requests == 4
    assert model().timeout_s == 60


@pytest.mark.parametrize("key", [SECRET, f"${{A}}{SECRET}", "$A", "${}", "${A-B}", 4711, ["x"], f" {SECRET}"])
def test_a_literal_key_is_refused_without_repeating_it(key: object) -> None:
    message = refusal(api_key=key)
    assert "never written into a spec" in message
    assert SECRET not in message
    assert "4711" not in message


def test_pydantics_own_error_does_not_repeat_a_literal_key_either() -> None:
    with pytest.raises(ValidationError) as caught:
        model(api_key=SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Spec(records=1, models=[{"alias": "w", "model": "m", "api_key": SECRET}])  # type: ignore[list-item]
    assert SECRET not in str(caught.value)


def test_a_key_is_resolved_from_the_environment_only_when_asked() -> None:
    config = model(api_key="${WRITER_KEY}")
    assert config.resolved_api_key({"WRITER_KEY": SECRET}) == SECRET
    assert SECRET not in repr(config) + config.model_dump_json()
    assert model().resolved_api_key({}) is None


@pytest.mark.parametrize("value", [None, "", f"{SECRET}\n", f" {SECRET}", "schlüssel"])
def test_an_unusable_variable_is_named_and_its_value_is_not(value: str | None) -> None:
    with pytest.raises(SpecError, match="'WRITER_KEY'") as caught:
        resolve_secret("${WRITER_KEY}", {} if value is None else {"WRITER_KEY": value}, "models.0.api_key")
    assert SECRET not in str(caught.value)
    assert caught.value.problems[0].place == "models.0.api_key"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h/v1", "must start with http"),
        ("127.0.0.1:8000", "must start with http"),
        ("http://", "no usable host"),
        ("http://h:99999999/v1", "cannot be read"),
        ("http://h:x/v1", "cannot be read"),
        ("http://[::1/v1", "cannot be read"),
        ("http://h /v1", "no usable host"),
        (f"http://me:{SECRET}@h/v1", "carries a user name or password"),
        (f"http://h/v1?key={SECRET}", "no '?'"),
    ],
)
def test_only_plain_http_urls_are_taken(url: str, reason: str) -> None:
    message = refusal(base_url=url)
    assert reason in message
    assert "(models.0.base_url)" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"base_url": None}, "needs a base_url"),
        ({"simulation": {}}, "'simulation' belongs to provider 'simulated'"),
        ({"provider": "simulated"}, "takes no base_url"),
        ({"provider": "simulatd"}, "Did you mean 'simulated'?"),
        ({"max_parallel_requests": 0}, "Must be at least 1, not 0"),
        ({"timeout_s": 0}, "Must be more than 0"),
        ({"alias": ""}, "1 to 100 printable characters"),
        ({"alias": "a\nb"}, "1 to 100 printable characters"),
        ({"inference_parameters": {"temperature": -1}}, "models.0.inference_parameters.temperature"),
        ({"inference_parameters": {"top_p": 1.5}}, "Must be at most 1"),
        ({"inference_parameters": {"max_tokens": 0}}, "Must be at least 1"),
        ({"inference_parameters": {"extra_body": {"messages": []}}}, "is set by Rowmill"),
        ({"inference_parameters": {"max_parallel_requests": 3}}, "is a field of the level above"),
        ({"max_paralel_requests": 3}, "Did you mean 'max_parallel_requests'?"),
    ],
)
def test_a_wrong_model_is_told_what_is_wrong(fields: dict[str, Any], reason: str) -> None:
    assert reason in refusal(**fields)


@pytest.mark.parametrize(
    ("simulation", "reason"),
    [
        ({"rate_limited": 0.6, "transient": 0.6}, "add up to 1.2"),
        ({"rejected": 2}, "Must be at most 1"),
        ({"answer": "{{ x }}"}, "plain text"),
        ({"latency": 3}, "Did you mean 'latency_ms'?"),
    ],
)
def test_a_wrong_simulation_is_told_what_is_wrong(simulation: dict[str, Any], reason: str) -> None:
    assert reason in refusal(provider="simulated", base_url=None, simulation=simulation)


def test_request_parameters_are_those_given_and_the_extra_body() -> None:
    parameters = InferenceParameters(temperature=0.5, extra_body={"seed": 3, "max_tokens": 9})
    assert parameters.request_parameters() == {"temperature": 0.5, "seed": 3, "max_tokens": 9}
    assert InferenceParameters().request_parameters() == {}


def test_v2_a_models_fingerprint_is_what_shapes_values() -> None:
    plain = model().fingerprint()
    assert (
        model(timeout_s=5, max_parallel_requests=9, api_key="${A}", base_url="http://other/v1").fingerprint() == plain
    )
    assert model(model="n").fingerprint() != plain
    assert model(inference_parameters={"temperature": 1}).fingerprint() != plain


def test_v2_simulated_failures_shape_no_values_but_the_seed_does() -> None:
    def simulated(**simulation: Any) -> dict[str, Any]:
        return model(provider="simulated", base_url=None, simulation=simulation).fingerprint()

    assert simulated(rate_limited=0.5, latency_ms=1) == simulated()
    assert simulated(seed=1) != simulated()
    assert model(provider="simulated", base_url=None).fingerprint() == simulated()


def test_cost_follows_the_prices_and_is_unknown_without_any() -> None:
    assert model().cost_usd(1000, 1000) is None
    assert model(input_usd_per_million_tokens=2, output_usd_per_million_tokens=4).cost_usd(500_000, 250_000) == 2.0
    assert model(output_usd_per_million_tokens=4).cost_usd(500_000, 250_000) == 1.0
