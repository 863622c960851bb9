"""Templates: the Jinja texts of a spec, compiled once, rendered for a row at a time.

Values render as :mod:`rowmill.value.shown` says: a null is ``None``, a list or mapping looks as in Python (use
``| tojson`` for JSON), what a JSON column holds is JSON; one newline at the end of the
template is dropped. A name the row does not have is an error, never an empty text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, nodes
from jinja2.runtime import Context

from rowmill.errors import GeneratorError, Problem, SpecError
from rowmill.spec.name import text_problem
from rowmill.spec.sandbox import RenderContext, Sandbox

_ENVIRONMENT = Sandbox()
_FALSE_TEXTS = frozenset({"", "false", "0", "none"})
_OTHER_TEMPLATES: tuple[type[nodes.Node], ...] = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)

_Blocks = dict[str, Callable[[Context], Iterator[str]]]


def is_template(text: str) -> bool:
    """Whether a text contains Jinja's marks for an expression or a statement."""
    return "{{" in text or "{%" in text


class Template:
    """A compiled template. ``place`` says where in the spec it stands, for errors.

    Raises :class:`~rowmill.errors.SpecError` when the text is no valid template.
    """

    __slots__ = ("_blocks", "_needs_globals", "_root", "place", "references", "text")

    references: tuple[str, ...]
    """Names of the row the template uses, in order of first use; not its own variables."""

    def __init__(self, text: str, place: str = "") -> None:
        self.text = text
        self.place = place
        self._root, self._blocks, self.references, self._needs_globals = _compiled(text, place)

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for a row. Raises :class:`~rowmill.errors.GeneratorError` with place and reason."""
        parent: Any = {**_ENVIRONMENT.globals, **row} if self._needs_globals else row
        try:
            return "".join(self._root(RenderContext(_ENVIRONMENT, parent, self.place, self._blocks)))
        except Exception as error:  # whatever a user's template does wrong is this row's error
            reason = f"{type(error).__name__}: {error}"[:500]
            raise GeneratorError(f"The template ({self.place}) fails: {reason}", "TemplateError") from error

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


def _compiled(text: str, place: str) -> tuple[Callable[[Any], Iterator[str]], _Blocks, tuple[str, ...], bool]:
    problem = text_problem(text)
    if problem:
        raise SpecError([Problem(place, f"The template {problem}.")])
    try:
        return _compile(text)
    except TemplateSyntaxError as error:
        message = f"The template is not valid Jinja, line {error.lineno}: {error.message}"
    except (RecursionError, MemoryError, SyntaxError):
        message = "The template is nested too deeply."
    except ValueError as error:
        message = f"The template is not valid Jinja: {error}"
    raise SpecError([Problem(place, message)])


@functools.lru_cache(maxsize=4096)
def _compile(text: str) -> tuple[Callable[[Any], Iterator[str]], _Blocks, tuple[str, ...], bool]:
    tree = _ENVIRONMENT.parse(text)
    other = next(tree.find_all(_OTHER_TEMPLATES), None)
    if other is not None:
        raise TemplateSyntaxError("A template of a spec cannot use other templates", other.lineno)
    code, free_names = _ENVIRONMENT.compiled(_ENVIRONMENT.counting_steps(tree))
    references, needs_globals = _names(tree, free_names)
    template = JinjaTemplate.from_code(_ENVIRONMENT, code, {})
    return template.root_render_func, template.blocks, references, needs_globals


def _names(tree: nodes.Template, free_names: set[str]) -> tuple[tuple[str, ...], bool]:
    """The names a row must give, in order, and whether the template calls functions of Jinja.

    ``range`` that is called is Jinja's function; ``range`` that is not is a column.
    """
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    references: dict[str, None] = {}
    needs_globals = False
    for name in tree.find_all(nodes.Name):
        if name.name not in free_names or name.ctx != "load":
            continue
        if name.name in _ENVIRONMENT.globals and id(name) in called:
            needs_globals = True
        else:
            references[name.name] = None
    return tuple(references), needs_globals
