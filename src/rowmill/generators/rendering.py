"""Rendering for the event loop: what takes long is rendered in a thread, so that nothing else waits for it.

A rendering begins on the event loop with the work of some 25 milliseconds. Few templates ever need more; what does is
rendered once more in a thread, with all its budget. The outcome is the same, since a rendering depends on nothing but
the row. What reads and checks answers is tried alike (:func:`unhurried`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from rowmill.spec.rendering_budget import NeedsThread
from rowmill.spec.template import Template

_T = TypeVar("_T")
_is_brief: ContextVar[bool] = ContextVar("is_brief", default=False)
_limiter: RunVar[CapacityLimiter] = RunVar("rendering threads")


async def rendered(template: Template, row: Mapping[str, Any]) -> str:
    """The text for a row. Raises :class:`~rowmill.errors.GeneratorError` with place and reason."""
    try:
        return template.render_briefly(row)
    except NeedsThread:
        return await rendered_in_thread(template, row)


async def rendered_in_thread(template: Template, row: Mapping[str, Any]) -> str:
    """The same without trying on the event loop."""
    return await _in_thread(template.render, row)


async def unhurried(work: Callable[..., _T], *arguments: Any) -> _T:
    """What ``work`` gives or raises: on the event loop, or once more in a thread if it raises NeedsThread there.

    It asks :func:`is_brief` where it is.
    """
    before = _is_brief.set(True)
    try:
        return work(*arguments)
    except NeedsThread:
        pass
    finally:
        _is_brief.reset(before)
    return await _in_thread(work, *arguments)


def is_brief() -> bool:
    """Whether the event loop waits for what is being done."""
    return _is_brief.get()


async def _in_thread(work: Callable[..., _T], *arguments: Any) -> _T:
    """One thread at a time: more of them would make the event loop wait."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(1)
        _limiter.set(limiter)
    return await to_thread.run_sync(work, *arguments, limiter=limiter, abandon_on_cancel=True)
