"""Pausing, resuming and limiting a dispatcher, in virtual time, with no database behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest
import trio
import trio.testing

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.pool import ResourceLimit
from rowmill.dispatch.protocol import Traits
from rowmill.dispatch.settings import DispatchSettings, Ending
from rowmill.task import Outcome, OutcomeKind, Request, Steering, Task, TurnResult

RESOURCE = "simulated/m"
CALL_S = 1.0


class World:
    """Calls that take a second, and turns that hand out tasks until there are none left."""

    def __init__(self, tasks: int) -> None:
        self.left = [Task(0, 0, index, index, 0, {}) for index in range(tasks)]
        self.unfinished = tasks
        self.running = 0
        self.started_at: list[float] = []
        self.running_then: list[int] = []
        self.steering: list[Steering] = []
        self.turns = 0

    async def execute(self, tasks: Sequence[Task], journal: list[Request]) -> Sequence[Outcome]:
        self.running += len(tasks)
        self.started_at.append(anyio.current_time())
        self.running_then.append(self.running)
        try:
            await anyio.sleep(CALL_S)
        finally:
            self.running -= len(tasks)
        return [Outcome(OutcomeKind.SUCCEEDED, task, ["x"]) for task in tasks]

    async def take_turn(
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int],
        *,
        alone: bool = False,
    ) -> TurnResult:
        self.turns += 1
        self.unfinished -= sum(outcome.kind is OutcomeKind.SUCCEEDED for outcome in outcomes)
        self.left += [outcome.task for outcome in outcomes if outcome.kind is OutcomeKind.RELEASED]
        count = free.get(RESOURCE, 0)
        tasks, self.left = self.left[:count], self.left[count:]
        steering = self.steering.pop(0) if self.steering else None
        return TurnResult(tasks, [], None, False, self.unfinished == 0, steering=steering)


def dispatched(
    world: World,
    steer: Callable[[Dispatcher], object] | None = None,
    *,
    limit: int = 4,
    starts_paused: bool = False,
) -> tuple[Ending, float]:
    """Runs a world to its end beside an async ``steer``; returns how it ended and when."""

    async def main() -> tuple[Ending, float]:
        dispatcher = Dispatcher(
            world,
            world.take_turn,
            [Traits(RESOURCE)],
            {RESOURCE: ResourceLimit(limit, limit)},
            DispatchSettings(),
            wall_clock=anyio.current_time,
            starts_paused=starts_paused,
        )
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            if steer is not None:
                group.start_soon(steer, dispatcher)  # type: ignore[arg-type]
            ending = await dispatcher.run()
            group.cancel_scope.cancel()
        world.started_at = [at - began for at in world.started_at]
        return ending, anyio.current_time() - began

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_paused_dispatcher_finishes_what_runs_and_starts_nothing_until_it_is_resumed() -> None:
    world = World(tasks=12)

    async def steer(dispatcher: Dispatcher) -> None:
        await anyio.sleep(1.5)
        dispatcher.pause()
        await anyio.sleep(100.0)
        assert world.running == 0
        assert world.unfinished == 4, "the running calls were committed"
        turns = world.turns
        await anyio.sleep(1000.0)
        assert world.turns == turns, "it sleeps"
        dispatcher.resume()

    ending, took_s = dispatched(world, steer)
    assert ending is Ending.COMPLETE
    assert [at for at in world.started_at if 1.5 < at < 1101.0] == []
    assert len(world.started_at) == 12
    assert took_s == pytest.approx(1102.5, abs=0.2)


def test_a_dispatcher_that_starts_paused_starts_nothing() -> None:
    world = World(tasks=2)

    async def steer(dispatcher: Dispatcher) -> None:
        await anyio.sleep(50.0)
        assert world.started_at == []
        dispatcher.resume()

    ending, _ = dispatched(world, steer, starts_paused=True)
    assert ending is Ending.COMPLETE
    assert min(world.started_at) >= 50.0


def test_a_paused_dispatcher_can_be_drained_and_cancelled() -> None:
    for end, wanted in ((Dispatcher.drain, Ending.DRAINED), (Dispatcher.cancel, Ending.CANCELLED)):
        world = World(tasks=2)

        async def steer(dispatcher: Dispatcher, end: Callable[[Dispatcher], None] = end) -> None:
            await anyio.sleep(5.0)
            end(dispatcher)

        assert dispatched(world, steer, starts_paused=True)[0] is wanted


def test_a_lower_limit_counts_for_calls_that_start_from_then_on_and_a_higher_one_at_once() -> None:
    world = World(tasks=20)

    async def steer(dispatcher: Dispatcher) -> None:
        await anyio.sleep(0.5)
        dispatcher.set_limit(RESOURCE, 2)
        await anyio.sleep(3.0)
        dispatcher.set_limit(RESOURCE, 4)

    dispatched(world, steer)
    per_second = [sum(second - 0.5 <= at < second + 0.5 for at in world.started_at) for second in range(4)]
    assert per_second == [4, 2, 2, 2]
    assert max(world.running_then) == 4


def test_all_tasks_together_can_be_limited() -> None:
    world = World(tasks=12)

    async def steer(dispatcher: Dispatcher) -> None:
        await anyio.sleep(0.5)
        dispatcher.set_max_in_flight(1)

    _, took_s = dispatched(world, steer)
    assert took_s == pytest.approx(1.0 + 8.0, abs=0.3)


def test_what_a_turn_takes_in_of_peoples_wishes_is_obeyed() -> None:
    world = World(tasks=8)
    world.steering = [Steering(limits={RESOURCE: 1}), Steering(paused=True)]

    async def steer(dispatcher: Dispatcher) -> None:
        await anyio.sleep(0.2)
        dispatcher.nudge()
        await anyio.sleep(20.0)
        world.steering = [Steering(paused=False, drain=True)]
        dispatcher.nudge()

    ending, _ = dispatched(world, steer)
    assert ending is Ending.DRAINED
    assert len(world.started_at) <= 2


def test_wishes_of_one_turn_follow_each_other() -> None:
    first = Steering(paused=True, limits={"a": 1, "b": 2})
    assert first.followed_by(Steering(paused=False, limits={"b": 3}, max_in_flight=7)) == Steering(
        paused=False, limits={"a": 1, "b": 3}, max_in_flight=7
    )
    assert first.followed_by(Steering(drain=True)).paused is True
