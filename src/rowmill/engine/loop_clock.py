"""The clocks of the event loop: one for code that looks at it once a call, and one that runs while it is idle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from rowmill.engine.event_loop import EventLoop


def loop_clock() -> Callable[[], float]:
    """The clock :func:`anyio.current_time` reads, in seconds, without its search for the running loop at each look."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # another kind of loop runs: trio's, whose time tests make
        return anyio.current_time


def idle_clock() -> Callable[[], float]:
    """How long the running loop has waited for something to do, in seconds; if nobody knows, it always does."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return anyio.current_time
    return loop.idle_s if isinstance(loop, EventLoop) else loop.time
