"""Whole runs in seeded worlds, in virtual time: the real dispatcher, store and SQL, checked after every turn.

    tools/simulate --seed 7          replays the world of seed 7 exactly
    tools/simulate --seeds 200       200 fresh worlds; a failure prints its seed

A world (spec, endpoints, interruptions) follows from its seed, and so does the order in which trio runs its tasks: the
same seed gives the same history. What is checked is listed in :class:`Watch` and :func:`judge`.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import secrets
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

import anyio  # noqa: E402
import trio._core._run as trio_run  # noqa: E402
from moody_endpoint import BrokenPromise, MoodyEndpoint  # noqa: E402
from simulated_world import ColumnPlan, Interruption, World, draw_world  # noqa: E402
from trio.testing import MockClock  # noqa: E402
from virtual_run import EPOCH  # noqa: E402

from rowmill.dispatch.dispatcher import Dispatcher  # noqa: E402
from rowmill.engine.ending import RunReport  # noqa: E402
from rowmill.engine.invocation import work  # noqa: E402
from rowmill.engine.preparation import Prepared  # noqa: E402
from rowmill.errors import RunStopping  # noqa: E402
from rowmill.graph.endpoint import endpoints  # noqa: E402
from rowmill.spec.model import ModelConfig  # noqa: E402
from rowmill.store.connection import Connection  # noqa: E402
from rowmill.store.error_window import TooManyFailures  # noqa: E402
from rowmill.store.run_store import RunStore  # noqa: E402
from rowmill.store.staging import from_epoch, to_epoch  # noqa: E402
from rowmill.store.turn import Turn  # noqa: E402
from rowmill.task import FinishedRowGroup, Outcome, Request, Task, TurnResult  # noqa: E402

P = ParamSpec("P")
T = TypeVar("T")

SLACK_S = 0.1
"""How late a task may start after it could have: commit windows, in virtual time."""
LONGEST_RUN_S = 30 * 86_400.0
_MOST_INVOCATIONS = 40
_MOST_TURNS_AT_ONCE = 8
"""Turns in a row without anything to write, hand out or wait for: more than that is spinning."""
_WAITING_TASKS = """
    select f.resource, min(greatest(coalesce(f.not_before, $now), $now))
    from state.frontier as f
    anti join in_flight as i
      on f.generator = i.generator and f.row_group = i.row_group and f.row_index = i.row_index
    group by f.resource"""
_MAY_ADMIT = "select admit from admission"
_PARKED_FOR = """
    select distinct resource
    from (select unnest(parked_for) as resource from state.active_row_group where parked_for is not null)"""
_HAS_PLACE = """
    select count(distinct row_group) < $groups and count(*) + $size <= $most
    from state.active_row_group as g left join state.active_row using (row_group) where g.parked_for is null"""
_NOT_DONE = "select count(*) from state.active_row_group union all select count(*) from state.deferred_task"
_DROPS = "select row_id, column_name, reason, error_type, attempts from dropped_row"
_PAID_TWICE = """
    select generator, row_id, count(*)
    from attempt
    semi join state.dataset_row as d on attempt.row_id = d.row_id
    where outcome = 'succeeded' and model is not null
    group by all having count(*) > 1"""


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
        """See :class:`rowmill.engine.writer.Writer`."""
        if self.has_crashed:
            raise Crash
        if getattr(function, "__func__", None) is not Turn.take:
            return function(*args, **kwargs)
        self._turns += 1
        outcomes, free, now, learned = args
        self._before(now, is_draining=not free)  # type: ignore[arg-type]
        self._interrupt("crash before the turn")
        result = function(*args, **kwargs)
        self._simulation.note_turn(now, outcomes, result, learned)  # type: ignore[arg-type]
        self._after(outcomes, free, now, result)  # type: ignore[arg-type]
        self._interrupt("crash after the turn")
        return result

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
        has_room = any(cools[resource] is None and got[resource] < room for resource, room in free.items())
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


@dataclass
class Simulation:
    """One run in one world, over all its invocations."""

    world: World
    prepared: Prepared
    endpoints: dict[str, MoodyEndpoint]
    limits: dict[str, int]
    history: Any = field(default_factory=hashlib.sha256)
    announced: set[int] = field(default_factory=set)
    starts_at_s: float = 0.0
    """When the current invocation began, in seconds since the run began."""
    loop_began: float = 0.0
    turns: int = 0
    invocations: int = 0
    committed_requests: int = 0
    """Requests whose journal was committed."""
    committed_answers: Counter[str] = field(default_factory=Counter)
    lost_requests: int = 0
    """Requests a crash kept from the journal."""
    lost_answers: Counter[str] = field(default_factory=Counter)
    endings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, world: World) -> Simulation:
        """The simulation of a world, not yet begun."""
        prepared = world.spec()
        simulation = cls(world, prepared, {}, {name: each.limit for name, each in endpoints(prepared.spec).items()})
        world.clock = simulation.now_s
        for name, mood in world.moods.items():
            simulation.endpoints[name] = MoodyEndpoint(name, mood, str(world.seed), simulation.now_s)
        return simulation

    def now_s(self) -> float:
        """Seconds since the run began."""
        return self.starts_at_s + anyio.current_time() - self.loop_began

    def bounds(self) -> dict[str, int]:
        """What stands in the way of another row group (A2)."""
        settings = self.world.settings
        return {
            "groups": settings["max_active_row_groups"],
            "most": settings["max_active_rows"],
            "size": self.world.row_group_size,
        }

    @property
    def requests(self) -> int:
        """Requests the endpoints have seen."""
        return sum(endpoint.books.requests for endpoint in self.endpoints.values())

    def answers(self) -> Counter[str]:
        """How often the endpoints answered each prompt."""
        return sum((endpoint.books.answered for endpoint in self.endpoints.values()), Counter())

    def note_turn(
        self, now: float, outcomes: Sequence[Outcome], result: TurnResult, learned: Mapping[str, int]
    ) -> None:
        """Writes history: a committed turn."""
        self.turns += 1
        arrived = [(str(o.kind), *o.task[:3], len(o.requests), str(o.error)) for o in outcomes]
        left = [task[:5] for task in result.tasks]
        line = (round(now, 6), arrived, left, result.finished, result.complete, sorted(learned.items()))
        self.history.update(repr(line).encode())
        for outcome in outcomes:
            self.committed_requests += len(outcome.requests)
            answered = sum(request.error_type is None for request in outcome.requests)
            if answered:
                self.committed_answers[self._prompt(outcome)] += answered

    def _prompt(self, outcome: Outcome) -> str:
        task = outcome.task
        plan = self._plan(task.generator)
        if task.row_index is None:
            return plan.batch_prompt(task.inputs["row_id"].to_pylist())
        return plan.prompt(task.inputs)

    def _plan(self, generator: int) -> ColumnPlan:
        name = self.prepared.graph.generators[generator].name
        return next(plan for plan in self.world.columns if plan.name == name)

    # Invocations ------------------------------------------------------------------------------------------

    def run(self, database: Path | None) -> RunStore:
        """Runs until the dataset is complete; the store is open for :func:`judge`."""
        interruptions = list(self.world.interruptions)
        while True:
            self.invocations += 1
            if self.invocations > _MOST_INVOCATIONS:
                raise BrokenPromise(f"not complete after {_MOST_INVOCATIONS} invocations: {self.endings[-5:]}")
            store = RunStore.over(Connection(None, threads=1)) if database is None else RunStore.open(database)
            watch = Watch(self, interruptions.pop(0) if interruptions else None)
            try:
                report = self._invoke(store, watch)
            except BaseException:
                store.close()
                raise
            if report is not None and report.state == "finished":
                return store
            store.close()
            if database is None:
                raise BrokenPromise(f"a run in memory ended early: {self.endings}")
            self.starts_at_s += random.Random(f"{self.world.seed} pause {self.invocations}").choice([0.1, 3.0, 100.0])

    def _invoke(self, store: RunStore, watch: Watch) -> RunReport | None:
        watch.store = store
        for endpoint in self.endpoints.values():
            endpoint.on_request = watch.on_request
            endpoint.began_at = self.starts_at_s
        report = None
        try:
            with _seeded_scheduling(f"{self.world.seed}/{self.invocations}"):
                clock = MockClock(autojump_threshold=0)
                report = anyio.run(self._main, store, watch, backend="trio", backend_options={"clock": clock})
            ending = f"exit code {report.exit_code}"
        except (Crash, CallbackFailure) as gone:
            ending = type(gone).__name__
            self._forget_uncommitted()
        except RunStopping:
            ending = "the key was wrong"
        except TooManyFailures:
            ending = "too many failures"
            self.prepared = self.world.spec(max_error_share=1.0, error_window=100_000)
        self.endings.append(ending)
        self.history.update(ending.encode())
        if self.committed_requests != self.requests - self.lost_requests:
            raise BrokenPromise(
                f"D4: {self.requests} requests were made, {self.lost_requests} of them lost to crashes, "
                f"{self.committed_requests} are in the journal ({ending})"
            )
        return report

    async def _main(self, store: RunStore, watch: Watch) -> RunReport:
        self.loop_began = anyio.current_time()

        def wall_clock() -> float:
            return EPOCH + self.now_s()

        def open_provider(config: ModelConfig, environ: Mapping[str, str], limit: int) -> MoodyEndpoint:
            return self.endpoints[f"simulated/{config.model}"]

        try:
            with anyio.fail_after(LONGEST_RUN_S):
                return await work(
                    store,
                    watch,
                    self.prepared,
                    wall_clock=wall_clock,
                    environ={},
                    on_row_group_finished=watch.on_finished if self.world.has_callback else None,
                    open_provider=open_provider,
                    on_dispatcher=watch.watch,
                )
        except TimeoutError:
            raise BrokenPromise(
                f"F9: the run hangs, nothing happens after {watch._last_turn_at - EPOCH:.3f} s"
            ) from None
        finally:
            self.starts_at_s = self.now_s()

    def _forget_uncommitted(self) -> None:
        """What a crash keeps from the journal: calls in flight and results not yet committed (D2)."""
        self.lost_requests = self.requests - self.committed_requests
        self.lost_answers = self.answers() - self.committed_answers
        for endpoint in self.endpoints.values():
            endpoint.resting_until = float("-inf")


@contextmanager
def _seeded_scheduling(seed: str) -> Iterator[None]:
    """Trio orders tasks that are ready at once by chance; here by a chance that can be repeated."""
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before[0]  # type: ignore[misc]
        trio_run._r.setstate(before[1])


def judge(simulation: Simulation, store: RunStore) -> None:
    """Judges a run that is complete: every row, every drop, every request."""
    world = simulation.world
    execute = store.connection.execute
    names, rows = store.connection.columns("from dataset")
    dropped = execute(_DROPS)
    ids = sorted([row[0] for row in rows] + [row[0] for row in dropped])
    if ids != list(range(world.records)):
        raise BrokenPromise(
            f"rows lost or there twice: {len(rows)} finished, {len(dropped)} dropped of {world.records}"
        )
    if any(count for (count,) in execute(_NOT_DONE)):
        raise BrokenPromise("K1: row groups or deferrals are left over")
    for row in rows:
        found = dict(zip(names, row, strict=True))
        expected = world.expected({"row_id": found["row_id"], "id": found["id"], "rating": found["rating"]})
        if expected != found:
            raise BrokenPromise(f"row {found['row_id']} is {found}, and should be {expected}")
    patience = world.settings.get("give_up_after_s")
    for row_id, column, reason, error_type, attempts in dropped:
        allowed = {"rejected": error_type is not None, "filtered": True, "given_up": patience is not None}
        allowed["retries_exhausted"] = attempts == world.settings["max_attempts"]
        if not allowed[reason] or (error_type == "RateLimited" and reason != "given_up"):
            raise BrokenPromise(f"row {row_id} was dropped for {column}: {reason}, {error_type}, {attempts} attempts")
    _judge_requests(simulation, store, [dict(zip(names, row, strict=True)) for row in rows])
    groups = -(-world.records // world.row_group_size)
    if world.has_callback and simulation.announced != set(range(groups)):
        raise BrokenPromise(f"K3: {len(simulation.announced)} of {groups} row groups were announced")


def _judge_requests(simulation: Simulation, store: RunStore, rows: Sequence[Mapping[str, Any]]) -> None:
    execute = store.connection.execute
    world = simulation.world
    ((requests,),) = execute("select coalesce(sum(requests), 0)::bigint from usage")
    if requests != simulation.committed_requests:
        raise BrokenPromise(f"D4: usage has {requests} requests, {simulation.committed_requests} were committed")
    if any(ending == "too many failures" for ending in simulation.endings):
        return  # rows the error window brought back may be asked for again
    paid_twice = execute(_PAID_TWICE)
    if paid_twice:
        raise BrokenPromise(f"D1: generated more than once: {paid_twice[:5]}")
    answers = simulation.answers() - simulation.lost_answers
    repeated = [prompt for prompt, times in answers.items() if times > 1]
    if repeated:
        raise BrokenPromise(f"D2: answered again after it was committed: {repeated[:5]}")
    for plan in world.columns:
        if plan.kind not in ("llm", "asked"):
            continue
        for row in rows:
            prompt = plan.prompt(row)
            was_asked = answers[prompt] == 1
            expected = world.expected({"id": row["id"], "rating": row["rating"]})
            is_made = expected is not None and row[plan.name] not in (None, "(skipped)")
            if was_asked != is_made:
                raise BrokenPromise(f"{plan.name} of row {row['row_id']} was answered {answers[prompt]} times")


@dataclass(frozen=True)
class Verdict:
    """What came of a simulation that went well."""

    seed: int
    history: str
    """Digest of every turn: the same for the same seed."""
    turns: int
    requests: int
    endings: tuple[str, ...]
    rows_finished: int
    rows_dropped: int
    took_s: float
    """Virtual seconds."""


def simulate(seed: int, directory: Path, *, tasks: int = 60) -> Verdict:
    """Runs the world of a seed to its end. Raises BrokenPromise, or whatever the run raises that it must not."""
    world = draw_world(seed, tasks=tasks)
    simulation = Simulation.of(world)
    store = simulation.run(directory / f"{seed}.duckdb" if world.in_file else None)
    try:
        judge(simulation, store)
        ((finished, dropped),) = store.connection.execute("select rows_finished, rows_dropped from run_status")
    finally:
        store.close()
    return Verdict(
        seed,
        simulation.history.hexdigest()[:16],
        simulation.turns,
        simulation.requests,
        tuple(simulation.endings),
        finished,
        dropped,
        simulation.starts_at_s,
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="replay this world")
    which.add_argument("--seeds", type=int, help="so many fresh worlds")
    parser.add_argument(
        "--from", type=int, dest="first", help="with --seeds: these and the following instead of fresh ones"
    )
    parser.add_argument("--tasks", type=int, default=60, help="about so many tasks a world (default 60)")
    options = parser.parse_args()
    seeds = [options.seed]
    if options.seeds is not None:
        seeds = [secrets.randbelow(10**9) for _ in range(options.seeds)]
        if options.first is not None:
            seeds = list(range(options.first, options.first + options.seeds))
    failures = []
    for seed in seeds:
        try:
            with tempfile.TemporaryDirectory(prefix="rowmill-simulation-") as directory:
                print(simulate(seed, Path(directory), tasks=options.tasks), flush=True)
        except Exception as error:  # noqa: BLE001  printed; the other worlds go on
            failures.append(seed)
            traceback.print_exception(error, chain=False)
            print(
                f"seed {seed} failed: {error!r}. Replay it: tools/simulate --seed {seed} --tasks {options.tasks}",
                flush=True,
            )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
