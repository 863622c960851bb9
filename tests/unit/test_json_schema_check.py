"""Values checked by a JSON Schema: exactly, and never without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rowmill.generators import schema_keywords
from rowmill.generators.json_schema import SchemaCheck
from rowmill.generators.json_text import DECODER
from rowmill.generators.protocol import UnusableAnswer
from rowmill.generators.rendering import is_brief, unhurried
from rowmill.value.json_value import parsed


def judged(schema: dict[str, Any], text: str, read: Callable[[str], Any] = DECODER.decode) -> str | None:
    """What is wrong with a value, if something is."""
    try:
        SchemaCheck(schema)(read(text))
    except UnusableAnswer as error:
        return str(error)
    return None


@pytest.mark.parametrize("read", [DECODER.decode, parsed])
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"multipleOf": 0.01}, "19.99", "19.999"),
        ({"multipleOf": 0.01}, "0.07", "0.075"),
        ({"multipleOf": 0.1}, "1e308", "1e-300"),
        ({"multipleOf": 3}, "9007199254740993", "9007199254740992"),
        ({"multipleOf": 0.5}, "0", "0.25"),
        ({"type": "integer"}, "3.00", "1.00000000000000000001"),
        ({"type": "integer"}, "9007199254740993.0", "9007199254740992.9"),
    ],
)
def test_numbers_are_judged_as_they_were_written(
    read: Callable[[str], Any], schema: dict[str, Any], good: str, bad: str
) -> None:
    assert judged(schema, good, read) is None
    assert bad in (judged(schema, bad, read) or "")


@pytest.mark.parametrize(
    ("text", "is_unique"),
    [
        ('[1, true, 0, false, null, "1", [1], {"1": 1}]', True),
        ("[1, 1.0]", False),
        ('[{"a": 1, "b": [true]}, {"b": [1], "a": 1.0}]', True),
        ('[{"a": 1, "b": [true]}, {"b": [true], "a": 1.0}]', False),
        ("[[], {}]", True),
    ],
)
def test_unique_items_are_told_apart_as_json_does(text: str, is_unique: bool) -> None:
    assert (judged({"uniqueItems": True}, text) is None) == is_unique


def test_a_long_list_of_objects_is_looked_through_once() -> None:
    items = ", ".join(f'{{"number": {number}}}' for number in range(20_000))
    assert judged({"uniqueItems": True}, f"[{items}]") is None


@pytest.mark.parametrize(
    ("schema", "text", "reason"),
    [
        ({"pattern": "^(a+)+$"}, '"' + "a" * 60 + 'b"', "does not match"),
        ({"pattern": "^(a|aa)+$"}, '"' + "a" * 60 + 'b"', "too long for the regular expression '^(a|aa)+$'"),
        ({"patternProperties": {"^(a|aa)+$": {}}}, '{"' + "a" * 60 + 'b": 1}', "too long for the regular expression"),
        (
            {"patternProperties": {"^x": True}, "additionalProperties": False},
            '{"x1": 1, "y": 2}',
            "'y' was unexpected",
        ),
        (
            {"patternProperties": {"^x": True}, "additionalProperties": {"type": "string"}},
            '{"x1": 1, "y": 2}',
            "$.y: 2 is not of type 'string'",
        ),
        (
            {
                "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 3} for n in range(40)}
                | {"d40": {"type": "integer"}},
                "$ref": "#/$defs/d0",
            },
            '"x"',
            "too many steps",
        ),
    ],
)
def test_a_check_comes_to_an_end(
    schema: dict[str, Any], text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_keywords, "_PATTERN_S", 0.05)
    monkeypatch.setattr(schema_keywords, "_STEPS", 20_000)
    assert reason in (judged(schema, text) or "")


@pytest.mark.anyio
async def test_a_check_that_takes_long_goes_on_in_a_thread() -> None:
    tries: list[bool] = []
    check = SchemaCheck({"type": "array", "items": {"type": "integer"}})

    def work(value: Any) -> None:
        tries.append(is_brief())
        check(value)

    await unhurried(work, [1, 2])
    assert tries == [True]
    await unhurried(work, list(range(20_000)))
    assert tries == [True, True, False]
    with pytest.raises(UnusableAnswer, match="'x' is not of type 'integer'"):
        await unhurried(work, [*range(20_000), "x"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
