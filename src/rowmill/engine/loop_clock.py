"""The clock of the event loop, for code that looks at it once a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio


def loop_clock() -> Callable[[], float]:
    """The clock :func:`anyio.current_time` reads, in seconds, without its search for the running loop at each look."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # another kind of loop runs: trio's, whose time tests make
        return anyio.current_time
