"""What the run database is told, and tells, of the servers of one endpoint (C6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rowmill.engine.writer import StoreWriter
from rowmill.providers.servers import Servers
from rowmill.spec.declaration import THREADS
from rowmill.store.run_store import ResourceMemory, RunStore
from rowmill.task import TurnResult


def remember(
    several: Sequence[Servers], limits: Mapping[str, int], memory: Mapping[str, ResourceMemory], now: float
) -> None:
    """Starts servers from the limits of spec and people, and what earlier invocations learned (C2)."""
    learned = {name: known.learned_limit for name, known in memory.items()}
    rests = {
        name: max(0.0, known.cooling_until - now) for name, known in memory.items() if known.cooling_until is not None
    }
    for servers in several:
        servers.remember(limits, learned, rests)


def newly_learned(several: Sequence[Servers]) -> dict[str, int]:
    """The learned limits that changed since this was asked last."""
    found: dict[str, int] = {}
    for servers in several:
        found |= servers.newly_learned()
    return found


async def note_servers(several: Sequence[Servers], store: RunStore, writer: StoreWriter, now: float) -> None:
    """Writes down which servers began to rest, or came back."""
    for servers in several:
        for state in servers.changes():
            await writer.call(store.note_rest, state.name, state.rests_for_s, state.reason, now)


def limits_of_workers(several: Sequence[Servers], limits: Mapping[str, int]) -> dict[str, int]:
    """Of these limits those that workers keep to: of single servers, and of threads."""
    names = {name for servers in several for name in servers.running()} | {THREADS}
    return {name: calls for name, calls in limits.items() if name in names}


def obeyed(several: Sequence[Servers], taken: TurnResult) -> TurnResult:
    """The same without the limits people set for single servers, which these keep from now on."""
    if taken.steering is None or not taken.steering.limits:
        return taken
    others = {
        name: calls
        for name, calls in taken.steering.limits.items()
        if not any(servers.set_limit(name, calls) for servers in several)
    }
    return taken._replace(steering=taken.steering._replace(limits=others))
