"""Rowmill: crash-safe synthetic dataset generation, with every piece of run state in one DuckDB file.

    report = rowmill.run("spec.yaml", "penguins.duckdb")
    with rowmill.RunDatabase.open("penguins.duckdb") as database:
        table = database.to_arrow()

A spec can be built in Python, too: :mod:`rowmill.config`. What can go wrong: :mod:`rowmill.errors`.

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowmill import config, errors
    from rowmill.async_run_database import AsyncRunDatabase
    from rowmill.errors import RowmillError, SpecError
    from rowmill.generators.custom.decorator import generator
    from rowmill.run_database import RunDatabase
    from rowmill.running import (
        check_models,
        check_models_async,
        merge,
        merge_async,
        preview,
        preview_async,
        run,
        run_async,
    )
    from rowmill.spec.loading import load_spec
    from rowmill.spec.spec import Spec

__all__ = [
    "AsyncRunDatabase",
    "RowmillError",
    "RunDatabase",
    "Spec",
    "SpecError",
    "check_models",
    "check_models_async",
    "config",
    "errors",
    "generator",
    "load_spec",
    "merge",
    "merge_async",
    "preview",
    "preview_async",
    "run",
    "run_async",
]

_HOMES = {
    "AsyncRunDatabase": "rowmill.async_run_database",
    "RowmillError": "rowmill.errors",
    "RunDatabase": "rowmill.run_database",
    "Spec": "rowmill.spec.spec",
    "SpecError": "rowmill.errors",
    "generator": "rowmill.generators.custom.decorator",
    "load_spec": "rowmill.spec.loading",
    "check_models": "rowmill.running",
    "check_models_async": "rowmill.running",
    "merge": "rowmill.running",
    "merge_async": "rowmill.running",
    "preview": "rowmill.running",
    "preview_async": "rowmill.running",
    "run": "rowmill.running",
    "run_async": "rowmill.running",
}

_MODULES = ("config", "errors")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rowmill")
    if name in _MODULES:
        return import_module(f"rowmill.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'rowmill' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, *_MODULES]
