"""The sandbox users' templates run in: no way to Python's internals, no work without bounds, only values come out.

Stricter than Jinja's own sandbox in four ways. Every rendering has a budget of work, depth and characters
(:mod:`rowmill.spec.rendering_budget`). What grows by a factor (``*``, ``**``, padding, repeating) is checked before it
is computed. What would make a value depend on chance (``random``, ``lipsum``, the order of a set) is missing. And a
name behind a dot is a field of a mapping, never its method, unless it is called.
"""

from __future__ import annotations

import types
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from string import Formatter
from typing import Any

from jinja2 import Environment, StrictUndefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import EscapeFormatter, Markup

from rowmill.spec.rendering_budget import (
    MAX_BITS,
    MAX_CALLS,
    MAX_STEPS,
    MAX_TEXT,
    MAX_WIDTH,
    NoValue,
    RenderContext,
    TooLarge,
    check_size,
    check_width,
    is_mapping,
    measure,
    search_work,
)
from rowmill.spec.template_filters import (
    check_format,
    filters,
    spend_on_format,
    spend_on_join,
    spend_on_replace,
    tests,
)
from rowmill.spec.template_tree import spending
from rowmill.value.json_value import json_text
from rowmill.value.shown import shown

__all__ = ["MAX_TEXT", "NoValue", "RenderContext", "Sandbox", "TooLarge"]

_WIDTH_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_SLOW_METHODS = frozenset({"capitalize", "casefold", "lower", "swapcase", "title", "upper", "encode", "decode"})
_SEARCHING_METHODS = frozenset(
    {"count", "find", "index", "partition", "removeprefix", "rfind", "rindex", "rpartition", "rsplit", "split"}
)
_SPLITTING_METHODS = frozenset({"split", "rsplit", "splitlines"})
_STRIPPING_METHODS = frozenset({"strip", "lstrip", "rstrip"})
_WHITESPACE = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
)
_WHITESPACE += "\u200a\u2028\u2029\u202f\u205f\u3000"
_SLOW_CODECS = ("punycode", "idna")
_BUILTIN_TYPES = frozenset({str, bytes, int, float, bool, list, tuple, dict, range})
_SHORT = frozenset({int, float, bool, type(None)})
_FUNCTIONS = ("cycler", "dict", "joiner", "namespace")
_NESTING = (Macro, LoopContext, BlockReference)


@pass_context
def _finalize(context: RenderContext, value: object) -> object:
    size = len(value) if type(value) is str else 8 if type(value) in _SHORT else context.text_weight(value)
    context.spend(size)
    return shown(value)


def _json(value: object, *, sort_keys: bool = False, indent: int | None = None) -> str:
    """What ``tojson`` makes of a value."""
    return json_text(value, ensure_ascii=True, sort_keys=sort_keys, indent=indent)


def _range(*arguments: int) -> range:
    """``range`` of a reasonable length."""
    steps = range(*arguments)
    if steps and abs(steps[-1] - steps[0]) // abs(steps.step) >= MAX_STEPS:
        raise TooLarge(f"a range has at most {MAX_STEPS:,} items")
    return steps


class _BoundedFormatter(Formatter):
    """Formats with the sandbox's rules, once: its fields together make at most the budget of a rendering."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._made = 0

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        """The value of ``a.b[c]``, as a template would find it."""
        first, *rest = _field_parts(field_name)
        key = int(first) if first.isdecimal() else first
        value = self.get_value(key, args, kwargs)
        for part in rest:
            if part.startswith("."):
                value = self._sandbox.getattr(value, part[1:])
            else:
                index = part[1:-1]
                value = self._sandbox.getitem(value, int(index) if index.isdecimal() else index)
        return value, key

    def format_field(self, value: Any, format_spec: str) -> Any:
        """Formats one field unless its width is out of bounds, also when a field gives the width."""
        check_format(format_spec)
        self._made += 8 if isinstance(value, (int, float)) else measure(value, check=True)[0]
        if self._made > MAX_TEXT:
            raise TooLarge(f"one rendering makes at most {MAX_TEXT:,} characters of text")
        return super().format_field(self._sandbox.checked(value), format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """``!r`` and its kin of a value."""
        return super().convert_field(self._sandbox.checked(value), conversion)


def _field_parts(field_name: str) -> list[str]:
    """``a.b[c]`` as ``a``, ``.b`` and ``[c]``. Raises ValueError like ``str.format``."""
    parts = [""]
    is_open = False
    for character in field_name:
        if is_open:
            parts[-1] += character
            if character == "]":
                is_open = False
                parts.append("")
        elif character in ".[":
            if not parts[-1] and len(parts) > 1:
                parts.pop()
            parts.append(character)
            is_open = character == "["
        elif not parts[-1] and len(parts) > 1:
            raise ValueError("Only '.' or '[' may follow ']' in format field specifier")
        else:
            parts[-1] += character
    if is_open:
        raise ValueError("Missing ']' in format string")
    if not parts[-1] and len(parts) > 1:
        parts.pop()
    if any(part in {".", "[]"} for part in parts):
        raise ValueError("Empty attribute in format string")
    return parts


class _BoundedEscapeFormatter(_BoundedFormatter, EscapeFormatter):
    """The same for text that is marked as safe."""

    def __init__(self, sandbox: Sandbox, escape: Callable[[Any], Markup]) -> None:
        _BoundedFormatter.__init__(self, sandbox)
        self.escape = escape


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template of a spec."""

    context_class = RenderContext
    intercepted_binops = frozenset({"*", "**", "+", "-", "/", "//", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_finalize, autoescape=False, cache_size=0)
        self.filters = dict[str, Any](filters())
        self.tests = dict[str, Any](tests())
        self.policies["json.dumps_function"] = _json
        self.globals = {name: self.globals[name] for name in _FUNCTIONS} | {"range": _range}
        self._safe: dict[tuple[type, str], bool] = {}

    def code_of(self, tree: nodes.Template) -> types.CodeType:
        """The code of a tree, which spends from the budget. Changes the tree."""
        spending(tree)
        tree.set_environment(self)
        return self.compile(tree)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``obj.attribute``: of a mapping the field, of anything else what Jinja's sandbox allows."""
        if type(obj) is dict or is_mapping(obj):
            try:
                return obj[attribute]
            except LookupError:
                return self.undefined(obj=obj, name=attribute)
        return self.method(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """``obj[argument]``: of a mapping the field."""
        if type(argument) is tuple:
            measure(argument)
        if type(obj) is dict or is_mapping(obj):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                return self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def method(self, obj: Any, name: str) -> Any:
        """``obj.name`` of something that is called, or no mapping: what Jinja's sandbox allows."""
        kind = type(obj)
        if kind in _BUILTIN_TYPES and name not in {"format", "format_map"}:
            is_safe = self._safe.get((kind, name))
            if is_safe is None:
                found = getattr(kind, name, None)
                is_safe = found is not None and self.is_safe_attribute(obj, name, found)
                self._safe[kind, name] = is_safe
            if is_safe:
                return getattr(obj, name)
        return super().getattr(obj, name)

    def item_to_call(self, obj: Any, argument: Any) -> Any:
        """``obj[argument]`` of something that is called, as Jinja's sandbox finds it."""
        return super().getitem(obj, argument)

    @staticmethod
    def checked(value: Any) -> Any:
        """The value, unless it is none: text of it would tell of the process."""
        measure((value,), check=True)
        return value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes ``left operator right`` if the result has a reasonable size."""
        assert isinstance(context, RenderContext)
        context.work(1)
        kind, other = type(left), type(right)
        if kind is int and other is int:
            _check_numbers(context, operator, left, right)
            return self.binop_table[operator](left, right)
        if operator == "*" and (kind is not float or other is not float):
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(many, (str, bytes, list, tuple)):
                    context.spend(len(many) * max(0, times) * (1 if isinstance(many, (str, bytes)) else 16))
        elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            context.spend(len(left) + len(right))
        elif operator == "%" and isinstance(left, (str, bytes)):
            text = left if isinstance(left, str) else left.decode("latin-1")
            named = right if isinstance(right, dict) else {}
            spend_on_format(context, text, right if isinstance(right, tuple) else (right,), named)
        elif operator == "-" and isinstance(left, (KeysView, ItemsView)):
            taken = dict.fromkeys(map(context.check_key, context.listed(right)))
            kept = {item: None for item in context.counted(left, 1) if context.check_key(item) not in taken}
            return kept.keys()  # a set would come in another order in every process
        for number in (left, right):
            if isinstance(number, int):
                check_size(number)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Calls what is safe to call, and takes the work and the text it makes from the budget."""
        assert isinstance(__context, RenderContext)
        __context.work(3)
        if isinstance(__obj, _NESTING):
            return __self._call_template(__context, __obj, args, kwargs)
        args = tuple(_given(__context, value) for value in args)
        for value in kwargs.values():
            _given(__context, value)
        owner = getattr(__obj, "__self__", None)
        if type(__obj) is types.BuiltinMethodType and owner is not None:
            name = __obj.__name__
            if isinstance(owner, (str, bytes)):
                _check_method(__context, owner, name, args, kwargs)
            else:
                _check_other_method(__context, owner, name, args, kwargs)
            if type(owner) in _BUILTIN_TYPES:
                kwargs.pop("_block_vars", None)
                kwargs.pop("_loop_vars", None)
                result = __obj(*args, **kwargs)
            else:
                result = super().call(__context, __obj, *args, **kwargs)
        else:
            __context.work(4)
            result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, (str, list, bytes)):
            __context.spend(len(result))
        elif type(result) is int:
            check_size(result)
        return result

    def _call_template(self, context: RenderContext, called: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Calls a part of the template itself."""
        if context.calls >= MAX_CALLS:
            raise TooLarge(f"macros, blocks and loops call each other at most {MAX_CALLS} levels deep")
        context.calls += 1
        try:
            result = super().call(context, called, *args, **kwargs)
        finally:
            context.calls -= 1
        if isinstance(result, str):
            context.spend(len(result))
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` and ``str.format_map`` with the sandbox's rules and bounded widths."""
        if type(value) is not types.BuiltinMethodType and type(value) is not types.MethodType:
            return None
        text = value.__self__
        if not isinstance(text, str) or value.__name__ not in {"format", "format_map"}:
            return None
        takes_mapping = value.__name__ == "format_map"

        @pass_context
        def bounded_format(context: RenderContext, *arguments: Any, **keywords: Any) -> str:
            context.work(4 * text.count("{") + (len(text) >> 6))
            formatter = (
                _BoundedEscapeFormatter(self, text.escape) if isinstance(text, Markup) else _BoundedFormatter(self)
            )
            if takes_mapping:
                (keywords,), arguments = arguments, ()
            return type(text)(formatter.vformat(text, arguments, keywords))

        return bounded_format


def _check_numbers(context: RenderContext, operator: str, left: int, right: int) -> None:
    if -(1 << 31) < left < 1 << 31 and -(1 << 31) < right < 1 << 31 and operator != "**":
        return
    bits, other = left.bit_length(), right.bit_length()
    if operator == "**":
        bits, other = bits * abs(right), 0
    if (bits + other if operator == "*" else max(bits, other)) > MAX_BITS:
        raise TooLarge("a whole number has at most some thousand digits")
    context.work((bits >> 8) * max(1, other >> 8))


def _given(context: RenderContext, value: Any) -> Any:
    """An argument of a call; its size is work."""
    if type(value) in _BUILTIN_TYPES or value is None:
        if isinstance(value, (list, tuple, dict)):
            context.weigh(value)
        return value
    return context.listed(value) if isinstance(value, Iterator) else value


def _check_method(
    context: RenderContext, owner: str | bytes, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Checks a call of a text's own method before it is made."""
    size = len(owner)
    context.work(size >> (5 if name in _SLOW_METHODS else 10))
    if name in _WIDTH_METHODS:
        for value in (*arguments, *keywords.values()):
            check_width(value)
        if name == "expandtabs":
            context.spend((owner.count("\t") if isinstance(owner, str) else owner.count(b"\t")) * MAX_WIDTH)
    elif name == "replace" and len(arguments) >= 2:
        spend_on_replace(context, owner, *arguments[:2])
    elif name == "join" and arguments:
        spend_on_join(context, owner, arguments[0])
    elif name == "translate":
        raise SecurityError("the method 'translate' of a text is not available; use replace")
    elif name in {"encode", "decode"}:
        codec = str(arguments[0] if arguments else keywords.get("encoding", "utf-8"))
        if size > 4096 and codec.lower().replace("-", "_") in _SLOW_CODECS:
            raise TooLarge(f"a text for the encoding '{codec}' has at most 4,096 characters")
    for sought in arguments:
        if isinstance(sought, (str, bytes)):
            if name in _SEARCHING_METHODS:
                context.work(search_work(owner, sought) * (1 if not name.startswith("r") else 1 + len(sought) // 128))
            elif name in _STRIPPING_METHODS:
                context.work((size * len(sought)) >> 11)
    if name in _SPLITTING_METHODS and size > MAX_STEPS and isinstance(owner, str):
        by = arguments[0] if arguments and name != "splitlines" else None
        pieces = owner.count(by) if isinstance(by, str) and by else sum(map(owner.count, _WHITESPACE))
        if pieces >= MAX_STEPS:
            raise TooLarge(f"a list has at most {MAX_STEPS:,} items")


def _check_other_method(
    context: RenderContext, owner: object, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Checks a call of a method of a list, a number, a date."""
    if name == "to_bytes":
        for value in (*arguments, *keywords.values()):
            check_width(value)
    elif name == "strftime":
        context.spend(sum(64 * len(value) for value in arguments if isinstance(value, str)))
    elif name in {"index", "count"} and isinstance(owner, (list, tuple, range)):
        context.work(len(owner) // 4 if not isinstance(owner, range) or not isinstance(arguments[0], int) else 1)
        if arguments and isinstance(arguments[0], (str, list, tuple, dict)):
            context.weigh(list(owner))
    elif name == "copy" and isinstance(owner, (list, dict)):
        context.work(len(owner) // 16)


def scratch() -> Environment:
    """An environment to look at trees in: without functions of its own, so that every free name is told."""
    sandbox = Sandbox()
    sandbox.globals.clear()
    return sandbox
