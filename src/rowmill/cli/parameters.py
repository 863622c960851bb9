"""Options of commands that take a spec: values for its parameters, and what a change leaves as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _given(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"'{value}' is not NAME=VALUE, like language=de.")
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice.")
        found[name] = text
    return found


def set_option(function: _Function) -> _Function:
    """Adds ``--set`` to a command that reads a spec; the command receives ``parameters``, name → text."""
    return click.option(
        "--set",
        "parameters",
        multiple=True,
        callback=_given,
        metavar="NAME=VALUE",
        help="The value of a parameter of the spec; may be given several times.",
    )(function)


def keep_values_option(function: _Function) -> _Function:
    """Adds ``--keep-values`` to a command that accepts a changed spec; the command receives ``keep_values``."""
    return click.option(
        "--keep-values",
        multiple=True,
        metavar="COLUMN",
        help="Of a column that changed: its values stay, and what depends on it; may be given several times.",
    )(function)
