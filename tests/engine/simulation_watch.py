"""What is checked while a simulated run works: after every turn, and at every request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import anyio
from moody_endpoint import BrokenPromise, MoodyEndpoint
from simulated_world import Interruption
from virtual_run import EPOCH

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.store.database.staging import from_epoch, to_epoch
from rowmill.store.run_store import RunStore
from rowmill.store.turn.turn import Turn
from rowmill.task import FinishedRowGroup, Outcome, Request, Task, TurnResult

if TYPE_CHECKING:
    from simulation import Simulation

P = ParamSpec("P")
T = TypeVar("T")

SLACK_S = 0.1
"""How late a task may start after it could have: commit windows, in virtual time."""
_MOST_TURNS_AT_ONCE = 8
"""Turns in a row without anything to write, hand out or wait for: more than that is spinning."""
_WAITING_TASKS = """
    select f.resource, min(greatest(coalesce(f.not_before, $now), $now))
    from state.frontier as f
    anti join in_flight as i
      on f.generator = i.generator and f.row_group = i.row_group and f.row_index = i.row_index
    group by f.resource"""
_ROOT_RESOURCES = "select distinct resource from state.root_generator"
_MAY_ADMIT = "select admit from admission"
_PARKED_FOR = """
    select distinct resource
    from (select unnest(parked_for) as resource from state.admitted_row_group where state = 'parked')"""
_HAS_PLACE = """
    select count(distinct row_group) < $groups and count(*) + $size <= $most
    from state.admitted_row_group as g left join state.active_row using (row_group) where g.state = 'active'"""


class Crash(Exception):
    """The process is gone, as far as the run can tell."""


class CallbackFailure(Exception):
    """A user's callback has raised."""


class Watch:
    """A writer that looks at every turn, and stands in the door of every endpoint.

    After each turn: no contradiction in the database; every task that can start does so within :data:`SLACK_S` (its
    endpoint neither cools nor is full); the run does not spin. At each request: the endpoint is below its configured
    and its learned limit, not resting, and the run below ``max_in_flight``.
    """

    def __init__(self, simulation: Simulation, interruption: tuple[Interruption, int] | None) -> None:
        self._simulation = simulation
        self._interruption = interruption
        self._turns = 0
        self._idle_turns = 0
        self._last_turn_at = 0.0
        self._due: tuple[float, str] | None = None
        """By when the next turn has to come, and why."""
        self._short_since: dict[str, float] = {}
        """Resources that got fewer tasks than they had room for while some were waiting."""
        self._idle_since: dict[str, float] = {}
        """Resources with a task at hand, room for it, and no call started."""
        self.dispatcher: Dispatcher | None = None
        self.store: RunStore | None = None
        self.has_crashed = False

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`rowmill.engine.writer.StoreWriter`."""
        if self.has_crashed:
            raise Crash
        if getattr(function, "__func__", None) is not Turn.take:
            return function(*args, **kwargs)
        self._turns += 1
        outcomes, free, now, learned = args[:4]
        self._before(now, is_draining=not free)  # type: ignore[arg-type]
        self._interrupt("crash before the turn")
        result = function(*args, **kwargs)
        self._simulation.note_turn(now, outcomes, result, learned)  # type: ignore[arg-type]
        self._after(outcomes, free, now, result)  # type: ignore[arg-type]
        self._interrupt("crash after the turn")
        return result

    async def call_alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`rowmill.engine.writer.StoreWriter`."""
        raise AssertionError("on a clock of the test's own the event loop is never busy")

    def _interrupt(self, moment: Interruption) -> None:
        if self._interruption is None or self._turns != self._interruption[1]:
            return
        kind = self._interruption[0]
        if kind == moment:
            self.has_crashed = True
            raise Crash
        if moment == "crash after the turn" and self.dispatcher is not None:
            if kind == "drain":
                self.dispatcher.drain()
            elif kind == "cancel":
                self.dispatcher.cancel()

    def on_finished(self, group: FinishedRowGroup) -> None:
        """The callback of a finished row group (K3)."""
        interruption = self._interruption
        if interruption and interruption[0] == "callback raises" and self._turns >= interruption[1]:
            self._interruption = None
            raise CallbackFailure
        self._simulation.announced.add(group.row_group)

    def watch(self, dispatcher: Dispatcher) -> None:
        """Follows a dispatcher: its statistics, and every call it starts."""
        self.dispatcher = dispatcher
        executor = dispatcher._executor
        generators = self._simulation.prepared.graph.generators
        max_in_flight = self._simulation.world.settings["max_in_flight"]

        def note(tasks: Sequence[Task]) -> None:
            if dispatcher.statistics().running_tasks >= max_in_flight:
                self._idle_since.clear()
            self._idle_since.pop(generators[tasks[0].generator].declaration.resource or "", None)

        class Noting:
            async def execute(self, tasks: Sequence[Task], journal: list[Request]) -> Sequence[Outcome]:
                note(tasks)
                return await executor.execute(tasks, journal)

        dispatcher._executor = Noting()

    # Turns ------------------------------------------------------------------------------------------

    def _before(self, now: float, *, is_draining: bool) -> None:
        if self._due is not None and now > self._due[0] + SLACK_S:
            raise BrokenPromise(
                f"no turn before {now - EPOCH:.3f} s, due at {self._due[0] - EPOCH:.3f} s: {self._due[1]}"
            )
        assert self.dispatcher is not None
        statistics = self.dispatcher.statistics()
        room = self._simulation.world.settings["max_in_flight"] - statistics.running_tasks
        if room < 0:
            raise BrokenPromise(f"C5: {statistics.running_tasks} tasks run at once")
        for pool in statistics.pools:
            could = pool.cooling_until is None and pool.queued > 0 and pool.running_calls < pool.limit and room > 0
            could = could and not is_draining
            self._since(
                self._idle_since, pool.resource, could, now, "has a task at hand and room, and does not start it"
            )

    @staticmethod
    def _since(known: dict[str, float], resource: str, holds: bool, now: float, what: str) -> None:
        since = known.get(resource, now)
        if holds and now > since + SLACK_S:
            raise BrokenPromise(f"C3: {resource} {what} since {since - EPOCH:.3f} s, now {now - EPOCH:.3f} s")
        if holds:
            known[resource] = since
        else:
            known.pop(resource, None)

    def _after(self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float, result: TurnResult) -> None:
        assert self.store is not None
        connection = self.store.connection
        violations = connection.execute("from invariant_violation")
        if violations:
            raise BrokenPromise(f"invariant_violation: {violations[:5]}")
        moved = outcomes or result.tasks or result.finished or now > self._last_turn_at
        self._idle_turns = 0 if moved else self._idle_turns + 1
        self._last_turn_at = now
        if self._idle_turns > _MOST_TURNS_AT_ONCE:
            raise BrokenPromise(f"the run spins: {self._idle_turns} turns at {now - EPOCH:.3f} s that moved nothing")
        self._due = None
        if free and not result.complete and result.stop is None:
            self._look_for_starved(free, now, result)

    def _look_for_starved(self, free: Mapping[str, int], now: float, result: TurnResult) -> None:
        assert self.store is not None
        assert self.dispatcher is not None
        execute = self.store.connection.execute
        graph = self._simulation.prepared.graph
        got = Counter(graph.generators[task.generator].declaration.resource for task in result.tasks)
        loop_now = anyio.current_time()
        cools = {pool.resource: pool.cooling_until for pool in self.dispatcher.statistics().pools}
        due = {resource: to_epoch(moment) for resource, moment in execute(_WAITING_TASKS, {"now": from_epoch(now)})}
        ((has_place,),) = execute(_HAS_PLACE, self._simulation.bounds())
        parked = {resource for (resource,) in execute(_PARKED_FOR)} if has_place else set()
        for resource, room in free.items():
            waiting_from = min(due.get(resource, float("inf")), now if resource in parked else float("inf"))
            cooling_until = cools[resource]
            if cooling_until is not None:
                waiting_from = max(waiting_from, now + cooling_until - loop_now)
            has_room = cooling_until is not None or got[resource] < room
            is_short = cooling_until is None and has_room and waiting_from <= now and not result.again
            self._since(self._short_since, resource, is_short, now, "has room and waiting tasks, and gets none")
            if has_room and waiting_from > now and (self._due is None or waiting_from < self._due[0]):
                self._due = waiting_from, f"{resource} takes a waiting task then"
            if is_short and self._due is None:
                self._due = now, f"{resource} has room and waiting tasks"
        # New rows are work for the resources of their first tasks; others have to wait for those.
        roots = {resource for (resource,) in execute(_ROOT_RESOURCES)}
        has_room = any(cools[name] is None and got[name] < room for name, room in free.items() if name in roots)
        could_admit = has_room and not result.again and execute(_MAY_ADMIT)[0][0]
        self._since(self._short_since, "admission", could_admit, now, "lets no row group in, though it could,")

    # Requests -----------------------------------------------------------------------------------------

    def on_request(self, endpoint: MoodyEndpoint) -> None:
        """A request is about to be made."""
        simulation = self._simulation
        now = simulation.now_s()
        limit = simulation.limits[endpoint.name]
        if endpoint.running + 1 > limit:
            raise BrokenPromise(f"C1: {endpoint.running + 1} requests at {endpoint.name}, its limit is {limit}")
        if now < endpoint.resting_until - 1e-6:
            raise BrokenPromise(
                f"C2: a request at {now:.3f} s, {endpoint.name} rests until {endpoint.resting_until:.3f} s"
            )
        assert self.dispatcher is not None
        (pool,) = [pool for pool in self.dispatcher.statistics().pools if pool.resource == endpoint.name]
        if endpoint.running + 1 > pool.limit:
            raise BrokenPromise(f"C2: {endpoint.running + 1} requests at {endpoint.name}, learned limit {pool.limit}")
