"""What is wrong with a spec, in our own words: pydantic's types of errors decide, its texts are never shown."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic_core import core_schema

from rowmill.errors import SpecError
from rowmill.spec import problems as module
from rowmill.spec.problems import problems_of
from rowmill.spec.spec import Spec

CONTEXT = {
    "ge": 1, "gt": 1, "le": 2, "lt": 2, "multiple_of": 3, "min_length": 2, "max_length": 3, "pattern": "a+",
    "expected": "'a' or 'b'", "error": "what our own validator says", "text": "our own text",
}  # fmt: skip


class OtherWords:
    """A failed validation as another version of pydantic would tell it."""

    def __init__(self, kind: str, location: tuple[str | int, ...], value: object) -> None:
        self.details = {"type": kind, "loc": location, "msg": "words of a library", "input": value, "ctx": CONTEXT}

    def errors(self, **_: object) -> list[dict[str, Any]]:
        return [self.details]


@pytest.mark.parametrize("kind", [*typing.get_args(core_schema.ErrorType), "a_type_of_a_later_version", "rowmill"])
def test_no_type_of_error_is_told_in_the_words_of_the_library(kind: str) -> None:
    for value in (7, "x", None, [1], {"a": 1}):
        error: Any = OtherWords(kind, ("run", "max_attempts"), value)
        (problem,) = problems_of(error, Spec, {"run": {"max_attempts": value}})
        assert "library" not in problem.message
        assert problem.message.endswith((".", "text", "?"))
        assert problem.place == "run.max_attempts"


SKIP = {"when": "a", "on_error": "skipp"}
FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing", "Field 'records' is required."),
    ({"records": 1, "x": 1}, "extra_forbidden", "Unknown field 'x'."),
    ({"records": 1, "name": 7}, "string_type", "Expected text, not 7. Quote it to get text."),
    ({"records": 1, "seed": "a"}, "int_type", "Expected a whole number, not 'a'."),
    ({"records": 1, "row_group_size": 0}, "greater_than_equal", "Must be at least 1, not 0."),
    ({"records": 1, "row_group_size": 10**9}, "less_than_equal", "Must be at most 10000000, not 1000000000."),
    ({"records": 1, "columns": 3}, "tuple_type", "Expected a list, not 3."),
    ({"records": 1, "run": 3}, "model_type", "Expected a mapping of fields, not 3."),
    (
        {"records": 1, "columns": [{"name": "a", "column_type": "expression", "expr": "x", "skip": SKIP}]},
        "literal_error",
        "Must be one of drop, skip, stop, not 'skipp'. Did you mean 'skip'?",
    ),
    ({"records": 1, "columns": [{"name": "", "column_type": "expression", "expr": "x"}]}, "string_too_short", "empty."),
    (
        {"records": 1, "columns": [{"name": "a" * 300, "column_type": "expression", "expr": "x"}]},
        "string_too_long",
        "Has more than 255 characters.",
    ),
    (
        {"records": 1, "columns": [{"name": "a", "column_type": "expression", "expr": "x", "weight": 0}]},
        "greater_than",
        "Must be more than 0, not 0.",
    ),
    (
        {"records": 1, "columns": [{"name": "a", "column_type": "expression", "expr": "x", "drop": "maybe"}]},
        "bool_parsing",
        "Expected true or false, not 'maybe'.",
    ),
    (
        {"records": 1, "columns": [{"name": "a", "column_type": "expression", "expr": "x", "weight": float("inf")}]},
        "finite_number",
        "Expected a finite number, not inf.",
    ),
    ({"records": 1, "name": "a/b"}, "value_error", "."),
]


@pytest.mark.parametrize(("data", "kind", "message"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_of_a_spec_has_its_type_and_our_words(data: dict[str, Any], kind: str, message: str) -> None:
    types: list[str] = []
    seen = module._message

    def noted(details: Any, *more: Any) -> str:
        types.append(details["type"])
        return seen(details, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_message", noted)
        with pytest.raises(SpecError) as caught:
            Spec.from_data(data)
    assert kind in types or kind == "extra_forbidden"
    assert message in str(caught.value)


def test_the_values_a_field_may_have_come_from_the_field() -> None:
    data = {"records": 1, "columns": [{"name": "a", "column_type": "expression", "expr": "x", "skip": SKIP}]}
    changed: Any = OtherWords("literal_error", ("columns", 0, "skip", "on_error"), "skipp")
    (problem,) = problems_of(changed, Spec, data)
    assert problem.message == "Must be one of drop, skip, stop, not 'skipp'. Did you mean 'skip'?"
