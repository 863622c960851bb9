"""The budget of a rendering: whatever a template does, it ends soon, and never takes the process along."""

from __future__ import annotations

import datetime
import threading

import anyio
import pytest

from rowmill.errors import GeneratorError, SpecError
from rowmill.generators.rendering import rendered
from rowmill.spec.rendering_budget import NeedsThread
from rowmill.spec.template import Template

ROW = {"a": "x", "big": {"a": None, "t": datetime.datetime(2020, 1, 1)}}

NESTED = "{% set ns = namespace(v=0) %}{% for i in range(9000) %}{% set ns.v = (ns.v,) %}{% endfor %}{% set n = ns.v %}"
DOUBLED = (
    "{% set ns = namespace(v=[1], w=[1]) %}{% for i in range(40) %}"
    "{% set ns.v = [ns.v, ns.v] %}{% set ns.w = [ns.w, ns.w] %}{% endfor %}{% set v = ns.v %}{% set w = ns.w %}"
)
NUMBERS = "{% set x = range(9000) | list %}{% for i in range(1000000) %}"

ENDLESS = {
    "two macros in a macro": "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    "a loop in itself": "{% for x in range(1000) recursive %}{{ loop(range(1000)) if loop.depth < 9 }}{% endfor %}",
    "a filtered loop in itself": (
        "{% for x in range(1000) if x % 2 recursive %}{{ loop(range(1000)) if loop.depth < 9 }}{% endfor %}"
    ),
    "a loop whose filter takes nothing": (
        "{% for i in range(1000) %}{% for j in range(999999) if j < 0 %}"
        "{% endfor %}{% endfor %}"
    ),
    "loops in loops": "".join("{% for a in range(1000) %}" for _ in range(10)) + "{% endfor %}" * 10,
    "a block in itself": "{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}",
    "a caller in a caller": (
        "{% macro m() %}{% for i in range(99) %}{{ caller() }}{% endfor %}{% endmacro %}"
        + "{% call m() %}" * 4 + "x" + "{% endcall %}" * 4
    ),
    "filters over ranges": "{% for i in range(1000000) %}{{ range(1000000) | list | length }}{% endfor %}",
    "sums over ranges": "{% for i in range(100000) %}{% set x = range(100000) | sum %}{% endfor %}",
    "largest of ranges": "{% for i in range(100000) %}{% set x = range(100000) | max %}{% endfor %}",
    "lengths of loops": (
        "{% for i in range(9999) %}{% for j in range(999999) | map('abs') %}"
        "{{ loop.length }}{% endfor %}{% endfor %}"
    ),
    "a chain of maps": "{{ range(1000000)" + " | map('abs')" * 50 + " | list | length }}",
    "a chain of attributes": "{{ range(1000000)" + " | map(attribute='real')" * 50 + " | list | length }}",
    "one long attribute": "{{ range(10000) | map(attribute='" + ".".join(["real"] * 20000) + "') | list | length }}",
    "a chain of selects": "{{ range(1000000)" + " | select('number')" * 50 + " | list | length }}",
    "sorting": "{{ range(500000) | sort(reverse=true) | first }}",
    "unique": "{{ range(900000) | unique | list | length }}",
    "grouping": "{{ range(900000) | groupby('real') | list | length }}",
    "batches": "{{ range(1000000) | batch(3) | list | length }}",
    "joining": "{{ range(1000000) | map('string') | join | length }}",
    "JSON": NUMBERS + "{% set y = x | tojson %}{% endfor %}",
    "indented JSON": NUMBERS + "{% set y = x | tojson(indent=2) %}{% endfor %}",
    "dictsort": (
        "{% set d = dict.fromkeys(range(9000)) %}"
        "{% for i in range(1000) %}{% set x = d | dictsort %}{% endfor %}"
    ),
    "attributes of XML": "{{ dict.fromkeys(range(9000), 1) | xmlattr | length }}" * 9,
    "wrapping a long word": "{{ ('a' * 2000000) | wordwrap(1) | length }}",
    "wrapping many words": "{{ ('a ' * 5000000) | wordwrap(1) | length }}",
    "comments in tags": "{{ ('<!---->' * 2000000) | striptags | length }}",
    "tags": "{{ ('<>' * 2000000) | striptags | length }}",
    "titles": "{{ ('é ' * 20000000) | title | length }}",
    "counting words": "{{ ('a ' * 20000000) | wordcount }}",
    "quoting": "{{ ('é ' * 10000000) | urlencode | length }}",
    "upper case": "{% set x = 'é' * 1000000 %}{% for i in range(100000) %}{% set y = x | upper %}{% endfor %}",
    "upper case by method": (
        "{% set x = 'é' * 1000000 %}{% for i in range(100000) %}"
        "{% set y = x.upper() %}{% endfor %}"
    ),
    "long numbers": "{% set x = '0.' ~ '1' * 9000000 %}{% for i in range(1000) %}{% set y = x | float %}{% endfor %}",
    "a deep key": NESTED + "{{ {n: 1} }}",
    "a deep key to look up": NESTED + "{{ {'a': 1}[n] }}",
    "a deep key to look up and call": NESTED + "{{ {'a': 1}[n]() }}",
    "a deep key to find": NESTED + "{{ n in {'a': 1} }}",
    "a deep key to find in a chain": NESTED + "{{ 1 < 2 == n in {'a': 1} }}",
    "a deep key to get": NESTED + "{{ {'a': 1}.get(n) }}",
    "a deep key of many": NESTED + "{{ dict.fromkeys([n]) }}",
    "a deep key in a list": NESTED + "{{ dict([(n, 1)]) }}",
    "a deep value of many": NESTED + "{{ [n] | unique | list }}",
    "a deep value to show": NESTED + "{{ n }}",
    "a deep value to sort": NESTED + "{{ [n, n] | sort }}",
    "a deep value that changed": NESTED + "{% for i in [1, 2] %}{{ loop.changed(n) }}{% endfor %}",
    "a deep key that is taken away": NESTED + "{{ {'a': 1}.keys() - [n] }}",
    "equal": DOUBLED + "{{ v == w }}",
    "equal in a chain": DOUBLED + "{{ v <= w <= v }}",
    "less": DOUBLED + "{{ v < w }}",
    "in": DOUBLED + "{{ v in [w] }}",
    "is equal": DOUBLED + "{{ v is eq(w) }}",
    "is in": DOUBLED + "{{ v is in([w]) }}",
    "the place of": DOUBLED + "{{ [v].index(w) }}",
    "the least of": DOUBLED + "{{ [v, w] | min }}",
    "selected": DOUBLED + "{{ [v] | select('eq', w) | list }}",
    "selected by attribute": DOUBLED + "{{ [{'a': v}] | selectattr('a', 'in', [w]) | list }}",
    "changed": DOUBLED + "{% for i in [v, w] %}{{ loop.changed(i) }}{% endfor %}",
    "as JSON": DOUBLED + "{{ v | tojson }}",
    "as text": DOUBLED + "{{ v | string }}",
    "many times": "{{ 'x' * 10 ** 9 }}",
    "a power": "{{ 7 ** (10 ** 9) }}",
    "whole division": (
        "{% set a = 2 ** 15000 %}{% set b = 2 ** 8000 - 3 %}"
        "{% for i in range(99999) %}{% set c = a // b %}{% endfor %}"
    ),
    "a remainder": (
        "{% set a = 2 ** 15000 %}{% set b = 2 ** 8000 - 3 %}"
        "{% for i in range(99999) %}{% set c = a % b %}{% endfor %}"
    ),
    "doubling": "{% set ns = namespace(v=1) %}{% for i in range(99999) %}{% set ns.v = ns.v + ns.v %}{% endfor %}",
    "bytes of a number": "{{ (5).to_bytes(1000000000, 'big') | length }}",
    "a number of bytes": "{{ (5).from_bytes(('x' * 30000000).encode(), 'big') > 1 }}",
    "a number to a base": "{{ ('f' * 3000000) | int(base=16) > 1 }}",
    "rounding": "{{ 5 | round(-1000000000) }}",
    "rounding down": "{{ 5 | round(1000000000, 'floor') }}",
    "a whole number as text": "{{ 2 ** 16000 }}",
    "formats": "{% for i in range(900000) %}{{ '%s %s %s' % (1, 2, 3) }}{% endfor %}",
    "a format of many fields": "{{ ('{0}' * 5000000).format(1) | length }}",
    "finding a letter": "{% set x = 'a' * 1000000 %}{% for i in range(1000000) %}{{ 'b' in x }}{% endfor %}",
    "finding a text": (
        "{% set x = 'a' * 2000000 %}{% set y = 'a' * 60 ~ 'b' %}"
        "{% for i in range(99999) %}{{ x.find(y) }}{% endfor %}"
    ),
    "finding from behind": "{{ ('a' * 2000000).rfind('b' ~ 'a' * 5000) }}",
    "splitting from behind": "{{ ('a' * 2000000).rsplit('b' ~ 'a' * 5000) }}",
    "finding in a range": "{% for i in range(1000000) %}{{ 'b' in range(1000000) }}{% endfor %}",
    "finding in a list": NUMBERS + "{{ 'b' in x }}{% endfor %}",
    "counting in a list": NUMBERS + "{{ x.count(5) }}{% endfor %}",
    "counting in a range": "{% for i in range(1000000) %}{{ range(1000000).count('a') }}{% endfor %}",
    "stripping": "{{ ('a' * 10000000).strip('b' * 100000 ~ 'a') | length }}",
    "trimming": "{{ ('a' * 10000000) | trim('b' * 100000 ~ 'a') | length }}",
    "lines": "{{ ('\\n' * 60000000).splitlines() | length }}",
    "words": "{{ ('a ' * 30000000).split() | length }}",
    "parts": "{{ ('a,' * 30000000).split(',') | length }}",
    "letters": "{{ ('x' * 60000000) | list | length }}",
    "letters as arguments": "{{ cycler(*('x' * 60000000)) }}",
    "numbers as arguments": "{{ [1] | batch(*range(1000000)) }}",
    "an encoding that is slow": "{{ ('ü' * 9000).encode('punycode') }}",
    "a long literal in a loop": "{% for i in range(1000000) %}{% set x = [" + "1," * 5000 + "] %}{% endfor %}",
    "copies of lists": NUMBERS + "{% set y = x[1:] %}{% endfor %}",
    "copies of mappings": (
        "{% set d = dict.fromkeys(range(9000)) %}"
        "{% for i in range(99999) %}{% set x = d.copy() %}{% endfor %}"
    ),
    "mappings of mappings": (
        "{% set d = dict.fromkeys(range(9000)) %}"
        "{% for i in range(99999) %}{% set x = dict(d) %}{% endfor %}"
    ),
    "cycles": "{% for i in range(1000000) %}{{ loop.cycle(*range(9000)) }}{% endfor %}",
    "dates": "{{ big.t.strftime('%c' * 3000000) | length }}",
    "calls": "{% for i in range(1000000) %}{% set x = 'a'.upper().lower().title() %}{% endfor %}",
    "namespaces": "{% for i in range(1000000) %}{% set x = namespace(a=1) %}{% endfor %}",
    "arithmetic": "{% for i in range(1000000) %}{% set x = 1.5 * 2.5 / 3.1 - 7 %}{% endfor %}",
    "conditions": "{% for i in range(1000000) %}{% set x = " + " and ".join(["i >= 0"] * 150) + " %}{% endfor %}",
    "escaped text": "{% autoescape true %}{% for i in range(900000) %}{{ i }}<{% endfor %}{% endautoescape %}",
}  # fmt: skip


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_would_take_for_ever_ends_soon(text: str) -> None:
    with pytest.raises((GeneratorError, NeedsThread)):
        Template(text).render_briefly(ROW)


@pytest.mark.parametrize("what", ["two macros in a macro", "calls", "a deep key", "equal", "a chain of maps"])
def test_the_whole_budget_ends_too_and_the_place_is_named(what: str) -> None:
    with pytest.raises(GeneratorError, match=r"\(columns\.0\.prompt\) fails: TooLarge: "):
        Template(ENDLESS[what], "columns.0.prompt").render(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "{{ a" + ".b" * 50_000 + " }}",
        "{{ a" + "[0]" * 50_000 + " }}",
        "{{ a" + "()" * 50_000 + " }}",
        "{{ a" + " | upper" * 50_000 + " }}",
        "{{ a" + " + a" * 50_000 + " }}",
        "{{ 1" + " < 1" * 50_000 + " }}",
        "{{ " + "not " * 50_000 + "a }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
        "{{ " + "[" * 50_000 + "1" + "]" * 50_000 + " }}",
        "{{ " + "1 if a else " * 50_000 + "2 }}",
        "{% if a %}" * 5000 + "{% endif %}" * 5000,
        "{% if a %}" + "{% elif a %}" * 50_000 + "{% endif %}",
        "{% filter upper %}" * 5000 + "x" + "{% endfilter %}" * 5000,
        "{{ a }}" * 300_000,
        "{{ [" + "1," * 900_000 + "] }}",
        "{{ 0x" + "f" * 20_000 + " }}",
        "{{ " + "9" * 20_000 + " }}",
        "{{ " * 100_000,
        "{% raw %}" * 100_000,
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_a_template_nobody_means_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        Template(text, "columns.3.prompt")
    assert caught.value.problems[0].place == "columns.3.prompt"


def test_what_is_valid_does_not_depend_on_how_deep_the_caller_stands() -> None:
    text = "{{ " + "(" * 40 + "1" + " + 1)" * 40 + " }}"

    def deep(levels: int) -> str:
        return deep(levels - 1) if levels else Template(text).render({})

    assert deep(600) == "41"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ range(1000) | sum }}", "499500"),
        ("{% for i in range(2000) %}{{ i * i if i == 1999 else '' }}{% endfor %}", "3996001"),
        ("{{ range(2000) | map('string') | join | length }}", "6890"),
        ("{{ range(500) | select('odd') | map(attribute='real') | list | sort(reverse=true) | first }}", "499"),
        ("{{ 2 ** 100 // 3 % 1000 }} {{ 7 - 9 }} {{ 9 / 2 }}", f"{2**100 // 3 % 1000} -2 4.5"),
        ("{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' in 'abc' in ['abc'] }} {{ 1 not in [2] }}", "True False True True"),
        ("{{ {'a': 1, 2: 3}[2] }} {{ {a: 5}[a] }} {{ {(1, 2): 3}[(1, 2)] }}", "3 5 3"),
        ("{{ [1, 2] == [1, 2] }} {{ {'a': 1} != {'a': 1} }} {{ 'b' > a }}", "True False False"),
        ("{% macro m(n) %}{{ n }}{{ m(n - 1) if n else '' }}{% endmacro %}{{ m(100) | length }}", "193"),
        ("{{ ('a,b' * 3).rsplit(',', 1) }} {{ 'xaxx'.strip('x') }}", "['a,ba,ba', 'b'] a"),
        ("{{ 'straße'.encode('utf-8') | length }} {{ 'ü'.encode('punycode') }}", "7 dGRh"),
        ("{{ {'c': 1, 'a': 2, 'b': 3}.keys() - ['a'] }}", "dict_keys(['c', 'b'])"),
        ("{{ cycler(*[1, 2]).next() }}{{ dict(**{'a': 1}) }}", "1{'a': 1}"),
        ("{% for x in range(4) if x % 2 recursive %}{{ x }}{% endfor %}", "13"),
        ("{{ 3.14159 | round(2) }} {{ 12345 | round(-2) | int }}", "3.14 12300"),
    ],
)
def test_ordinary_work_is_within_the_budget_and_means_what_it_meant(text: str, expected: str) -> None:
    assert Template(text).render_briefly({"a": "x"}) == expected


def test_a_set_comes_in_the_order_of_its_mapping_whatever_the_process() -> None:
    row = {"d": dict.fromkeys("zyxwvutsrqponm", 1)}
    assert Template("{% for k in d.keys() - ['z'] %}{{ k }}{% endfor %}").render(row) == "yxwvutsrqponm"


# On the event loop

LONG = "{% for i in range(100000) %}{% set x = i * i %}{% endfor %}{{ x | default(a) }}"


def test_what_takes_long_is_not_finished_on_the_event_loop() -> None:
    assert Template(LONG).render(ROW) == "x"
    with pytest.raises(NeedsThread):
        Template(LONG).render_briefly(ROW)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_takes_long_is_rendered_in_a_thread_with_the_same_outcome(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    render = Template.render

    def noted(self: Template, row: dict[str, object]) -> str:
        threads.append(threading.get_ident())
        return render(self, row)

    monkeypatch.setattr(Template, "render", noted)

    async def work() -> list[str]:
        return [await rendered(Template(text), ROW) for text in (LONG, "{{ a }}")]

    assert anyio.run(work, backend=backend) == ["x", "x"]
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_an_error_in_the_thread_is_the_rows_error() -> None:
    async def work() -> str:
        return await rendered(Template(ENDLESS["calls"], "columns.0.prompt"), ROW)

    with pytest.raises(GeneratorError, match=r"columns\.0\.prompt.*TooLarge"):
        anyio.run(work)


def test_the_event_loop_has_its_turns_while_templates_work() -> None:
    turns: list[int] = []

    async def count(stop: anyio.Event) -> None:
        while not stop.is_set():
            turns.append(len(turns))
            await anyio.lowlevel.checkpoint()

    async def work() -> None:
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count, stop)
            before = len(turns)
            await rendered(Template(LONG), ROW)
            assert len(turns) > before + 10
            stop.set()

    anyio.run(work)
