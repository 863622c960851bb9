"""Pools in virtual time: no place stands idle while turns take their time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import pytest
import trio
import trio.testing

from rowmill.dispatch.dispatcher import Dispatcher
from rowmill.dispatch.pool import Pool, ResourceLimit
from rowmill.dispatch.protocol import CallEnding, Traits, Workers
from rowmill.dispatch.settings import DispatchSettings
from rowmill.dispatch.slot import Slot
from rowmill.task import Outcome, OutcomeKind, Request, Task, TaskKey, TurnResult

RESOURCE = "simulated/m"
PLACES = 256
TASKS = 20 * PLACES
CALL_S = 0.2


class BusyEndpoint:
    """Calls of about ``CALL_S``, and turns of ``turn_s`` that hand out as many tasks as are asked for.

    Every ``rare``-th turn takes ``rare_turn_s``: it waits while the log is folded.
    """

    def __init__(self, turn_s: float, rare: int = 0, rare_turn_s: float = 0.0) -> None:
        self.turn_s = turn_s
        self.rare = rare
        self.rare_turn_s = rare_turn_s
        self.turns = 0
        self.asked: list[int] = []
        """For how many tasks each turn was asked."""
        self.arrived: list[int] = []
        """How many outcomes each turn took in."""
        self.alone: list[bool] = []
        """For which turns the event loop was to stand still."""
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
        self,
        outcomes: Sequence[Outcome],
        free: Mapping[str, int],
        now: float,
        learned: Mapping[str, int],
        *,
        alone: bool = False,
    ) -> TurnResult:
        count = free.get(RESOURCE, 0)
        tasks, self.left = self.left[:count], self.left[count:]
        self.turns += 1
        self.asked.append(count)
        self.arrived.append(len(outcomes))
        self.alone.append(alone)
        is_rare = self.rare and self.turns % self.rare == 0
        await anyio.sleep(self.rare_turn_s if is_rare else self.turn_s)
        self.unfinished -= len(outcomes)
        return TurnResult(tasks, [], None, False, self.unfinished == 0)


class IdleWorkers:
    """Workers elsewhere that nobody hands a call."""

    suspects: frozenset[TaskKey] = frozenset()

    def submit(self, slots: Sequence[Slot]) -> None:
        raise AssertionError("every call is made here")

    def cancel(self, calls: Sequence[int]) -> None:
        raise AssertionError("no call was made elsewhere")

    def set_limits(self, limits: Mapping[str, int]) -> None:
        raise AssertionError("no limit changes")

    def can_share(self, resource: str, calls: int) -> bool:
        raise AssertionError("every call is made here")

    async def endings(self) -> AsyncIterator[Sequence[CallEnding]]:
        await anyio.sleep_forever()
        yield []


def _work(endpoint: BusyEndpoint, *, idle_share: float = 1.0, workers: Workers | None = None) -> None:
    """Works until all is done, on a loop that is idle for this share of its time."""

    async def main() -> None:
        dispatcher = Dispatcher(
            endpoint,
            endpoint.take_turn,
            [Traits(RESOURCE)],
            {RESOURCE: ResourceLimit(PLACES, PLACES)},
            DispatchSettings(),
            wall_clock=anyio.current_time,
            idle_clock=lambda: idle_share * anyio.current_time(),
            workers=workers,
        )
        await dispatcher.run()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def _turns_alone(*, idle_share: float, workers: Workers | None = None) -> list[bool]:
    """For which of many long turns the loop stood still."""
    endpoint = BusyEndpoint(turn_s=0.04)
    _work(endpoint, idle_share=idle_share, workers=workers)
    assert len(endpoint.alone) > 30
    return endpoint.alone


def _busy_share(endpoint: BusyEndpoint, after: int) -> float:
    """Works until all is done; the share of the time in which places were busy, from the ``after``-th start on."""
    _work(endpoint)
    starts = sorted(started_at for started_at, _ in endpoint.calls)
    first, last = starts[after], starts[-1]
    worked_s = sum(max(0.0, min(ended_at, last) - max(started_at, first)) for started_at, ended_at in endpoint.calls)
    return worked_s / (last - first) / PLACES


@pytest.mark.parametrize("turn_s", [0.005, 0.02, 0.03, 0.045, 0.09])
def test_every_place_of_an_endpoint_is_kept_busy_from_the_first_call_on_whatever_a_turn_takes(turn_s: float) -> None:
    assert _busy_share(BusyEndpoint(turn_s), after=PLACES - 1) >= 0.995


def test_a_turn_that_takes_much_longer_now_and_then_leaves_no_place_idle_once_it_is_known() -> None:
    endpoint = BusyEndpoint(0.03, rare=30, rare_turn_s=0.16)
    assert _busy_share(endpoint, after=8 * PLACES) >= 0.995
    assert endpoint.turns > 60


def test_turns_are_not_asked_for_a_few_tasks_while_there_are_many_at_hand() -> None:
    endpoint = BusyEndpoint(0.005)
    _busy_share(endpoint, after=0)
    working = endpoint.asked[: endpoint.turns * 3 // 4]
    assert 0 in working
    assert min(count for count in working if count) >= 16


def test_d2_many_results_are_committed_before_tasks_are_looked_for() -> None:
    endpoint = BusyEndpoint(0.005)
    _work(endpoint)
    turns = list(zip(endpoint.arrived, endpoint.asked, strict=True))
    both = [place for place, (arrived, asked) in enumerate(turns) if arrived >= 64 and asked]
    assert all(turns[place - 1][0] >= 64 and not turns[place - 1][1] for place in both)
    after = [turns[place + 1][1] for place, (arrived, asked) in enumerate(turns[:-1]) if arrived >= 64 and not asked]
    assert sum(asked > 0 for asked in after) > 5, "they are looked for at once by the next turn"


def test_d2_the_loop_stands_still_for_turns_that_are_long_beside_it_because_it_is_never_idle() -> None:
    alone = _turns_alone(idle_share=0.0)
    assert not any(alone[:2])
    assert all(alone[3:])


def test_a_loop_with_time_to_spare_goes_on_whatever_turns_take() -> None:
    assert not any(_turns_alone(idle_share=0.3))


def test_a_loop_that_hands_calls_to_workers_elsewhere_goes_on_however_busy_it_is() -> None:
    assert not any(_turns_alone(idle_share=0.0, workers=IdleWorkers()))


def _quick_pool(workers: int = 0) -> Pool:
    """A pool of which 1,000 calls ended in the last second."""
    pool = Pool(RESOURCE, ResourceLimit(100, 100, workers=workers), rows_per_call=1, max_in_flight=1024, now=0.0)
    pool.completed(1000)
    pool.adapt_prefetch(1.0, 0.01, turn_is_full=False)
    pool.is_shared = workers > 0
    return pool


def test_w9_as_many_calls_wait_at_the_workers_as_end_in_thirty_milliseconds() -> None:
    assert _quick_pool(workers=2).ahead(1.0) == 30
    assert _quick_pool().ahead(1.0) == 0, "calls are made here"
    assert _quick_pool(workers=51).ahead(1.0) == 0, "hardly a place for each worker"
    missing = _quick_pool(workers=2)
    missing.is_shared = False
    assert missing.ahead(1.0) == 0, "a worker is missing: others take its share, and keep to no limit"
    slow = Pool(RESOURCE, ResourceLimit(100, 100, workers=2), rows_per_call=1, max_in_flight=1024, now=0.0)
    assert slow.ahead(1.0) == 0
    ramped = Pool(RESOURCE, ResourceLimit(100, 100, workers=2, ramp_up_s=9.0), 1, 1024, now=0.0)
    ramped.is_shared = True
    ramped.completed(1000)
    ramped.adapt_prefetch(1.0, 0.01, turn_is_full=False)
    assert (ramped.ahead(1.0), ramped.ahead(9.5)) == (0, 30)


def test_w9_workers_are_told_of_a_limit_when_calls_wait_there_and_of_every_change() -> None:
    pool = _quick_pool(workers=2)
    assert pool.limit_to_tell(1.0) == 100
    assert pool.limit_to_tell(1.0) is None
    pool.rate_limited(100, rests_until=3.0)
    assert pool.limit_to_tell(1.0) == 0, "what waits is given back while it rests"
    assert pool.ahead(3.5) == 0
    assert pool.limit_to_tell(3.5) == 75
    pool.configure(60)
    assert pool.limit_to_tell(3.5) == 60
    pool.unavailable(4.0, 0.0, is_certain=True)
    assert pool.limit_to_tell(4.0) == 0
