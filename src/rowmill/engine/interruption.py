"""Signals that stop a run: the first lets running calls finish, the second ends the process, whatever it is doing.

Neither the event loop nor the writer has to be free for that. A thread of its own takes the signals from a pipe, into
which the interpreter's handler writes them at once; after the second one the process has a moment to commit what
arrived, and then ends. Where not even a thread gets on, :mod:`rowmill.engine.last_resort` ends it. That is as safe
as a kill at any other moment: what is committed stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.engine import last_resort
from rowmill.engine.last_resort import PATIENCE_S
from rowmill.environment import without_secrets

_log = logging.getLogger("rowmill.run")

_CUT_OFF = 130
_SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUIT = b"\0"
_NOBODYS = {"asyncio.runners", "trio._core._ki", "ipykernel.ipkernel"}
"""Modules whose handlers of SIGINT end what runs, and stand for no wish of the program's."""


class Deadline:
    """When armed, ends the process after a moment; as long as it is entered."""

    def __init__(self, patience_s: float = PATIENCE_S, exit_process: Callable[[int], Any] = os._exit) -> None:
        self._patience_s = patience_s
        self._exit_process = exit_process
        self._is_over = threading.Event()
        self._is_armed = False
        self._until_then = ExitStack()

    @property
    def is_armed(self) -> bool:
        """Whether the process has to end by now."""
        return self._is_armed

    def has(self, context: AbstractContextManager[None]) -> None:
        """Enters ``context``, which is left when this is left."""
        self._until_then.enter_context(context)

    def arm(self, reason: str) -> None:
        """From now on the process has its moment. ``reason``: what happened. Any thread may call it."""
        if not self._is_armed:
            self._is_armed = True
            threading.Thread(target=self._wait, args=(reason,), name="rowmill-deadline", daemon=True).start()

    def _wait(self, reason: str) -> None:
        if self._is_over.wait(self._patience_s):
            return
        # Written past everything that may hold a lock; a panel has hidden the cursor.
        said = (
            f"{reason}, and something did not end in time: cut off. What is committed stays; the same command goes on."
        )
        with contextlib.suppress(OSError):
            os.write(2, (_SHOW_CURSOR + b"\n" if os.isatty(2) else b"") + said.encode() + b"\n")
        self._exit_process(_CUT_OFF)

    def __enter__(self) -> Deadline:
        return self

    def __exit__(self, *_: object) -> None:
        self._until_then.close()
        self._is_over.set()


async def obey_signals(dispatcher: Dispatcher, on_drain: Callable[[], None] | None, deadline: Deadline) -> None:
    """Drains at the first SIGINT or SIGTERM, then calls ``on_drain``; cancels at the second. In the main thread.

    Returns at once; signals are taken as long as ``deadline`` is entered.
    """
    token = current_token()

    def heed(is_first: bool) -> None:
        if not is_first:
            dispatcher.cancel()
            return
        dispatcher.drain()
        if on_drain is not None:
            on_drain()

    def taken(is_first: bool) -> None:
        if not is_first:
            deadline.arm("Interrupted twice")
        # The loop may be busy, and the next signal must be taken all the same.
        threading.Thread(target=_tell, args=(partial(heed, is_first), token), daemon=True).start()

    deadline.has(_taking_signals(taken))


def is_free_to_take_interrupts() -> bool:
    """Whether Ctrl-C still does what Python, an event loop or a notebook lets it do; only so in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handler: Any = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        return True
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__module__", None) in _NOBODYS


async def obey_interrupts(dispatcher: Dispatcher, on_drain: Callable[[], None] | None, until: ExitStack) -> None:
    """Drains at the first SIGINT, then calls ``on_drain``; cancels at the second. In the main thread of a program.

    The program lives on: the third is its own again, and so is every signal when ``until`` is left. Returns at once.
    """
    token = current_token()
    before = signal.getsignal(signal.SIGINT)
    taken = 0

    def drain() -> None:
        dispatcher.drain()
        _log.warning("Interrupted: stops when the running calls have finished. Once more cuts them off.")
        if on_drain is not None:
            on_drain()

    def take(_signal: int, _frame: object) -> None:
        nonlocal taken
        taken += 1
        if taken == 2:
            signal.signal(signal.SIGINT, before)
        # Not from here: the loop may be in the middle of anything.
        heed = drain if taken == 1 else dispatcher.cancel
        threading.Thread(target=_tell, args=(heed, token), daemon=True).start()

    signal.signal(signal.SIGINT, take)
    until.callback(signal.signal, signal.SIGINT, before)


def _tell(heed: Callable[[], None], token: Any) -> None:
    # The loop is over by then: nobody is left to be told.
    with contextlib.suppress(anyio.RunFinishedError):
        from_thread.run_sync(heed, token=token)


@contextmanager
def _taking_signals(taken: Callable[[bool], None]) -> Iterator[None]:
    """Calls ``taken``, in a thread, for each signal; true for the first."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    guard = _guarded(read)

    def take() -> None:
        is_first = True
        # What is read is gone from the pipe before this thread has the interpreter again: so it waits first.
        while select.select([read], [], []) and (signals := os.read(read, 1)) != _QUIT:
            if signals[0] in _SIGNALS:
                taken(is_first)
                is_first = False
                if guard is not None and guard.stdin is not None:
                    with contextlib.suppress(OSError):  # the guard is gone; the deadline is not
                        guard.stdin.write(b"1")

    thread = threading.Thread(target=take, name="rowmill-signals", daemon=True)
    thread.start()
    before = {each: signal.signal(each, _nothing) for each in _SIGNALS}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for each, handler in before.items():
            signal.signal(each, handler)
        os.write(write, _QUIT)
        thread.join()
        os.close(read)
        os.close(write)
        if guard is not None:
            guard.kill()
            guard.communicate()


def _nothing(_signal: int, _frame: object) -> None:
    """The pipe has it already."""


def _guarded(signals: int) -> subprocess.Popen[bytes] | None:
    """Starts the last resort. Each byte it gets says that a signal was taken."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(last_resort.__file__)), str(os.getpid()), str(signals)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            env=without_secrets(),
            pass_fds=(signals,),
            start_new_session=True,
        )
    except OSError as error:
        _log.info("Nothing watches from outside whether the run heeds signals: %s", error)
        return None
