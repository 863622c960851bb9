"""The option ``--import-functions`` of commands that look at a spec: without it, nothing of its code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., object])


def import_option(function: _Function) -> _Function:
    """Adds ``--import-functions``; the command receives ``import_functions``."""
    return click.option(
        "--import-functions",
        is_flag=True,
        help="Import the modules of the spec's functions, which runs them; otherwise they are only read.",
    )(function)


@contextmanager
def reading(import_functions: bool) -> Iterator[None]:
    """Inside, functions of a spec are imported if that is wanted; else their source is read."""
    from rowmill.generators.custom.unrun import unrun

    if import_functions:
        yield
        return
    with unrun():
        yield
