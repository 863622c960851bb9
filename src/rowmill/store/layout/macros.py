"""The sampler macros of ``sql/functions``, made known to a connection (TEMP: they are code, not state)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import named_script

_WORD = re.compile(r"[a-z_]+")


def create_sampler_macros(connection: Connection, expressions: Iterable[str]) -> None:
    """Makes the macros that these SQL expressions call, and those that they call: each costs 0.3 ms to make."""
    wanted = _called_by(" ".join(expressions))
    made = [text for name, text in _macros().items() if name in wanted]
    if made:
        connection.script(";\n".join(made))


def _called_by(text: str) -> set[str]:
    macros = _macros()
    found: set[str] = set()
    new = macros.keys() & _WORD.findall(text)
    while new:
        found |= new
        new = {name for one in new for name in macros.keys() & _WORD.findall(macros[one])} - found
    return found


@cache
def _macros() -> dict[str, str]:
    """Every macro by name, in the order of the file, in which none comes before one it calls."""
    return named_script("functions", "sampler.sql")
