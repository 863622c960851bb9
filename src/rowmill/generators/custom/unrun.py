"""What a function is, read from its source: nothing of a spec's code runs, so that a stranger's spec can be looked at.

``validate`` and ``plan`` read; a run imports. What a module only makes as it runs (a ``partial``, a function put
together by another one) cannot be read: that is said, with what to do.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rowmill.generators.custom.decorator import FunctionTraits, generator, traits_of
from rowmill.generators.custom.function_class import METHODS, MethodShape
from rowmill.spec.nearest import did_you_mean

_MOST_STEPS = 20
"""From module to module, as names are imported."""
_reads_only: ContextVar[bool] = ContextVar("reads_only", default=False)


class Unreadable(Exception):
    """Why a function cannot be known from source, in words for the spec's author."""


@dataclass(frozen=True, slots=True)
class ReadFunction:
    """What the source of a function says."""

    parameters: int | None
    """How many it takes by position; None: it cannot be called as a generator function."""
    signature: str
    is_async: bool
    first_annotation: str
    returns: str
    source_sha256: str
    traits: FunctionTraits
    methods: Mapping[str, MethodShape] | None = None
    """Of a class what its methods take; the other facts are those of its ``generate``. None: it is a function."""


@contextmanager
def unrun() -> Iterator[None]:
    """Inside, functions are read and not imported."""
    token = _reads_only.set(True)
    try:
        yield
    finally:
        _reads_only.reset(token)


def is_unrun() -> bool:
    """Whether functions are only to be read."""
    return _reads_only.get()


def read_function(reference: str, directory: Path | None) -> ReadFunction:
    """What ``module:function`` is by its source. Raises Unreadable."""
    module, _, path = reference.partition(":")
    place = _located(module, path, reference, directory)
    if isinstance(place.node, ast.ClassDef):
        return _read_class(place, reference, directory)
    return _read(place.node, reference, place.digest, is_method="." in place.path)


def defining_module(reference: str, directory: Path | None) -> tuple[str, str, Path]:
    """The module whose source defines what a reference names, its path there, and the file. Raises Unreadable."""
    module, _, path = reference.partition(":")
    for _ in range(_MOST_STEPS):
        file = _source_of(module, directory)
        first, _, rest = path.partition(".")
        found = _defined(ast.parse(file.read_bytes()).body).get(first)
        if not isinstance(found, _Import):
            return module, path, file
        module, path = _absolute(found, module, file), f"{found.path}.{rest}".rstrip(".")
    raise _only_by_running(reference, "it is imported from module to module, without end")


def _located(module: str, path: str, reference: str, directory: Path | None) -> _Place:
    """Where a function or class is defined, from module to module."""
    for _ in range(_MOST_STEPS):
        file = _source_of(module, directory)
        try:
            content = file.read_bytes()
            tree = ast.parse(content)
        except (OSError, SyntaxError, ValueError) as error:
            raise Unreadable(
                f"Module '{module}' raises when it is imported: {type(error).__name__}: {error}"
            ) from error
        found = _found(tree, path, module, reference)
        if not isinstance(found, _Import):
            return _Place(found, module, path, file, tree, hashlib.sha256(content).hexdigest())
        module, path = _absolute(found, module, file), found.path
    raise _only_by_running(reference, "it is imported from module to module, without end")


@dataclass(frozen=True, slots=True)
class _Place:
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    module: str
    path: str
    file: Path
    tree: ast.Module
    digest: str


@dataclass(frozen=True, slots=True)
class _Import:
    module: str
    level: int
    path: str


def _source_of(name: str, directory: Path | None) -> Path:
    parts = name.split(".")
    starts = [] if directory is None else [directory]
    for start in starts:
        base = start.joinpath(*parts)
        for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if file.is_file():
                return file.resolve()
    try:
        top = importlib.util.find_spec(parts[0])  # of a name without dots nothing is imported
    except (ImportError, ValueError):
        top = None
    if top is not None and top.origin is not None and top.origin.endswith(".py"):
        file = Path(top.origin)
        if len(parts) == 1:
            return file
        base = file.parent.joinpath(*parts[1:])
        for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    elif top is not None and len(parts) == 1:
        raise _only_by_running(name, "its module has no source in Python")
    beside = f" It is neither installed nor beside the spec in {directory}." if directory else ""
    raise Unreadable(f"Module '{name}' is not found.{beside}")


def _found(
    tree: ast.Module, path: str, module: str, reference: str
) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | _Import:
    body: list[ast.stmt] = tree.body
    *outer, name = path.split(".")
    for place, part in enumerate([*outer, name]):
        names = _defined(body)
        if part not in names:
            hint = did_you_mean(part, [known for known in _defined(tree.body) if not known.startswith("_")])
            raise Unreadable(f"Module '{module}' has no function '{path}'.{hint}")
        found = names[part]
        rest = path.split(".")[place + 1 :]
        if isinstance(found, _Import):
            return _Import(found.module, found.level, ".".join([found.path, *rest]) if found.path else ".".join(rest))
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not rest:
            return found
        if not (isinstance(found, ast.ClassDef) and rest):
            raise _only_by_running(reference, f"line {found.lineno} of '{module}' makes it as the module runs")
        body = found.body
    raise _only_by_running(reference, "it is no function")


def _defined(body: list[ast.stmt]) -> Mapping[str, ast.stmt | _Import]:
    """What a block defines; of a name that is defined twice, the later."""
    names: dict[str, ast.stmt | _Import] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                names[alias.asname or alias.name] = _Import(statement.module or "", statement.level, alias.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            blocks = [statement.body, getattr(statement, "orelse", []), getattr(statement, "finalbody", [])]
            blocks += [handler.body for handler in getattr(statement, "handlers", [])]
            for block in blocks:
                names = {**_defined(block), **names}
    return names


def _absolute(found: _Import, module: str, file: Path) -> str:
    if not found.level:
        return found.module
    parts = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    parts = parts[: len(parts) - (found.level - 1)]
    return ".".join([*parts, *([found.module] if found.module else [])])


def _read(
    found: ast.FunctionDef | ast.AsyncFunctionDef,
    reference: str,
    digest: str,
    *,
    is_method: bool,
    is_bound: bool = False,
) -> ReadFunction:
    arguments = found.args
    positional = [*arguments.posonlyargs, *arguments.args]
    is_static = _is_static(found)
    is_of_class = any(_name(each) == "classmethod" for each in found.decorator_list)
    if is_bound or (is_method and not is_static and is_of_class):
        positional = positional[1:]
    needed = [
        each for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    first = positional[0].annotation if positional else None
    returns = f" -> {ast.unparse(found.returns)}" if found.returns is not None else ""
    return ReadFunction(
        parameters=len(positional) if not needed and 1 <= len(positional) <= 4 else None,
        signature=f"{reference}({ast.unparse(arguments)}){returns}",
        is_async=isinstance(found, ast.AsyncFunctionDef),
        first_annotation=_name(first),
        returns=_simple(found.returns),
        source_sha256=digest,
        traits=_traits(found, reference),
    )


def _read_class(place: _Place, reference: str, directory: Path | None) -> ReadFunction:
    classes, is_whole = _with_bases(place, reference, directory)
    methods: dict[str, ast.stmt | _Import] = {}
    traits = FunctionTraits()
    for each in reversed(classes):
        methods |= {name: found for name, found in _defined(each.body).items() if name in METHODS}
        traits = _traits(each, reference) if _is_marked(each) else traits
    shapes = {}
    for name, found in methods.items():
        if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            raise _only_by_running(f"{reference}.{name}", "it is no 'def' in the class")
        shapes[name] = _shape(found, is_bound=not _is_static(found))
    if "__init__" not in methods and _is_dataclass(classes[0]):
        shapes["__init__"] = _shape_of_fields(classes[0])
    generate = methods.get("generate")
    if not isinstance(generate, ast.FunctionDef | ast.AsyncFunctionDef):
        if not is_whole:
            raise _only_by_running(reference, "a class it is made from cannot be found")
        return ReadFunction(None, reference, False, "", "", place.digest, traits, shapes)
    read = _read(generate, f"{reference}.generate", place.digest, is_method=True, is_bound=not _is_static(generate))
    return replace(read, traits=traits if traits != FunctionTraits() else read.traits, methods=shapes)


def _with_bases(place: _Place, reference: str, directory: Path | None) -> tuple[list[ast.ClassDef], bool]:
    """A class and those it is made from, nearest first, and whether all of them are known."""
    classes: list[ast.ClassDef] = []
    waiting = [place]
    is_whole = True
    while waiting and len(classes) < _MOST_STEPS:
        here = waiting.pop(0)
        if not isinstance(here.node, ast.ClassDef):
            is_whole = False
            continue
        classes.append(here.node)
        bases: list[_Place] = []
        for base in here.node.bases:
            plain = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(plain, ast.Name) and plain.id == "object":
                continue
            if not isinstance(plain, ast.Name) or plain.id not in _defined(here.tree.body):
                is_whole = False
                continue
            try:
                bases.append(_located(here.module, plain.id, reference, directory))
            except Unreadable:
                is_whole = False
        waiting = [*bases, *waiting]
    return classes, is_whole and not waiting


def _is_static(found: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_name(each) == "staticmethod" for each in found.decorator_list)


def _shape(found: ast.FunctionDef | ast.AsyncFunctionDef, *, is_bound: bool) -> MethodShape:
    given = found.args
    positional = [*given.posonlyargs, *given.args]
    takes = max(0, len(positional) - (1 if is_bound else 0))
    needed = any(default is None for default in given.kw_defaults)
    return MethodShape(f"({ast.unparse(given)})", takes, max(0, takes - len(given.defaults)), needed)


def _is_dataclass(found: ast.ClassDef) -> bool:
    names = [each.func if isinstance(each, ast.Call) else each for each in found.decorator_list]
    return any(_name(each) == "dataclass" for each in names)


def _shape_of_fields(found: ast.ClassDef) -> MethodShape:
    fields = [
        each.target.id
        for each in found.body
        if isinstance(each, ast.AnnAssign)
        and each.value is None
        and isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
    ]
    return MethodShape(f"({', '.join(fields)})", len(fields), len(fields), False)


def _is_marked(found: ast.ClassDef) -> bool:
    return any(isinstance(each, ast.Call) and _name(each.func) == "generator" for each in found.decorator_list)


def _traits(found: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, reference: str) -> FunctionTraits:
    for decorator in found.decorator_list:
        if not (isinstance(decorator, ast.Call) and _name(decorator.func) == "generator"):
            continue
        try:
            said: dict[str, Any] = {
                str(keyword.arg): ast.literal_eval(keyword.value) for keyword in decorator.keywords if keyword.arg
            }
        except ValueError:
            raise _only_by_running(reference, "its decorator is given values that are no plain literals") from None
        try:
            marked: Callable[..., Any] = generator(**said)(lambda row: row)
        except (TypeError, ValueError) as error:
            raise Unreadable(f"'{reference}' is not decorated as it must be: {error}") from error
        return traits_of(marked)
    return FunctionTraits()


def _name(node: ast.expr | None) -> str:
    """The last word of a name, an attribute, or of either in quotes."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rsplit(".", 1)[-1]
    return node.id if isinstance(node, ast.Name) else ""


def _simple(node: ast.expr | None) -> str:
    """The type an annotation names; of an optional one the type without None."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if not _is_none(side)]
        return _simple(sides[0]) if len(sides) == 1 else ""
    if isinstance(node, ast.Subscript) and _name(node.value) == "Optional":
        return _simple(node.slice)
    return _name(node)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _only_by_running(reference: str, reason: str) -> Unreadable:
    return Unreadable(
        f"What '{reference}' takes cannot be read: {reason}. Write it with 'def', or let the modules of a spec that "
        "you trust be imported: the same command with --import-functions."
    )
