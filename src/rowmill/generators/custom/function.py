"""Finding a user's function and reading what it is: how many parameters, sync or async, row or batch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import sys
import textwrap
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rowmill.errors import InternalError
from rowmill.generators.custom.beside import imported_anew
from rowmill.generators.custom.decorator import FunctionTraits, traits_of
from rowmill.generators.custom.followed_code import NotInSource, canonical_digest, followed_digest
from rowmill.generators.custom.function_class import (
    METHODS,
    FunctionClass,
    class_of,
    class_problem,
    method_of,
    shape_of,
)
from rowmill.generators.custom.unrun import Unreadable, defining_module, is_unrun, read_function
from rowmill.spec.nearest import did_you_mean

_import_lock = threading.RLock()
_ROWS = ("Table", "RecordBatch", "DataFrame")
_STREAM = "RecordBatchReader"
_CANNOT_BE_CALLED = (
    "'{signature}' cannot be called: a generator function is fn(row), fn(row, params) or fn(row, params, models)."
)
_METHOD_CANNOT_BE_CALLED = (
    "'{signature}' cannot be called: it is generate(self, row), generate(self, row, params) or "
    "generate(self, row, params, models)."
)
_NO_CLASS = "'{name}' is a class. Only columns of type 'custom' may name one; write a function here."
_DTYPES = {int: "int", float: "float", str: "str", bool: "bool"}


class FunctionProblem(Exception):
    """Why a function cannot be used, in words for the spec's author."""


@dataclass(frozen=True, slots=True)
class CustomFunction:
    """A user's function and what its signature tells."""

    function: Callable[..., Any]
    reference: str
    """``module:qualified_name``."""
    parameters: int
    """1: fn(row), 2: fn(row, params), 3: fn(row, params, models); one more if it keeps a state between calls."""
    signature: str
    """Its reference and parameters, for messages."""
    is_async: bool
    takes_rows: bool
    """Its first parameter is annotated as a table."""
    takes_stream: bool
    """Its first parameter is annotated as a stream of record batches: it looks at the whole dataset."""
    dtype: str | None
    """int, float, str or bool by its return annotation."""
    source_sha256: str
    """Of the whole file: what run databases of an older Rowmill know."""
    code_sha256: str
    """Of its code and what it refers to; where that cannot be followed, of the whole file (V2)."""
    traits: FunctionTraits
    of_class: FunctionClass | None = None
    """Set if it is the method ``generate`` of a class: each process that calls it makes an instance first."""


def load_function(
    reference: str | Callable[..., Any], directory: Path | None, *, may_be_class: bool = False
) -> CustomFunction:
    """The function named ``module:function``, or the callable itself. Raises FunctionProblem.

    ``may_be_class``: it may also be a class, of which the method ``generate`` is the function.

    A module that lies beside the spec (``directory``) comes before an installed one of the same name.
    """
    if isinstance(reference, str) and is_unrun():
        return _unrun_function(reference, directory, may_be_class=may_be_class)
    function = _import_function(reference, directory) if isinstance(reference, str) else reference
    found = _found(reference, function, may_be_class=may_be_class)
    return replace(found, code_sha256=_code_digest(reference, directory, found.source_sha256))


def _found(reference: str | Callable[..., Any], function: Any, *, may_be_class: bool) -> CustomFunction:
    name = reference if isinstance(reference, str) else function_name(function)
    if not callable(function):
        raise FunctionProblem(f"'{name}' is not callable but {type(function).__name__}.")
    if not inspect.isclass(function):
        return _described(function, name)
    if not may_be_class:
        raise FunctionProblem(_NO_CLASS.format(name=name))
    return _of_class(function, name)


def _of_class(kind: type, name: str) -> CustomFunction:
    methods = {each: found for each in METHODS if (found := _method(kind, name, each)) is not None}
    try:
        shapes = {each: shape_of(inspect.signature(method)) for each, method in methods.items()}
    except (TypeError, ValueError) as error:
        raise FunctionProblem(f"The parameters of a method of '{name}' cannot be read: {error}.") from error
    problem = class_problem(name, shapes)
    if problem is None and inspect.isabstract(kind):
        problem = (
            f"Class '{name}' is abstract: {', '.join(sorted(getattr(kind, '__abstractmethods__', ())))} is missing."
        )
    if problem is not None:
        raise FunctionProblem(problem)
    generate = _described(methods["generate"], f"{name}.generate", _METHOD_CANNOT_BE_CALLED)
    traits = traits_of(kind)
    return replace(
        generate,
        reference=name,
        function=_not_set_up,
        source_sha256=_source_digest(kind),
        traits=traits if traits != FunctionTraits() else generate.traits,
        of_class=class_of(kind, shapes),
    )


def _method(kind: type, name: str, method: str) -> Any:
    if method == "__init__":
        return kind if _says_what_it_takes(kind) else None
    found = method_of(kind, method)
    if found is not None and not callable(found):
        raise FunctionProblem(
            f"'{name}.{method}' is no method but {type(found).__name__}: write 'def {method}(self…)'."
        )
    return found


def _says_what_it_takes(kind: type) -> bool:
    try:
        inspect.signature(kind)
    except (TypeError, ValueError):  # made by C: what it takes is seen when it is made
        return False
    return True


def _described(function: Callable[..., Any], name: str, cannot_be_called: str = _CANNOT_BE_CALLED) -> CustomFunction:
    parameters = _count_parameters(function, name, cannot_be_called)
    hints = _annotations(function)
    first = next(iter(inspect.signature(function).parameters))
    return CustomFunction(
        function=function,
        reference=name,
        parameters=parameters,
        signature=f"{name}{inspect.signature(function)}",
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        takes_rows=_annotation_name(hints.get(first)).rsplit(".", 1)[-1] in _ROWS,
        takes_stream=_annotation_name(hints.get(first)).rsplit(".", 1)[-1] == _STREAM,
        dtype=_dtype(hints.get("return")),
        source_sha256=_source_digest(function),
        code_sha256="",
        traits=traits_of(function),
    )


def _unrun_function(reference: str, directory: Path | None, *, may_be_class: bool) -> CustomFunction:
    """The same from its source alone; it cannot be called."""
    try:
        read = read_function(reference, directory)
    except Unreadable as problem:
        raise FunctionProblem(str(problem)) from problem
    if read.methods is not None and not may_be_class:
        raise FunctionProblem(_NO_CLASS.format(name=reference))
    problem_of_class = None if read.methods is None else class_problem(reference, read.methods)
    if problem_of_class is not None:
        raise FunctionProblem(problem_of_class)
    if read.parameters is None:
        message = _CANNOT_BE_CALLED if read.methods is None else _METHOD_CANNOT_BE_CALLED
        raise FunctionProblem(message.format(signature=read.signature))
    return CustomFunction(
        function=_not_imported,
        reference=reference,
        parameters=read.parameters,
        signature=read.signature,
        is_async=read.is_async,
        takes_rows=read.first_annotation in _ROWS,
        takes_stream=read.first_annotation == _STREAM,
        dtype=_dtype(read.returns),
        source_sha256=read.source_sha256,
        code_sha256=_code_digest(reference, directory, read.source_sha256),
        traits=read.traits,
        of_class=None if read.methods is None else class_of(_not_imported, read.methods),
    )


def _not_imported(*_: object) -> None:
    raise InternalError("A function was called that was only read.")


def _not_set_up(*_: object) -> None:
    raise InternalError("A method of a class was called without an instance.")


def function_name(function: Callable[..., Any]) -> str:
    """The ``module:qualified_name`` of a callable."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _import_function(reference: str, directory: Path | None) -> Any:
    module_name, _, path = reference.partition(":")
    try:
        module = import_module(module_name, directory)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            beside = f" It is neither installed nor beside the spec in {directory}." if directory else ""
            raise FunctionProblem(f"Module '{module_name}' is not found.{beside}") from error
        raise FunctionProblem(f"Module '{module_name}' cannot be imported: {error}.") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything; it becomes a problem of the spec
        kind = type(error).__name__
        raise FunctionProblem(f"Module '{module_name}' raises when it is imported: {kind}: {error}") from error
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            hint = did_you_mean(part, [name for name in vars(module) if not name.startswith("_")])
            raise FunctionProblem(f"Module '{module_name}' has no function '{path}'.{hint}") from None
    return found


def import_module(name: str, directory: Path | None) -> types.ModuleType:
    """The module of that name, looked for in ``directory`` first.

    A single file there is loaded under a name of its own, so that specs of two directories may both have
    a ``functions.py``; it can import its neighbours while it is being imported, as they are now
    (:mod:`rowmill.generators.custom.beside`). ``sys.path`` is as before when this returns.
    """
    with _import_lock, _first_on_path(directory), _without_compiled_files():
        if directory is None:
            return _imported(name, None)
        directory = directory.resolve()
        with imported_anew(directory):
            return _imported(name, directory)


def _imported(name: str, directory: Path | None) -> types.ModuleType:
    file = directory / f"{name}.py" if directory is not None and name.isidentifier() else None
    if file is not None and file.is_file():
        return _load_file(name, file.resolve())
    importlib.invalidate_caches()
    return importlib.import_module(name)


@contextlib.contextmanager
def _first_on_path(directory: Path | None) -> Iterator[None]:
    if directory is None:
        yield
        return
    entry = str(directory.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


@contextlib.contextmanager
def _without_compiled_files() -> Iterator[None]:
    """Leaves no ``__pycache__`` beside a spec: Python takes a compiled file for one that was edited within a second."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


class _FileAsItIs(importlib.machinery.SourceFileLoader):
    """Compiles the source each time, whatever lies compiled beside it."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Raises OSError, as for a source that is no file: then nothing compiled is asked for, or kept."""
        raise OSError(f"{path} is read as it is")


def _load_file(name: str, file: Path) -> types.ModuleType:
    digest = hashlib.sha256(str(file).encode() + b"\0" + file.read_bytes()).hexdigest()
    unique = f"{name}@{digest[:16]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, file, loader=_FileAsItIs(unique, str(file)))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _count_parameters(function: Callable[..., Any], name: str, cannot_be_called: str) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise FunctionProblem(f"The parameters of '{name}' cannot be read: {error}.") from error
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needed or not 1 <= len(positional) <= 4:
        raise FunctionProblem(cannot_be_called.format(signature=f"{name}{inspect.signature(function)}"))
    return len(positional)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    try:
        return typing.get_type_hints(target)
    except Exception:  # noqa: BLE001  an annotation may be anything; unresolved, its text tells the simple types
        return dict(getattr(target, "__annotations__", {}))


def _annotation_name(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def _dtype(annotation: object) -> str | None:
    if isinstance(annotation, str):
        return annotation if annotation in _DTYPES.values() else None
    inner = [part for part in typing.get_args(annotation) if part is not type(None)]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return _dtype(inner[0]) if len(inner) == 1 else None
    return _DTYPES.get(annotation) if isinstance(annotation, type) else None


def _code_digest(reference: str | Callable[..., Any], directory: Path | None, of_file: str) -> str:
    """Of what a function refers to; ``of_file`` where its source does not tell that."""
    try:
        if isinstance(reference, str):
            return followed_digest(*defining_module(reference, directory), directory)
        digest = _code_digest_of_object(_named(reference), directory)
    except (NotInSource, Unreadable, OSError, SyntaxError, TypeError, ValueError):
        digest = of_file
    given = [] if isinstance(reference, str) else _given_to(reference)
    return hashlib.sha256(f"{digest}\n{json.dumps(given)}".encode()).hexdigest() if given else digest


def _given_to(function: Callable[..., Any]) -> list[Any]:
    """The arguments a ``functools.partial`` gives its function, as JSON values; what is no such value, by its type."""
    plain: Any = inspect.unwrap(function)
    given: list[Any] = []
    while isinstance(plain, functools.partial):
        given.append([_as_json(plain.args), _as_json(plain.keywords)])
        plain = plain.func
    return given


def _as_json(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # however many digits it has
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, Mapping):
        return [[_as_json(key), _as_json(value[key])] for key in value]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _code_digest_of_object(named: Any, directory: Path | None) -> str:
    name = named.__qualname__
    if "<" in name:
        raise NotInSource("what is around a function inside a function is known only as it runs")
    file = inspect.getsourcefile(named)
    if file is None or not Path(file).is_file():
        return canonical_digest(textwrap.dedent(inspect.getsource(named)))  # of a notebook, or typed in
    return followed_digest(named.__module__, name, Path(file), directory)


def _named(function: Callable[..., Any]) -> Any:
    """The function or class that stands in source for a callable."""
    plain: Any = inspect.unwrap(function)
    while isinstance(plain, functools.partial):
        plain = plain.func
    return plain if inspect.isroutine(plain) or inspect.isclass(plain) else type(plain)


def _source_digest(function: Callable[..., Any]) -> str:
    named = _named(function)
    try:
        source = Path(inspect.getsourcefile(named) or "").read_bytes()
    except (OSError, TypeError):  # typed into an interpreter, or written in C
        source = repr(_codes(named) or function_name(named)).encode()
    return hashlib.sha256(source).hexdigest()


def _codes(named: Any) -> object:
    """What identifies code without a file: of a function its own, of a class its methods'. None: nothing does."""
    if not inspect.isclass(named):
        code = getattr(named, "__code__", None)
        return (code.co_code, code.co_names) if code else None
    methods = {name: getattr(each, "__func__", each) for name, each in sorted(vars(named).items())}
    return [(name, _codes(each)) for name, each in methods.items() if inspect.isfunction(each)]
