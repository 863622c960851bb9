"""The sandbox: no way to Python's internals, no work without bounds, nothing left to chance."""

from __future__ import annotations

import pytest

from rowmill.errors import GeneratorError, RowmillError, SpecError
from rowmill.spec.template import Template

ROW = {"x": "s", "items": ["a", "b"], "mapping": {"k": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ mapping.__class__ }}",
        "{{ (1, 2).__add__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ cycler('a').__init__.__globals__ }}",
        "{{ cycler('a').next.__func__ }}",
        "{{ joiner().__init__ }}",
        "{{ namespace().__class__ }}",
        "{{ namespace.__init__ }}",
        "{{ dict(a=1).__class__ }}",
        "{{ range(3).__class__ }}",
        "{{ range(1).__reduce__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ x | attr('__class__') }}",
        "{{ items | map(attribute='__class__') | first }}{{ (items | map(attribute='__class__') | first).x }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '{a.__class__}'.format(a=x) }}",
        "{{ '{a.__class__}'.format_map({'a': x}) }}",
        "{{ '{0[__class__]}'.format(x) }}",
        "{{ ('{0.__cl' ~ 'ass__}') | attr('format')(x) }}",
        "{{ ('{0.__class__}' | e).format(x) }}",
        "{{ (items | map('upper')).gi_frame }}",
        "{{ dict.mro() }}",
        "{{ x.format.__self__ }}",
        "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
        "{% for i in items %}{{ loop.__class__ }}{% endfor %}",
        "{{ items.append(1) }}",
        "{{ mapping.update({'a': 1}) }}",
        "{{ mapping.pop('k') }}",
    ],
)
def test_python_internals_and_changes_are_out_of_reach(text: str) -> None:
    with pytest.raises(GeneratorError):
        Template(text).render(ROW)
    assert ROW == {"x": "s", "items": ["a", "b"], "mapping": {"k": 1}}


GROWING = "{%% set ns = namespace(v=%s) %%}{%% for i in range(80) %%}%s{%% endfor %%}{{ ns.v }}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{{ 10 ** 10 * ['x'] }}",
        "{{ ['a' * 1000000] * 1000000 }}",
        "{{ 9 ** 9999999999 }}",
        "{{ 10 ** -400000000 }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ ['%1000000000d'] | map('format', 1) | list }}",
        "{{ ('%s' * 20) % ((x * 10000000,) * 20) }}",
        "{{ ('%(a)s' * 1000) % {'a': x * 10000000} }}",
        "{{ ('%(a)s' * 1000) | format(a=x * 10000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ ('{0}' * 1000).format(x * 10000000) }}",
        "{{ (('{0}' * 1000) | e).format(x * 10000000) }}",
        "{{ x.ljust(10000000000) }}",
        "{{ x.ljust(width=1000000000) }}",
        "{{ 'a'.zfill(1000000000) }}",
        "{{ ('\\t' * 1000000).expandtabs(9999) }}",
        "{% for f in [x.ljust] %}{{ f(1000000000) }}{% endfor %}",
        "{{ x | center(1000000000) }}",
        "{{ [9] | map('center', 1000000000) | list }}",
        "{{ 'a' | indent(1000000000) }}",
        "{{ ('a\\n' * 1000000) | indent(9999) }}",
        "{{ x | tojson(indent=1000000000) }}",
        "{{ x | batch(1000000000, 'y') | list }}",
        "{{ ('a' * 1000000) | wordwrap(1, wrapstring='b' * 1000) }}",
        "{{ 'aa'.replace('', 'b' * 30000000) }}",
        "{{ 'aa' | replace('a', 'b' * 10000000) | replace('b', 'c' * 1000) }}",
        "{{ 'x'.join(['a' * 30000000] * 3) }}",
        "{{ (['a' * 30000000] * 3) | join }}",
        "{{ 'x'.translate({120: 'y' * 10000000}) }}",
        "{{ [[1]] | sum(start=[]) }}",
        "{{ range(10 ** 10) | list }}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in x * 1000000 %}{% for j in x * 1000000 %}{% endfor %}{% endfor %}",
        "{% for i in range(1000000) %}" + "z" * 1000 + "{% endfor %}",
        "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% set b = a[1:] %}{% endfor %}",
        GROWING % ("'a'", "{% set ns.v = ns.v ~ ns.v %}"),
        GROWING % ("'a'", "{% set ns.v = ns.v + ns.v %}"),
        GROWING % ("'a'", "{% set ns.v = '%s%s' % (ns.v, ns.v) %}"),
        GROWING % ("'a'", "{% set ns.v %}{{ ns.v }}{{ ns.v }}{% endset %}"),
        GROWING % ("[1]", "{% set ns.v = ns.v + ns.v %}"),
        GROWING % ("[1]", "{% set ns.v = [ns.v, ns.v] %}"),
        GROWING % ("[1]", "{% set ns.v = {'a': ns.v, 'b': ns.v} %}"),
        GROWING % ("3", "{% set ns.v = ns.v * ns.v %}"),
    ],
)
def test_what_would_take_the_process_down_is_an_error_of_the_row(text: str) -> None:
    with pytest.raises(GeneratorError, match=r"SecurityError|TooLarge"):
        Template(text).render(ROW)


@pytest.mark.parametrize("text", ["{{ items | random }}", "{{ lipsum() }}"])
def test_v1_nothing_that_depends_on_chance_is_available(text: str) -> None:
    with pytest.raises(RowmillError):
        Template(text).render(ROW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ x.upper() }}{{ x | upper }}", "SS"),
        ("{{ items | join(', ') }}", "a, b"),
        ("{{ items | map('upper') | join }}", "AB"),
        ("{{ items[1:] }}{{ x ~ 1 ~ None }}", "['b']s1None"),
        ("{{ mapping | tojson }}{{ mapping.k + 2 }}", '{"k": 1}3'),
        ("{% for k, v in mapping.items() %}{{ k }}={{ v }};{% endfor %}", "k=1;"),
        ("{{ '%05.2f' % 3.14159 }} {{ '%s-%s' % (x, 2) }} {{ '%(a)s' % {'a': 1} }}", "03.14 s-2 1"),
        ("{{ '{:>3}|{k}'.format(x, k=1) }}", "  s|1"),
        ("{{ 'a b'.split() | list }}{{ x | center(3) }}{{ x.ljust(2) }}.", "['a', 'b'] s s ."),
        ("{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% for i in range(3) %}{{ loop.index }}{{ ',' if not loop.last }}{% endfor %}", "1,2,3"),
        ("{% for i in [] %}{% else %}none{% endfor %}", "none"),
        ("{{ 2 ** 10 }} {{ 7 % 4 }} {{ [1] + [2] }} {{ 'ab' * 2 }} {{ 1.5 * 2 }}", "1024 3 [1, 2] abab 3.0"),
        ("{% filter upper %}{{ x }}{% endfilter %}{% with y = x %}{{ y }}{% endwith %}", "Ss"),
        ("{{ items | sort(reverse=true) | first }}{{ [1, 2] | sum }}{{ items | length }}", "b32"),
        ("{{ 'x\ny' | indent(2) }}{{ 'abc' | truncate(2, true, '', 0) }}", "x\n  yab"),
    ],
)
def test_ordinary_templates_work_in_the_sandbox(text: str, expected: str) -> None:
    assert Template(text).render(ROW) == expected


def test_a_loop_may_recurse_into_nested_rows() -> None:
    tree = [{"n": 1, "c": [{"n": 2, "c": []}]}]
    text = "{% for t in tree recursive %}{{ t.n }}{{ loop(t.c) if t.c }}{% endfor %}"
    assert Template(text).render({"tree": tree}) == "12"


def test_a_ten_megabyte_value_renders() -> None:
    value = "x" * 10_000_000
    assert len(Template("{{ x | upper }}!").render({"x": value})) == 10_000_001


def test_every_rendering_has_its_own_budget() -> None:
    template = Template("{{ x * 20000000 }}")
    assert len(template.render(ROW)) == len(template.render(ROW)) == 20_000_000


def test_a_missing_filter_is_a_problem_of_the_spec() -> None:
    with pytest.raises(SpecError, match="No filter named 'random'"):
        Template("{{ items | random }}")
