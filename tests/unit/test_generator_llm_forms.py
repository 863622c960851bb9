"""Model columns whose answers must have a form: code, JSON of a schema, scores."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import pytest
from generator_context import declared, problems
from pydantic import BaseModel, Field
from scripted_provider import ScriptedProvider, handle

from rowmill.errors import GeneratorError, Transient
from rowmill.generators.json_schema import outermost
from rowmill.generators.prompting.llm_judge import LlmJudgeColumn
from rowmill.generators.prompting.llm_structured import LlmStructuredColumn
from rowmill.generators.protocol import Call
from rowmill.generators.runtime import InvocationRuntime
from rowmill.providers.protocol import ChatAnswer
from rowmill.spec.registry import COLUMN_TYPES

ORDER = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["item", "count"],
}
SCORES: list[dict[str, Any]] = [
    {"name": "style", "description": "How it reads", "options": {1: "clumsy", 2: "fluent"}},
    {"name": "tone", "description": "How it sounds", "options": {"kind": "friendly", "cold": "distant"}},
]
COLUMNS: dict[str, dict[str, Any]] = {
    "llm-code": {"code_lang": "python"},
    "llm-structured": {"output_format": ORDER},
    "llm-judge": {"scores": SCORES},
}
GOOD: dict[str, tuple[str, Any]] = {
    "llm-code": ("```python\nprint(1)\n```", "print(1)"),
    "llm-structured": ('{"item": "tea", "count": 2}', {"item": "tea", "count": 2}),
    "llm-judge": (
        '{"style": {"reasoning": "r", "score": "2"}, "tone": {"reasoning": "s", "score": "kind"}}',
        {"style": {"reasoning": "r", "score": 2}, "tone": {"reasoning": "s", "score": "kind"}},
    ),
}
KINDS = sorted(COLUMNS)


def asked(provider: ScriptedProvider, kind: str, call: Call | None = None, **fields: Any) -> Any:
    """The values of one row, asked of this provider."""
    cls = COLUMN_TYPES.find(kind)
    assert cls is not None
    model = fields.pop("model", {})
    data = {"name": "made", "model_alias": "writer", "prompt": "For {{ product }}", **COLUMNS[kind], **fields}
    column = cls.model_validate(data)
    generator = column.bind(InvocationRuntime(Path(), {"writer": handle(provider, **model)}))
    return anyio.run(generator.generate, {"product": "tea"}, call or Call(0, [0], "made"))


def answers(*texts: str) -> ScriptedProvider:
    return ScriptedProvider(*[ChatAnswer(text, input_tokens=10, output_tokens=5) for text in texts])


@pytest.mark.parametrize("kind", KINDS)
def test_the_value_is_what_was_asked_for_without_the_words_around_it(kind: str) -> None:
    text, value = GOOD[kind]
    provider = answers(f"Of course!\n{text}\nAnything else?" if kind == "llm-code" else text)
    assert asked(provider, kind) == [value]
    (request,) = provider.requests
    assert request.messages[0]["content"].startswith("For tea\n\nAnswer with ")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusable_answer_is_corrected_in_the_same_conversation(kind: str) -> None:
    text, value = GOOD[kind]
    provider = answers("no idea", text)
    call = Call(0, [0])
    assert asked(provider, kind, call, with_trace=True) == [value, pytest.approx(json_list(provider, text))]
    first, second = provider.requests
    assert second.messages[: len(first.messages)] == first.messages
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert "cannot be used" in second.messages[-1]["content"]
    assert [(request.error_type, request.output_tokens) for request in call.requests] == [
        ("UnusableAnswer", 5),
        (None, 5),
    ]


def json_list(provider: ScriptedProvider, last: str) -> Any:
    class Trace(str):
        def __eq__(self, other: object) -> bool:
            messages = [*provider.requests[-1].messages, {"role": "assistant", "content": last}]
            return isinstance(other, str) and json.loads(other) == messages

        __hash__ = str.__hash__

    return Trace()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stays_unusable_rejects_its_row_and_every_request_is_journaled(kind: str) -> None:
    provider = answers(*["no idea"] * 6)
    call = Call(0, [0])
    with pytest.raises(GeneratorError, match="The answer for column 'made' cannot be used") as caught:
        asked(provider, kind, call, max_conversation_correction_steps=1, max_conversation_restarts=2)
    assert caught.value.error_type == "UnusableAnswer"
    assert [len(request.messages) for request in provider.requests] == [1, 3, 1, 3, 1, 3]
    assert [request.error_type for request in call.requests] == ["UnusableAnswer"] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_cut_off_at_the_limit_says_so(kind: str) -> None:
    provider = ScriptedProvider(ChatAnswer("{", finish_reason="length"))
    with pytest.raises(GeneratorError, match="raise max_tokens"):
        asked(provider, kind, max_conversation_correction_steps=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length", "incomplete"])
def test_an_answer_that_ended_at_its_limit_is_unusable_even_if_it_can_be_read(kind: str, reason: str) -> None:
    text, value = GOOD[kind]
    provider = ScriptedProvider(ChatAnswer(text, finish_reason=reason), ChatAnswer(text, finish_reason="stop"))
    call = Call(0, [0])
    assert asked(provider, kind, call) == [value]
    assert [(one.error_type, one.finish_reason) for one in call.requests] == [("OutputLimit", "length"), (None, "stop")]
    correction = provider.requests[1].messages[-1]["content"]
    assert "cut off at the output limit" in correction
    assert "shorter" in correction
    assert "JSON" not in correction


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_a_filter_stopped_is_a_refusal_and_not_asked_again(kind: str) -> None:
    provider = ScriptedProvider(ChatAnswer(GOOD[kind][0], finish_reason="SAFETY"))
    with pytest.raises(GeneratorError, match="content filter") as caught:
        asked(provider, kind)
    assert caught.value.error_type == "Refusal"


def test_corrections_say_whether_it_is_no_json_or_does_not_fit() -> None:
    provider = answers('{"item": "tea", "cou', '{"item": 3, "count": 1}', GOOD["llm-structured"][0])
    asked(provider, "llm-structured")
    said = [request.messages[-1]["content"] for request in provider.requests[1:]]
    assert "ends in the middle of a value" in said[0]
    assert "does not fit the JSON Schema. $.item: 3 is not of type 'string'" in said[1]


@pytest.mark.parametrize("kind", KINDS)
def test_thoughts_of_any_spelling_are_the_reasoning_and_not_the_value(kind: str) -> None:
    text, value = GOOD[kind]
    for opening in ("<think>", "", "<reasoning>"):
        answer = f"{opening}Hm:\n{text}\nno{opening.replace('<', '</') or '</think>'}\n{text}"
        assert asked(answers(answer), kind, extract_reasoning_content=True) == [value, f"Hm:\n{text}\nno"]


def test_reasoning_stays_in_the_trace_and_is_never_sent_back() -> None:
    text, value = GOOD["llm-code"]
    provider = ScriptedProvider(ChatAnswer("no idea", "Hm."), ChatAnswer(text, "Ah."))
    made, trace, reasoning = asked(provider, "llm-code", with_trace=True, extract_reasoning_content=True)
    assert (made, reasoning) == (value, "Ah.")
    assert [message.get("reasoning_content") for message in json.loads(trace)] == [None, "Hm.", None, "Ah."]
    assert all("reasoning_content" not in message for message in provider.requests[-1].messages)


def test_provider_errors_pass_through_a_conversation() -> None:
    call = Call(0, [0])
    with pytest.raises(Transient):
        asked(ScriptedProvider(ChatAnswer("no idea"), Transient("lost")), "llm-code", call)
    assert [request.error_type for request in call.requests] == ["UnusableAnswer", "Transient"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_deadline_of_a_call_has_room_for_its_corrections(kind: str) -> None:
    column = {"name": "made", "column_type": kind, "model_alias": "writer", "prompt": "p", **COLUMNS[kind]}
    (declaration,) = declared(column)
    assert declaration.timeout_s == 7.5 * 3
    (declaration,) = declared(column | {"max_conversation_correction_steps": 0, "max_conversation_restarts": 1})
    assert declaration.timeout_s == 7.5 * 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_shapes_values_is_in_the_fingerprint_and_the_number_of_corrections_is_not(kind: str) -> None:
    column = {"name": "made", "column_type": kind, "model_alias": "writer", "prompt": "p", **COLUMNS[kind]}
    changes: dict[str, dict[str, Any]] = {
        "llm-code": {"code_lang": "ruby"},
        "llm-structured": {"output_format": {"type": "object", "properties": {"item": {"type": "integer"}}}},
        "llm-judge": {"scores": [SCORES[0] | {"description": "Other"}, SCORES[1]]},
    }
    original = declared(column)[0].fingerprint
    assert declared(column | changes[kind])[0].fingerprint != original
    assert declared(column | {"max_conversation_correction_steps": 9})[0].fingerprint == original


# llm-structured ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("none", None),
        ("json_object", {"type": "json_object"}),
        ("json_schema", {"type": "json_schema", "json_schema": {"name": "made", "schema": ORDER}}),
        (
            "strict_json_schema",
            {"type": "json_schema", "json_schema": {"name": "made", "schema": ORDER, "strict": True}},
        ),
    ],
)
def test_the_endpoint_is_told_the_schema_in_the_way_it_takes_it(setting: str, expected: Any) -> None:
    provider = answers(GOOD["llm-structured"][0])
    asked(provider, "llm-structured", model={"response_format": setting})
    (request,) = provider.requests
    assert request.parameters.get("response_format") == expected
    assert json.dumps(ORDER) in request.messages[0]["content"]


@pytest.mark.parametrize("setting", ["none", "json_object", "json_schema", "strict_json_schema"])
def test_the_model_is_always_told_what_the_scores_mean_unless_that_is_left_out(setting: str) -> None:
    provider = answers(GOOD["llm-judge"][0])
    asked(provider, "llm-judge", model={"response_format": setting})
    prompt = provider.requests[0].messages[0]["content"]
    for words in ("How it reads", "1: clumsy; 2: fluent", "kind: friendly; cold: distant", '"tone"'):
        assert words in prompt
    provider = answers(GOOD["llm-judge"][0])
    asked(provider, "llm-judge", model={"response_format": setting}, schema_in_prompt=False)
    assert provider.requests[0].messages[0]["content"] == "For tea"


@pytest.mark.parametrize("kind", ["llm-structured", "llm-judge"])
def test_leaving_the_schema_out_is_in_the_fingerprint(kind: str) -> None:
    column = {"name": "made", "column_type": kind, "model_alias": "writer", "prompt": "p", **COLUMNS[kind]}
    original = declared(column)[0].fingerprint
    assert declared(column | {"schema_in_prompt": True})[0].fingerprint == original
    assert declared(column | {"schema_in_prompt": False})[0].fingerprint != original


def test_a_schema_the_endpoint_takes_has_the_fingerprint_it_had_before_it_stood_in_the_prompt() -> None:
    column = LlmStructuredColumn.model_validate(
        {"name": "made", "model_alias": "writer", "prompt": "p", "output_format": ORDER}
    )
    config = handle(answers(), response_format="json_schema").config
    assert column._shaping(config) == {
        "instruction": "",
        "parameters": {"response_format": {"type": "json_schema", "json_schema": {"name": "made", "schema": ORDER}}},
        "output_format": ORDER,
    }


def test_the_model_is_told_what_does_not_fit_the_schema() -> None:
    provider = answers('{"item": "tea", "count": 0}', '{"item": "tea", "count": 1}')
    asked(provider, "llm-structured")
    assert "$.count: 0 is less than the minimum of 1" in provider.requests[1].messages[-1]["content"]


class Order(BaseModel):
    item: str
    count: int


def test_a_pydantic_class_stands_for_its_schema_and_survives_the_run_database() -> None:
    column = LlmStructuredColumn(name="made", model_alias="writer", prompt="p", output_format=Order)  # type: ignore[arg-type]
    assert column.output_format == Order.model_json_schema()
    assert LlmStructuredColumn.model_validate_json(column.model_dump_json()) == column


def test_a_schema_that_is_none_is_a_problem_of_the_spec() -> None:
    found = problems(
        {
            "name": "made",
            "column_type": "llm-structured",
            "model_alias": "writer",
            "prompt": "p",
            "output_format": {"type": "objekt"},
        }
    )
    assert "not a valid JSON Schema" in found["columns.0.output_format"]


def test_a_reference_outside_of_the_schema_is_not_fetched() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}
    with pytest.raises(GeneratorError, match="cannot be used"):
        asked(answers('{"a": 1}'), "llm-structured", output_format=schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/x"}}}, "'#/$defs/x' leads nowhere"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}, "leads nowhere"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "leads nowhere"),
        ({"prefixItems": [{"$ref": "#/$defs/x"}]}, "leads nowhere"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#c"}}}}}, "'#c' leads"),
        ({"if": {"$dynamicRef": "#x"}}, "$dynamicRef '#x' leads nowhere"),
        ({"$ref": "#/parts/a", "parts": {"a": {"$ref": "#/parts/b"}}}, "'#/parts/b' leads nowhere"),
        ({"$ref": "#/title", "title": "t"}, "no JSON Schema"),
        ({"$ref": "#"}, "only back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}}, "back to itself"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem_of_the_spec(schema: Any, reason: str) -> None:
    column = {"name": "made", "column_type": "llm-structured", "model_alias": "writer", "prompt": "p"}
    found = problems(column | {"output_format": schema})
    assert reason in found["columns.0.output_format"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "string"}}},
        {"$id": "http://127.0.0.1/a", "$ref": "b", "$defs": {"x": {"$id": "b", "type": "string"}}},
        {"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"const": {"$ref": "#/nowhere"}},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "items": {"$ref": "#/definitions/a"},
        },
    ],
)
def test_a_reference_that_leads_somewhere_is_none(schema: Any) -> None:
    column = {"name": "made", "column_type": "llm-structured", "model_alias": "writer", "prompt": "p"}
    assert problems(column | {"output_format": schema}) == {}


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    trained: bool | None = None


class Odd(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    anything: Any = None
    price: Decimal
    pair: tuple[int, str]
    text_or_number: str | int | None = None


def test_unions_any_decimals_and_tuples_are_json_in_which_nothing_is_lost() -> None:
    text = (
        '{"pet": {"kind": "cat", "lives": 9}, "anything": {"a": [1.50, null]}, "price": 12.10, "pair": [1, "a"],'
        ' "text_or_number": "abc"}'
    )
    (value,) = asked(answers(text), "llm-structured", output_format=Odd)
    assert value == {
        "pet": '{"kind": "cat", "lives": 9}',
        "anything": '{"a": [1.50, null]}',
        "price": "12.10",
        "pair": '[1, "a"]',
        "text_or_number": '"abc"',
    }


@pytest.mark.parametrize("rest", ["", ', "anything": null, "text_or_number": null'])
def test_null_and_absent_are_null(rest: str) -> None:
    text = f'{{"pet": {{"kind": "dog"}}, "price": "1", "pair": [1, "a"]{rest}}}'
    (value,) = asked(answers(text), "llm-structured", output_format=Odd)
    assert (value["anything"], value["text_or_number"]) == (None, None)


def test_a_null_that_is_the_whole_answer_is_null() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}
    assert asked(answers("null"), "llm-structured", output_format=schema) == [None]


def test_an_answer_that_is_nested_too_deeply_is_corrected() -> None:
    deep = '{"a": ' + "[" * 900 + "]" * 900 + "}"
    schema = {"type": "object", "properties": {"a": {}}}
    assert asked(answers(deep, '{"a": 1}'), "llm-structured", output_format=schema) == [{"a": "1"}]


def test_reading_the_schema_takes_no_time_however_its_unions_are_nested() -> None:
    unions = {f"d{n}": {"oneOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(14)} | {"d14": {"type": "integer"}}
    kinds, _ = outermost({"$defs": unions, "$ref": "#/$defs/d0"})
    assert set(kinds) == {int, float}


# llm-judge ---------------------------------------------------------------------------------------------


def test_the_type_of_a_judgement_follows_from_its_scores() -> None:
    (declaration,) = declared(
        {"name": "made", "column_type": "llm-judge", "model_alias": "writer", "prompt": "p", "scores": SCORES}
    )
    assert declaration.outputs[0].sql_type == (
        'STRUCT("style" STRUCT("reasoning" VARCHAR, "score" BIGINT), '
        '"tone" STRUCT("reasoning" VARCHAR, "score" VARCHAR))'
    )


def test_options_are_the_same_after_a_journey_through_json() -> None:
    column = LlmJudgeColumn.model_validate({"name": "made", "model_alias": "writer", "prompt": "p", "scores": SCORES})
    assert LlmJudgeColumn.model_validate_json(column.model_dump_json()) == column
    assert list(column.scores[0].options) == [1, 2]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("[]", "not a JSON object"),
        ("{}", "'style'"),
        ('{"style": 2}', "'style'"),
        ('{"style": {"reasoning": "r", "score": 3}}', "must be one of 1, 2"),
        ('{"style": {"reasoning": "r", "score": true}}', "must be one of 1, 2"),
        ('{"style": {"score": 1}}', "'reasoning' of 'style' is missing"),
    ],
)
def test_a_score_that_was_not_offered_is_unusable(answer: str, reason: str) -> None:
    with pytest.raises(GeneratorError, match=reason):
        asked(answers(answer), "llm-judge", max_conversation_correction_steps=0)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], "Must not be empty"),
        ([SCORES[0], SCORES[0] | {"name": "STYLE"}], "Two scores are named 'STYLE'"),
        ([SCORES[0] | {"options": {}}], "Must not be empty"),
        ([SCORES[0] | {"options": {1: "a", "1": "b"}}], "are the same"),
        ([SCORES[0] | {"name": "row_id"}], "Rowmill's own"),
    ],
)
def test_scores_that_cannot_be_told_apart_are_refused(scores: Any, reason: str) -> None:
    from rowmill.errors import SpecError

    with pytest.raises(SpecError, match=reason):
        declared({"name": "made", "column_type": "llm-judge", "model_alias": "writer", "prompt": "p", "scores": scores})


def test_an_unknown_language_names_the_nearest() -> None:
    from rowmill.errors import SpecError

    with pytest.raises(SpecError, match="Did you mean 'python'"):
        declared({"name": "c", "column_type": "llm-code", "model_alias": "writer", "prompt": "p", "code_lang": "pyton"})


LENIENT: dict[str, Any] = {"name": "s", "description": "d"}


@pytest.mark.parametrize(
    ("options", "given", "score"),
    [
        ([1, 2, 3], "3.0", 3),
        ([1, 2, 3], 3.0, 3),
        ([1, 2, 3], " 3\n", 3),
        ([1, 2, 3], "３", 3),
        ([-1, 0, 1], "+1", 1),
        ([-1, 0, 1], "-1.00", -1),
        (["yes", "no"], "Yes", "yes"),
        (["yes", "no"], " YES\u200b ", "yes"),
        (["yes", "no"], "'yes'", "yes"),
        (["yes", "no"], "**Yes**", "yes"),
        (["Yes", "yes"], "yes", "yes"),
        (["not at all", "very"], "Not  at\nall", "not at all"),
        (["Straße", "Weg"], "STRASSE", "Straße"),
        (["1.50", "n/a"], 1.5, "1.50"),
        (["true", "false"], True, "true"),
        ([1, 2, 3], "٣", 3),
        ([-1, 0, 1], "\N{MINUS SIGN}1", -1),
        (["1-2", "3-4"], "1\N{EN DASH}2", "1-2"),
        (["é", "e"], "E\N{COMBINING ACUTE ACCENT}", "é"),
        (["1", "1.0", "x"], 1.0, "1.0"),
    ],
)
def test_a_score_that_one_option_alone_is_like_is_that_option(options: list[Any], given: Any, score: Any) -> None:
    scores = [LENIENT | {"options": dict.fromkeys(options, "m")}]
    answer = json.dumps({"s": {"reasoning": "r", "score": given}})
    assert asked(answers(answer), "llm-judge", scores=scores) == [{"s": {"reasoning": "r", "score": score}}]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (["Yes", "yes"], "YES"),
        (["yes", "no"], "yes and no"),
        (["yes", "no"], True),
        (["yes", "no"], ""),
        (["yes", "no"], None),
        (["yes", "no"], ["yes"]),
        ([1, 2, 3], 2.5),
        ([1, 2, 3], "2/3"),
        ([1, 2, 3], True),
        ([1, 2, 3], 10**400),
        (["1", "1.0", "x"], "1.00"),
        ([8, 23], "2³"),
        ([1, 2, 12], "½"),
    ],
)
def test_a_score_that_is_like_no_option_or_several_is_corrected(options: list[Any], given: Any) -> None:
    scores = [LENIENT | {"options": dict.fromkeys(options, "m")}]
    answer = json.dumps({"s": {"reasoning": "r", "score": given}})
    with pytest.raises(GeneratorError, match="must be one of"):
        asked(answers(answer), "llm-judge", scores=scores, max_conversation_correction_steps=0)


@pytest.mark.parametrize(
    ("options", "written", "score"),
    [
        ([2**53, 2**53 + 1], "9007199254740993.0", 2**53 + 1),
        ([1, 2, 3], "0.3e1", 3),
        ([1, 2, 3], "1.00000000000000000001", None),
    ],
)
def test_a_score_that_is_a_number_is_read_as_it_was_written(options: list[Any], written: str, score: Any) -> None:
    scores = [LENIENT | {"options": dict.fromkeys(options, "m")}]
    provider = answers(f'{{"s": {{"reasoning": "r", "score": {written}}}}}', '{"s": {"reasoning": "r", "score": null}}')
    if score is not None:
        assert asked(provider, "llm-judge", scores=scores)[0]["s"]["score"] == score
        return
    with pytest.raises(GeneratorError, match=written):
        asked(provider, "llm-judge", scores=scores, max_conversation_correction_steps=0)


def test_the_name_of_a_score_may_differ_in_case() -> None:
    answer = GOOD["llm-judge"][0].replace('"style"', '" Style"')
    assert asked(answers(answer), "llm-judge") == [GOOD["llm-judge"][1]]
