"""What Rowmill takes from Jinja is what it was made for, whichever version is installed: run over oldest and newest."""

from __future__ import annotations

from typing import Any

import jinja2.runtime
import pytest
from jinja2 import Environment, nodes
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.tests import TESTS

from rowmill.errors import SpecError
from rowmill.spec import template_filters
from rowmill.spec.sandbox import Sandbox, scratch
from rowmill.spec.template import Template
from rowmill.spec.template_tree import all_nodes, spending

ROW: dict[str, Any] = {
    "text": "Ä tea, <b>hot</b>\nand strong",
    "number": -1234.567,
    "whole": 42,
    "list": [3, 1, 2, 1],
    "mapping": {"b": 1, "a": 2},
    "rows": [{"n": "x", "v": 2}, {"n": "y", "v": 1}, {"n": "x", "v": 3}],
    "nothing": None,
}

FILTERED = [
    "number | abs", "mapping | attr('b') | default(1)", "list | batch(3, 0) | list", "text | capitalize",
    "text | center(40)", "list | count", "nope | d('x')", "nothing | default('x', true)", "mapping | dictsort",
    "mapping | dictsort(false, 'value', reverse=true)", "text | e", "text | escape", "1500000 | filesizeformat",
    "list | first", "'1.5x' | float(2.5)", "text | forceescape", "'%s-%s' | format(1, 'b')",
    "rows | groupby('n') | map(attribute='list') | list", "text | indent(2, true)", "'0x1F' | int(base=16)",
    "mapping | items | list", "list | join('-')", "rows | join(', ', attribute='n')", "list | last", "text | length",
    "text | list | length", "text | lower", "rows | map(attribute='v') | list",
    "rows | map(attribute='w', default=0) | list",
    "list | map('string') | list", "list | max", "rows | min(attribute='v')", "list | reject('odd') | list",
    "rows | rejectattr('v', 'gt', 1) | list", "text | replace('tea', 'milk')", "text | replace('a', 'o', 1)",
    "list | reverse | list", "text | reverse", "number | round(1)", "number | round(1, 'floor')", "whole | round(-1)",
    "text | safe", "list | select('odd') | list", "rows | selectattr('n', 'eq', 'x') | list", "list | slice(2) | list",
    "list | sort", "rows | sort(attribute='n,v', reverse=true)", "whole | string", "text | striptags",
    "list | sum(start=1)", "rows | sum(attribute='v')", "text | title", "mapping | tojson",
    "mapping | tojson(indent=2)",
    "text | trim", "text | trim('Ä')", "text | truncate(8)", "text | truncate(8, true, '~', 0)", "list | unique | list",
    "rows | unique(attribute='n') | list", "text | upper", "text | urlencode", "mapping | urlencode",
    "text | wordcount",
    "text | wordwrap(6)", "text | wordwrap(width=6, break_long_words=false)", "mapping | xmlattr",
]  # fmt: skip
TESTED = [
    "whole is divisibleby 7", "text is defined", "nope is undefined", "whole is even", "whole is odd", "text is filter",
    "'upper' is filter", "'odd' is test", "number is float", "whole is integer", "true is boolean", "true is true",
    "false is false", "nothing is none", "text is string", "list is sequence", "list is iterable", "mapping is mapping",
    "whole is number", "text is lower", "'A' is upper", "whole is sameas(whole)", "text is escaped", "1 is in list",
    "'tea' is in(text)", "whole is eq 42", "whole is ne(1)", "whole is gt(41)", "whole is lt 1", "whole is ge(42)",
    "whole is le 42", "whole is greaterthan(1)", "whole is lessthan(1)", "whole is equalto(42)", "range is callable",
    "1 in list", "'x' not in text", "1 < 2 < 3", "list[1:3]", "text[::-1]", "text ~ whole ~ nothing", "mapping.b + 1",
    "list[0] * 2 - 7 // 2 % 3 ** 2 / 4", "{'a': whole, text: 1}[text]", "(1, text)", "not list", "-whole", "+whole",
    "'a' if whole > 1 else 'b'", "[1, 'a', none, 1.5]", "text.split(',')[0]", "'%05.1f' % number", "'{:>5}'.format(1)",
]  # fmt: skip


@pytest.mark.parametrize("expression", FILTERED + TESTED)
def test_an_expression_means_what_it_means_to_jinja(expression: str) -> None:
    text = "{{ " + expression + " }}"
    if expression.startswith("mapping | attr"):
        assert Template(text).render(ROW) == "1"  # the field, where Jinja looks at attributes only
    else:
        assert Template(text).render(ROW) == Environment().from_string(text).render(ROW)


STATEMENTS = [
    (
        "{% for x in list %}{{ loop.index }}/{{ loop.length }}{{ loop.cycle('a', 'b') }}"
        "{{ loop.changed(x) }}{{ loop.last }};{% endfor %}"
    ),
    "{% for x in list if x > 1 %}{{ x }}{% else %}none{% endfor %}{% for x in [] %}{% else %}none{% endfor %}",
    (
        "{% for k, v in mapping | dictsort %}{{ k }}{{ v }}{% endfor %}"
        "{% for a in [[1, [2]]] recursive %}{{ a[0] if a is sequence else a }}{% endfor %}"
    ),
    "{% for x in [[1, [[2, []]]]] recursive %}{{ x[0] }}{{ loop.depth }}{{ loop(x[1]) if x[1] }}{% endfor %}",
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1, 3, 4, x=5) }}",
    "{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) m(3) %}{{ x }}{{ whole }}{% endcall %}",
    "{% set a, b = 1, 2 %}{% set c %}{{ a }}{{ b }}{% endset %}{{ c }}{% with d = c %}{{ d }}{% endwith %}",
    "{% if whole > 50 %}a{% elif whole > 40 %}b{% else %}c{% endif %}{% filter upper %}{{ text }}{% endfilter %}",
    (
        "{% block one %}{{ whole }}{% endblock %}{{ self.one() }}{% set ns = namespace(n=0) %}"
        "{% for i in list %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}"
    ),
    (
        "{% autoescape true %}{{ text }}{% set x %}<{{ text }}>{% endset %}{{ x }}"
        "{% endautoescape %}{% raw %}{{ x }}{% endraw %}"
    ),
    (
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}"
        "{% set j = joiner('|') %}{{ j() }}x{{ j() }}y"
    ),
    "{%- for x in list -%} {{ x }} {%- endfor %}{# comment #}{{ dict(a=1) }}{{ range(2, 8, 3) | list }}",
]  # fmt: skip


@pytest.mark.parametrize("text", STATEMENTS, ids=lambda text: text[:30])
def test_a_statement_means_what_it_means_to_jinja(text: str) -> None:
    assert Template(text).render(ROW) == Environment().from_string(text).render(ROW)


def test_every_filter_and_every_test_is_tried_here() -> None:
    tried = " ".join(FILTERED)
    offered = {name for name in template_filters.filters() if " " not in name}
    assert {name for name in offered if f"| {name}" not in tried} == set()
    tried = " ".join(TESTED)
    unnamed = {name for name in template_filters.tests() if name.isalpha() and f"is {name}" not in tried}
    assert unnamed == set()


def test_what_a_version_of_jinja_adds_is_not_there_until_its_cost_is_known() -> None:
    assert {name for name in template_filters.filters() if " " not in name} <= {*FILTERS}
    assert {*template_filters.tests()} <= {*TESTS}
    assert {*Sandbox().globals} == {"range", "dict", "cycler", "joiner", "namespace"}
    for missing in ("random", "pprint", "urlize"):
        with pytest.raises(SpecError, match=f"No filter named '{missing}'"):
            Template(f"{{{{ list | {missing} }}}}")


def test_the_parts_of_jinja_that_call_the_template_again_are_known() -> None:
    names = {"Macro", "LoopContext", "BlockReference"}
    calling = {
        name
        for name, kind in vars(jinja2.runtime).items()
        if isinstance(kind, type) and kind.__module__ == "jinja2.runtime" and "__call__" in vars(kind)
    }
    assert calling - {"AsyncLoopContext"} <= names | {"Undefined", "ChainableUndefined"}


def test_a_rewritten_tree_has_no_operation_left_that_spends_nothing() -> None:
    text = (
        "{{ a ~ b }}{{ a[1:2] }}{{ a == b }}{{ a in b }}{{ a.b() }}{{ a['b']() }}{{ {a: b} }}{{ f(*a) }}"
        "{% for x in a if x %}{% endfor %}{% macro m() %}{% endmacro %}"
        "{% call m() %}{% endcall %}{% block c %}{% endblock %}"
    )
    tree = spending(Sandbox().parse(text))
    left = [node for node in all_nodes(tree) if isinstance(node, (nodes.Concat, nodes.Slice, nodes.Compare))]
    assert left == []
    assert not any(
        isinstance(node.node, (nodes.Getattr, nodes.Getitem))
        for node in all_nodes(tree)
        if isinstance(node, nodes.Call)
    )
    bodies = [
        node for node in all_nodes(tree) if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block))
    ]
    assert len(bodies) == 4
    assert all(isinstance(node.body[0], nodes.ExprStmt) for node in bodies)


def test_every_free_name_is_told_also_those_of_functions() -> None:
    tree = scratch().parse("{{ a }}{{ range }}{% set b = c %}{{ b }}{% for d in e %}{{ d }}{% endfor %}")
    assert find_undeclared_variables(tree) == {"a", "range", "c", "e"}
