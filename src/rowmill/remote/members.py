"""Who is in a crew: its workers, each from launch to loss, and the groups they are in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from rowmill.dispatch.slot import Slot
from rowmill.remote.messages import Answer, CallData, Hello, Open

QUIET_S = 2.0
"""After so much silence a worker gets no new calls (W2)."""


@dataclass(frozen=True)
class GroupPlan:
    """A group of workers that are alike."""

    name: str
    workers: int
    open: Open
    """What each of them is told; its name is filled in."""
    digests: Mapping[str, str]
    """What it must find its code to be (W6)."""
    version: str
    python: str
    kind: str = ""
    """What its workers are: for people."""


class CrewWorker:
    """One worker, from launch to loss."""

    def __init__(self, name: str, group: CrewGroup, place: int = 0) -> None:
        self.name = name
        self.group = group
        self.place = place
        """Among those of its group; whoever takes its place when it is lost has the same."""
        self.hello: Hello | None = None
        self.node = ""
        self.is_placed = False
        """It has been started somewhere; it may not be ready yet."""
        self.is_ready = False
        self.joined_at: float | None = None
        self.calls: dict[int, Slot] = {}
        self.threads_taken = 0
        """By calls that take a thread each; more than there are if some wait for one."""
        self.next_up: deque[Slot] = deque()
        """Those that wait, in the order in which they will begin."""
        self.outgoing: list[CallData] = []
        self.cancels: list[int] = []
        self.cut_off: dict[int, float] = {}
        """Calls it is to end, and since when."""
        self.answers: list[Answer] = []
        self.limits: Mapping[str, int] = {}
        self.wake = anyio.Event()
        self.heard_at = 0.0
        self.offset_s = math.inf
        self.done = 0
        self.calls_lost = 0
        self.scope = anyio.CancelScope()
        self.reason = ""

    def tell(self) -> None:
        self.wake.set()


class CrewGroup:
    """The workers of one group, and the calls that wait for one."""

    def __init__(self, plan: GroupPlan) -> None:
        self.plan = plan
        self.workers: list[CrewWorker] = []
        self.waiting: deque[Slot] = deque()
        self.waiting_for_thread: deque[Slot] = deque()
        """Those that take a thread of the worker's."""
        self.suspects: deque[Slot] = deque()
        self.reserved: CrewWorker | None = None
        """It takes nothing but suspects, one at a time."""
        self.empty_since: float | None = None
        self.has_said_so = False
        self.last_reason = ""
        """Why the last one did not get ready."""
        self.first_ready = anyio.Event()

    def all_waiting(self) -> list[Slot]:
        """The calls that no worker has."""
        return [*self.waiting, *self.waiting_for_thread, *self.suspects]
