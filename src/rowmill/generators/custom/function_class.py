"""A class in place of a function: ``generate`` makes values, ``setup`` loads what it needs, ``close`` lets go of it.

What is said of a class here is the same whether it was imported or only read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("__init__", "setup", "generate", "close")
"""What is looked at in a class."""


@dataclass(frozen=True, slots=True)
class MethodShape:
    """What may be given to a method, without ``self``."""

    signature: str
    """Its parameters, for messages."""
    takes: int
    """By position."""
    needs: int
    """Of these, those without a default."""
    needs_names: bool
    """It has parameters without a default that can only be given by name."""


@dataclass(frozen=True, slots=True)
class FunctionClass:
    """A class with state, as far as it is called by Rowmill."""

    make: Callable[[], Any]
    has_setup: bool
    setup_takes_params: bool
    has_close: bool


def shape_of(signature: inspect.Signature) -> MethodShape:
    """The shape of a bound method."""
    parameters = signature.parameters.values()
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    without_default = [p for p in positional if p.default is p.empty]
    return MethodShape(str(signature), len(positional), len(without_default), bool(needed))


def method_of(kind: type, name: str) -> Any:
    """A method as an instance would have it, without one; None if the class has none. Runs nothing of the class."""
    missing = object()
    found: Any = inspect.getattr_static(kind, name, missing)
    if found is missing or found is None:
        return None
    bound = found.__get__(missing, kind) if inspect.isfunction(found) or _is_wrapped(found) else found
    return bound if callable(bound) else found


def _is_wrapped(found: object) -> bool:
    return isinstance(found, (staticmethod, classmethod)) or type(found).__name__ == "partialmethod"


def class_problem(reference: str, shapes: Mapping[str, MethodShape]) -> str | None:
    """What keeps a class from being used; ``shapes``: those of its methods. None: nothing. ``generate`` is not judged,
    but for being there."""
    made, setup, close = shapes.get("__init__"), shapes.get("setup"), shapes.get("close")
    if "generate" not in shapes:
        return (
            f"Class '{reference}' has no method 'generate'. Write 'def generate(self, row)', beside it "
            "'def setup(self)' for what is loaded once and 'def close(self)' if there is something to let go of."
        )
    if made is not None and (made.needs or made.needs_names):
        return (
            f"Class '{reference}' cannot be made without arguments: its constructor takes {made.signature}. Give them "
            "defaults, or read generator_params in 'setup(self, params)'."
        )
    if setup is not None and (setup.needs > 1 or setup.needs_names):
        return f"'{reference}.setup{setup.signature}' cannot be called: write setup(self) or setup(self, params)."
    if close is not None and (close.needs or close.needs_names):
        return f"'{reference}.close{close.signature}' cannot be called: write close(self)."
    return None


def class_of(make: Callable[[], Any], shapes: Mapping[str, MethodShape]) -> FunctionClass:
    """A class that has no problem."""
    setup = shapes.get("setup")
    return FunctionClass(make, setup is not None, setup is not None and setup.takes > 0, "close" in shapes)
