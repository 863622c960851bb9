"""Jinja's filters and tests, each spending from a rendering's budget; and our own, which the tree is rewritten to call.

What grows by a factor (padding, repeating, replacing) is checked before it is computed, what is known to take long for
its size (sorting, wrapping, stripping tags) is counted as such. What would make a value depend on chance is missing.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, cast

from jinja2 import Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.tests import TESTS

from rowmill.spec import template_tree as tree
from rowmill.spec.rendering_budget import (
    MAX_WIDTH,
    RenderContext,
    TooLarge,
    check_size,
    check_width,
    comparison_work,
    is_mapping,
    search_work,
)
from rowmill.value.shown import shown

_KNOWN = (
    "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape",
    "filesizeformat", "first", "float", "forceescape", "format", "groupby", "indent", "int", "items", "join", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe",
    "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate",
    "unique", "upper", "urlencode", "wordcount", "wordwrap", "xmlattr",
)  # fmt: skip
"""The filters there are: one of a later Jinja is none until it is known what it takes. Without chance, and without
``pprint`` and ``urlize``."""
_KNOWN_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "escaped",
    "even", "false", "filter", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan",
    "lower", "lt", "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "test", "true",
    "undefined", "upper",
)  # fmt: skip
_LAZY = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
_PASSING = frozenset(
    {"attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list", "reverse", "slice"}
)
"""They make no text of what they get."""
_WITH_WIDTH = frozenset({"center", "indent", "batch", "slice", "tojson", "wordwrap"})
_UNITS_AN_ITEM = {
    "batch": 1, "dictsort": 20, "groupby": 20, "join": 2, "list": 1, "max": 3, "min": 3, "slice": 1, "sort": 20,
    "sum": 2, "tojson": 1, "unique": 4, "xmlattr": 8,
}  # fmt: skip
_SLOW_ON_TEXT = {
    "capitalize": 5, "lower": 5, "upper": 5, "e": 4, "escape": 4, "float": 7, "forceescape": 4, "int": 7, "string": 10,
    "trim": 8, "striptags": 3, "title": 2, "urlencode": 2, "wordcount": 2, "wordwrap": 1, "xmlattr": 2,
}  # fmt: skip
"""Of a filter the power of two of the characters it works off for a unit."""
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda item, items: item in items, "notin": lambda item, items: item not in items,
}  # fmt: skip
_COMPARING_TESTS = frozenset(
    {
        "!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lt",
        "ne",
    }
)  # fmt: skip
_LONG_NUMBER = re.compile(r"[0-9]{5,}")


def check_format(template: object) -> None:
    """Raises :class:`TooLarge` for a format with a width out of bounds."""
    if isinstance(template, str) and _LONG_NUMBER.search(template):
        raise TooLarge(f"a width is at most {MAX_WIDTH:,}")


def spend_on_format(
    context: RenderContext, template: object, values: tuple[object, ...], named: Mapping[Any, object]
) -> None:
    """Spends what ``template % values`` can make at most."""
    if not isinstance(template, str):
        return
    check_format(template)
    if "*" in template:
        for value in values:
            check_width(value)
    # Each value is used once, each named value as often as the template likes.
    of_names = max(map(context.text_weight, named.values()), default=0)
    context.work(4 + template.count("%"))
    context.spend(sum(map(context.text_weight, values)) + template.count("%") * of_names)


def spend_on_replace(context: RenderContext, text: object, old: object, new: object) -> None:
    """Spends what replacing takes and makes."""
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        context.work(search_work(text, old))
        context.spend(max(0, len(new) - len(old)) * text.count(old))


def spend_on_join(context: RenderContext, separator: object, items: object) -> None:
    """Spends what joining makes."""
    if isinstance(items, (list, tuple, str)):
        context.spend(context.text_weight(items) + context.text_weight(separator) * len(items))


def filters() -> dict[str, Callable[..., Any]]:
    """The filters of a template, and those its tree calls."""
    made = {name: _guarded(name, FILTERS[name]) for name in _KNOWN}
    return {
        **made,
        "attr": _attribute(made["attr"]),
        tree.CONCATENATE: _concatenate,
        tree.CUT: _cut,
        tree.COMPARE: _compare,
        tree.METHOD: _method,
        tree.ITEM_TO_CALL: _item_to_call,
        tree.KEY: _key,
        tree.SPREAD: _spread,
        tree.STEP: _step,
    }


def tests() -> dict[str, Callable[..., Any]]:
    """The tests of a template (``x is in y``)."""
    known: dict[str, Any] = {name: TESTS[name] for name in _KNOWN_TESTS}
    guarded = {name: _comparing(name, test) for name, test in known.items() if name in _COMPARING_TESTS}
    guarded |= {name: _reading(known[name]) for name in ("lower", "upper")}
    return {**known, **guarded}


def _comparing(name: str, test: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    @pass_context
    def guarded(context: RenderContext, left: Any, right: Any) -> Any:
        comparison_work(context, "in" if name == "in" else "eq", left, right)
        return test(left, right)

    return guarded


def _reading(test: Callable[[Any], Any]) -> Callable[..., Any]:
    @pass_context
    def guarded(context: RenderContext, value: Any) -> Any:
        context.work(1 + (context.text_weight(value) >> 6))
        return test(value)

    return guarded


def _guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that spends from the rendering's budget. It gets the context, the original what it wants."""
    wanted = str(getattr(original, "jinja_pass_arg", ""))
    before = ("context",) if wanted.endswith(".context") else ()
    before = before or (("eval_ctx",) if wanted.endswith(".eval_context") else ())
    before = before or (("environment",) if wanted.endswith(".environment") else ())
    is_lazy = name in _LAZY
    makes_text = name not in _PASSING and not is_lazy
    has_own_cost = name in _OWN_COSTS or name in _WITH_WIDTH

    @pass_context
    @functools.wraps(original)
    def guarded(context: RenderContext, *given: Any, **keywords: Any) -> Any:
        context.work(3)
        arguments = given
        if is_lazy:
            arguments = (_counted(context, given, keywords), *given[1:])
        else:
            for value in given:
                if type(value) not in _CHEAP:
                    arguments = tuple(context.listed(v) if isinstance(v, Iterator) else v for v in given)
                    _spend_on_arguments(context, name, arguments, keywords, makes_text=makes_text)
                    break
            for value in keywords.values():
                if type(value) not in _CHEAP:
                    context.weigh(value)
        first = arguments[0] if arguments else None
        if type(first) is str and len(first) > 64:
            _spend_on_text(context, name, first)
        if has_own_cost:
            _spend_on_own(context, name, arguments, keywords)
        if before:
            arguments = (context if before[0] == "context" else getattr(context, before[0]), *arguments)
        result: Any = original(*arguments, **keywords)
        if type(result) is str:
            context.spend(len(result))
        elif type(result) is int:
            check_size(result)
        elif isinstance(result, (str, list)):
            context.spend(len(result))
        return result

    return guarded


_CHEAP = frozenset({str, int, float, bool, type(None)})


_MANY = (list, tuple, dict, set, frozenset, range, KeysView, ValuesView, ItemsView)


def _lookups(arguments: Iterable[Any]) -> int:
    """How many lookups the attribute among a filter's arguments may take (``a.b,c``)."""
    return sum((1 + value.count(".") + value.count(",") for value in arguments if isinstance(value, str)), 1)


def _counted(context: RenderContext, given: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """The items a lazy filter goes through, each for what the lookup of its attribute takes."""
    if not given or isinstance(given[0], Undefined) or not given[0] or not isinstance(given[0], Iterable):
        return given[0] if given else ()
    return context.counted(given[0], 4 * _lookups((*given[1:], *keywords.values())) - 1)


def _spend_on_arguments(
    context: RenderContext, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any], *, makes_text: bool
) -> None:
    """Spends what a filter reads; refuses what is no value where it makes text of it."""
    parts = _lookups((*arguments[1:], *keywords.values()))
    for value in arguments:
        if type(value) in _CHEAP:
            continue
        weight = context.text_weight(value) if makes_text else context.weigh(value)
        if isinstance(value, (list, tuple, dict)):
            context.spend(weight)
        if isinstance(value, _MANY):
            context.work(_UNITS_AN_ITEM.get(name, 0) * len(value) * parts + (weight >> 8))
    if name == "tojson" and len(arguments) > 1:
        context.work(context.weigh(arguments[0]) >> 3)


def _spend_on_text(context: RenderContext, name: str, text: str) -> None:
    if name in _SLOW_ON_TEXT:
        context.work(len(text) >> _SLOW_ON_TEXT[name])
        if name == "striptags":  # it cuts out one comment after the other, and copies the rest each time
            context.work((text.count("<") * len(text)) >> 11)
    elif name in _UNITS_AN_ITEM:
        context.work(len(text))
    else:
        context.work(len(text) >> 11)


def _own_wordwrap(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    if not arguments or not isinstance(arguments[0], str):
        return
    text = arguments[0]
    breaks = [len(v) for v in (*arguments[1:], *keywords.values()) if isinstance(v, str)]
    context.spend(len(text) * max(breaks, default=0))
    width = arguments[1] if len(arguments) > 1 else keywords.get("width", 79)
    if isinstance(width, int) and len(text) > 10_000:  # a long word is cut piece by piece, and copied each time
        longest = max(map(len, text.split()), default=0)
        context.work(longest * longest // max(1, width) >> 14)


def _own_indent(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    if arguments and isinstance(arguments[0], str):
        widths = [len(v) if isinstance(v, str) else int(v) for v in (*arguments[1:], *keywords.values())]
        context.spend((arguments[0].count("\n") + 1) * max(widths, default=4))


def _own_format(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    if arguments:
        spend_on_format(context, arguments[0], arguments[1:], keywords)


def _own_sum(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    start = arguments[2] if len(arguments) > 2 else keywords.get("start", 0)
    if isinstance(start, (str, list, tuple)):
        raise SecurityError("sum adds numbers; use join for text")


def _own_replace(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    given = [*arguments, *(keywords[name] for name in ("old", "new") if name in keywords)]
    if len(given) >= 3:
        spend_on_replace(context, *given[:3])


def _own_join(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    if arguments:
        spend_on_join(context, arguments[1] if len(arguments) > 1 else keywords.get("d", ""), arguments[0])


def _own_round(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    precision = arguments[1] if len(arguments) > 1 else keywords.get("precision", 0)
    if isinstance(precision, int) and abs(precision) > 1000:
        raise TooLarge("a number is rounded to at most 1,000 digits")


def _own_trim(context: RenderContext, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    characters = arguments[1] if len(arguments) > 1 else keywords.get("chars")
    if arguments and isinstance(characters, str) and isinstance(arguments[0], str):
        context.work((len(arguments[0]) * len(characters)) >> 11)


_OWN_COSTS: dict[str, Callable[[RenderContext, tuple[Any, ...], Mapping[str, Any]], None]] = {
    "wordwrap": _own_wordwrap,
    "indent": _own_indent,
    "format": _own_format,
    "sum": _own_sum,
    "replace": _own_replace,
    "join": _own_join,
    "round": _own_round,
    "trim": _own_trim,
}


def _spend_on_own(context: RenderContext, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    if name in _WITH_WIDTH:
        for value in (*arguments[1:], *keywords.values()):
            check_width(value)
    own = _OWN_COSTS.get(name)
    if own is not None:
        own(context, arguments, keywords)


def _attribute(original: Callable[..., Any]) -> Callable[..., Any]:
    """``value | attr('name')``: of a mapping the field, as behind a dot."""

    @pass_context
    def attribute(context: RenderContext, value: Any, name: Any) -> Any:
        if is_mapping(value) and isinstance(name, str):
            return cast("Any", context.environment).getattr(value, name)
        return original(context, value, name)

    return attribute


# What the tree calls


@pass_context
def _step(context: RenderContext, units: int, characters: int) -> bool:
    """A step of a loop, or a call of a macro: its body's work, and its plain text."""
    context.work_left -= units
    if context.work_left < 0:
        context.work(0)
    if characters:
        context.spend(characters)
    return True


@pass_context
def _concatenate(context: RenderContext, parts: tuple[Any, ...]) -> str:
    """``a ~ b``."""
    context.spend(sum(map(context.text_weight, parts)))
    return "".join([str(shown(part)) for part in parts])


@pass_context
def _cut(context: RenderContext, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """``value[start:stop:step]``."""
    result = value[start:stop:step]
    context.spend(len(result))
    return result


_NOTHING = object()


@pass_context
def _compare(context: RenderContext, left: Any, how: str = "", right: Any = _NOTHING) -> Any:
    """``left == right`` and its kin; without an operator one side of a chain, which is compared by Jinja."""
    if right is _NOTHING:
        context.work(1 + (context.weigh(left) >> 4))
        return context.check_key(left)
    kind = type(left)
    if kind in _CHEAP:
        is_small = kind is not str or len(left) < _SMALL
        if how not in {"in", "notin"}:
            if is_small:
                return _COMPARISONS[how](left, right)
        elif is_small and type(right) in _SIZED and len(right) < _SMALL:
            return (left in right) is (how == "in")
    comparison_work(context, how, left, right)
    return _COMPARISONS[how](left, right)


_SIZED = frozenset({str, list, tuple, dict})
_SMALL = 256


@pass_context
def _method(context: RenderContext, value: Any, name: str) -> Any:
    """``value.name`` that is called: the method, as ever, although a mapping may have a field of that name."""
    sandbox = cast("Any", context.environment)
    return sandbox.method(value, name)


@pass_context
def _item_to_call(context: RenderContext, value: Any, item: Any) -> Any:
    """``value['name']`` that is called."""
    sandbox = cast("Any", context.environment)
    return sandbox.item_to_call(value, context.check_key(item))


@pass_context
def _key(context: RenderContext, value: Any) -> Any:
    """The key of a mapping the template makes."""
    return context.check_key(value)


@pass_context
def _spread(context: RenderContext, items: Any) -> Any:
    """``*items`` of a call."""
    return context.listed(items) if isinstance(items, Iterable) else items
