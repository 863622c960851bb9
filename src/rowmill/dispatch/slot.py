"""A slot: a call that is made elsewhere. It stands in its pool where a worker coroutine stands for a call made here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rowmill.task import Request, Task

if TYPE_CHECKING:
    from rowmill.dispatch.pool import Pool


class Slot:
    """A call that was handed to :class:`~rowmill.dispatch.protocol.Workers`.

    Its deadline begins when a worker gets it, not before: waiting for a worker is no fault of the call.
    """

    __slots__ = (
        "_cut_off",
        "call",
        "deadline",
        "is_cut_off",
        "journal",
        "limit_at_start",
        "pool",
        "started_at",
        "tasks",
        "timed_out",
        "timeout_s",
    )

    def __init__(
        self,
        call: int,
        pool: Pool,
        tasks: Sequence[Task],
        timeout_s: float,
        now: float,
        cut_off: Callable[[Slot], None],
    ) -> None:
        self.call = call
        """Which call: unique within the invocation (W1)."""
        self.pool = pool
        self.tasks = tasks
        self.timeout_s = timeout_s
        """How long it may take, infinite if it may take for ever."""
        self.journal: list[Request] = []
        """Requests that are known although the call was cut off."""
        self.started_at = now
        self.deadline = math.inf
        """When it is over time, on the event loop's clock."""
        self.limit_at_start = pool.limit(now)
        self.timed_out = False
        self.is_cut_off = False
        """Nobody waits for its values any more: it only ends."""
        self._cut_off = cut_off

    @property
    def scope(self) -> _Scope:
        """What cancels it. Made when it is asked for, which is rare: one that was kept would keep the slot, too."""
        return _Scope(self, self._cut_off)

    def begin(self, now: float) -> None:
        """A worker gets it now."""
        self.started_at = now
        self.deadline = now + self.timeout_s


class _Scope:
    """Cancels like the scope of a worker coroutine."""

    __slots__ = ("_cut_off", "_slot")

    def __init__(self, slot: Slot, cut_off: Callable[[Slot], None]) -> None:
        self._slot = slot
        self._cut_off = cut_off

    def cancel(self) -> None:
        """Nobody waits for the call any more."""
        self._cut_off(self._slot)
