"""Finding code and JSON in the text of an answer."""

from __future__ import annotations

import pytest

from rowmill.generators.prompting.answer_json import Wanted
from rowmill.generators.prompting.answer_text import code_block, fenced_blocks, json_value
from rowmill.generators.protocol import UnusableAnswer

PYTHON = frozenset({"python", "py"})


def python(text: str) -> str:
    return code_block(text, PYTHON, "Python")


@pytest.mark.parametrize(
    "answer",
    [
        "```python\nprint(1)\n```",
        "Sure!\n\n```py\nprint(1)\n```\nThat is all.",
        "```\nprint(1)\n```",
        "```sh\npip install x\n```\n```Python title=a.py\nprint(1)\n```\n```python\nprint(2)\n```",
        "~~~python\nprint(1)\n~~~",
        "````python\nprint(1)\n````",
        "<think>```python\nno\n```</think>\n```python\nprint(1)\n```",
        "  ```python\nprint(1)\n  ```",
    ],
)
def test_the_block_of_the_language_is_the_code(answer: str) -> None:
    assert python(answer) == "print(1)"


def test_code_with_the_line_ends_of_windows_ends_as_it_does_with_others() -> None:
    assert python("```python\r\na = 1\r\nb = 2\r\n```\r\n") == "a = 1\r\nb = 2"


def test_a_longer_fence_may_hold_a_shorter_one() -> None:
    assert python("````python\ns = '''\n```\n'''\n````") == "s = '''\n```\n'''"


def test_a_labelled_block_wins_over_one_without_a_label() -> None:
    assert python("```\noutput\n```\n```python\nprint(1)\n```") == "print(1)"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("print(1)", "no fenced block of Python code: put it"),
        ("```sql\nselect 1\n```", "no fenced block of Python code, only 'sql'"),
        ("```python\nprint(", "ends before its block"),
        ("```python\n\n```", "is empty"),
        ("", "no fenced block"),
    ],
)
def test_what_is_not_there_is_never_guessed(answer: str, reason: str) -> None:
    with pytest.raises(UnusableAnswer, match=reason):
        python(answer)


def test_an_empty_block_is_closed_at_once() -> None:
    assert [tuple(block) for block in fenced_blocks("```a\n```\nb")] == [("a", "", True)]


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": [1, {"b": 2}]}',
        'Here:\n```json\n{"a": [1, {"b": 2}]}\n```',
        'Here: {"a": [1, {"b": 2}]} as you wished {"x": 1}.',
        '<think>{"no": 1}</think>{"a": [1, {"b": 2}]}',
        '```\n{"a": [1, {"b": 2}]}\n```',
    ],
)
def test_json_is_found_wherever_it_stands(answer: str) -> None:
    assert json_value(answer) == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(
    "answer", ["", "nothing", '{"a": ', '{"a": NaN}', "```json\n{a: 1}\n```", "{}{}{", "[" * 10_000]
)
def test_what_is_no_json_is_refused(answer: str) -> None:
    with pytest.raises(UnusableAnswer, match="not valid JSON"):
        json_value(answer)


def test_a_plain_value_is_json_too() -> None:
    assert json_value(" 3 ") == 3
    assert json_value('"three"') == "three"
    assert json_value("null") is None


CUT_OFF = '{"meta": {"source": "web"}, "items": [{"a": 1}, {"b"'


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CUT_OFF, "ends in the middle of a value"),
        (f"Here: {CUT_OFF}", "ends in the middle of a value"),
        (f"```json\n{CUT_OFF}", "ends in the middle of its block"),
        (f"```\n{CUT_OFF}", "ends in the middle of its block"),
        (f'Draft: {{"meta": {{}}}} Final: {CUT_OFF}', "ends in the middle of a value"),
        (f'```json\n{{"a": 1}}\n```\nBetter:\n```json\n{CUT_OFF}', "ends in the middle of its block"),
        ("{'meta': {\"source\": \"web\"}, 'items': [", "ends in the middle of a value"),
        ('{meta: {"source": "web"}, items: [', "ends in the middle of a value"),
        ('[{"a": 1}, {"a"', "ends in the middle of a value"),
        ("[1, 2, [3, 4]", "ends in the middle of a value"),
        ('{"a": {"b": 1}} trailing {', "ends in the middle of a value"),
    ],
)
def test_v7_what_stands_within_a_cut_off_value_is_never_the_answer(answer: str, reason: str) -> None:
    with pytest.raises(UnusableAnswer, match=reason):
        json_value(answer)


@pytest.mark.parametrize(
    "answer",
    [
        '{\'meta\': {"source": "web"}}',
        '{"a": {"b": 1}, }',
        '{"a": {"b": 1} // why\n}',
        '{"a": {"b": 1}, "c": True}',
        '{"a": [{"b": 1}], "c": None}',
        '{“a”: {"b": 1}}',
        '{"a": "an "inner" {\\"x\\": 1}", "b": {"c": 1}}',
        'Draft {"a": 1}, final {"a": 2,}',
        '```json\n{"a": 1}\n```\n```json\n{"a": 2,}\n```',
        '{"a": 1e999}',
        'Here: {"a": -1e999} {"b"}',
        '{"a": 1, "a": 2}',
        '{"a": Infinity}',
    ],
)
def test_what_is_broken_is_neither_mended_nor_searched(answer: str) -> None:
    with pytest.raises(UnusableAnswer, match="not valid JSON"):
        json_value(answer)


@pytest.mark.parametrize(
    "answer",
    [
        'First draft: {"a": 0}. Final: {"a": 1}',
        '```json\n{"a": 0}\n```\nOn reflection:\n```json\n{"a": 1}\n```',
        'Example:\n```json\n{"a": 0}\n```\nSo the answer is {"a": 1}.',
        'Draft {"a": 0,} final {"a": 1}',
        '\ufeff\u200b{"a": 1}\u200b ',
        '<answer>{"a": 1}</answer>',
        'As in [1] and [2, 3]: {"a": 1} [1]',
        'Of {name} and {{ name }} and {}: {"a": 1}',
        '[note] {"a": 1} (see [1])',
        '```json\n{"a": 1}\n``` as in [2].',
        '```JSON\r\n{"a": 1}\r\n```\r\n',
        '```json\n{"a": 1}',
        '```python\nx = {"a": 0}\n```\n{"a": 1}',
        '~~~~json\n{"a": 1}\n~~~~',
    ],
)
def test_the_last_whole_value_is_the_answer(answer: str) -> None:
    assert json_value(answer) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '<think>{"a": 0}</think>{"a": 1}',
        '{"a": 0} no, </think>{"a": 1}',
        '{"a": [0 </think>\n\n{"a": 1}',
        'So ```json\n{"a": 0}\n```\n</think>{"a": 1}',
        '```json\n{"a": 0\n</think>\n{"a": 1}',
        'Sure. <thought>{"a": 0}</thought> {"a": 1}',
        '<reasoning>{"a": 0}</reasoning>\n```json\n{"a": 1}\n```',
        '{"a": 1}\n<think>or {"a": 2}?</think>',
        '<think>{"a": 0}</think><think>{"a": 2}</think>{"a": 1}',
        '[THINK]{"a": 0}[/THINK]{"a": 1}',
        '<|channel|>analysis<|message|>{"a": 0}<|end|><|start|>assistant<|channel|>final<|message|>{"a": 1}<|return|>',
        'analysis{"a": 0} it is.assistantfinal{"a": 1}',
    ],
)
def test_v7_values_in_thoughts_do_not_count(answer: str) -> None:
    assert json_value(answer) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '<think>{"a": 0}',
        'Well.\n<think>\n{"a": 0}',
        '<|channel|>analysis<|message|>{"a": 0}<|end|>',
        '<|start|>assistant<|channel|>analysis<|message|>{"a": 0}',
    ],
)
def test_a_thought_without_an_end_has_no_answer_behind_it(answer: str) -> None:
    with pytest.raises(UnusableAnswer, match="within the model's thoughts"):
        json_value(answer)


@pytest.mark.parametrize("answer", ['{"a": 0}\n{"a": 1}', '{"a": 0}{"a": 1}', '{"a": 0},\n{"a": 1}'])
def test_several_values_one_after_the_other_are_ambiguous(answer: str) -> None:
    with pytest.raises(UnusableAnswer, match="several JSON values"):
        json_value(answer)


def test_tags_in_the_texts_of_a_value_are_left_alone() -> None:
    assert json_value('{"a": "<think>x</think>y"}') == {"a": "<think>x</think>y"}
    assert json_value('Here: {"a": "<think>x</think>y"} so') == {"a": "<think>x</think>y"}


def test_values_unlike_the_one_that_is_asked_for_are_passed_over() -> None:
    order = Wanted((dict,), frozenset({"item"}))
    assert json_value('Of {"product": "a long description"} I made {"item": 1}', order) == {"item": 1}
    assert json_value('{"item": 1} for {"product": "a long description"}', order) == {"item": 1}
    assert json_value('The items are [1, 2] as in {"x": 1}.', Wanted((list,))) == [1, 2]


@pytest.mark.parametrize("answer", ["{ " * 50_000, "[" * 100_000, '{"a":' * 50_000, '"' * 100_000, "{x" * 50_000])
def test_a_hostile_answer_is_refused_at_once(answer: str) -> None:
    with pytest.raises(UnusableAnswer):
        json_value(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "```python\ntag = '<think>'\n```",
        "Hm: ```x``` no\n```python\nno\n```\n</think>\n```python\ntag = '<think>'\n```",
        "<thinking>\n```python\nno\n```\n</thinking>\n```python\ntag = '<think>'\n```",
    ],
)
def test_code_may_speak_of_thoughts_and_code_in_thoughts_does_not_count(answer: str) -> None:
    assert python(answer) == "tag = '<think>'"


def test_code_in_an_unfinished_thought_is_no_answer() -> None:
    with pytest.raises(UnusableAnswer, match="within the model's thoughts"):
        python("<think>\n```python\nno\n```\nhm")
