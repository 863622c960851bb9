"""Garbage: how often the interpreter looks for reference cycles while a run works."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 25_000
"""New objects between two collections. A result is some hundred objects, and none of them is part of a cycle."""
_LATER_GENERATIONS = 20


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Collects less often, for the length of a ``with``; what is unreachable is still found.

    A collection holds up the event loop and the writer at once: with the interpreter's default of 700 objects
    it took 9 % of the CPU of a run with 512 requests in flight. Never makes it rarer than the program has chosen.
    """
    before = gc.get_threshold()
    if before[0]:  # 0: the program does without
        gc.set_threshold(max(before[0], _OBJECTS), *(max(count, _LATER_GENERATIONS) for count in before[1:]))
    try:
        yield
    finally:
        gc.set_threshold(*before)
