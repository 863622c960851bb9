"""Processors of a spec: what they mean for its columns, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from virtual_run import prepared, sampler

from rowmill.errors import SpecError
from rowmill.spec.processor import SchemaTransformProcessor
from rowmill.spec.spec import Spec


def refusal(*processors: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        prepared(sampler("rating"), sampler("hidden", drop=True), processors=processors)
    return str(caught.value)


def transform(**fields: Any) -> dict[str, Any]:
    return {"name": "t", "processor_type": "schema_transform", **fields}


@pytest.mark.parametrize(
    ("processor", "reason"),
    [
        ({"name": "x"}, "required: one of drop_columns, schema_transform, split. (processors.0.processor_type)"),
        ({"name": "x", "processor_type": "drop_column"}, "Did you mean 'drop_columns'?"),
        ({"name": "x", "processor_type": "drop_columns", "column_names": []}, "(processors.0.column_names)"),
        (
            {"name": "x", "processor_type": "drop_columns", "column_names": ["ratings"]},
            "No column fits 'ratings'. Did you mean 'rating'? (processors.0.column_names.0)",
        ),
        (transform(), "Say either template, or format"),
        (transform(template={}), "name at least one field"),
        (transform(template={"a": "{{ ratin }}"}), "Did you mean 'rating'? (processors.0.template.a)"),
        (transform(template={"a": [{"b": "{{ hidden }}"}]}), "'hidden' is dropped"),
        (transform(template={"a": "{{ rating"}), "not valid Jinja"),
        (transform(format="chat", parts={"user": "u"}), "needs the part 'assistant'"),
        (
            transform(format="chat", parts={"user": "u", "assistant": "a", "sistem": "s"}),
            "Did you mean 'system'? (processors.0.parts.sistem)",
        ),
        (transform(format="chatt", parts={}), "Did you mean 'chat'?"),
        ({"name": "s", "processor_type": "split", "shares": {"train": 0.8}}, "add up to 0.8"),
        ({"name": "s", "processor_type": "split", "shares": {"a/b": 1.0}}, "no name of a part"),
        ({"name": "s", "processor_type": "split", "shares": {"a": 1.0}, "column": "rating"}, "already"),
    ],
)
def test_a_wrong_processor_is_told_what_is_wrong(processor: dict[str, Any], reason: str) -> None:
    assert reason in refusal(processor)


def test_two_processors_of_one_name_are_refused() -> None:
    split = {"name": "s", "processor_type": "split", "shares": {"a": 1.0}}
    assert "a processor 's' already" in refusal(split, {**split, "column": "other"})


def test_columns_that_fit_a_pattern_are_dropped_as_if_they_said_so() -> None:
    dropper = {"name": "x", "processor_type": "drop_columns", "column_names": ["scratch_*", "b?"]}
    graph = prepared(sampler("scratch_1"), sampler("kept"), sampler("b1"), sampler("b12"), processors=[dropper]).graph
    assert [output.name for output in graph.outputs if not output.drop] == ["kept", "b12"]


def test_a_ready_format_is_a_template() -> None:
    chat = SchemaTransformProcessor(name="c", format="chat", parts={"user": "{{ q }}", "assistant": "{{ a }}"})
    assert chat.shape == {
        "messages": [{"role": "user", "content": "{{ q }}"}, {"role": "assistant", "content": "{{ a }}"}]
    }
    parts = {"instruction": "{{ q }}", "output": "{{ a }}"}
    instruction = SchemaTransformProcessor(name="i", format="instruction", parts=parts)
    assert instruction.shape == {"instruction": "{{ q }}", "input": "", "output": "{{ a }}"}


def test_processors_survive_json() -> None:
    processors = [
        transform(template={"a": "{{ r }}", "n": [1, None, True]}),
        {"name": "s", "processor_type": "split", "shares": {"a": 1.0}},
    ]
    spec = Spec.from_data({"records": 1, "processors": processors})
    assert Spec.from_json(spec.to_json()) == spec
