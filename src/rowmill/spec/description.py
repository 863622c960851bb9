"""What each field of a model means: the docstring beneath it, read from the source.

Not pydantic's ``use_attribute_docstrings``: that reads every class's source when it is imported, also for a run that
nobody asks for descriptions.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel


def descriptions(cls: type[BaseModel]) -> dict[str, str]:
    """Field → its meaning as Markdown on one line, for each field of the class that has one; a subclass's counts."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            found |= _of_module(Path(inspect.getfile(base))).get(base.__qualname__, {})
    return {field: text for field, text in found.items() if field in cls.model_fields}


def as_markdown(docstring: str) -> str:
    """A docstring on one line, its code in single backticks."""
    return " ".join(inspect.cleandoc(docstring).split()).replace("``", "`")


@functools.cache
def _of_module(path: Path) -> dict[str, dict[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: dict(_of_class(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            yield field.target.id, as_markdown(text.value.value)
