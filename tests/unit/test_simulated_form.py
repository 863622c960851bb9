"""Simulated answers have the form that was asked for, whichever way it was asked."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from rowmill.providers.simulated import request_digest, simulated_answer
from rowmill.providers.simulated_form import without_form

SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"part": {"type": "object", "properties": {"size": {"enum": ["s", "l"]}}, "required": ["size"]}},
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 20},
        "count": {"type": "integer", "minimum": 2, "maximum": 4},
        "share": {"type": "number", "exclusiveMinimum": 0},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1},
        "kind": {"const": "x"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "is_new": {"type": ["boolean", "null"]},
        "nothing": {"type": "null"},
    },
    "required": ["name", "count", "parts", "kind"],
    "additionalProperties": False,
}


def answered(prompt: str, *, malformed: float = 0.0, **parameters: Any) -> str:
    messages = [{"role": "user", "content": prompt}]
    digest = request_digest("m", messages, parameters)
    return simulated_answer(digest, messages, parameters, text=None, output_tokens=20, malformed=malformed).text


@pytest.mark.parametrize("row", range(20))
def test_json_asked_for_in_the_prompt_or_by_response_format_fits_its_schema(row: int) -> None:
    in_prompt = answered(f"Make {row}.\n\nAnswer with JSON:\n```json\n{json.dumps(SCHEMA)}\n```")
    described = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    for text in (in_prompt, answered(f"Make {row}.", response_format=described)):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_rows_differ() -> None:
    made = {answered(f"Make {row}.\n\nAnswer:\n```json\n{json.dumps(SCHEMA)}\n```") for row in range(20)}
    assert len(made) > 10


def test_code_asked_for_comes_in_a_block_of_its_language() -> None:
    text = answered("Print it.\n\nAnswer with Go code:\n```go\n…\n```")
    assert "\n```go\n" in text
    assert text.endswith("\n```")


def test_a_share_of_answers_is_malformed() -> None:
    prompts = [f"Make {row}.\n\nAnswer:\n```go\n…\n```" for row in range(400)]
    malformed = sum("```" not in answered(prompt, malformed=0.25) for prompt in prompts)
    assert abs(malformed - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert all("```" not in answered(prompt, malformed=1.0) for prompt in prompts)


def test_answers_are_about_the_prompt_and_not_about_its_form() -> None:
    assert without_form("Describe penguins.\n\nAnswer with fenced:\n```go\n…\n```") == "Describe penguins."
    assert without_form("Describe penguins.") == "Describe penguins."
    assert "fenced" not in answered("Describe penguins.\n\nAnswer with fenced:\n```go\n…\n```")
