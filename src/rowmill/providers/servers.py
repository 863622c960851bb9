"""Several servers of one model: least busy first, each with a learned limit and a cool-down of its own (C6).

A request goes to one server. One that answers 429 rests and takes less at once from then on (C2); one that is away
rests, longer each time, and is tried with one request at a time (F2a). Whoever asks may try another server meanwhile.
Only when none takes requests is the whole endpoint busy, or away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from rowmill.absence import Absence
from rowmill.deferral import asked_wait_s, cool_down_s
from rowmill.errors import RateLimited, Unavailable

_SUCCESSES = 25
"""So many in a row raise a learned limit by one (C2)."""
_PLACE_PATIENCE_S = 5.0
"""How long a request waits until a server has room; then its task waits in the table."""
_log = logging.getLogger("rowmill.run")


@dataclass
class Server:
    """One server, and what this invocation knows of it. Times are those of the event loop's clock."""

    name: str
    """The resource it is in the run database."""
    configured: int
    learned: int
    running: int = 0
    cooling_until: float = float("-inf")
    reason: str | None = None
    """Why it rests."""
    last_error: Unavailable | None = None
    absence: Absence = field(default_factory=Absence)
    successes: int = 0

    @property
    def rests_until(self) -> float:
        """Before that it takes no request."""
        return max(self.cooling_until, self.absence.rests_until)

    def room(self, now: float) -> int:
        """How many more requests it may get; an absent one is tried with one at a time."""
        if now < self.rests_until:
            return 0
        return (1 if self.absence.is_away else self.learned) - self.running


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the run database is told of a server."""

    name: str
    rests_for_s: float | None
    """None: it does not rest."""
    reason: str | None


class Servers:
    """The servers of one endpoint, for all its aliases. Belongs to one event loop."""

    def __init__(self, names: Sequence[str], limit: int, cool_down_s: float = 2.0) -> None:
        """``limit``: requests at once of each. ``cool_down_s``: a rest after a 429 that does not say how long."""
        self._servers = [Server(name, limit, limit) for name in names]
        self._cool_down_s = cool_down_s
        self._freed = anyio.Event()
        self._reported: dict[str, int] = {server.name: limit for server in self._servers}
        self._changed: dict[str, Server] = {}

    def __len__(self) -> int:
        return len(self._servers)

    async def take(self) -> Server:
        """The least busy server that takes a request, with a place on it: ask it within :meth:`watching`.

        Raises Unavailable if all are away, RateLimited if none takes a request now, or for longer than the patience.
        Neither was a request.
        """
        give_up_at = anyio.current_time() + _PLACE_PATIENCE_S
        while True:
            now = anyio.current_time()
            open_servers = [server for server in self._servers if server.room(now) > 0]
            if open_servers:
                chosen = min(open_servers, key=lambda server: server.running / server.learned)
                # Of equally busy ones each in turn.
                self._servers.remove(chosen)
                self._servers.append(chosen)
                chosen.running += 1
                return chosen
            resting = [server.rests_until for server in self._servers if now < server.rests_until]
            if len(resting) == len(self._servers):
                raise self._closed(min(resting) - now)
            if now >= give_up_at:
                raise RateLimited("No server of the model has room for another request", 0.0)
            with anyio.CancelScope(deadline=min([give_up_at, *resting])):
                await self._freed.wait()

    def _closed(self, for_s: float) -> RateLimited | Unavailable:
        away = [server.last_error for server in self._servers if server.absence.is_away]
        errors = [error for error in away if error is not None]
        if len(errors) < len(self._servers):
            return RateLimited(f"All {len(self._servers)} servers of the model rest", for_s)
        message = f"All {len(errors)} servers are away: {errors[0]}"
        return Unavailable(message, errors[0].error_type, for_s, is_certain=True)

    @contextmanager
    def watching(self, server: Server) -> Iterator[None]:
        """Around one request to a server that was taken: what becomes of it is noted, its place is free again."""
        limit_at_start = server.learned
        try:
            yield
        except RateLimited as error:
            self._refused(server, limit_at_start, error, anyio.current_time())
            raise
        except Unavailable as error:
            self._was_absent(server, error, anyio.current_time())
            raise
        else:
            self._answered(server)
        finally:
            server.running -= 1
            self._freed.set()
            self._freed = anyio.Event()

    def has_another(self, server: Server) -> bool:
        """Whether another server may be asked instead."""
        now = anyio.current_time()
        return any(other is not server and now >= other.rests_until for other in self._servers)

    def told_of_all(self, error: RateLimited | Unavailable) -> RateLimited | Unavailable:
        """What a request that no server took says of the endpoint: all rest, or nothing beyond the request itself."""
        now = anyio.current_time()
        rests_for_s = min(server.rests_until for server in self._servers) - now
        if rests_for_s > 0:
            return self._closed(rests_for_s)
        if isinstance(error, RateLimited):
            return RateLimited(str(error), 0.0)
        return Unavailable(str(error), error.error_type)

    def _refused(self, server: Server, limit_at_start: int, error: RateLimited, now: float) -> None:
        self._is_there(server)
        server.cooling_until = max(server.cooling_until, now + cool_down_s(error, self._cool_down_s))
        server.reason = str(error)
        server.successes = 0
        if limit_at_start <= server.learned:
            server.learned = max(1, int(server.learned * 0.75))
        self._changed[server.name] = server

    def _was_absent(self, server: Server, error: Unavailable, now: float) -> None:
        was_away = server.absence.is_away
        server.last_error = error
        server.reason = str(error)
        if server.absence.failed(now, asked_wait_s(error.retry_after_s, 0.0), is_certain=error.is_certain):
            self._changed[server.name] = server
            if not was_away:
                _log.warning("%s is away, it gets no requests until it is back: %s", server.name, error)

    def _answered(self, server: Server) -> None:
        self._is_there(server)
        server.successes += 1
        if server.successes >= _SUCCESSES and server.learned < server.configured:
            server.successes = 0
            server.learned += 1

    def _is_there(self, server: Server) -> None:
        if server.absence.is_away:
            _log.info("%s is back", server.name)
            self._changed[server.name] = server
            server.reason = None
        server.absence.answered()

    # What is kept -----------------------------------------------------------------------------------

    def remember(self, limits: Mapping[str, int], learned: Mapping[str, int], rests_s: Mapping[str, float]) -> None:
        """Starts from the limits of spec and people, and what earlier invocations learned: limits, rests that last."""
        now = anyio.current_time()
        for server in self._servers:
            server.configured = limits.get(server.name, server.configured)
            server.learned = max(1, min(learned.get(server.name, server.configured), server.configured))
            server.cooling_until = now + rests_s.get(server.name, 0.0)
            self._reported[server.name] = server.learned

    def set_limit(self, name: str, calls: int) -> bool:
        """Sets the limit of a server by hand; returns whether it is one of these."""
        for server in self._servers:
            if server.name == name:
                server.configured = server.learned = self._reported[name] = calls
                return True
        return False

    def newly_learned(self) -> dict[str, int]:
        """The learned limits that changed since this was asked last."""
        changed = {s.name: s.learned for s in self._servers if s.learned != self._reported[s.name]}
        self._reported.update(changed)
        return changed

    def changes(self) -> list[ServerState]:
        """The servers that began to rest, or came back, since this was asked last."""
        now = anyio.current_time()
        found = []
        for server in self._changed.values():
            rest = server.rests_until - now
            found.append(ServerState(server.name, rest if rest > 0 else None, server.reason if rest > 0 else None))
        self._changed.clear()
        return found

    def running(self) -> dict[str, int]:
        """Requests under way, by the name of their server. May be asked from any thread."""
        return {server.name: server.running for server in tuple(self._servers)}
