"""Whole runs in seeded worlds, in virtual time: the real dispatcher, store and SQL, checked after every turn.

    tools/simulate --seed 7          replays the world of seed 7 exactly
    tools/simulate --seeds 200       200 fresh worlds; a failure prints its seed

A world (spec, endpoints, interruptions) follows from its seed, and so does the order in which trio runs its tasks: the
same seed gives the same history. What is checked is listed in ``simulation_watch`` and ``simulation_judgement``.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

import anyio  # noqa: E402
import trio  # noqa: E402
import trio._core._run as trio_run  # noqa: E402
from moody_endpoint import BrokenPromise, MoodyEndpoint  # noqa: E402
from simulated_world import ColumnPlan, World, draw_world  # noqa: E402
from simulation_judgement import judge  # noqa: E402
from simulation_watch import CallbackFailure, Crash, Watch  # noqa: E402
from trio.testing import MockClock  # noqa: E402
from virtual_run import EPOCH  # noqa: E402

from rowmill.engine.ending import RunReport  # noqa: E402
from rowmill.engine.invocation import work  # noqa: E402
from rowmill.engine.preparation import Prepared  # noqa: E402
from rowmill.errors import RunStopping  # noqa: E402
from rowmill.graph.endpoint import endpoints  # noqa: E402
from rowmill.spec.model import ModelConfig  # noqa: E402
from rowmill.store.database.connection import Connection  # noqa: E402
from rowmill.store.run_store import RunStore  # noqa: E402
from rowmill.store.turn.error_window import TooManyFailures  # noqa: E402
from rowmill.task import Outcome, TurnResult  # noqa: E402

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_RUN_S = 30 * 86_400.0
_MOST_INVOCATIONS = 40


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
                report = trio.run(self._main, store, watch, clock=clock)
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
