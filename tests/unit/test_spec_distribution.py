"""Inference parameters that are drawn for each row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from scripted_provider import ScriptedProvider, handle

from rowmill.generators.protocol import Call
from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.distribution import chance
from rowmill.spec.model import InferenceParameters

UNIFORM = {"distribution_type": "uniform", "params": {"low": 0.2, "high": 0.8}}
MANUAL = {"distribution_type": "manual", "params": {"values": [0.1, 0.9], "weights": [3, 1]}}


def parameters(**given: Any) -> InferenceParameters:
    return InferenceParameters.model_validate(given)


def test_what_is_drawn_is_a_function_of_seed_column_and_row() -> None:
    drawn = [parameters(temperature=UNIFORM).drawn_parameters(7, "review", row_id) for row_id in range(100)]
    assert drawn == [parameters(temperature=UNIFORM).drawn_parameters(7, "review", row_id) for row_id in range(100)]
    assert len({values["temperature"] for values in drawn}) == 100
    assert drawn != [parameters(temperature=UNIFORM).drawn_parameters(8, "review", row_id) for row_id in range(100)]
    assert drawn != [parameters(temperature=UNIFORM).drawn_parameters(7, "other", row_id) for row_id in range(100)]


def test_these_draws_never_change_with_the_version() -> None:
    assert chance(7, "review", "temperature", 0) == 0.34104739866861244
    assert chance(-1, "ünï", "top_p", 2**40) == 0.6144881304621121


def test_temperature_and_top_p_are_drawn_independently() -> None:
    both = parameters(temperature=UNIFORM, top_p=UNIFORM)
    pairs = [both.drawn_parameters(7, "review", row_id) for row_id in range(20)]
    assert all(pair["temperature"] != pair["top_p"] for pair in pairs)


def test_uniform_values_fill_their_range_and_keep_to_it() -> None:
    values = [parameters(temperature=UNIFORM).drawn_parameters(1, "c", i)["temperature"] for i in range(10_000)]
    assert 0.2 <= min(values) < 0.21
    assert 0.79 < max(values) < 0.8
    assert abs(sum(values) / len(values) - 0.5) < 4 * 0.6 / 12**0.5 / 100


def test_manual_values_come_by_their_weights() -> None:
    counts = Counter(parameters(temperature=MANUAL).drawn_parameters(1, "c", i)["temperature"] for i in range(10_000))
    assert set(counts) == {0.1, 0.9}
    assert abs(counts[0.1] - 7500) < 4 * (10_000 * 0.75 * 0.25) ** 0.5


def test_a_value_of_weight_0_is_never_drawn() -> None:
    never = {"params": {"values": [0.1, 0.5, 0.9], "weights": [0, 1, 0]}}
    assert {parameters(temperature=never).drawn_parameters(1, "c", i)["temperature"] for i in range(500)} == {0.5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"distribution_type": "uniform", "params": {"low": 1, "high": 1}},
        {"distribution_type": "uniform", "params": {"low": 0, "high": 6}},
        {"distribution_type": "manual", "params": {"values": []}},
        {"distribution_type": "manual", "params": {"values": [1, 2], "weights": [1]}},
        {"distribution_type": "manual", "params": {"values": [1, 2], "weights": [0, 0]}},
        {"distribution_type": "normal", "params": {"low": 0, "high": 1}},
    ],
)
def test_a_distribution_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parameters(temperature=wrong)


def test_the_fingerprint_holds_the_distribution_and_leaves_fixed_numbers_as_they_always_were() -> None:
    assert parameters(temperature=0.5, extra_body={"seed": 1}).fingerprint() == {"temperature": 0.5, "seed": 1}
    assert parameters(temperature=MANUAL).fingerprint() == {
        "temperature": {"distribution_type": "manual", "params": {"values": [0.1, 0.9], "weights": [3.0, 1.0]}}
    }


def test_each_row_of_a_call_gets_its_own_and_a_function_may_override_it() -> None:
    provider = ScriptedProvider(*[ChatAnswer("a")] * 3)
    model = handle(provider, inference_parameters={"temperature": UNIFORM, "max_tokens": 5})
    call = Call(0, [3, 4], "review")

    async def ask() -> None:
        await model.chat([], call.for_row(0))
        await model.chat([], call.for_row(1))
        await model.chat([], call, {"temperature": 0.0})

    anyio.run(ask)
    first, second, third = (request.parameters for request in provider.requests)
    drawn = parameters(temperature=UNIFORM)
    assert first == {"max_tokens": 5, **drawn.drawn_parameters(0, "review", 3)}
    assert second == {"max_tokens": 5, **drawn.drawn_parameters(0, "review", 4)}
    assert third == {"max_tokens": 5, "temperature": 0.0}
    assert len(call.requests) == 3
