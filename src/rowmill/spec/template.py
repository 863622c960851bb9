"""Templates: the Jinja texts of a spec, compiled once, rendered for a row at a time.

``row["Customer Name"]`` is the column of that name, also where it is no single word; a column called ``row`` comes
first. Values render as :mod:`rowmill.value.shown` says: a null is ``None``, a list or mapping looks as in Python (use
``| tojson`` for JSON), what a JSON column holds is JSON; one newline at the end of the
template is dropped. A name the row does not have is an error, never an empty text.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Container, Mapping
from typing import Any, NamedTuple, Self

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
ROW = "row"
"""The row itself in a template, unless a column is called so."""
_LONE_NAME = re.compile(r"\{\{-?\s*[^\W\d]\w*\s*-?\}\}\n?")
_SEVERAL_WORDS = re.compile(r"\{\{-?\s*([^\W\d]\w*(?:[ .-]+\w+)* +\w+)\s*(?:\||-?\}\})")
_WORDS_OF_JINJA = frozenset({"if", "else", "and", "or", "not", "in", "is"})
_OTHER_TEMPLATES: tuple[type[nodes.Node], ...] = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class Lone(NamedTuple):
    """The one column a template is."""

    column: str
    is_of_row: bool
    """Named as ``row["column"]``."""


class _Names(NamedTuple):
    """What a template needs."""

    references: tuple[str, ...]
    row_columns: tuple[str, ...]
    lone: Lone | None
    needs_globals: bool
    """Whether it calls functions of Jinja."""


def is_template(text: str) -> bool:
    """Whether a text contains Jinja's marks for an expression or a statement."""
    return "{{" in text or "{%" in text


class Template:
    """A compiled template. ``place`` says where in the spec it stands, for errors.

    Raises :class:`~rowmill.errors.SpecError` when the text is no valid template.
    """

    __slots__ = ("_needs_globals", "_new_context", "_root", "lone", "place", "references", "row_columns", "text")

    references: tuple[str, ...]
    """Names of the row the template uses, in order of first use; not its own variables."""
    row_columns: tuple[str, ...]
    """Columns it names as ``row["…"]``; none if it uses ``row`` in another way, too."""
    lone: Lone | None
    """The column whose value it is, if it is exactly ``{{ column }}`` or ``{{ row["column"] }}``."""

    def __init__(self, text: str, place: str = "") -> None:
        self.text = text
        self.place = place
        code, names = _compiled(text, place)
        self.references, self.row_columns, self.lone = names.references, names.row_columns, names.lone
        self._needs_globals = names.needs_globals
        self._root = code.root_render_func
        self._new_context = code.new_context

    def __deepcopy__(self, memo: object) -> Self:
        """The template itself: it never changes."""
        return self

    def needed(self, columns: Container[str]) -> tuple[str, ...]:
        """The names it needs, where there are those columns: in place of ``row`` what it names of it."""
        if not self.row_columns or ROW in columns:
            return self.references
        return tuple(dict.fromkeys((*(name for name in self.references if name != ROW), *self.row_columns)))

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
        if self.row_columns and ROW not in row:
            parent = {**parent, ROW: {name: row[name] for name in self.row_columns if name in row}}
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

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns it names as ``row["…"]``."""
        return self._template.row_columns

    def __call__(self, row: Mapping[str, Any]) -> bool:
        return self._template.render(row).strip().lower() not in _FALSE_TEXTS


def compile_condition(text: str, place: str = "") -> Condition:
    """The condition a template states (``skip.when``). Raises SpecError like :class:`Template`."""
    return Condition(Template(text, place))


def _compiled(text: str, place: str) -> tuple[JinjaTemplate, _Names]:
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
        message = f"The template is not valid Jinja, line {error.lineno}: {error.message}{_hint_for_words(text)}"
    except _TooLong as error:
        message = str(error)
    except (RecursionError, MemoryError, SyntaxError):
        message = "The template is nested too deeply."
    except ValueError as error:
        message = f"The template is not valid Jinja: {error}"
    raise SpecError([Problem(place, message)])


class _TooLong(Exception):
    """A template nobody means."""


def _on_an_empty_stack(text: str) -> tuple[JinjaTemplate, _Names]:
    made: list[tuple[JinjaTemplate, _Names]] = []
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
def _compile(text: str) -> tuple[JinjaTemplate, _Names]:
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
    names = _names(tree, text)
    code = _ENVIRONMENT.code_of(tree)
    return JinjaTemplate.from_code(_ENVIRONMENT, code, {}), names


def _names(tree: nodes.Template, text: str) -> _Names:
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
    row_columns = _columns_of_row(tree) if ROW in references else ()
    return _Names(tuple(references), row_columns, _lone(tree, text, tuple(references), row_columns), needs_globals)


def _columns_of_row(tree: nodes.Template) -> tuple[str, ...]:
    """What a template names as ``row["…"]`` or ``row.…``; nothing if it also means ``row`` as a whole."""
    named: dict[str, None] = {}
    of_columns = set()
    for node in all_nodes(tree):
        if not isinstance(node, (nodes.Getitem, nodes.Getattr)) or not _is_row(node.node):
            continue
        name = node.attr if isinstance(node, nodes.Getattr) else _text_of(node.arg)
        if name is not None:
            named[name] = None
            of_columns.add(id(node.node))
    is_whole = any(_is_row(node) and id(node) not in of_columns for node in all_nodes(tree))
    return () if is_whole else tuple(named)


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW


def _text_of(node: nodes.Node) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


def _lone(tree: nodes.Template, text: str, references: tuple[str, ...], row_columns: tuple[str, ...]) -> Lone | None:
    if len(references) != 1:
        return None
    if _LONE_NAME.fullmatch(text):
        return Lone(references[0], is_of_row=False)
    if len(row_columns) != 1 or len(tree.body) != 1:
        return None
    output = tree.body[0]
    is_value = isinstance(output, nodes.Output) and len(output.nodes) == 1
    value = output.nodes[0] if is_value else None  # type: ignore[attr-defined]  # it is an Output
    if not isinstance(value, (nodes.Getitem, nodes.Getattr)) or not _is_row(value.node):
        return None
    return Lone(row_columns[0], is_of_row=True)


def _hint_for_words(text: str) -> str:
    """How a column is named whose name is several words, where a template seems to do so."""
    for found in _SEVERAL_WORDS.finditer(text):
        if _WORDS_OF_JINJA.isdisjoint(found[1].split()):
            return f'. A column whose name is no single word is written {{{{ row["{found[1]}"] }}}}'
    return ""
