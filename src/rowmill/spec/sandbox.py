"""The sandbox users' templates run in: no way to Python's internals, no work without bounds.

Stricter than Jinja's own sandbox in three ways. Every rendering has a budget of loop steps and of
characters it makes, put out or not. What grows by a factor (``*``, ``**``, padding, repeating) is checked
before it is computed. And what would make a value depend on chance (``random``, ``lipsum``) is missing.
"""

from __future__ import annotations

import functools
import io
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.idtracking import VAR_LOAD_RESOLVE
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from rowmill.value.json_value import json_text
from rowmill.value.shown import shown

MAX_TEXT = 64 * 1024 * 1024
"""Characters one rendering may make."""
MAX_STEPS = 1_000_000
"""Steps of all loops of one rendering, and items of one list."""
MAX_BITS = 16_384
"""Size of a whole number a template may compute."""
MAX_WIDTH = 10_000
"""Padding, indentation and precision."""

_STEP_COUNTER = "rowmill counted"
"""The filter around every loop's items; no template can name it."""
_MISSING_FILTERS = frozenset({"random", "pprint", "urlize"})
_LAZY_FILTERS = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
_WIDTH_FILTERS = frozenset({"center", "indent", "batch", "slice", "tojson", "wordwrap"})
_WIDTH_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_LONG_NUMBER = re.compile(r"[0-9]{5,}")


class TooLarge(SecurityError):
    """A rendering asked for more than its budget."""


class RenderContext(Context):
    """A rendering's variables, and what it may still do."""

    characters_left = MAX_TEXT
    steps_left = MAX_STEPS

    def spend(self, characters: int) -> None:
        """Takes characters from the budget; raises :class:`TooLarge` when it is used up."""
        self.characters_left -= characters
        if self.characters_left < 0:
            raise TooLarge(f"one rendering makes at most {MAX_TEXT:,} characters of text")

    def step(self) -> None:
        """Takes a step of a loop from the budget; raises :class:`TooLarge` when it is used up."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise TooLarge(f"one rendering makes at most {MAX_STEPS:,} steps of loops")


def weight(value: object, limit: int = MAX_TEXT) -> int:
    """About how many characters a value has as text; counting stops soon after ``limit``.

    Follows nested lists and mappings, which can be small in memory and huge as text.
    """
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, (list, tuple, dict, set, frozenset)):
        return 8
    total = steps = 0
    unfinished: list[Iterator[object]] = [iter((value,))]
    while unfinished and total <= limit and len(unfinished) < 1000 and steps < 4 * MAX_STEPS:
        steps += 1
        item = next(unfinished[-1], unfinished)
        if item is unfinished:
            unfinished.pop()
            continue
        total += 4 + (len(item) if isinstance(item, str) else 0)
        if isinstance(item, (list, tuple, set, frozenset)):
            unfinished.append(iter(item))
        elif isinstance(item, dict):
            unfinished.append(part for pair in item.items() for part in pair)
    return limit + 1 if unfinished else total


def _check_width(value: object) -> None:
    if (isinstance(value, int) and abs(value) > MAX_WIDTH) or (isinstance(value, str) and len(value) > MAX_WIDTH):
        raise TooLarge(f"a width is at most {MAX_WIDTH:,}")


def _check_format(template: object) -> None:
    if isinstance(template, str) and _LONG_NUMBER.search(template):
        raise TooLarge(f"a width is at most {MAX_WIDTH:,}")


def _spend_on_format(
    context: RenderContext, template: object, values: tuple[object, ...], named: Mapping[Any, object]
) -> None:
    """Spends what ``template % values`` can make at most."""
    if not isinstance(template, str):
        return
    _check_format(template)
    if "*" in template:
        for value in values:
            _check_width(value)
    # Each value is used once, each named value as often as the template likes.
    context.spend(sum(map(weight, values)) + template.count("%") * max(map(weight, named.values()), default=0))


def _spend_on_replace(context: RenderContext, text: object, old: object, new: object) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        context.spend(max(0, len(new) - len(old)) * text.count(old))


def _spend_on_join(context: RenderContext, separator: object, items: object) -> None:
    if isinstance(items, (list, tuple, str)):
        context.spend(weight(items) + weight(separator) * len(items))


def _listed(context: RenderContext, items: Iterable[object]) -> list[object]:
    made = []
    for item in items:
        context.step()
        made.append(item)
    return made


def _guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that spends from the rendering's budget. It gets the context, the original what it wants."""
    wanted = str(getattr(original, "jinja_pass_arg", ""))

    @pass_context
    @functools.wraps(original)
    def guarded(context: RenderContext, *given: Any, **keywords: Any) -> Any:
        arguments = given
        if name not in _LAZY_FILTERS:
            arguments = tuple(_listed(context, v) if isinstance(v, types.GeneratorType) else v for v in given)
        for value in arguments:
            if isinstance(value, (list, tuple, dict)):
                context.spend(weight(value))
        if name in _WIDTH_FILTERS:
            for value in (*arguments[1:], *keywords.values()):
                _check_width(value)
            if name == "indent" and isinstance(arguments[0], str):
                widths = [len(v) if isinstance(v, str) else int(v) for v in (*arguments[1:], *keywords.values())]
                context.spend((arguments[0].count("\n") + 1) * max(widths, default=4))
            elif name == "wordwrap" and isinstance(arguments[0], str):
                breaks = [len(v) for v in (*arguments[1:], *keywords.values()) if isinstance(v, str)]
                context.spend(len(arguments[0]) * max(breaks, default=0))
        elif name == "format":
            _spend_on_format(context, arguments[0], arguments[1:], keywords)
        elif name == "sum":
            start = arguments[2] if len(arguments) > 2 else keywords.get("start", 0)
            if isinstance(start, (str, list, tuple)):
                raise SecurityError("sum adds numbers; use join for text")
        elif name == "replace" and len(arguments) >= 3:
            _spend_on_replace(context, *arguments[:3])
        elif name == "join":
            _spend_on_join(context, arguments[1] if len(arguments) > 1 else keywords.get("d", ""), arguments[0])
        if wanted.endswith(".context"):
            arguments = (context, *arguments)
        elif wanted.endswith(".eval_context"):
            arguments = (context.eval_ctx, *arguments)
        elif wanted.endswith(".environment"):
            arguments = (context.environment, *arguments)
        result = original(*arguments, **keywords)
        if isinstance(result, str):
            context.spend(len(result))
        return result

    return guarded


@pass_context
def _counted(context: RenderContext, items: Iterable[object], characters: int) -> Iterator[object]:
    for item in items:
        context.step()
        context.spend(characters)
        yield item


@pass_context
def _finalize(context: RenderContext, value: object) -> object:
    if type(value) is str:
        context.spend(len(value))
        return value
    context.spend(weight(value))
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


class SandboxGenerator(CodeGenerator):
    """Compiles ``a ~ b`` and ``a[b:c]`` into calls that spend from the budget; Jinja does them unseen.

    After a visit ``free_names`` holds the names that only the row or the globals can give.
    """

    def __init__(self, environment: Environment, stream: io.StringIO) -> None:
        super().__init__(environment, None, None, stream)
        self.free_names: set[str] = set()

    def enter_frame(self, frame: Frame) -> None:
        """Notes the names a frame looks up outside of the template."""
        super().enter_frame(frame)
        self.free_names.update(
            name for action, name in frame.symbols.loads.values() if action == VAR_LOAD_RESOLVE and name is not None
        )

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - the name is Jinja's
        self.write("environment.concatenate(context, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802 - the name is Jinja's
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.cut(context, ")
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
            self.write(", ")
        self.write("))")


class _BoundedFormatter(SandboxedFormatter):
    """Formats once: its fields together make at most the budget of a rendering."""

    made = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        """Formats one field unless its width is out of bounds, also when a field gives the width."""
        _check_format(format_spec)
        self.made += weight(value)
        if self.made > MAX_TEXT:
            raise TooLarge(f"one rendering makes at most {MAX_TEXT:,} characters of text")
        return super().format_field(value, format_spec)


class _BoundedEscapeFormatter(SandboxedEscapeFormatter, _BoundedFormatter):
    """The same for text that is marked as safe."""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template of a spec."""

    context_class = RenderContext
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_finalize, autoescape=False, cache_size=0)
        self.filters = {name: _guarded(name, f) for name, f in FILTERS.items() if name not in _MISSING_FILTERS}
        self.filters[_STEP_COUNTER] = _counted
        self.policies["json.dumps_function"] = _json
        self.globals.pop("lipsum")
        self.globals["range"] = _range

    def counting_steps(self, tree: nodes.Template) -> nodes.Template:
        """The template with every loop's steps, and the plain text in its body, taken from the budget."""
        for loop in tree.find_all(nodes.For):
            characters = sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
            loop.iter = nodes.Filter(
                loop.iter, _STEP_COUNTER, [nodes.Const(characters)], [], None, None, lineno=loop.lineno
            )
        tree.set_environment(self)
        return tree

    def compiled(self, tree: nodes.Template) -> tuple[types.CodeType, set[str]]:
        """The tree's code, and the names in it that only the row or the globals can give."""
        source = io.StringIO()
        generator = SandboxGenerator(self, source)
        generator.visit(tree)
        return compile(source.getvalue(), "<template>", "exec"), generator.free_names

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes ``left operator right`` if the result has a reasonable size."""
        assert isinstance(context, RenderContext)
        both_numbers = isinstance(left, int) and isinstance(right, int)
        if operator == "**" and both_numbers and left.bit_length() * abs(right) > MAX_BITS:
            raise TooLarge("a whole number has at most some thousand digits")
        if operator == "*" and both_numbers and left.bit_length() + right.bit_length() > MAX_BITS:
            raise TooLarge("a whole number has at most some thousand digits")
        if operator == "*" and not both_numbers:
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(many, (str, bytes, list, tuple)):
                    context.spend(len(many) * max(0, times) * (1 if isinstance(many, (str, bytes)) else 16))
        elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            context.spend(len(left) + len(right))
        elif operator == "%" and isinstance(left, (str, bytes)):
            text = left if isinstance(left, str) else left.decode("latin-1")
            named = right if isinstance(right, dict) else {}
            _spend_on_format(context, text, right if isinstance(right, tuple) else (right,), named)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Calls what is safe to call, and takes the text it makes from the budget."""
        assert isinstance(__context, RenderContext)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, (str, bytes)):
            args = tuple(_listed(__context, v) if isinstance(v, types.GeneratorType) else v for v in args)
            _check_method(__context, owner, name, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, (str, list, bytes)):
            __context.spend(len(result))
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` and ``str.format_map`` with the sandbox's rules and bounded widths."""
        if super().wrap_str_format(value) is None:
            return None
        text: str = value.__self__
        formatter: SandboxedFormatter = _BoundedFormatter(self)
        if isinstance(text, Markup):
            formatter = _BoundedEscapeFormatter(self, escape=text.escape)
        takes_mapping = value.__name__ == "format_map"

        def bounded_format(*arguments: Any, **keywords: Any) -> str:
            if takes_mapping:
                (mapping,) = arguments
                return type(text)(formatter.vformat(text, (), mapping))
            return type(text)(formatter.vformat(text, arguments, keywords))

        return bounded_format

    @staticmethod
    def concatenate(context: RenderContext, parts: tuple[Any, ...]) -> str:
        """The parts of ``a ~ b`` as one text."""
        context.spend(sum(map(weight, parts)))
        return "".join([str(shown(part)) for part in parts])

    @staticmethod
    def cut(context: RenderContext, value: Any, part: slice) -> Any:
        """``value[start:stop:step]``."""
        result = value[part]
        context.spend(len(result))
        return result


def _check_method(
    context: RenderContext, owner: str | bytes, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Checks a call of a text's own method before it is made."""
    if name in _WIDTH_METHODS:
        for value in (*arguments, *keywords.values()):
            _check_width(value)
        if name == "expandtabs":
            context.spend((owner.count("\t") if isinstance(owner, str) else owner.count(b"\t")) * MAX_WIDTH)
    elif name == "replace" and len(arguments) >= 2:
        _spend_on_replace(context, owner, *arguments[:2])
    elif name == "join" and arguments:
        _spend_on_join(context, owner, arguments[0])
    elif name == "translate":
        raise SecurityError("the method 'translate' of a text is not available; use replace")
