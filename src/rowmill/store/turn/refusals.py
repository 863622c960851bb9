"""Local generators that refuse: custom functions that raise RateLimited, and have not succeeded since.

They have no endpoint that could cool down: their key is their own generator (A4). While one refuses, its deferred tasks
block row groups that would bring no other work, and row groups that only wait for it are parked (A7). Its tasks stay
free to start when their own time has come (F4); of parked row groups one comes back at a time, to see whether it works
again.
"""

from __future__ import annotations

from datetime import datetime

from rowmill.spec.declaration import LOCAL_RESOURCES
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.database.task_marks import TaskMarks
from rowmill.store.layout.layout import Layout
from rowmill.store.turn.inbox import Inbox

sql = statements_of("turn/outcome")


class Refusals:
    """Knows which local generators refuse. Bound to one connection and one layout."""

    def __init__(self, connection: Connection, layout: Layout, in_flight: TaskMarks) -> None:
        self._connection = connection
        self._in_flight = in_flight
        self._keys = {
            node.number: f"generator {node.name}"
            for node in layout.graph.generators
            if node.declaration.resource in LOCAL_RESOURCES
        }
        """Of local generators, as the view ``state.task_generator`` names them."""
        self._numbers = {key: number for number, key in self._keys.items()}
        self._resources = {number: layout.graph.generators[number].declaration.resource or "" for number in self._keys}
        self._next: dict[int, datetime] = {
            number: not_before or datetime.min
            for number, not_before in connection.execute(sql.local_generators_that_refuse.text)
        }
        """Of those that refuse, when the next of their tasks may start."""

    def __bool__(self) -> bool:
        return bool(self._next)

    def __contains__(self, number: int) -> bool:
        return number in self._next

    def refuses(self, key: str) -> bool:
        """Whether the key is that of a local generator that refuses."""
        return self._numbers.get(key) in self._next

    def note(self, inbox: Inbox, now: datetime) -> bool:
        """Takes note of refusals and successes; whether anything changed for who waits."""
        worked = self._next.keys() & inbox.succeeded
        for number in worked:
            self._connection.execute(sql.end_refusal.text, {"resource": self._keys[number]})
            del self._next[number]
        refused = {number: at for number, at in inbox.refused_locally.items() if number not in inbox.succeeded}
        for number, not_before in refused.items():
            known = self._next.get(number)
            if known is None:
                self._connection.execute(sql.begin_refusal.text, {"resource": self._keys[number], "now": now})
            self._next[number] = not_before if known is None or known <= now else min(known, not_before)
        return bool(worked or refused)

    def resource_of(self, key: str) -> str | None:
        """What the tasks of a local generator occupy; None if the key is no local generator's."""
        number = self._numbers.get(key)
        return None if number is None else self._resources[number]

    def room(self, key: str, count: int, now: datetime) -> int:
        """For how many rows of parked row groups a local generator has a use, of ``count`` it could take.

        One that refuses is asked again with a row group at a time, and not before the next of its tasks may start.
        """
        number = self._numbers[key]
        if number not in self._next:
            return count
        if now < self._next[number] or any(task[0] == number for task in self._in_flight.tasks):
            return 0
        return min(count, 1)
