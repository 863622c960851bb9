"""Rules of workers elsewhere (W), over links that a test plays, on a virtual clock."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from trio.testing import MockClock

from rowmill.dispatch.pool import Pool, ResourceLimit
from rowmill.dispatch.protocol import CallEnding
from rowmill.dispatch.slot import Slot
from rowmill.errors import Incompatible, InternalError, WorkersAway
from rowmill.remote.crew import Crew, CrewSettings, hire
from rowmill.remote.link import CannotLaunch, LinkLost
from rowmill.remote.members import CrewWorker, GroupPlan
from rowmill.remote.messages import (
    PROTOCOL,
    CallData,
    EndingData,
    ErrorData,
    Failed,
    Hello,
    Open,
    Question,
    Ready,
    Results,
    Work,
    decode,
    encode,
)
from rowmill.spec.declaration import THREADS
from rowmill.task import OutcomeKind, Task
from rowmill.worker import GroupFacts, WorkerFacts, WorkerNews

KEY = "sk-very-secret-key"
REQUEST = ("small", 0.0, 1.0, 7, 0, None, "Cancelled", "given up while waiting for the answer")
HELLO = Hello(PROTOCOL, "1", "cpython 3.11", 7, "here")


class PlayedLink:
    """A link whose worker is the test: it sees what was sent, and says what comes."""

    def __init__(self, name: str, node: str) -> None:
        self.name, self.node = name, node
        self.told: list[Any] = []
        self.calls: list[CallData] = []
        self.cancelled: list[int] = []
        self.is_killed = False
        self._frames: list[bytes] = [encode(HELLO)]
        self._lost: str | None = None
        self._news = anyio.Event()

    async def send(self, frame: bytes) -> None:
        if self._lost:
            raise LinkLost(self._lost)
        message = decode(frame)
        self.told.append(message)
        if isinstance(message, Open):
            self.say(Ready({"text": "digest"}))
        elif isinstance(message, Work):
            self.calls += message.calls
            self.cancelled += message.cancels

    async def receive(self) -> bytes:
        while not self._frames:
            if self._lost:
                raise LinkLost(self._lost)
            self._news = anyio.Event()
            await self._news.wait()
        return self._frames.pop(0)

    async def kill(self) -> None:
        self.is_killed = True
        self.die("killed")

    async def wait_ended(self) -> None:
        return

    def say(self, message: Any) -> None:
        self._frames.append(encode(message))
        self._news.set()

    def end(self, *calls: int, value: Any = "made", took_ms: float = 1.0) -> None:
        endings = [EndingData(call, 0.0, took_ms, [], [("succeeded", [value], None)]) for call in calls]
        self.say(Results(endings))

    def die(self, reason: str = "its process was ended by SIGKILL") -> None:
        self._lost = self._lost or reason
        self._news.set()


class PlayedLauncher:
    """Launches played links; ``hello`` is what they say, ``refuses`` that there is no place for one.

    ``is_slow``: they say hello when the test has them do so.
    """

    def __init__(self) -> None:
        self.links: list[PlayedLink] = []
        self.avoided: list[Set[str]] = []
        self.hello: Hello | None = None
        self.refuses = False
        self.is_slow = False

    async def launch(self, name: str, group: str, avoid: Set[str]) -> PlayedLink:
        if self.refuses:
            raise CannotLaunch("no node has room")
        self.avoided.append(avoid)
        link = PlayedLink(name, f"node-{len(self.links)}")
        if self.hello is not None:
            link._frames = [encode(self.hello)]
        if self.is_slow:
            link._frames = []
        self.links.append(link)
        return link

    async def aclose(self) -> None:
        return


class Played:
    """A crew of played workers, and what it told."""

    def __init__(
        self, workers: int = 1, waiting_only: frozenset[int] = frozenset(), threads: int = 0, **settings: float
    ) -> None:
        self.launcher = PlayedLauncher()
        self.events: list[tuple[str, str, str]] = []
        self.facts: dict[str, WorkerFacts] = {}
        self.groups: Sequence[GroupFacts] = ()
        self.ended: list[CallEnding] = []
        self.error: BaseException | None = None
        told = Open("", "{}", "/", {0: "text"}, frozenset(), {"KEY": KEY})
        plan = GroupPlan("default", workers, told, {"text": "digest"}, "1", "cpython 3.11")
        self.crew = Crew(
            self.launcher,
            [plan],
            CrewSettings(**settings),
            self._answer,
            anyio.current_time,
            self._note,
            waiting_only,
            {THREADS: frozenset({0})} if threads else {"model": frozenset({0})},
            threads,
            {0: THREADS if threads else "model"},
        )
        self.pool = Pool("local", ResourceLimit(100, 100), 1, 100, 0.0)
        self._numbers = itertools.count(1)

    async def _answer(self, question: Question) -> object:
        return question.arguments

    async def _note(self, news: WorkerNews) -> None:
        self.events += [(event.kind, event.subject, event.detail) for event in news.events]
        self.facts |= {facts.name: facts for facts in news.workers}
        self.groups = news.groups or self.groups

    def slots(self, *row_indices: int, timeout_s: float = 1e9) -> list[Slot]:
        """One call a row."""
        tasks = [Task(0, 0, index, index, 0, {}) for index in row_indices]
        now = anyio.current_time()
        return [Slot(next(self._numbers), self.pool, [task], timeout_s, now, lambda slot: None) for task in tasks]

    def submit(self, *row_indices: int, timeout_s: float = 1e9) -> list[int]:
        """Has one call a row made; their numbers."""
        slots = self.slots(*row_indices, timeout_s=timeout_s)
        self.crew.submit(slots)
        return [slot.call for slot in slots]

    async def collect(self) -> None:
        try:
            async for batch in self.crew.endings():
                self.ended += batch
        except Exception as error:  # noqa: BLE001  what ends a crew is looked at by the test
            self.error = error

    def kinds(self) -> dict[int, OutcomeKind]:
        return {ending.call: ending.outcomes[0].kind for ending in self.ended}


def play(
    story: Callable[[Played], Awaitable[None]],
    workers: int = 1,
    waiting_only: frozenset[int] = frozenset(),
    threads: int = 0,
    **settings: float,
) -> Played:
    """Runs a story on a virtual clock with a crew at work. ``threads``: of each worker; each call takes one."""

    async def main() -> Played:
        played = Played(workers, waiting_only, threads, **settings)
        async with hire(played.crew, played.launcher), anyio.create_task_group() as group:
            group.start_soon(played.collect)
            await story(played)
            group.cancel_scope.cancel()
        return played

    clock = MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


async def _beat(links: Sequence[PlayedLink], seconds: float) -> None:
    """Lets time pass; these workers live."""
    for _ in range(int(seconds / 0.5)):
        for link in links:
            link.say(Results())
        await anyio.sleep(0.5)


def test_w1_an_ending_counts_once_and_unknown_ones_are_ignored() -> None:
    async def story(played: Played) -> None:
        (call,) = played.submit(1)
        await anyio.sleep(0.1)
        link = played.launcher.links[0]
        link.end(call)
        link.end(call, value="again")
        link.end(4711)
        await anyio.sleep(0.1)

    played = play(story)
    assert [(ending.call, ending.outcomes[0].values) for ending in played.ended] == [(1, ["made"])]


def test_w1_a_call_that_is_cut_off_ends_once_with_the_requests_its_worker_tells() -> None:
    async def story(played: Played) -> None:
        first, second = played.submit(1, 2)
        await anyio.sleep(0.1)
        played.crew.cancel([first])
        await anyio.sleep(0.1)
        link = played.launcher.links[0]
        assert (link.cancelled, played.ended) == ([first], [])
        link.say(Results([EndingData(first, 0.0, 1.0, [REQUEST], [("released", None, None)])]))
        link.end(first, second)
        await anyio.sleep(0.1)

    played = play(story)
    assert [ending.call for ending in played.ended] == [1, 2]
    (request,) = played.ended[0].outcomes[0].requests
    assert (request.input_tokens, request.error_type) == (7, "Cancelled")


def test_w1_a_worker_that_does_not_tell_of_a_call_that_was_cut_off_holds_nobody_up() -> None:
    async def story(played: Played) -> None:
        (first,) = played.submit(1)
        await anyio.sleep(0.1)
        played.crew.cancel([first])
        await anyio.sleep(1.5)
        assert played.kinds() == {first: OutcomeKind.RELEASED}
        played.launcher.links[0].end(first)
        await anyio.sleep(0.1)

    assert len(play(story).ended) == 1


def test_w1_a_call_that_is_cut_off_before_a_worker_has_it_ends_at_once() -> None:
    async def story(played: Played) -> None:
        (sent,) = played.submit(1)
        played.crew.cancel([sent])
        await anyio.sleep(0.1)
        assert played.launcher.links[0].calls == []
        played.launcher.refuses = True
        played.launcher.links[0].die()
        await anyio.sleep(0.1)
        (waits,) = played.submit(2)
        played.crew.cancel([waits])
        await anyio.sleep(0.1)
        assert played.kinds() == {sent: OutcomeKind.RELEASED, waits: OutcomeKind.RELEASED}

    play(story)


def test_w2_calls_of_a_worker_that_dies_are_released_and_another_takes_its_place() -> None:
    async def story(played: Played) -> None:
        played.submit(1)
        await anyio.sleep(0.1)
        played.launcher.links[0].die()
        await anyio.sleep(0.2)
        (again,) = played.submit(1)
        await anyio.sleep(0.1)
        assert [call.call for call in played.launcher.links[1].calls] == [again]
        played.launcher.links[1].end(again)
        await anyio.sleep(0.1)

    played = play(story)
    assert played.kinds() == {1: OutcomeKind.RELEASED, 2: OutcomeKind.SUCCEEDED}
    assert [kind for kind, _, _ in played.events] == ["worker joined", "worker lost", "worker joined"]


def test_w2_a_worker_that_is_silent_gets_no_calls_and_is_ended_after_six_seconds() -> None:
    async def story(played: Played) -> None:
        first, second = played.launcher.links
        (call,) = played.submit(1)
        await _beat([second], 3)
        assert [data.call for data in first.calls] == [call]
        later = played.submit(2, 3)
        await anyio.lowlevel.checkpoint()
        await _beat([second], 1)
        assert [data.call for data in second.calls] == later
        assert not first.is_killed
        await _beat([second], 3)
        assert first.is_killed

    assert play(story, workers=2).kinds() == {1: OutcomeKind.RELEASED}


def test_w3_a_replacement_never_goes_to_a_node_that_was_silent_and_waits_longer_each_time() -> None:
    async def story(played: Played) -> None:
        await _beat([], 8)
        assert played.launcher.avoided[:2] == [frozenset(), {"node-0"}]
        for _ in range(5):
            played.launcher.links[-1].die()
            await anyio.sleep(0.05)
        few = len(played.launcher.links)
        await anyio.sleep(60)
        assert few <= 4 < len(played.launcher.links)

    play(story)


def test_w4_a_task_that_lost_two_workers_runs_alone_and_then_each_death_counts() -> None:
    async def story(played: Played) -> None:
        for _ in range(2):
            played.submit(1, 2)
            await anyio.sleep(0.1)
            played.launcher.links[-1].die()
            await anyio.sleep(1)
        assert len(played.crew.suspects) == 2
        poison, innocent = played.submit(1, 2)
        await anyio.sleep(0.1)
        link = played.launcher.links[-1]
        assert [data.call for data in link.calls] == [poison]
        link.die()
        await anyio.sleep(2.5)
        link = played.launcher.links[-1]
        assert [data.call for data in link.calls] == [innocent]
        link.end(innocent)
        await anyio.sleep(0.1)
        assert len(played.crew.suspects) == 1

    played = play(story)
    released, died = [OutcomeKind.RELEASED] * 4, played.ended[4].outcomes[0]
    assert [ending.outcomes[0].kind for ending in played.ended[:4]] == released
    assert died.kind is OutcomeKind.TRANSIENT
    assert getattr(died.error, "error_type", "") == "WorkerDied"
    assert played.ended[5].outcomes[0].kind is OutcomeKind.SUCCEEDED


def test_w5_when_no_worker_is_left_calls_wait_and_the_run_stops_after_wait_s() -> None:
    async def story(played: Played) -> None:
        played.launcher.refuses = True
        played.launcher.links[0].die()
        await anyio.sleep(0.1)
        played.submit(1)
        await anyio.sleep(50)
        assert played.error is None
        await anyio.sleep(60)

    played = play(story, wait_s=100)
    assert isinstance(played.error, WorkersAway)
    assert played.error.exit_code == 75
    assert played.ended == []
    assert ("no worker left", "default", "its calls wait for one") in played.events


def test_w5_time_without_a_worker_is_none_of_a_call() -> None:
    async def story(played: Played) -> None:
        played.launcher.refuses = True
        played.launcher.links[0].die()
        await anyio.sleep(0.1)
        slot = Slot(9, played.pool, [Task(0, 0, 1, 1, 0, {})], 5.0, anyio.current_time(), lambda slot: None)
        played.crew.submit([slot])
        await anyio.sleep(40)
        assert slot.deadline == float("inf")
        played.launcher.refuses = False
        await anyio.sleep(40)
        assert slot.deadline < float("inf")

    play(story)


def test_w5_a_run_whose_workers_can_never_be_placed_stops_at_its_start() -> None:
    async def main() -> tuple[WorkersAway, float]:
        played = Played(wait_s=100)
        played.launcher.refuses = True
        with pytest.raises(WorkersAway) as caught:
            async with hire(played.crew, played.launcher):
                raise AssertionError("there is no worker to begin with")
        return caught.value, anyio.current_time()

    error, took_s = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert error.exit_code == 75
    assert "no node has room" in str(error)
    assert 100 <= took_s < 102


def test_w5_a_worker_that_was_placed_and_loads_a_model_is_waited_for() -> None:
    async def main() -> float:
        played = Played(wait_s=10, start_s=300)
        async with anyio.create_task_group() as group:

            async def arrive() -> None:
                await anyio.sleep(200)
                played.launcher.links[0].say(HELLO)

            played.launcher.is_slow = True
            group.start_soon(arrive)
            async with hire(played.crew, played.launcher):
                return anyio.current_time()
        raise AssertionError("not reached")

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) >= 200


def test_w5_since_when_a_group_has_no_worker_and_until_when_it_waits_is_told() -> None:
    async def story(played: Played) -> None:
        await anyio.sleep(1)
        assert [group.empty_since for group in played.groups] == [None]
        played.launcher.refuses = True
        died_at = anyio.current_time()
        played.launcher.links[0].die()
        await anyio.sleep(5)
        (group,) = played.groups
        assert group.empty_since == pytest.approx(died_at, abs=0.5)
        assert group.waits_until == pytest.approx(died_at + 100, abs=0.5)
        played.launcher.refuses = False
        await _beat(played.launcher.links, 30)
        assert [group.empty_since for group in played.groups] == [None]

    play(story, wait_s=100)


def test_where_workers_stand_is_told_when_one_joins_or_is_lost_and_every_two_seconds() -> None:
    async def story(played: Played) -> None:
        await anyio.sleep(0.1)
        assert (played.facts["default-1"].state, played.facts["default-1"].joined_at) == ("ready", 0.0)
        first, _ = played.submit(1, 2)
        played.launcher.links[0].end(first)
        await _beat(played.launcher.links, 2.5)
        assert (played.facts["default-1"].in_flight, played.facts["default-1"].done) == (1, 1)
        assert played.facts["default-1"].heard_at == pytest.approx(anyio.current_time(), abs=2.5)
        played.launcher.links[0].die()
        await anyio.sleep(0.1)
        lost = played.facts["default-1"]
        assert (lost.state, lost.in_flight, lost.calls_lost) == ("lost", 0, 1)
        assert lost.reason == "its process was ended by SIGKILL"
        assert lost.ended_at == pytest.approx(anyio.current_time(), abs=0.2)
        await anyio.sleep(1)
        assert played.facts["default-2"].state == "ready"

    play(story)


def test_w4_a_call_that_only_waits_for_a_model_is_suspected_after_five_lost_workers() -> None:
    async def story(played: Played) -> None:
        for lost in range(5):
            assert len(played.crew.suspects) == 0, lost
            played.submit(1)
            await anyio.sleep(0.1)
            played.launcher.links[-1].die()
            await anyio.sleep(40)
        assert len(played.crew.suspects) == 1

    play(story, waiting_only=frozenset({0}))


@pytest.mark.parametrize(
    ("hello", "named"),
    [
        (HELLO._replace(version="2"), "Rowmill 2"),
        (HELLO._replace(python="cpython 3.12"), "cpython 3.12"),
        (HELLO._replace(protocol=0), "refused"),
    ],
)
def test_w6_a_worker_of_another_version_is_refused_by_name_before_it_is_told_anything(hello: Hello, named: str) -> None:
    launchers = []

    async def main() -> None:
        played = Played()
        launchers.append(played.launcher)
        played.launcher.hello = hello
        async with hire(played.crew, played.launcher):
            raise AssertionError("it was taken")

    with pytest.raises(Incompatible, match=named):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert launchers[0].links[0].told == []


def test_w8_what_a_worker_is_told_shows_no_key() -> None:
    told = Open("a", "{}", "/", {0: "text"}, frozenset(), {"KEY": KEY})
    assert KEY not in repr(told)
    assert KEY not in f"{told}"


def test_a_worker_that_fails_by_itself_stops_the_run_with_its_error_and_no_group() -> None:
    async def story(played: Played) -> None:
        (link,) = played.launcher.links
        played.submit(1)
        await anyio.sleep(0.1)
        link.say(Failed("internal", ErrorData("InternalError", "InternalError", "two and two make five")))
        await anyio.sleep(0.1)

    played = play(story)
    assert isinstance(played.error, InternalError)
    assert "two and two make five" in str(played.error)


def test_w9_no_worker_gets_more_calls_of_plain_functions_than_it_has_threads() -> None:
    async def story(played: Played) -> None:
        def running(link: PlayedLink) -> int:
            return len([call for call in link.calls if call.call not in played.kinds()])

        first, second = played.launcher.links
        played.submit(*range(12))
        await anyio.sleep(0.1)
        assert (len(first.calls), len(second.calls)) == (2, 2)
        first.end(first.calls[0].call, took_ms=1000)
        await anyio.sleep(0.1)
        assert (len(first.calls), len(second.calls)) == (3, 2)
        second.die()
        await anyio.sleep(0.1)
        assert len(first.calls) == 3, "the other worker takes over no more than it has threads for"
        played.crew.set_limits({THREADS: 8})
        await anyio.sleep(0.1)
        assert running(first) == 4
        played.crew.set_limits({THREADS: 1})
        first.end(*(call.call for call in first.calls), took_ms=1000)
        await anyio.sleep(0.1)
        assert running(first) == 1

    play(story, workers=2, threads=2)


def test_w9_short_calls_wait_at_their_worker_as_many_as_run_and_begin_one_by_one() -> None:
    async def story(played: Played) -> None:
        (link,) = played.launcher.links
        slots = played.slots(*range(8), timeout_s=9.0)
        played.crew.submit(slots)
        await anyio.sleep(0.1)
        assert len(link.calls) == 2
        link.end(slots[0].call, took_ms=20)
        await anyio.sleep(0.1)
        assert [call.call for call in link.calls] == [slot.call for slot in slots[:5]]
        assert [math.isfinite(slot.deadline) for slot in slots[:5]] == [True, True, True, False, False]
        link.end(slots[2].call, took_ms=20)
        await anyio.sleep(0.1)
        assert [math.isfinite(slot.deadline) for slot in slots[:6]] == [True, True, True, True, False, False]
        link.die()
        await anyio.sleep(0.1)
        assert set(played.crew._losses) == {slots[1].tasks[0].key, slots[3].tasks[0].key}, "others never began"
        assert {played.kinds()[slot.call] for slot in slots[4:6]} == {OutcomeKind.RELEASED}

    play(story, threads=2)


def test_w9_a_call_that_waits_for_a_thread_is_not_yet_on_time_and_can_be_cut_off() -> None:
    async def story(played: Played) -> None:
        (link,) = played.launcher.links
        running, waiting = played.submit(1, 2, timeout_s=1.0)
        await anyio.sleep(5)
        assert [call.call for call in link.calls] == [running]
        played.crew.cancel([waiting])
        await anyio.sleep(0.1)
        assert played.kinds() == {waiting: OutcomeKind.RELEASED}
        link.end(running)
        await anyio.sleep(0.1)
        assert [call.call for call in link.calls] == [running]

    play(story, threads=1)


def test_w9_a_limit_is_shared_by_the_workers_that_use_it_and_no_others() -> None:
    told = Open("", "{}", "/", {0: "text"}, frozenset(), {})
    groups = [
        GroupPlan("functions", 7, told._replace(generators={0: "made"}), {}, "1", "cpython 3.11"),
        GroupPlan("models", 2, told._replace(generators={1: "text"}), {}, "1", "cpython 3.11"),
    ]

    async def main() -> None:
        users = {"server": frozenset({1}), THREADS: frozenset({0})}
        crew = Crew(
            PlayedLauncher(), groups, CrewSettings(), Played()._answer, anyio.current_time, Played()._note, users=users
        )
        functions, models = crew._groups
        assert [crew._share("server", 65, CrewWorker("w", models, place)) for place in range(2)] == [33, 32]
        assert {crew._share(THREADS, 21, CrewWorker("w", functions, place)) for place in range(7)} == {3}
        assert crew._share("of nobody", 90, CrewWorker("w", models, 0)) == 10
        assert [crew._share("server", 1, CrewWorker("w", models, place)) for place in range(2)] == [1, 1]
        assert crew._share(THREADS, 0, CrewWorker("w", functions, 0)) == 0
        shares = [crew._share("of nobody", 10, CrewWorker("w", functions, place)) for place in range(7)]
        assert [*shares, crew._share("of nobody", 10, CrewWorker("w", models, 0))] == [2, *[1] * 7], "it counts on"

    trio.run(main)


def _limit_of(link: PlayedLink) -> int | None:
    """The limit of the model that a worker was told last."""
    told = [message.limits["model"] for message in link.told if isinstance(message, Work) and "model" in message.limits]
    return told[-1] if told else None


def test_w9_workers_keep_to_their_shares_only_while_none_is_missing() -> None:
    async def story(played: Played) -> None:
        crew, links = played.crew, played.launcher.links
        assert crew.can_share("model", 5)
        crew.set_limits({"model": 5})
        await anyio.sleep(0.1)
        assert sorted(_limit_of(link) or 0 for link in links) == [2, 3]
        lost, other = links
        played.submit(*range(5))
        await anyio.sleep(0.1)
        played.launcher.refuses = True
        lost.die()
        await anyio.sleep(0.1)
        assert _limit_of(other) == 5, "it takes the share of the one that is lost"
        assert not crew.can_share("model", 5)
        played.submit(*range(5, 8))
        await anyio.sleep(0.1)
        played.launcher.refuses = False
        await _beat([other], 2)
        here = [call.call for call in other.calls if call.call not in played.kinds()]
        assert len(links) == 3
        assert not crew.can_share("model", 5), "one has more than its share"
        other.end(*here)
        await anyio.sleep(0.1)
        assert crew.can_share("model", 5)
        await anyio.sleep(0.1)
        assert sorted(_limit_of(link) or 0 for link in links[1:]) == [2, 3]
        crew.set_limits({"model": 0})
        await anyio.sleep(0.1)
        assert {_limit_of(link) for link in links[1:]} == {0}

    play(story, workers=2)


def test_w9_a_limit_is_not_shared_before_all_workers_are_there() -> None:
    async def story(played: Played) -> None:
        assert not played.crew.can_share("model", 8)
        played.crew.set_limits({"model": 8})
        await anyio.sleep(0.1)
        assert [_limit_of(link) for link in played.launcher.links if link.calls or _limit_of(link)] == [8]

    async def main() -> None:
        played = Played(2)
        played.launcher.is_slow = False
        launched = played.launcher.launch

        async def launch(name: str, group: str, avoid: Set[str]) -> PlayedLink:
            played.launcher.is_slow = len(played.launcher.links) > 0
            return await launched(name, group, avoid)

        played.launcher.launch = launch  # type: ignore[method-assign]
        async with hire(played.crew, played.launcher):
            await story(played)

    trio.run(main, clock=MockClock(autojump_threshold=0))
