"""The one instance of a user's class: made and set up before the first call, closed after the last.

``setup`` and ``close`` run like functions: sync ones in a thread, so that the event loop goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread

from rowmill.errors import InternalError, RunStopping
from rowmill.generators.custom.function_class import FunctionClass
from rowmill.generators.custom.uncommon import is_uncommon, is_uncommon_of_coroutine
from rowmill.source_line import said_by, source_line

_CLOSE_S = 30.0
"""How long the end of an invocation waits for ``close``."""

_log = logging.getLogger("rowmill.custom")


class KeptInstance:
    """An instance that serves all calls of a column in this process."""

    def __init__(self, column: str, reference: str, kind: FunctionClass, params: Mapping[str, Any]) -> None:
        self._column = column
        self._reference = reference
        self._kind = kind
        self._params = params
        self._made: Any = None
        self._is_ready = False

    def generate(self, *arguments: Any) -> Any:
        """Its ``generate``; of an async one the coroutine."""
        if not self._is_ready:
            raise InternalError(f"'{self._reference}' of column '{self._column}' was called before it was set up.")
        return self._made.generate(*arguments)

    async def open(self) -> None:
        """Makes and sets it up. Raises RunStopping for whatever it raises: every row would fail."""
        started = time.monotonic()
        self._made = await self._done("the constructor", self._kind.make)
        if self._kind.has_setup:
            params = [dict(self._params)] if self._kind.setup_takes_params else []
            await self._done("'setup'", self._made.setup, *params)
        self._is_ready = True
        took_s = time.monotonic() - started
        _log.info("Column '%s': '%s' is set up, in %.1f s", self._column, self._reference, took_s)

    async def close(self) -> None:
        """Closes what was set up. An error is a warning: the values are made, and kept."""
        if not self._is_ready:
            return
        self._is_ready = False
        made, self._made = self._made, None
        if not self._kind.has_close:
            return
        with anyio.move_on_after(_CLOSE_S, shield=True) as scope:
            try:
                await self._run("'close'", made.close)
            except Exception as error:  # noqa: BLE001  of a user's code, and told
                self._warn(f"failed with {_words(error)}")
        if scope.cancelled_caught:
            self._warn(f"was not done after {_CLOSE_S:g} s, and is not waited for")

    def _warn(self, what: str) -> None:
        _log.warning("Column '%s': 'close' of class '%s' %s. No row is lost.", self._column, self._reference, what)

    async def _done(self, step: str, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await self._run(step, work, *arguments)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the run is ended: by a scope, or by an interrupt
                raise
            reason, cause = "cancelled itself", None  # nobody else did
        except Exception as error:  # noqa: BLE001  of a user's code: whatever it is, there is nothing to call
            _log.info("Column '%s' failed:", self._column, exc_info=error)
            reason, cause = f"failed with {_words(error)}", error
        raise RunStopping(
            f"Column '{self._column}': {step} of class '{self._reference}' {reason}. Every row would fail, so the run "
            "stops; no row was dropped, and no attempt is counted. Mend it, then run again.",
            type(cause).__name__ if cause else "Cancelled",
        ) from cause

    async def _run(self, step: str, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            if inspect.iscoroutinefunction(work):
                result = await work(*arguments)
            else:
                limiter = anyio.CapacityLimiter(math.inf)
                result = await anyio.to_thread.run_sync(
                    lambda: _called(work, arguments), abandon_on_cancel=True, limiter=limiter
                )
        except BaseException as error:
            if not is_uncommon_of_coroutine(error):
                raise
            raise _Odd(f"{type(error).__name__}: {said_by(error)}") from error
        if inspect.iscoroutine(result):
            result.close()
            raise _Odd(f"{step} returned a coroutine: write it with 'async def'")
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise _Odd(f"{step} is a generator, of which nothing runs: write it without 'yield'")
        return result


class _Odd(Exception):
    """What a method did that no method may."""


def _called(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return work(*arguments)
    except BaseException as error:
        if not is_uncommon(error):
            raise
        raise _Odd(f"{type(error).__name__}: {said_by(error)}") from error


def _words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the text of an error may fail too; its kind remains
        text = ""
    text = text[:2000] if isinstance(error, _Odd) else f"{type(error).__name__}: {text[:2000]}".rstrip(": ")
    place = source_line(error)
    return f"{text.rstrip('.')} ({place})" if place else text.rstrip(".")
