"""Finding code and JSON in the text of an answer."""

from __future__ import annotations

import pytest

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
