"""Rendering for the event loop: what takes long is rendered in a thread, so that nothing else waits for it.

A rendering begins on the event loop with the work of some 25 milliseconds. Few templates ever need more; what does is
rendered once more in a thread, with all its budget. The outcome is the same, since a rendering depends on nothing but
the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from rowmill.spec.rendering_budget import NeedsThread
from rowmill.spec.template import Template

_limiter: RunVar[CapacityLimiter] = RunVar("rendering threads")


async def rendered(template: Template, row: Mapping[str, Any]) -> str:
    """The text for a row. Raises :class:`~rowmill.errors.GeneratorError` with place and reason."""
    try:
        return template.render_briefly(row)
    except NeedsThread:
        return await rendered_in_thread(template, row)


async def rendered_in_thread(template: Template, row: Mapping[str, Any]) -> str:
    """The same without trying on the event loop. One thread at a time: more of them would make the event loop wait."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(1)
        _limiter.set(limiter)
    return await to_thread.run_sync(template.render, row, limiter=limiter, abandon_on_cancel=True)
