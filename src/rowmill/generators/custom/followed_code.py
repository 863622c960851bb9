"""What a function is made of: its own code, and what it refers to in its module and in modules beside the spec.

Read from source, never imported: who looks at a spec, runs it, or makes its calls elsewhere (W6) finds the same.

- Functions, classes and constants count when the function refers to them, directly or through others. Of a module
  that lies beside the spec those that are imported count; anything installed counts by its name alone.
- What a module does as it is imported counts always, if it does more than define names (``random.seed(7)``,
  ``TABLE["a"] = 1``). Not ``if __name__ == "__main__"`` and ``if TYPE_CHECKING``.
- Where code is reached in a way that its text does not tell (``getattr`` with a computed name, ``exec``, ``globals``,
  ``importlib``, ``inspect``, ``__doc__``), the whole file counts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from rowmill.generators.custom.canonical_code import bound_names, canonical

_MOST_STEPS = 20
"""From module to module, as names are imported."""
_REACHES_CODE = frozenset({"inspect", "importlib", "runpy", "pkgutil"})
_REACHES_HINTS = frozenset({"get_type_hints", "get_annotations", "modules"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


class NotInSource(Exception):
    """The source of a module does not say where a name comes from."""


def followed_digest(module: str, path: str, file: Path, directory: Path | None) -> str:
    """SHA-256 over what ``path`` of a module is made of. ``directory``: that of the spec.

    Raises NotInSource if the file does not define it, OSError or SyntaxError.
    """
    root = _Module(_own_name(module, file), _tree(file.read_bytes()), file)
    name, _, rest = path.partition(".")
    if name not in root.binds:
        raise NotInSource(f"'{name}' is not defined in {file}")
    text = _Following(directory, root, module).text(name)
    return hashlib.sha256(f"{rest}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def canonical_digest(source: str) -> str:
    """SHA-256 over the code of one function or class that is no part of a file; nothing it refers to is followed.

    Raises SyntaxError, or NotInSource if it is no definition.
    """
    module = _Module("", _tree(source.encode("utf-8", "surrogatepass")), None)
    if len(module.statements) != 1 or not isinstance(module.statements[0], _DEFINITIONS):
        raise NotInSource("it is no function or class")
    text = _Following(None, module, "").text(module.statements[0].name)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=64)
def _tree(content: bytes) -> ast.Module:
    return ast.parse(content)


@dataclass(frozen=True)
class _Module:
    """A module as its source has it."""

    name: str
    tree: ast.Module
    file: Path | None

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """What it consists of, without what only type checkers read."""
        return list(_effective(self.tree.body))

    @cached_property
    def binds(self) -> dict[str, list[int]]:
        """Which of its statements bind a name."""
        found: dict[str, list[int]] = {}
        for place, statement in enumerate(self.statements):
            for name in sorted(bound_names([statement])):
                found.setdefault(name, []).append(place)
        return found

    @cached_property
    def imports(self) -> list[ast.Import | ast.ImportFrom]:
        """All that it imports as it is imported itself."""
        return [each for statement in self.statements for each in _executed(statement) if isinstance(each, _IMPORTS)]

    @cached_property
    def stars(self) -> list[ast.ImportFrom]:
        """Imports of whatever another module has."""
        return [each for each in self.imports if isinstance(each, ast.ImportFrom) and each.names[0].name == "*"]

    def import_of(self, name: str) -> tuple[ast.Import | ast.ImportFrom, ast.alias] | None:
        """The import that alone binds a name."""
        places = self.binds.get(name, [])
        statement = self.statements[places[0]] if len(places) == 1 else None
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return None
        for alias in statement.names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                return statement, alias
        return None

    def is_variable(self, name: str) -> bool:
        """Whether a name stands for something other code of the module may alter."""
        bound = [self.statements[place] for place in self.binds.get(name, [])]
        return any(not isinstance(each, (*_DEFINITIONS, *_IMPORTS)) and not _is_fixed(each) for each in bound)

    def reached_by(self, names: set[str]) -> set[str]:
        """All names that the code of these names mentions, through functions and classes of the module."""
        reached: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            reached.add(name)
            for place in self.binds.get(name, []):
                if isinstance(self.statements[place], _DEFINITIONS):
                    waiting |= _mentioned([self.statements[place]]) - reached
        return reached

    @property
    def digest(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.file.read_bytes() if self.file is not None else b"").hexdigest()


def _effective(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and _last_word(statement.test) == "TYPE_CHECKING":
            yield from _effective(statement.orelse)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield statement


def _last_word(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_main(statement: ast.stmt) -> bool:
    """``if __name__ == "__main__"``: not run when the module is imported."""
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Compare)
        and isinstance(statement.test.left, ast.Name)
        and statement.test.left.id == "__name__"
    )


def _executed(statement: ast.stmt) -> Iterator[ast.stmt]:
    """A statement and those inside it that run as the module is imported."""
    waiting = [statement]
    while waiting:
        here = waiting.pop()
        yield here
        if not isinstance(here, _DEFINITIONS):
            blocks = [here, *getattr(here, "handlers", []), *getattr(here, "cases", [])]
            for block in blocks:
                for name in ("body", "orelse", "finalbody"):
                    waiting += getattr(block, name, [])


def _acts(statement: ast.stmt) -> bool:
    """Whether it does more than define names: whatever refers to it, it may shape values."""
    if _is_main(statement):
        return False
    for each in _executed(statement):
        if isinstance(each, ast.Expr) and not isinstance(each.value, ast.Constant):
            return True
        if isinstance(each, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            targets = each.targets if isinstance(each, ast.Assign | ast.Delete) else [each.target]
            nodes = (node for target in targets for node in ast.walk(target))
            if any(isinstance(node, ast.Attribute | ast.Subscript) for node in nodes):
                return True
    return False


def _is_fixed(statement: ast.stmt) -> bool:
    """Whether it binds names to what nobody can alter: texts, numbers, tuples of them."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    fixed = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.expr_context)
    return statement.value is None or all(isinstance(each, fixed) for each in ast.walk(statement.value))


def _mentioned(nodes: Sequence[ast.AST]) -> set[str]:
    return {each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)}


def _calls(statement: ast.stmt) -> set[str]:
    """The names mentioned where a statement that only defines names calls something, or names another one anew."""
    if isinstance(statement, _DEFINITIONS):
        heads: list[ast.AST] = list(statement.decorator_list)
        if isinstance(statement, ast.ClassDef):
            heads += [*statement.bases, *statement.keywords]
        return _mentioned(heads)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Name):
        return {statement.value.id}
    return _mentioned([each for each in ast.walk(statement) if isinstance(each, ast.Call)])


class _Following:
    """Follows one function. Everything gets a number where it is first met, so that names do not count."""

    def __init__(self, directory: Path | None, root: _Module, dotted: str) -> None:
        """``dotted``: the name under which the root module is imported."""
        self._directory = directory
        self._modules: dict[str, _Module | None] = {dotted: root}
        self._root = root
        self._parent = dotted.rpartition(".")[0]
        self._touched: list[_Module] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._waiting: list[tuple[_Module, str]] = []
        self._statements: dict[tuple[str, int], int] = {}
        self._whole: dict[str, None] = {}
        self._texts: list[str] = []
        self._names_count = False

    def text(self, name: str) -> str:
        """All that is reached from a name of the root module."""
        self.beside(self._parent)
        self._touch(self._root)
        first = self.defined(self._root, name)
        while self._waiting or self._finds_more():
            if self._waiting:
                self._define(*self._waiting.pop(0))
        names = [f"{number} is {key[1]}" for key, number in self._numbers.items()] if self._names_count else []
        return "\n".join([first, *self._texts, *names, *self._whole])

    def _define(self, module: _Module, name: str) -> None:
        places = [self._written(module, place) for place in module.binds[name]]
        self._texts.append(f"@{self._numbers[module.name, name]}={','.join(places)}")

    def _written(self, module: _Module, place: int) -> str:
        key = (module.name, place)
        if key not in self._statements:
            self._statements[key] = number = len(self._statements)
            self._texts.append(f"#{number}:{canonical(module.statements[place], _Names(self, module))}")
        return f"#{self._statements[key]}"

    def _finds_more(self) -> bool:
        """Writes statements nobody refers to and that may shape values all the same; whether there were any."""
        before = len(self._texts)
        for module in [*self._touched]:
            needed = {name for owner, name in self._numbers if owner == module.name and module.is_variable(name)}
            for place, statement in enumerate(module.statements):
                if (module.name, place) in self._statements or _is_main(statement):
                    continue
                if _acts(statement) or (needed and not needed.isdisjoint(module.reached_by(_calls(statement)))):
                    self._written(module, place)
                    for name in sorted(bound_names([statement])):
                        self.defined(module, name)
        return len(self._texts) > before or bool(self._waiting)

    def defined(self, module: _Module, name: str) -> str:
        """What stands for a name of a module."""
        for _ in range(_MOST_STEPS):
            found = module.import_of(name)
            if found is None:
                return self._numbered(module, name)
            statement, alias = found
            target = _absolute(module, statement)
            if isinstance(statement, ast.Import):
                return self._as_value(module, alias.name if alias.asname else alias.name.partition(".")[0])
            owner = self.beside(target)
            if owner is None or alias.name not in owner.binds:
                return self._as_value(module, f"{target}.{alias.name}", owner)
            module, name = owner, alias.name
        return self.whole(module)

    def _numbered(self, module: _Module, name: str) -> str:
        key = (module.name, name)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._waiting.append((module, name))
        return f"@{self._numbers[key]}"

    def _as_value(self, module: _Module, dotted: str, owner: _Module | None = None) -> str:
        """What stands for a module, or for what its owner, a package, makes as it runs, or for something installed."""
        here = self.beside(dotted) or owner
        return self._outside(module, dotted) if here is None else self.whole(here)

    def _outside(self, module: _Module, dotted: str) -> str:
        """What stands for something installed that a module imports."""
        first, *rest = dotted.split(".")
        if first in _REACHES_CODE or not _REACHES_HINTS.isdisjoint(rest):
            self.whole(module)
        return f"<{dotted}>"

    def chain(self, module: _Module, name: str, attributes: Sequence[str]) -> tuple[str, int] | None:
        """See :class:`ModuleNames`."""
        found = module.import_of(name)
        if found is None:
            return None
        statement, alias = found
        if isinstance(statement, ast.Import):
            dotted = alias.name if alias.asname else name
        else:
            target = _absolute(module, statement)
            owner = self.beside(target)
            dotted = f"{target}.{alias.name}"
            if owner is not None and (alias.name in owner.binds or self.beside(dotted) is None):
                return None
        here = self.beside(dotted)
        if here is None:
            return self._outside(module, ".".join([dotted, *attributes])), len(attributes)
        for used, attribute in enumerate(attributes, start=1):
            if attribute in here.binds:
                return self.defined(here, attribute), used
            dotted = f"{dotted}.{attribute}"
            deeper = self.beside(dotted)
            if deeper is None:
                return self.whole(here), used - 1
            here = deeper
        return self.whole(here), len(attributes)

    def whole(self, module: _Module) -> str:
        """What stands for all of a module: its file, and what it imports from beside the spec."""
        mark = f"whole {module.digest}"
        if mark not in self._whole:
            self._whole[mark] = None
            for statement in module.imports:
                self.imported(module, statement)
        return mark

    def imported(self, module: _Module, statement: ast.Import | ast.ImportFrom) -> str:
        """What stands for an import where it is executed."""
        parts = []
        target = _absolute(module, statement)
        for alias in statement.names:
            bound = alias.asname or alias.name.partition(".")[0]
            if isinstance(statement, ast.Import):
                parts.append(f"{bound}={self._as_value(module, alias.name)}")
                continue
            owner = self.beside(target)
            if owner is not None and alias.name == "*":
                parts.append(f"*={self.whole(owner)}")
            elif owner is not None and alias.name in owner.binds:
                parts.append(f"{bound}={self.defined(owner, alias.name)}")
            else:
                parts.append(f"{bound}={self._as_value(module, f'{target}.{alias.name}', owner)}")
        return f"import({','.join(parts)})"

    def starred(self, module: _Module, name: str) -> str:
        """What stands for a name that the module does not bind: of a star import, or built in."""
        for statement in module.stars:
            target = _absolute(module, statement)
            owner = self.beside(target)
            if owner is None:
                return f"{name}|{self._outside(module, f'{target}.*')}"
            if name in owner.binds:
                return self.defined(owner, name)
            if owner.stars:
                self.whole(owner)
        return f"'{name}"

    def looks_at_names(self) -> None:
        """Names count."""
        self._names_count = True

    def beside(self, dotted: str) -> _Module | None:
        """The module of that name beside the spec; None if it is installed."""
        if dotted in self._modules:
            return self._modules[dotted]
        self._modules[dotted] = None
        if self._directory is None or not all(part.isidentifier() for part in dotted.split(".")):
            return None
        parent, _, _ = dotted.rpartition(".")
        base = self._directory.joinpath(*dotted.split("."))
        suffixes = importlib.machinery.EXTENSION_SUFFIXES
        compiled = [base.with_name(f"{base.name}{suffix}") for suffix in suffixes]
        for file in (base / "__init__.py", base.with_name(f"{base.name}.py"), *compiled):
            if file.is_file():
                if parent:
                    self.beside(parent)
                self._modules[dotted] = module = _module_of(_own_name(dotted, file), file)
                self._touch(module)
                return module
        return None

    def _touch(self, module: _Module) -> None:
        """A module that is imported: what it does then counts, and so do the modules it imports."""
        self._touched.append(module)
        for statement in module.imports:
            target = _absolute(module, statement)
            names = [alias.name for alias in statement.names]
            for dotted in names if isinstance(statement, ast.Import) else [target, *(f"{target}.{n}" for n in names)]:
                self.beside(dotted)


def _own_name(dotted: str, file: Path) -> str:
    """The name from which a module's relative imports start."""
    return f"{dotted}.__init__" if file.name == "__init__.py" else dotted


def _module_of(name: str, file: Path) -> _Module:
    """A module beside the spec; one that cannot be read as source is its bytes alone."""
    try:
        return _Module(name, _tree(file.read_bytes()), file)
    except (SyntaxError, ValueError):
        return _Module(name, ast.Module([], []), file)


def _absolute(module: _Module, statement: ast.Import | ast.ImportFrom) -> str:
    """The module an import names, from the top."""
    if isinstance(statement, ast.Import):
        return ""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")[:-1]
    parts = parts[: len(parts) - (statement.level - 1)]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


class _Names:
    """What the names of one module mean."""

    def __init__(self, following: _Following, module: _Module) -> None:
        self._following = following
        self._module = module

    def token(self, name: str) -> str:
        """See :class:`ModuleNames`."""
        if name in self._module.binds:
            return self._following.defined(self._module, name)
        return self._following.starred(self._module, name)

    def chain(self, name: str, attributes: Sequence[str]) -> tuple[str, int] | None:
        """See :class:`ModuleNames`."""
        return self._following.chain(self._module, name, attributes)

    def imported(self, statement: ast.Import | ast.ImportFrom) -> str:
        """See :class:`ModuleNames`."""
        return self._following.imported(self._module, statement)

    def is_own(self, name: str) -> bool:
        """See :class:`ModuleNames`."""
        found = self._module.import_of(name)
        if found is None:
            return name in self._module.binds
        statement, alias = found
        target = alias.name if isinstance(statement, ast.Import) else _absolute(self._module, statement)
        return self._following.beside(target) is not None

    def cannot_follow(self) -> None:
        """See :class:`ModuleNames`."""
        self._following.whole(self._module)

    def looks_at_names(self) -> None:
        """See :class:`ModuleNames`."""
        self._following.looks_at_names()
