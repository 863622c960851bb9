"""Structured answers end to end: what unions, tuples and decimals are in templates, functions and the dataset."""

from __future__ import annotations

import json
from typing import Any

from virtual_run import llm, model, prepared, run

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pet": {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}},
                {"type": "object", "properties": {"kind": {"const": "dog"}, "trained": {"type": "boolean"}}},
            ],
            "discriminator": {"propertyName": "kind"},
        },
        "word": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        "price": {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "absent": {"type": "string"},
        "anything": {},
    },
}
ANSWER = {"pet": {"kind": "cat", "lives": 9}, "word": "tea", "pair": [1, "a"], "price": "12.10", "anything": None}


def shown(template: str) -> Any:
    """What a template over the structured column makes."""
    columns = [
        llm("made", "Make one.") | {"column_type": "llm-structured", "output_format": SCHEMA},
        {"name": "shown", "column_type": "expression", "expr": template},
    ]
    done = run(prepared(*columns, models=[model(simulation={"answer": json.dumps(ANSWER)})], records=1))
    (value,) = done.column("shown")
    return value


def test_the_fields_of_a_union_are_reached_by_name_and_texts_have_no_quotes() -> None:
    assert shown(
        "{{ made.pet.kind }} of {{ made.pet.lives }}, {{ made.word }}, {{ made.pair[1] }}, {{ made.price }}"
    ) == ("cat of 9, tea, a, 12.10")


def test_null_and_absent_are_none() -> None:
    assert shown("{{ made.absent is none }} {{ made.anything is none }}") == "True True"


def test_a_union_that_is_the_whole_answer_is_reached_by_name() -> None:
    pet = SCHEMA["properties"]["pet"]
    columns = [
        llm("pet", "Make one.") | {"column_type": "llm-structured", "output_format": pet},
        {"name": "shown", "column_type": "expression", "expr": "{{ pet.kind }}"},
    ]
    done = run(prepared(*columns, models=[model(simulation={"answer": json.dumps(ANSWER["pet"])})], records=1))
    assert done.column("shown") == ["cat"]
