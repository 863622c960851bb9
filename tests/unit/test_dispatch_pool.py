"""Pools in virtual time: no place stands idle while turns take their time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import anyio
import pytest
import trio
import trio.testing

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.pool import ResourceLimit
from rowmill.dispatch.protocol import Traits
from rowmill.dispatch.settings import DispatchSettings
from rowmill.task import Outcome, OutcomeKind, Request, Task, TurnResult

RESOURCE = "simulated/m"
PLACES = 256
TASKS = 20 * PLACES
CALL_S = 0.2


class BusyEndpoint:
    """Calls of about ``CALL_S``, and turns of ``turn_s`` that hand out as many tasks as are asked for."""

    def __init__(self, turn_s: float) -> None:
        self.turn_s = turn_s
        self.left = [Task(0, 0, index, index, 0, {}) for index in range(TASKS)]
        self.unfinished = TASKS
        self.random = random.Random(7)
        self.calls: list[tuple[float, float]] = []
        """When each call started, and when it ended."""

    async def execute(self, tasks: Sequence[Task], journal: list[Request]) -> Sequence[Outcome]:
        started_at = anyio.current_time()
        await anyio.sleep(CALL_S * self.random.uniform(0.8, 1.2))
        self.calls.append((started_at, anyio.current_time()))
        return [Outcome(OutcomeKind.SUCCEEDED, task, ["x"]) for task in tasks]

    async def take_turn(
        self, outcomes: Sequence[Outcome], free: Mapping[str, int], now: float, learned: Mapping[str, int]
    ) -> TurnResult:
        count = free.get(RESOURCE, 0)
        tasks, self.left = self.left[:count], self.left[count:]
        await anyio.sleep(self.turn_s)
        self.unfinished -= len(outcomes)
        return TurnResult(tasks, [], None, False, self.unfinished == 0)


@pytest.mark.parametrize("turn_s", [0.005, 0.02, 0.03, 0.045])
def test_every_place_of_an_endpoint_is_kept_busy_whatever_a_turn_takes(turn_s: float) -> None:
    endpoint = BusyEndpoint(turn_s)

    async def main() -> None:
        dispatcher = Dispatcher(
            endpoint,
            endpoint.take_turn,
            [Traits(RESOURCE)],
            {RESOURCE: ResourceLimit(PLACES, PLACES)},
            DispatchSettings(),
            wall_clock=anyio.current_time,
        )
        await dispatcher.run()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    starts = sorted(started_at for started_at, _ in endpoint.calls)
    first, last = starts[2 * PLACES], starts[-1]  # how much to have at hand is learned from the first calls that end
    worked_s = sum(max(0.0, min(ended_at, last) - max(started_at, first)) for started_at, ended_at in endpoint.calls)
    assert worked_s / (last - first) / PLACES >= 0.995
