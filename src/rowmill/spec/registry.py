"""The registry of column types: from the name in a spec to the class that knows it.

Built-in types and plug-ins (entry points of the group ``rowmill.column_types``, name →
``module:Class``) are imported when a spec first names them, so that ``spec`` stays the lowest layer
and ``rowmill -h`` stays quick.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import TypeVar

from rowmill.errors import Problem, SpecError
from rowmill.spec.column import ColumnConfig

ENTRY_POINT_GROUP = "rowmill.column_types"

_Class = TypeVar("_Class", bound=type[ColumnConfig])

BUILT_IN = {
    "seed-dataset": "rowmill.generators.seed_dataset:SeedDatasetColumn",
    "sampler": "rowmill.generators.sampler:SamplerColumn",
    "expression": "rowmill.generators.expression:ExpressionColumn",
    "llm-text": "rowmill.generators.llm_text:LlmTextColumn",
    "llm-code": "rowmill.generators.llm_code:LlmCodeColumn",
    "llm-structured": "rowmill.generators.llm_structured:LlmStructuredColumn",
    "llm-judge": "rowmill.generators.llm_judge:LlmJudgeColumn",
    "embedding": "rowmill.generators.embedding:EmbeddingColumn",
    "image": "rowmill.generators.image:ImageColumn",
    "validation": "rowmill.generators.validation:ValidationColumn",
    "custom": "rowmill.generators.custom:CustomColumn",
    "deduplicate": "rowmill.generators.over_dataset:DeduplicateColumn",
    "rank": "rowmill.generators.over_dataset:RankColumn",
    "select": "rowmill.generators.over_dataset:SelectColumn",
}
_lazy: dict[str, str] = dict(BUILT_IN)
_classes: dict[str, type[ColumnConfig]] = {}


def register_column_type(cls: _Class) -> _Class:
    """Makes a column type known under the default of its ``column_type`` field. A class decorator.

    Raises ValueError when the class has no such default or another class has the name.
    """
    column_class: type[ColumnConfig] = cls
    name = column_class.model_fields["column_type"].default
    if not isinstance(name, str) or not name:
        raise ValueError(f"{cls.__name__} needs a default: column_type: Literal['my-type'] = 'my-type'")
    known = _classes.get(name)
    path = f"{cls.__module__}:{cls.__qualname__}"
    if known is not None and f"{known.__module__}:{known.__qualname__}" != path:
        raise ValueError(f"column type '{name}' belongs to {known.__module__}.{known.__qualname__} already")
    if name in BUILT_IN and BUILT_IN[name] != path:
        raise ValueError(f"column type '{name}' is built in; choose another name for {path}")
    _classes[name] = cls
    return cls


def register_lazy(name: str, path: str) -> None:
    """Makes a column type known by where its class is (``module:Class``); imported on first use.

    A name that is taken keeps its first meaning.
    """
    _lazy.setdefault(name, path)


def column_type(name: str) -> type[ColumnConfig] | None:
    """The class of a column type, imported if need be; None when nothing has that name.

    Raises :class:`~rowmill.errors.SpecError` when it is known but cannot be imported.
    """
    found = _classes.get(name)
    if found is not None:
        return found
    if name not in _lazy:
        _read_entry_points()
    path = _lazy.get(name)
    return None if path is None else _import(name, path)


def column_type_names() -> list[str]:
    """All known column types, built-in ones first, then by name. Imports none of them."""
    _read_entry_points()
    return list(BUILT_IN) + sorted((_lazy.keys() | _classes.keys()) - BUILT_IN.keys())


@functools.cache
def _read_entry_points() -> None:
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        register_lazy(entry_point.name, entry_point.value)


def _import(name: str, path: str) -> type[ColumnConfig]:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # a plug-in's import may raise anything; it becomes a problem of the spec
        message = f"Column type '{name}' cannot be loaded from {path}: {type(error).__name__}: {error}"
        raise SpecError([Problem("", message)]) from error
    if not (isinstance(found, type) and issubclass(found, ColumnConfig)):
        raise SpecError([Problem("", f"Column type '{name}': {path} is not a ColumnConfig class.")])
    return _classes.setdefault(name, found)
