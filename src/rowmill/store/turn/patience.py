"""Patience: since when endpoints refuse every call, and which tasks are given up when that is too long (F1).

With ``give_up_after_s``, the patience with an endpoint runs from its first refusal (429) without an answer since; time
in which no invocation works does not count. When it has run out, each further refusal gives up what waits for the
endpoint, also tasks that were not tried yet: all rows behind it wait once, together. What is in flight is left to its
answer. A task of local work has nobody to share its patience with: it is given up when it was deferred so long itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from rowmill.spec.declaration import LOCAL_RESOURCES
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.layout import Layout
from rowmill.store.turn.inbox import Inbox

sql = statements_of("turn/outcome")


class GivenUp(NamedTuple):
    """A task that is given up; ``row_index`` -1 stands for a batch."""

    generator: int
    row_group: int
    row_index: int
    attempts: int
    error_type: str
    message: str


class Patience:
    """Keeps the time for one run. Costs nothing where ``give_up_after_s`` is not set."""

    def __init__(self, connection: Connection, layout: Layout, give_up_after_s: float | None) -> None:
        self._connection = connection
        self._generators = layout.graph.generators
        self._longest = None if give_up_after_s is None else timedelta(seconds=give_up_after_s)
        self._since: dict[str, datetime] | None = None
        """None: to be read."""

    def exhausted(self, inbox: Inbox, now: datetime) -> Iterator[GivenUp]:
        """Takes note of refusals and answers; yields the tasks with which patience is at an end."""
        if self._longest is None:
            return
        since = self._noted(inbox, now)
        for resource, (kind, message) in inbox.refused.items():
            if now - since[resource] >= self._longest:
                yield from self._behind(resource, kind, message)
        if inbox.deferrals:
            tired = {"deferred_before": now - self._longest, "now": now}
            for row in self._connection.execute(sql.tasks_to_give_up.text, tired):
                task = GivenUp(*row)
                if self._generators[task.generator].declaration.resource in LOCAL_RESOURCES:
                    yield task

    def _noted(self, inbox: Inbox, now: datetime) -> dict[str, datetime]:
        if self._since is None:
            self._since = dict(self._connection.execute(sql.endpoints_that_refuse.text))
        for resource in inbox.answered & self._since.keys():
            self._connection.execute(sql.end_refusal.text, {"resource": resource})
            del self._since[resource]
        for resource in inbox.refused.keys() - self._since.keys():
            self._connection.execute(sql.begin_refusal.text, {"resource": resource, "now": now})
            self._since[resource] = now
        return self._since

    def _behind(self, resource: str, kind: str, message: str) -> Iterator[GivenUp]:
        skippable = [node.number for node in self._generators if node.declaration.skip is not None]
        tasks = self._connection.execute(sql.tasks_behind_endpoint.text, {"resource": resource, "skippable": skippable})
        for number, row_group, row_index, attempts in tasks:
            yield GivenUp(number, row_group, row_index, attempts, kind, message)
