"""The DuckDB type of a JSON Schema's values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from rowmill.generators.json_text import DECODER
from rowmill.generators.json_type import json_type
from rowmill.generators.protocol import UnusableAnswer
from rowmill.spec.dtype import sql_type

TREE: dict[str, Any] = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


INTEGER: dict[str, Any] = {"type": "integer"}
THING: dict[str, Any] = {"type": "object", "properties": {"a": INTEGER}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "VARCHAR"),
        ({"type": "integer"}, "BIGINT"),
        ({"type": ["number", "null"]}, "DOUBLE"),
        ({"type": "boolean"}, "BOOLEAN"),
        ({"enum": ["a", "b", None]}, "VARCHAR"),
        ({"enum": ["a", 1]}, "JSON"),
        ({"const": 3}, "BIGINT"),
        ({"type": "array", "items": {"type": "string"}}, "VARCHAR[]"),
        ({"type": "array"}, "JSON"),
        ({"type": "object", "properties": {"a b": {"type": "integer"}}}, 'STRUCT("a b" BIGINT)'),
        ({"type": "object", "properties": {'"': {"type": "integer"}}}, 'STRUCT("""" BIGINT)'),
        ({"type": "object", "properties": {"a": {}, "A": {}}}, "JSON"),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, 'STRUCT("a" JSON)'),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, "JSON"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "MAP(VARCHAR, BIGINT)"),
        ({"type": "object"}, "JSON"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "BIGINT"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "JSON"),
        (TREE, 'STRUCT("next" JSON)'),
        ({"$ref": "http://127.0.0.1/x"}, "JSON"),
        ({"$ref": "#/nowhere"}, "JSON"),
        (
            {
                "$defs": {"whole": {"$anchor": "it", "type": "integer"}},
                "properties": {"a": {"$ref": "#it"}},
                "type": "object",
            },
            'STRUCT("a" JSON)',
        ),
        (
            {
                "$id": "https://127.0.0.1/a",
                "$defs": {
                    "inner": {
                        "$id": "https://127.0.0.1/b",
                        "$defs": {"own": INTEGER},
                        "type": "object",
                        "properties": {"x": {"$ref": "#/$defs/own"}},
                    },
                    "own": {"type": "string"},
                },
                "$ref": "#/$defs/inner",
            },
            "JSON",
        ),
        ({"$defs": {"thing": THING}, "$ref": "#/$defs/thing", "properties": {"a": INTEGER}}, 'STRUCT("a" BIGINT)'),
        ({"$defs": {"thing": THING}, "$ref": "#/$defs/thing", "properties": {"b": INTEGER}}, "JSON"),
        (THING | {"if": {"required": ["a"]}, "then": {"properties": {"b": INTEGER}}}, "JSON"),
        (THING | {"if": {"required": ["a"]}, "then": {"properties": {"a": {"minimum": 3}}}}, 'STRUCT("a" BIGINT)'),
        (THING | {"dependentSchemas": {"a": {"properties": {"b": INTEGER}}}}, "JSON"),
        (THING | {"unevaluatedProperties": INTEGER}, "JSON"),
        (
            {
                "$defs": {
                    f"d{n}": {"type": "object", "properties": {f"f{m}": {"$ref": f"#/$defs/d{n + 1}"} for m in "abc"}}
                    for n in range(40)
                }
                | {"d40": INTEGER},
                "$ref": "#/$defs/d0",
            },
            "JSON",
        ),
        ({}, "JSON"),
        (True, "JSON"),
    ],
)
def test_a_schema_has_the_type_of_its_values(schema: Any, expected: str) -> None:
    found = json_type(schema).sql_type
    assert found == expected
    assert sql_type(found) == expected


class Line(BaseModel):
    sku: str
    count: int | None = None


class Order(BaseModel):
    lines: list[Line]
    notes: dict[str, str] = {}


def test_a_pydantic_class_becomes_structs_and_lists() -> None:
    found = json_type(Order.model_json_schema())
    assert found.sql_type == 'STRUCT("lines" STRUCT("sku" VARCHAR, "count" BIGINT)[], "notes" MAP(VARCHAR, VARCHAR))'
    assert found.convert({"lines": [{"sku": "a", "x": 1}], "notes": {"k": "v"}}) == {
        "lines": [{"sku": "a", "count": None}],
        "notes": [("k", "v")],
    }


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert json_type({"type": "integer"}).convert(3.0) == 3


@pytest.mark.parametrize(
    ("schema", "value"), [({"type": "integer"}, 2**63), ({"type": "number"}, 10**400), ({"type": "string"}, "a\0b")]
)
def test_what_cannot_be_stored_is_unusable(schema: Any, value: Any) -> None:
    with pytest.raises(UnusableAnswer):
        json_type(schema).convert(value)


def test_a_part_without_a_type_of_its_own_is_json_text() -> None:
    found = json_type({"type": "object", "properties": {"a": {}}})
    assert found.convert({"a": [1, "ü"]}) == {"a": '[1, "\\u00fc"]'}


def test_json_text_keeps_numbers_as_they_were_written_and_replaces_lone_surrogates() -> None:
    read = DECODER.decode(r'{"a": [1.10, 1E5, 12345678901234567890, -0.0], "\ud800": "x\ud800", "\ud83d\ude00": null}')
    written = json_type({}).convert(read)
    assert written == r'{"a": [1.10, 1E5, 12345678901234567890, -0.0], "\ufffd": "x\ufffd", "\ud83d\ude00": null}'


@pytest.mark.parametrize("schema", [{}, {"type": "object", "additionalProperties": {"type": "integer"}}])
def test_names_that_become_the_same_text_are_unusable(schema: Any) -> None:
    with pytest.raises(UnusableAnswer, match="the same text"):
        json_type(schema).convert(DECODER.decode(r'{"\ud800": 1, "\ud801": 2}'))


def test_a_map_keeps_its_names_as_texts_are_kept() -> None:
    numbers = json_type({"type": "object", "additionalProperties": {"type": "integer"}})
    assert numbers.convert(DECODER.decode(r'{"\ud800": 1, "a.b": 2}')) == [("\ufffd", 1), ("a.b", 2)]
    with pytest.raises(UnusableAnswer, match="NUL"):
        numbers.convert({"a\0b": 1})


@pytest.mark.parametrize(
    ("text", "number"), [("9007199254740993.0", 2**53 + 1), ("9223372036854775807.0", 2**63 - 1), ("3e2", 300)]
)
def test_a_whole_number_with_a_point_is_not_rounded(text: str, number: int) -> None:
    assert json_type({"type": "integer"}).convert(DECODER.decode(text)) == number


@pytest.mark.parametrize("text", ["1e-400", "-0.00" + "0" * 400 + "1"])
def test_a_number_that_would_become_zero_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="too small"):
        DECODER.decode(text)
    assert [DECODER.decode(zero) for zero in ("0e-400", "-0.000", "0E9999")] == [0, 0, 0]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "null"},
        {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        {"type": "array", "prefixItems": [{"type": "integer"}]},
        {"type": ["object", "null"], "properties": {"a": {}}},
        {"type": ["array", "null"], "items": {"type": "string"}},
        {"type": ["string", "null"]},
    ],
)
def test_null_is_null_in_every_type(schema: Any) -> None:
    assert json_type(schema).convert(None) is None


def test_a_number_that_a_float_would_round_is_unusable() -> None:
    with pytest.raises(UnusableAnswer, match="more digits"):
        json_type({"type": "number"}).convert(2**53 + 1)
    assert json_type({"type": "number"}).convert(2**53) == 2.0**53
