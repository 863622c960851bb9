"""What a name in a template stands for, and that only values come out of one: nothing of the process."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.errors import GeneratorError
from rowmill.spec.template import Template, compile_condition
from rowmill.value.shown import shown

NAMES = (
    "items", "keys", "values", "get", "copy", "pop", "popitem", "update", "clear", "setdefault", "fromkeys",
    "count", "index", "upper", "format", "__class__", "_x",
)  # fmt: skip
TAKEN = {name: f"the {name}" for name in NAMES}
ROW: dict[str, Any] = {
    "order": TAKEN,
    "orders": [TAKEN, TAKEN],
    "bare": {"a": 1},
    "bares": [{"a": 1}],
    "text": "tea",
    "list": ["x", "y", "x"],
    "day": datetime.date(2026, 1, 31),
}


def render(text: str) -> str:
    return Template(text, "columns.0.prompt").render(ROW)


FIELDS = (
    "{{ order.NAME }}",
    "{{ order['NAME'] }}",
    "{{ order | attr('NAME') }}",
    "{% set n = 'NAME' %}{{ order[n] }}",
    "{{ orders | map(attribute='NAME') | first }}",
    "{{ (orders | selectattr('NAME') | first).NAME }}",
    "{{ (orders | groupby('NAME') | first).grouper }}",
    "{{ (orders | sort(attribute='NAME') | first)['NAME'] }}",
    "{{ (orders | unique(attribute='NAME') | first).NAME }}",
    "{{ (orders | min(attribute='NAME')).NAME }}",
    "{% for o in orders %}{{ o.NAME if loop.first }}{% endfor %}",
    "{{ orders[0].NAME }}",
    "{{ orders | join(attribute='NAME', d='|') | replace('the NAME|', '') }}",
    "{{ '{0.NAME}'.format(order) }}",
    "{{ '{o[NAME]}'.format(o=order) }}",
    "{{ '{NAME}'.format_map(order) }}",
    "{% with o = order %}{{ o.NAME }}{% endwith %}",
    "{% macro m(o) %}{{ o.NAME }}{% endmacro %}{{ m(order) }}",
    "{{ order.NAME | default('none') }}",
    "{{ '%(NAME)s' % order }}",
)


@pytest.mark.parametrize(
    ("text", "name"),
    [(text, "items") for text in FIELDS] + [(text, name) for text in FIELDS[:3] for name in NAMES if name != "items"],
)
def test_a_name_behind_a_mapping_is_its_field(text: str, name: str) -> None:
    assert render(text.replace("NAME", name)) == f"the {name}"


@pytest.mark.parametrize("name", [name for name in NAMES if name in dir(dict)])
def test_a_mapping_without_the_field_does_not_have_it(name: str) -> None:
    assert render(f"{{{{ bare.{name} is defined }}}} {{{{ bare.{name} | default('none') }}}}") == "False none"
    assert render(f"{{{{ bare['{name}'] | default('none') }}}}") == "none"
    assert render(f"{{{{ bares | map(attribute='{name}', default='none') | first }}}}") == "none"
    assert render(f"{{{{ bares | selectattr('{name}', 'defined') | list }}}}") == "[]"
    with pytest.raises(GeneratorError, match=f"has no attribute '{name}'"):
        render(f"{{{{ bare.{name} }}}}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for k, v in bare.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{% for k, v in order.items() %}{{ k if loop.first }}{% endfor %}", "items"),
        ("{{ order.keys() | first }}", "items"),
        ("{{ bare.get('a') }} {{ bare.get('b', 2) }} {{ order.get('get') }}", "1 2 the get"),
        ("{{ bare['get']('a') }} {{ (bare | attr('get'))('a') }}", "1 1"),
        ("{{ bare.values() | list }} {{ bare.copy() }}", "[1] {'a': 1}"),
        ("{{ bare.items() }} {{ bare.keys() }}", "dict_items([('a', 1)]) dict_keys(['a'])"),
        ("{{ bare.items() | list | length }} {{ bare | items | list }}", "1 [('a', 1)]"),
        ("{{ text.upper() }} {{ text.count('t') }} {{ list.count('x') }} {{ list.index('y') }}", "TEA 1 2 1"),
        ("{% set f = text.upper %}{{ f() }}{% for f in [text.upper] %}{{ f() }}{% endfor %}", "TEATEA"),
        ("{{ day.isoformat() }} {{ day.year }} {{ day.strftime('%d') }}", "2026-01-31 2026 31"),
        ("{{ '{:>4}|{!r}'.format(1, 'a') }} {{ '{0[1]}{0[0]}'.format(list) }}", "   1|'a' yx"),
        ("{{ '{}-{}'.format(1, 2) }} {{ '{{}}{a}'.format(a=1) }}", "1-2 {}1"),
        ("{{ '{:{w}}'.format('a', w=3) }}.", "a  ."),
        ("{% set ns = namespace(items=3) %}{{ ns.items }}", "3"),
        ("{{ range(3) }} {{ (1, 2) }} {{ text.encode() }}", "range(0, 3) (1, 2) dGVh"),
        ("{{ 'yes' if text else 'no' }}{{ 'x' if not text }}", "yes"),
    ],
)
def test_a_method_that_is_called_is_the_method(text: str, expected: str) -> None:
    assert render(text) == expected


OF_THE_PROCESS = [
    "text.upper",
    "list.append",
    "list.index",
    "day.isoformat",
    "text.format",
    "'{}'.format",
    "(1).bit_length",
    "list | map('upper')",
    "list | select('eq', 'x')",
    "list | reverse",
    "bare | items",
    "list | batch(2)",
    "list | slice(2)",
    "cycler('a')",
    "cycler('a').next",
    "joiner()",
    "namespace(a=1)",
    "self",
    "m",
    "caller",
    "loop",
    "loop.cycle",
    "self.b",
]


PUT_OUT = (
    "{{ WHAT }}",
    "{{ [WHAT] }}",
    "{{ {'a': WHAT} }}",
    "{{ ([WHAT],) }}",
    "{{ (WHAT) ~ '' }}",
    "{{ [WHAT] ~ '' }}",
    "{{ '%s' % (WHAT) }}",
    "{{ '%s' % ((WHAT),) }}",
    "{{ '%(a)s' % {'a': WHAT} }}",
    "{{ '{}'.format(WHAT) }}",
    "{{ '{0!r}'.format(WHAT) }}",
    "{{ '{a}'.format_map({'a': WHAT}) }}",
    "{{ '%s' | format(WHAT) }}",
    "{{ [WHAT] | string }}",
    "{{ [WHAT] | join }}",
    "{{ [WHAT] | upper }}",
    "{{ [WHAT] | e }}",
    "{{ [WHAT] | urlencode }}",
    "{{ {'a': WHAT} | xmlattr }}",
    "{{ [WHAT] | tojson }}",
    "{{ [WHAT] | map('string') | join }}",
    "{% set x %}{{ WHAT }}{% endset %}{{ x }}",
    "{% filter upper %}{{ WHAT }}{% endfilter %}",
)


@pytest.mark.parametrize(
    ("what", "put_out"),
    [(what, put_out) for what in OF_THE_PROCESS for put_out in PUT_OUT[:2]]
    + [(what, put_out) for what in ("text.upper", "list | map('upper')", "m") for put_out in PUT_OUT[2:]],
)
def test_nothing_of_the_process_is_ever_put_out(what: str, put_out: str) -> None:
    text = put_out.replace("WHAT", what)
    around = {
        "loop": "{% for i in [1] %}TEXT{% endfor %}",
        "caller": "{% macro c() %}TEXT{% endmacro %}{% call c() %}{% endcall %}",
    }
    text = around.get(what.split(".")[0], "TEXT").replace("TEXT", text)
    text = "{% macro m() %}{% endmacro %}{% block b %}{% endblock %}" + text
    made, refusal = "", ""
    try:
        made = render(text)
    except GeneratorError as error:
        refusal = str(error)
    assert " at 0x" not in refusal
    assert not any(trace in made for trace in ("<", "object", "0x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ text.upper }}", "a function, method or macro is no value: call 'upper' with parentheses"),
        ("{{ list | map('upper') }}", "put | list or | join behind it"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "call 'm' with parentheses"),
        ("{{ namespace(a=1) }}", "a namespace is no value: name a field of it"),
        ("{% for i in list %}{{ loop }}{% endfor %}", "is no value"),
        ("{{ bare.items }}", "has no attribute 'items'"),
        ("{{ [bare.nope] }}", "has no attribute 'nope'"),
        ("{{ bares | map(attribute='nope') | list }}", "has no attribute 'nope'"),
        ("{{ [1 if false] }}", "what is undefined is no value"),
    ],
)
def test_the_row_is_rejected_with_what_to_do_instead(text: str, message: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        render(text)
    assert message in str(caught.value)
    assert "(columns.0.prompt)" in str(caught.value)


def test_a_condition_looks_at_the_field_too() -> None:
    condition = compile_condition("{{ order.items == 'x' }}")
    assert condition({"order": {"items": "x"}})
    assert not condition({"order": {"items": "y"}})
    with pytest.raises(GeneratorError):
        condition({"order": {}})


@pytest.mark.parametrize(
    "value",
    [
        decimal.Decimal("1.10"), uuid.UUID(int=5), datetime.datetime(2026, 1, 31, 12), datetime.time(1, 2),
        datetime.timedelta(days=1), b"ab", True, None, 1.5, 10**40, "x", [1, ("a", None)], {"a": {"b": [1.5]}},
        datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC), frozenset({1}), [decimal.Decimal("1")],
    ],
    ids=repr,
)  # fmt: skip
def test_every_kind_of_value_shows_as_its_text(value: object) -> None:
    assert Template("{{ v }}").render({"v": value}) == str(shown(value))
    assert Template("{{ [v] }}").render({"v": value}) == shown([value])
    assert Template("{{ v ~ '' }}").render({"v": value}) == str(shown(value))


scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from([*NAMES, "a", "b"]), scalars, max_size=6), st.sampled_from([*NAMES, "a"]))
def test_a_field_is_what_the_mapping_says_whatever_its_name(mapping: dict[str, Any], name: str) -> None:
    row = {"m": mapping}
    if name in mapping:
        for text in (
            f"{{{{ m.{name} }}}}",
            f"{{{{ m['{name}'] }}}}",
            f"{{{{ [m] | map(attribute='{name}') | first }}}}",
        ):
            assert Template(text).render(row) == str(mapping[name])
    else:
        assert Template(f"{{{{ m.{name} is defined }}}}").render(row) == "False"
