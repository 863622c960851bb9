"""Spellings: unquoted values of a spec file that are read as numbers where they may be meant as texts.

One rule: a value keeps the meaning YAML 1.2 gives it. Where a text may stand as well and the spelling is not the one
Rowmill would write (``01234`` is read as 1234, ``3.10`` as 3.1, ``~`` as null), a warning says what it is read as and
how to quote it. Where only a number or a boolean may stand nothing is said: there it cannot be meant as a text.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from rowmill.errors import Problem
from rowmill.spec.problems import is_secret
from rowmill.spec.spec import Spec
from rowmill.spec.yaml_loader import Spelling


def doubtful_spellings(spec: Spec, spellings: Sequence[Spelling]) -> list[Problem]:
    """A warning for each of the values that may be meant as a text, in their order."""
    return [warning_of(spelling) for spelling in spellings if _may_be_text(spec, spelling.path)]


def warning_of(spelling: Spelling) -> Problem:
    """What the value is read as, and how to write the text instead."""
    place = ".".join(map(str, spelling.path))
    if is_secret(spelling.path):
        return Problem(place, f"The unquoted value in line {spelling.line} is not read as text; quote it to keep it.")
    value = spelling.value
    if value is None or isinstance(value, bool):
        read, written = ("null" if value is None else str(value).lower()), ""
        written = read
    else:
        written = repr(value)
        read = f"the number {written}"
    shown = spelling.text if len(spelling.text) <= 60 else spelling.text[:59] + "…"
    message = f"The unquoted {shown} in line {spelling.line} is read as {read}."
    return Problem(place, f"{message} For the text write '{shown}', otherwise {written}.")


def _may_be_text(spec: Spec, path: Sequence[str | int]) -> bool:
    """Whether the field at the path takes texts. A place the objects of the spec do not have may take anything."""
    here: Any = spec
    kinds: list[Any] = [type(spec)]
    for part in path:
        if isinstance(here, BaseModel):
            field = type(here).model_fields.get(str(part))
            if field is None:
                return True
            kinds, here = [field.annotation], getattr(here, str(part))
        else:
            kinds = [inner for kind in kinds for inner in _inner_kinds(kind)]
            here = _item(here, part)
    return any(_takes_text(kind) for kind in kinds)


def _item(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, Sequence) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _inner_kinds(kind: Any) -> list[Any]:
    """The kinds of the items of a list, or of the values of a mapping."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _inner_kinds(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return [inner for argument in arguments for inner in _inner_kinds(argument)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return list(arguments[1:])
    return [argument for argument in arguments if argument is not ...] if arguments else [Any]


def _takes_text(kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _takes_text(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return any(_takes_text(argument) for argument in arguments)
    if origin is not None:
        return False
    # What is no class, like the alias for any JSON, may be anything.
    return kind in {Any, object} or not isinstance(kind, type) or issubclass(kind, str)
