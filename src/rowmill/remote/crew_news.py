"""What a crew tells of itself: where its workers and groups stand, and what happened to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio

from rowmill.remote.members import QUIET_S, CrewGroup, CrewWorker
from rowmill.worker import GroupFacts, WorkerEvent, WorkerFacts, WorkerNews

_NEWS_S = 2.0
"""How often it is kept where the workers stand, when nothing happens."""
_LONGEST_REASON = 500

_log = logging.getLogger("rowmill.workers")


class CrewNews:
    """Collects what happens to the workers of ``groups``, and has it kept by ``note``."""

    def __init__(
        self,
        groups: Sequence[CrewGroup],
        wait_s: float,
        wall_clock: Callable[[], float],
        note: Callable[[WorkerNews], Coroutine[Any, Any, None]],
    ) -> None:
        """``wait_s``: how long the run waits for a group of which no worker is left."""
        self._groups = groups
        self._wait_s = wait_s
        self._wall_clock = wall_clock
        self._note = note
        self._untold: list[WorkerEvent] = []
        self._gone: list[WorkerFacts] = []
        self._told: dict[str, WorkerFacts] = {}
        self._told_groups: Sequence[GroupFacts] = ()
        self._has_untold = anyio.Event()

    def statistics(self) -> tuple[WorkerFacts, ...]:
        """Where each worker stands, of those that have been started."""
        return tuple(
            self._facts(worker, _state(worker))
            for group in self._groups
            for worker in group.workers
            if worker.hello is not None
        )

    def tell(self, kind: str, subject: str, detail: str) -> None:
        """Something happened."""
        self._untold.append(WorkerEvent(self._wall_clock(), kind, subject, detail))
        self._has_untold.set()

    def tell_loss(self, worker: CrewWorker) -> None:
        """A worker is gone, or did not get ready."""
        if worker.hello is not None:
            self._gone.append(self._facts(worker, "lost"))
        if worker.is_ready:
            _log.warning("Worker %s is lost: %s", worker.name, worker.reason)
            self.tell("worker lost", worker.name, worker.reason[:_LONGEST_REASON])
        else:
            worker.group.last_reason = worker.reason
            _log.warning("Worker %s did not get ready: %s", worker.name, worker.reason)

    async def keep_telling(self) -> None:
        """Has kept what happened, in its order and at once, and every now and then where the workers stand."""
        while True:
            with anyio.move_on_after(_NEWS_S):
                await self._has_untold.wait()
            await self.keep()

    async def keep(self) -> None:
        """Has kept what is new."""
        self._has_untold = anyio.Event()
        events, self._untold = self._untold, []
        gone, self._gone = self._gone, []
        workers = [facts for facts in (*gone, *self.statistics()) if self._told.get(facts.name) != facts]
        groups = [self._group_facts(group) for group in self._groups]
        if not (events or workers or groups != self._told_groups):
            return
        await self._note(WorkerNews(events, workers, groups if groups != self._told_groups else ()))
        self._told_groups = groups
        self._told = {facts.name: facts for facts in workers if facts.ended_at is None}

    def _facts(self, worker: CrewWorker, state: str) -> WorkerFacts:
        now = self._wall_clock()
        hello = worker.hello
        heard_at = None if not worker.is_ready else now - (anyio.current_time() - worker.heard_at)
        return WorkerFacts(
            worker.name,
            worker.group.plan.name,
            worker.group.plan.kind,
            state,
            hello.pid if hello else None,
            hello.host if hello else "",
            worker.node,
            worker.joined_at,
            heard_at,
            now if state == "lost" else None,
            0 if state == "lost" else len(worker.calls),
            worker.done,
            worker.calls_lost,
            worker.reason[:_LONGEST_REASON] if state == "lost" else "",
        )

    def _group_facts(self, group: CrewGroup) -> GroupFacts:
        since = None
        if group.empty_since is not None and group.has_said_so:
            since = self._wall_clock() - (anyio.current_time() - group.empty_since)
        until = None if since is None else since + self._wait_s
        return GroupFacts(group.plan.name, group.plan.kind, group.plan.workers, since, until)


def _state(worker: CrewWorker) -> str:
    if not worker.is_ready:
        return "starting"
    return "quiet" if anyio.current_time() - worker.heard_at > QUIET_S else "ready"
