"""Calls made in threads of their own, so that Ctrl-C and a time limit reach whoever waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")

_BETWEEN_INTERRUPTS_S = 0.02


class InterruptibleCall(Generic[T]):
    """One call in a thread: Python sees no signal while its main thread waits inside a library."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._future: Future[T] = Future()
        # No pool: a process that ends waits for the threads of pools, and for no daemon.
        self._thread = threading.Thread(target=self._work, name="rowmill-asking", daemon=True)

    def _work(self) -> None:
        try:
            self._future.set_result(self._call())
        except BaseException as error:  # noqa: BLE001  raised by whoever waits
            self._future.set_exception(error)

    def start(self) -> None:
        """Begins the call."""
        self._thread.start()

    def is_done_within(self, seconds: float | None) -> bool:
        """Waits so long for the end of the call, or for ever."""
        return bool(wait([self._future], seconds).done)

    def stop(self, interrupt: Callable[[], None]) -> None:
        """Returns when the call has ended, which ``interrupt`` makes it do; also if Ctrl-C comes once more."""
        while self._thread.is_alive():
            try:
                interrupt()  # again and again: what began after an interrupt does not know of it
                self.is_done_within(_BETWEEN_INTERRUPTS_S)
            except KeyboardInterrupt:
                continue

    def result(self) -> T:
        """What the call returned, once it is done; raises what it raised."""
        return self._future.result()
