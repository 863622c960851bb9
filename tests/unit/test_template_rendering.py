"""Templates: rendering, references, conditions, errors."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import GeneratorError, SpecError
from rowmill.spec.template import Template, compile_condition, is_template


def render(text: str, **row: Any) -> str:
    return Template(text, "columns.0.prompt").render(row)


def test_a_template_renders_the_values_of_a_row() -> None:
    assert render("Review {{ product }}. {{ rating }} of 5.", product="tea", rating=3) == "Review tea. 3 of 5."


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ([1, "a"], "[1, 'a']"),
        ({"k": None}, "{'k': None}"),
        (datetime.date(2024, 2, 1), "2024-02-01"),
        ("<&>", "<&>"),
        ("", ""),
    ],
)
def test_values_render_as_jinja_renders_them(value: object, expected: str) -> None:
    assert render("{{ x }}", x=value) == expected


def test_one_newline_at_the_end_is_dropped() -> None:
    assert render("a\n\n") == "a\n"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_text_value_renders_as_it_is(value: str) -> None:
    assert render("{{ x }}", x=value) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ b }} {{ a }} {{ b }}", ("b", "a")),
        ("{{ person.name }} {{ d['k'].x }}", ("person", "d")),
        ("{% for x in xs if x != y %}{{ x }}{{ loop.index }}{% endfor %}", ("xs", "y")),
        ("{% for x in xs %}{% endfor %}{{ x }}", ("xs", "x")),
        ("{% set a = b %}{{ a }}", ("b",)),
        ("{% macro m(p) %}{{ p }}{{ q }}{% endmacro %}{{ m(r) }}", ("q", "r")),
        ("{% if a is defined %}{{ z | default('q') }}{% endif %}", ("a", "z")),
        ("{% for i in range(n) %}{% endfor %}", ("n",)),
        ("{{ range }}", ("range",)),
        ("{% set ns = namespace(x=y) %}{{ ns.x }}", ("y",)),
        ("{% block b %}{{ x }}{% endblock %}", ("x",)),
        ("{% raw %}{{ x }}{% endraw %}{# {{ y }} #}", ()),
        ("{{ review__trace }}", ("review__trace",)),
    ],
)
def test_references_are_the_names_the_row_must_give_in_order(text: str, expected: tuple[str, ...]) -> None:
    assert Template(text).references == expected


def test_a_column_may_have_the_name_of_a_jinja_function() -> None:
    assert render("{{ range }} {{ dict }}", range=1, dict=2) == "1 2"


def test_a_name_the_row_lacks_is_an_error_with_place_and_reason() -> None:
    with pytest.raises(GeneratorError, match=r"columns\.0\.prompt.*'nope' is undefined") as caught:
        render("{{ nope }}")
    assert caught.value.error_type == "TemplateError"


@pytest.mark.parametrize("text", ["{{ x.nope }}", "{{ 1 / 0 }}", "{{ x + 1 }}", "{{ x() }}"])
def test_whatever_fails_in_a_template_is_a_generator_error(text: str) -> None:
    with pytest.raises(GeneratorError):
        render(text, x="s")


def test_endless_recursion_of_a_macro_is_an_error_of_the_row() -> None:
    with pytest.raises(GeneratorError, match="at most 120 levels deep"):
        render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\n{{ x", "line 2"),
        ("{% for %}", "line 1"),
        ("{{ x | nope }}", "No filter named 'nope'"),
        ("{{ x is nope }}", "No test named 'nope'"),
        ("{% include 'x' %}", "other templates"),
        ("{% extends 'x' %}", "other templates"),
        ("{% import 'x' as y %}", "other templates"),
        ("{{ " + "(" * 300 + "1" + ")" * 300 + " }}", "nested too deeply"),
        ("{% for a in x %}" * 25 + "{% endfor %}" * 25, "nested too deeply"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_text_that_is_no_template_is_a_problem_of_the_spec_at_its_place(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason) as caught:
        Template(text, "columns.3.prompt")
    assert caught.value.problems[0].place == "columns.3.prompt"


def test_equal_texts_are_compiled_once_and_keep_their_own_places() -> None:
    first, second = Template("{{ same }}", "columns.0.prompt"), Template("{{ same }}", "columns.1.prompt")
    with pytest.raises(GeneratorError, match=r"columns\.0"):
        first.render({})
    with pytest.raises(GeneratorError, match=r"columns\.1"):
        second.render({})


def test_a_long_template_repr_is_short() -> None:
    assert len(repr(Template("x" * 1000))) < 100


@pytest.mark.parametrize("value", ["", " ", "False", "false", "0", "None", "NONE", " \n", None, False, 0])
def test_s1_a_condition_takes_these_for_false(value: object) -> None:
    assert compile_condition("{{ x }}")({"x": value}) is False


@pytest.mark.parametrize("value", ["true", "1", "no", "00", "0.0", True, 2, [0]])
def test_s1_a_condition_takes_everything_else_for_true(value: object) -> None:
    assert compile_condition("{{ x }}")({"x": value}) is True


def test_s1_a_condition_knows_its_references() -> None:
    condition = compile_condition("{{ a > 1 and b }}", "columns.0.skip.when")
    assert condition.references == ("a", "b")
    assert condition({"a": 2, "b": 1})
    assert not condition({"a": 1, "b": 1})


def test_s4_an_error_in_a_condition_is_raised_not_taken_for_false() -> None:
    with pytest.raises(GeneratorError, match=r"columns\.0\.skip\.when"):
        compile_condition("{{ a > 1 }}", "columns.0.skip.when")({"a": "x"})


def test_jinja_marks_tell_a_template_from_sql() -> None:
    assert is_template("{{ a }}")
    assert is_template("{% if a %}{% endif %}")
    assert not is_template("a > 1 and {'k': 1}['k'] = 1")
