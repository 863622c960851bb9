"""Templates: the Jinja texts of a spec, compiled once, rendered for a row at a time.

Values render as :mod:`rowmill.value.shown` says: a null is ``None``, a list or mapping looks as in Python (use
``| tojson`` for JSON), what a JSON column holds is JSON; one newline at the end of the
template is dropped. A name the row does not have is an error, never an empty text.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any, Self

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from rowmill.errors import GeneratorError, Problem, SpecError
from rowmill.spec.name import text_problem
from rowmill.spec.rendering_budget import MAX_BITS, NeedsThread
from rowmill.spec.sandbox import Sandbox, scratch
from rowmill.spec.template_tree import MAX_TOKENS, all_nodes, size_problem

_ENVIRONMENT = Sandbox()
_SCRATCH = scratch()
BRIEF_WORK = 50_000
"""Units of work somebody can wait for who has other things to do: some 25 milliseconds."""
_LONG_TEXT = 20_000
_FALSE_TEXTS = frozenset({"", "false", "0", "none"})
_OTHER_TEMPLATES: tuple[type[nodes.Node], ...] = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def is_template(text: str) -> bool:
    """Whether a text contains Jinja's marks for an expression or a statement."""
    return "{{" in text or "{%" in text


class Template:
    """A compiled template. ``place`` says where in the spec it stands, for errors.

    Raises :class:`~rowmill.errors.SpecError` when the text is no valid template.
    """

    __slots__ = ("_needs_globals", "_new_context", "_root", "place", "references", "text")

    references: tuple[str, ...]
    """Names of the row the template uses, in order of first use; not its own variables."""

    def __init__(self, text: str, place: str = "") -> None:
        self.text = text
        self.place = place
        code, self.references, self._needs_globals = _compiled(text, place)
        self._root = code.root_render_func
        self._new_context = code.new_context

    def __deepcopy__(self, memo: object) -> Self:
        """The template itself: it never changes."""
        return self

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for a row. Raises :class:`~rowmill.errors.GeneratorError` with place and reason."""
        try:
            return "".join(self._root(self._context(row)))
        except Exception as error:  # whatever a user's template does wrong is this row's error
            raise self._failure(error) from error

    def render_briefly(self, row: Mapping[str, Any]) -> str:
        """The same; raises :class:`NeedsThread` when it takes more than some 25 milliseconds of work."""
        context = self._context(row)
        context.work_left = BRIEF_WORK
        context.is_brief = True
        try:
            return "".join(self._root(context))
        except NeedsThread:
            raise
        except Exception as error:  # whatever a user's template does wrong is this row's error
            raise self._failure(error) from error

    def _context(self, row: Mapping[str, Any]) -> Any:
        parent: Any = {**_ENVIRONMENT.globals, **row} if self._needs_globals else row
        return self._new_context(parent, True)

    def _failure(self, error: Exception) -> GeneratorError:
        reason = f"{type(error).__name__}: {error}"[:500]
        return GeneratorError(f"The template ({self.place}) fails: {reason}", "TemplateError")

    def __repr__(self) -> str:
        return f"Template({self.text[:60]!r}, {self.place!r})"


class Condition:
    """A template read as a condition: '', 'false', '0' and 'none' (any case, trimmed) are false."""

    __slots__ = ("_template",)

    def __init__(self, template: Template) -> None:
        self._template = template

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the row the condition uses, in order of first use."""
        return self._template.references

    def __call__(self, row: Mapping[str, Any]) -> bool:
        return self._template.render(row).strip().lower() not in _FALSE_TEXTS


def compile_condition(text: str, place: str = "") -> Condition:
    """The condition a template states (``skip.when``). Raises SpecError like :class:`Template`."""
    return Condition(Template(text, place))


def _compiled(text: str, place: str) -> tuple[JinjaTemplate, tuple[str, ...], bool]:
    problem = text_problem(text)
    if problem:
        raise SpecError([Problem(place, f"The template {problem}.")])
    try:
        try:
            return _compile(text)
        except RecursionError:
            # How deep the caller stands must not decide what is valid (V6).
            return _on_an_empty_stack(text)
    except TemplateSyntaxError as error:
        message = f"The template is not valid Jinja, line {error.lineno}: {error.message}"
    except _TooLong as error:
        message = str(error)
    except (RecursionError, MemoryError, SyntaxError):
        message = "The template is nested too deeply."
    except ValueError as error:
        message = f"The template is not valid Jinja: {error}"
    raise SpecError([Problem(place, message)])


class _TooLong(Exception):
    """A template nobody means."""


def _on_an_empty_stack(text: str) -> tuple[JinjaTemplate, tuple[str, ...], bool]:
    made: list[tuple[JinjaTemplate, tuple[str, ...], bool]] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            made.append(_compile(text))
        except Exception as error:  # noqa: BLE001  raised again below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


@functools.lru_cache(maxsize=4096)
def _compile(text: str) -> tuple[JinjaTemplate, tuple[str, ...], bool]:
    if len(text) > _LONG_TEXT and any(count > MAX_TOKENS for count, _ in enumerate(_ENVIRONMENT.lex(text))):
        raise _TooLong(f"The template is too long: it has more than {MAX_TOKENS:,} words and signs.")
    tree = _SCRATCH.parse(text)
    problem = size_problem(tree)
    if problem is not None:
        raise _TooLong(problem)
    for node in all_nodes(tree):
        if isinstance(node, _OTHER_TEMPLATES):
            raise TemplateSyntaxError("A template of a spec cannot use other templates", node.lineno)
        if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
            raise TemplateSyntaxError("A whole number has at most some thousand digits", node.lineno)
    references, needs_globals = _names(tree)
    code = _ENVIRONMENT.code_of(tree)
    return JinjaTemplate.from_code(_ENVIRONMENT, code, {}), references, needs_globals


def _names(tree: nodes.Template) -> tuple[tuple[str, ...], bool]:
    """The names a row must give, in order, and whether the template calls functions of Jinja.

    ``range`` that is called is Jinja's function; ``range`` that is not is a column.
    """
    free_names = find_undeclared_variables(tree)
    called = {id(node.node) for node in all_nodes(tree) if isinstance(node, nodes.Call)}
    references: dict[str, None] = {}
    needs_globals = False
    for node in all_nodes(tree):
        if not isinstance(node, nodes.Name) or node.name not in free_names or node.ctx != "load":
            continue
        if node.name in _ENVIRONMENT.globals and id(node) in called:
            needs_globals = True
        else:
            references[node.name] = None
    return tuple(references), needs_globals
