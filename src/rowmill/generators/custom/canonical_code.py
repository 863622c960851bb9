"""Code as a text that says what the code does, and nothing else: the same text under Python 3.11 and every later one.

Not part of it: comments, formatting, docstrings, type hints, the names of functions and constants of a module. It is
written field by field from the syntax tree, since ``ast.dump`` and ``ast.unparse`` differ from version to version. What
is empty is left out, so that a field that a later Python adds changes nothing where it is not used.
"""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_IGNORED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "simple", "annotation", "returns"})
_BLOCKS = frozenset({"body", "orelse", "finalbody"})
_DEEPEST = 100
"""Of a statement that is written; deeper ones are the file's text."""
_RUNS_TEXT = frozenset({"exec", "eval", "compile", "globals", "locals", "vars", "__import__"})
_BY_TEXT = frozenset({"getattr", "setattr", "delattr", "hasattr"})
_LOOKS_AT_CODE = frozenset(
    {"__doc__", "__annotations__", "__code__", "__globals__", "__closure__", "__defaults__", "__kwdefaults__",
     "__subclasses__", "__wrapped__", "__init_subclass__"}
)  # fmt: skip
_LOOKS_AT_NAMES = frozenset({"__name__", "__qualname__"})
_PLAIN_DECORATORS = frozenset(
    {"staticmethod", "classmethod", "property", "setter", "getter", "deleter", "cached_property", "cache", "lru_cache",
     "wraps", "abstractmethod", "contextmanager", "asynccontextmanager", "override", "final", "overload", "dataclass",
     "total_ordering", "generator"}
)  # fmt: skip
"""They look at neither hints nor docstrings."""
_PLAIN_BASES = frozenset({"ABC", "Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "Protocol", "Generic", "NamedTuple"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


class ModuleNames(Protocol):
    """What the names of a module mean, and who hears of what cannot be followed."""

    def token(self, name: str) -> str:
        """What stands for a name that no function or class around it binds."""
        ...

    def chain(self, name: str, attributes: Sequence[str]) -> tuple[str, int] | None:
        """What stands for ``name.attributes…`` where the name is a module, and how many attributes that takes."""
        ...

    def imported(self, statement: ast.Import | ast.ImportFrom) -> str:
        """What stands for an import."""
        ...

    def is_own(self, name: str) -> bool:
        """Whether the name is defined by code that is followed."""
        ...

    def cannot_follow(self) -> None:
        """Something here reaches code in a way that its text does not tell."""
        ...

    def looks_at_names(self) -> None:
        """The names of functions and classes shape values."""
        ...


@dataclass(frozen=True, slots=True)
class _Scope:
    bound: frozenset[str]
    module_level: frozenset[str] = field(default_factory=frozenset)
    is_class: bool = False
    keeps_hints: bool = False
    """Of a class whose hints are its fields."""


def canonical(statement: ast.stmt, names: ModuleNames) -> str:
    """The text of a statement at the top of a module, without the name of the function it defines."""
    if _depth(statement) > _DEEPEST:
        names.cannot_follow()
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                names.token(node.id)
        return "too deep"
    return _Writer(names).statement(statement, (), is_top=True)


def bound_names(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """The names these nodes bind where they stand: assigned, imported, defined. Not those inside functions and classes
    among them."""
    return _scope(nodes).bound


def _scope(nodes: Iterable[ast.AST]) -> _Scope:
    bound: set[str] = set()
    module_level: set[str] = set()
    elsewhere: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            bound.add(node.name)
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.ClassDef):
            bound.add(node.name)
            waiting += [*node.decorator_list, *node.bases]
        elif isinstance(node, ast.Lambda):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, _COMPREHENSIONS):
            named = (each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
            bound.update(each.id for each in named)
        else:
            _note_binding(node, bound)
            if isinstance(node, ast.Global):
                module_level.update(node.names)
            elif isinstance(node, ast.Nonlocal):
                elsewhere.update(node.names)
            waiting += ast.iter_child_nodes(node)
    return _Scope(frozenset(bound - module_level - elsewhere), frozenset(module_level))


def _note_binding(node: ast.AST, bound: set[str]) -> None:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        bound.add(node.id)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        bound.update((alias.asname or alias.name.partition(".")[0]) for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name is not None:
        bound.add(node.name)
    elif isinstance(node, ast.MatchMapping) and node.rest is not None:
        bound.add(node.rest)


def _depth(node: ast.AST) -> int:
    deepest = 0
    waiting: list[tuple[ast.AST, int]] = [(node, 1)]
    while waiting:
        here, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(here)]
    return deepest


class _Writer:
    """Writes one statement; ``scopes`` are the functions and classes around a node, outermost first."""

    def __init__(self, names: ModuleNames) -> None:
        self._names = names

    def statement(self, node: ast.stmt, scopes: tuple[_Scope, ...], *, is_top: bool = False) -> str:
        if isinstance(node, _FUNCTIONS):
            return self._function(node, scopes, name="" if is_top else node.name)
        if isinstance(node, ast.ClassDef):
            return self._class(node, scopes)
        if isinstance(node, ast.Import | ast.ImportFrom):
            return self._names.imported(node)
        if isinstance(node, ast.AnnAssign):
            return self._annotated(node, scopes)
        return self._fields(node, scopes)

    def _annotated(self, node: ast.AnnAssign, scopes: tuple[_Scope, ...]) -> str:
        """A hint in a class may be a field of it; any other is none of the code."""
        hint = self._node(node.annotation, scopes) if scopes and scopes[-1].keeps_hints else ""
        if node.value is None and not hint:
            return ""
        value = "" if node.value is None else self._node(node.value, scopes)
        hint = f";hint={hint}" if hint else ""
        return f"Assign(targets=[{self._node(node.target, scopes)}];value={value}{hint})"

    def _block(self, statements: Iterable[ast.stmt], scopes: tuple[_Scope, ...], *, keeps_words: bool = False) -> str:
        """What a block does: no docstrings, no ``pass``."""
        texts = []
        for place, statement in enumerate(statements):
            is_word = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, ast.Pass) or (is_word and not (keeps_words and place == 0)):
                continue
            texts.append(self.statement(statement, scopes))
        return f"[{','.join(filter(None, texts))}]"

    def _function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        scopes: tuple[_Scope, ...],
        *,
        name: str,
        keeps_words: bool = False,
    ) -> str:
        if name in _LOOKS_AT_CODE:
            self._names.cannot_follow()
        keeps_words = keeps_words or any(self._is_foreign(each) for each in node.decorator_list)
        decorators = [self._node(each, scopes) for each in node.decorator_list if not self._is_mark(each)]
        arguments = self._arguments(node.args, scopes, keeps_hints=keeps_words)
        returns = self._node(node.returns, scopes) if keeps_words and node.returns is not None else ""
        inner = (*(each for each in scopes if not each.is_class), _scope_of(node.args, node.body))
        body = self._block(node.body, inner, keeps_words=keeps_words)
        kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
        return f"{kind}({name};{arguments};{returns};[{','.join(decorators)}];{body})"

    def _class(self, node: ast.ClassDef, scopes: tuple[_Scope, ...]) -> str:
        is_looked_at = bool(node.keywords) or any(self._is_foreign(each) for each in node.decorator_list)
        keeps_words = is_looked_at or any(not _is_plain_base(each) for each in node.bases)
        heads = [
            ",".join(self._node(each, scopes) for each in part)
            for part in (
                [each for each in node.decorator_list if not self._is_mark(each)],
                node.bases,
                node.keywords,
            )
        ]
        has_fields = bool(node.decorator_list or node.bases or node.keywords)
        inner = (*scopes, _Scope(_scope(node.body).bound, is_class=True, keeps_hints=has_fields))
        texts = []
        for place, each in enumerate(node.body):
            if isinstance(each, _FUNCTIONS):
                texts.append(self._function(each, inner, name=each.name, keeps_words=keeps_words))
            else:
                texts.append(self._block([each], inner, keeps_words=keeps_words and place == 0))
        texts = [text for text in texts if text != "[]"]
        return f"class({node.name};{';'.join(heads)};[{','.join(texts)}])"

    def _is_foreign(self, decorator: ast.expr) -> bool:
        """Whether it is made by code that is not followed, and may look at hints and docstrings."""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        root, words = _chain_of(called)
        if (words[-1] if words else root) in _PLAIN_DECORATORS:
            return False
        return root is None or not self._names.is_own(root)

    def _is_mark(self, decorator: ast.expr) -> bool:
        """``@rowmill.generator(…)``: what it says shapes the declaration, which is looked at itself."""
        if not isinstance(decorator, ast.Call):
            return False
        root, words = _chain_of(decorator.func)
        return root is not None and (words[-1] if words else root) == "generator" and not self._names.is_own(root)

    def _arguments(self, node: ast.arguments, scopes: tuple[_Scope, ...], *, keeps_hints: bool = False) -> str:
        def one(each: ast.arg) -> str:
            hint = f":{self._node(each.annotation, scopes)}" if keeps_hints and each.annotation is not None else ""
            return each.arg + hint

        parts = [
            ",".join(map(one, node.posonlyargs)),
            ",".join(map(one, node.args)),
            one(node.vararg) if node.vararg is not None else "",
            ",".join(map(one, node.kwonlyargs)),
            one(node.kwarg) if node.kwarg is not None else "",
            ",".join(self._node(each, scopes) for each in node.defaults),
            ",".join("" if each is None else self._node(each, scopes) for each in node.kw_defaults),
        ]
        return f"({'/'.join(parts)})"

    def _node(self, node: ast.AST, scopes: tuple[_Scope, ...]) -> str:
        if isinstance(node, ast.stmt):
            return self.statement(node, scopes)
        if isinstance(node, ast.Name):
            return self._name(node.id, scopes)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, scopes)
        if isinstance(node, ast.Constant):
            return _constant(node.value)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node, scopes)
        if isinstance(node, ast.Lambda):
            inner = (*(each for each in scopes if not each.is_class), _scope_of(node.args, [node.body]))
            return f"lambda({self._arguments(node.args, scopes)};{self._node(node.body, inner)})"
        if isinstance(node, _COMPREHENSIONS):
            return self._comprehension(node, scopes)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_TEXT:
            says = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            if says and _is_module_level(node.func.id, scopes) and not self._names.is_own(node.func.id):
                self._note_attribute(str(node.args[1].value))  # type: ignore[attr-defined]
                arguments = ",".join(self._node(each, scopes) for each in (*node.args, *node.keywords))
                return f"{node.func.id}({arguments})"
        return self._fields(node, scopes)

    def _fields(self, node: ast.AST, scopes: tuple[_Scope, ...]) -> str:
        texts = []
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if name in _IGNORED or value is None or value == []:
                continue
            if name in _BLOCKS and isinstance(value, list):
                text = self._block(value, scopes)
                if text == "[]" and name != "body":  # 'else: pass'
                    continue
            elif isinstance(value, list):
                text = f"[{','.join(self._item(each, scopes) for each in value)}]"
            else:
                text = self._item(value, scopes)
            texts.append(f"{name}={text}")
        return f"{type(node).__name__}({';'.join(texts)})"

    def _item(self, value: object, scopes: tuple[_Scope, ...]) -> str:
        return self._node(value, scopes) if isinstance(value, ast.AST) else _constant(value)

    def _name(self, name: str, scopes: tuple[_Scope, ...]) -> str:
        for scope in reversed(scopes):
            if name in scope.module_level:
                break
            if name in scope.bound:
                # Before it is bound in a class body, a name there is the module's.
                return f"{name}|{self._names.token(name)}" if scope.is_class and self._names.is_own(name) else name
        if name in (_RUNS_TEXT | _BY_TEXT | _LOOKS_AT_CODE) and not self._names.is_own(name):
            self._names.cannot_follow()
        return self._names.token(name)

    def _note_attribute(self, attribute: str) -> None:
        if attribute in _LOOKS_AT_CODE:
            self._names.cannot_follow()
        elif attribute in _LOOKS_AT_NAMES:
            self._names.looks_at_names()

    def _attribute(self, node: ast.Attribute, scopes: tuple[_Scope, ...]) -> str:
        root, words = _chain_of(node)
        for word in words:
            self._note_attribute(word)
        found = self._names.chain(root, words) if root is not None and _is_module_level(root, scopes) else None
        if found is None:
            return f"{self._node(node.value, scopes)}.{node.attr}"
        token, used = found
        return ".".join([token, *words[used:]])

    def _joined(self, node: ast.JoinedStr, scopes: tuple[_Scope, ...]) -> str:
        """An f-string; how its plain pieces are cut differs from Python to Python."""
        parts: list[str] = []
        plain = ""
        for each in node.values:
            if isinstance(each, ast.Constant):
                plain += str(each.value)
                continue
            if plain:
                parts.append(_constant(plain))
                plain = ""
            parts.append(self._formatted(each, scopes))
        return f"f({','.join([*parts, *([_constant(plain)] if plain else [])])})"

    def _formatted(self, node: ast.expr, scopes: tuple[_Scope, ...]) -> str:
        if not isinstance(node, ast.FormattedValue):
            return self._node(node, scopes)
        form = "" if node.format_spec is None else self._node(node.format_spec, scopes)
        return f"{{{self._node(node.value, scopes)}!{node.conversion}:{'' if form == 'f()' else form}}}"

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scopes: tuple[_Scope, ...]
    ) -> str:
        inner = (*scopes, _scope([each.target for each in node.generators]))
        of = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        loops = []
        for place, each in enumerate(node.generators):
            source = self._node(each.iter, scopes if place == 0 else inner)
            conditions = ",".join(self._node(condition, inner) for condition in each.ifs)
            loops.append(f"{each.is_async}:{self._node(each.target, inner)} in {source} if {conditions}")
        made = ":".join(self._node(each, inner) for each in of)
        return f"{type(node).__name__}({made};{';'.join(loops)})"


def _scope_of(arguments: ast.arguments, body: Iterable[ast.AST]) -> _Scope:
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    given += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    scope = _scope(body)
    return _Scope(scope.bound | {each.arg for each in given}, scope.module_level)


def _is_module_level(name: str, scopes: tuple[_Scope, ...]) -> bool:
    for scope in reversed(scopes):
        if name in scope.module_level:
            return True
        if name in scope.bound:
            return False
    return True


def _chain_of(node: ast.expr) -> tuple[str | None, list[str]]:
    """The name and the attributes of ``name.a.b``; no name if it begins with something else."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else None), words[::-1]


def _is_plain_base(base: ast.expr) -> bool:
    plain = base.value if isinstance(base, ast.Subscript) else base
    root, words = _chain_of(plain)
    last = words[-1] if words else root
    return last in _PLAIN_BASES or (root is not None and not words and hasattr(builtins, root))


def _constant(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool) or value is None or value is Ellipsis:
        return repr(value)
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return f"bytes:{value.hex()}"
    if isinstance(value, float | complex):
        return f"{type(value).__name__}:{value!r}"
    return f"{type(value).__name__}:{value}"
