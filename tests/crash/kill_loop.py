"""Run databases of real processes against a real server, killed with SIGKILL at seeded moments until they are complete.

    tools/crash_loop --kills 100 --seed 7

A run database lives through about forty kills: while it is created, in start-up, at work, in a barrier in the middle of
the dataset, while other processes pause it, limit it, drop and retry rows; it is extended twice, once unfinished and
once in row groups of another size, its prompt is changed and accepted, cells are made again and dropped rows brought
back; those verbs are killed too, as are exports and doctors. A part of the runs folds its log into the file all the
time. Then another life begins, until there were enough kills.

After every kill a copy of the file and its log is opened as the next process would: the doctor finds it healthy, every
committed value is the one it was, and no more answers are lost than were given in the last commit window (see
``asked_again.py``). No request whose result was committed is ever asked again. In the end the dataset is that of a run
nobody interrupted, made at once with the same plan.

``--executor processes`` and ``--executor ray`` do something else: see ``kill_elsewhere.py``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS / "cluster")]

from fork_server import ForkServer, fork_server  # noqa: E402
from kill_elsewhere import DisturbanceReport, disturb, place_of  # noqa: E402
from killed_life import KILLS_OF_A_LIFE, Life, Surroundings, Tally  # noqa: E402
from killed_spec import content_of, make_plan_at_once, write_specs  # noqa: E402
from provider_simulator import RunningSimulator, provider_simulator  # noqa: E402
from verb_loop import VERBS, kill_verbs  # noqa: E402

IN_FLIGHT = 32
RECORDS = 480
_DEADLINE_S = 600.0
_FLAWS: dict[str, Any] = {"transient": 0.01, "rejected": 0.01}


@dataclass
class KillReport:
    """What a kill loop did and found."""

    seed: int
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many processes died."""
        return self.tally.kills.total()

    def lines(self) -> Iterator[str]:
        """The report for people."""
        tally = self.tally
        yield f"seed {self.seed}: {self.kills} kills in {tally.lives} run databases in {self.seconds:.0f} s"
        yield "killed     " + ", ".join(f"{count} in {what}" for what, count in tally.kills.most_common())
        yield f"           {tally.with_checkpoints} of them in runs that always fold their log into the file"
        steered = ", ".join(f"{count} × {verb}" for verb, count in tally.steered.most_common())
        yield f"steered    {steered or 'nothing'}"
        if tally.costs:
            yield from self._costs()
        yield from (f"PROBLEM    {problem}" for problem in tally.problems)
        yield "FAILED" if tally.problems else "Nothing lost, nothing twice."

    def _costs(self) -> Iterator[str]:
        """What the kills cost, and what they may cost (D2)."""
        tally, kills = self.tally, len(self.tally.costs)
        lost, in_flight = (sum(cost.lost for cost in tally.costs), sum(cost.in_flight for cost in tally.costs))
        repeated, bound = lost + in_flight, sum(cost.bound for cost in tally.costs)
        closest = max(tally.costs, key=lambda cost: cost.repeated / cost.bound)
        yield (
            f"requests   {tally.requests}, {tally.answered} answered; {tally.asked_again} for what was answered "
            f"before: kills lost {lost} answers, {tally.cleared} cells were cleared to be made again, {tally.cut_off} "
            "rows dropped by hand"
        )
        yield (
            f"repeated   {repeated / kills:.1f} calls by a kill ({in_flight / kills:.1f} in flight, {lost / kills:.1f} "
            f"answered), {max(cost.repeated for cost in tally.costs)} at most; D2 allows {bound / kills:.1f}; "
            f"the kill closest to its bound: {closest.repeated} of {closest.bound}"
        )
        yield (
            f"window     the oldest lost answer was {1000 * tally.oldest_lost_s:.0f} ms old; {tally.kills_over_window} "
            f"kills lost answers older than 50 ms (a turn, or a processor, took its time: see asked_again.py)"
        )


def kill_loop(
    directory: Path,
    *,
    kills: int,
    seed: int,
    records: int = RECORDS,
    latency_ms: float = 100.0,
    in_flight: int = IN_FLIGHT,
    always_checkpoints: bool = False,
    on_life: Callable[[KillReport], None] | None = None,
    is_enough: Callable[[int], bool] = lambda kills: False,
    server: ForkServer | None = None,
) -> KillReport:
    """Kills processes ``kills`` times and lets their runs complete. What is wrong is in the report, not raised.

    ``is_enough`` says of a smaller number of kills whether it will do. Without a ``server`` there is one for this.
    """
    began = time.monotonic()
    report = KillReport(seed)
    moments = random.Random(seed)
    os.environ["ROWMILL_SKIP_HEALTH_CHECKS"] = "1"  # they repeat themselves by intention, and repetitions are counted
    with nullcontext(server) if server is not None else fork_server() as server:
        with provider_simulator(**_FLAWS) as quick:
            expected = _uninterrupted(directory / "uninterrupted", server, quick, records, in_flight)
        with provider_simulator(latency_ms=latency_ms, **_FLAWS) as simulator:
            start_up_s = _start_up_s(directory / "start_up", server, simulator, in_flight)
            around = Surroundings(
                server, simulator, records, in_flight, start_up_s, always_checkpoints, expected, is_enough
            )
            while report.kills < kills and not is_enough(report.kills) and not report.tally.problems:
                life = directory / f"life_{report.tally.lives + 1}"
                simulator.reset()
                Life(life, around, report.tally, moments).live(min(KILLS_OF_A_LIFE, kills - report.kills))
                if not report.tally.problems:
                    shutil.rmtree(life)
                report.seconds = time.monotonic() - began
                if on_life is not None:
                    on_life(report)
    return report


def _uninterrupted(
    directory: Path, server: ForkServer, simulator: RunningSimulator, records: int, in_flight: int
) -> dict[str, Any]:
    """What a run ends with that has the whole plan, and the last prompts, from its beginning."""
    specs = write_specs(directory, simulator.url, records, in_flight)
    database = directory / "uninterrupted.duckdb"
    spec = make_plan_at_once(specs, database)
    errors = directory / "errors.txt"
    process = server.start(["run", "--quiet", spec.name, database.name], directory, errors)
    if server.wait(process, _DEADLINE_S) not in {0, 3}:
        raise RuntimeError(f"the uninterrupted run failed: {errors.read_text()}")
    return content_of(database)


def _start_up_s(directory: Path, server: ForkServer, simulator: RunningSimulator, in_flight: int) -> float:
    """How long a process takes until it works: a run of no records does nothing else. The second time counts."""
    specs = write_specs(directory, simulator.url, 0, in_flight)
    took_s = 0.0
    for name in ("empty", "empty again"):
        began = time.monotonic()
        errors = directory / "errors.txt"
        arguments = ["run", "--quiet", specs.parts[0].name, f"{name}.duckdb"]
        if server.wait(server.start(arguments, directory, errors), _DEADLINE_S):
            raise RuntimeError(f"a run of no records failed: {errors.read_text()}")
        took_s = time.monotonic() - began
    return took_s


def _show_progress(report: KillReport) -> None:
    problems = f", {len(report.tally.problems)} problems" if report.tally.problems else ""
    print(
        f"{report.kills} kills, {report.tally.lives} run databases, {report.seconds:.0f} s{problems}",
        file=sys.stderr,
        flush=True,
    )


def _disturb(directory: Path, executor: str, kills: int, seed: int, records: int) -> int:
    """Runs whose calls are made elsewhere."""
    try:
        with place_of(executor) as place:
            report = disturb(directory, place, kills=kills, seed=seed, records=records, on_run=_show_disturbances)
    except BaseException:
        shutil.rmtree(directory)
        raise
    print("\n".join(report.lines()))
    if report.problems:
        print(f"What is left of it is in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


def _show_disturbances(report: DisturbanceReport) -> None:
    print(f"{report.kills} kills, {report.runs} runs, {report.seconds:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    """The command ``tools/crash_loop``."""
    parser = argparse.ArgumentParser(
        prog="tools/crash_loop",
        description="Kills processes with SIGKILL at seeded moments until their runs are complete, and checks that "
        "nothing is lost.",
        epilog="example: tools/crash_loop --kills 100 --seed 7",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how often to kill (default 20)")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="fixes the moments (default: a new one)")
    parser.add_argument(
        "--executor",
        choices=["local", "processes", "ray"],
        default="local",
        help="where calls are made (default local); elsewhere, workers and nodes are killed and stopped too",
    )
    parser.add_argument("--records", type=int, default=RECORDS, help=f"rows of each run database (default {RECORDS})")
    parser.add_argument(
        "--latency-ms", type=float, default=100.0, help="how long a request takes (default 100; local runs only)"
    )
    parser.add_argument(
        "--in-flight", type=int, default=IN_FLIGHT, help=f"requests at once (default {IN_FLIGHT}; local runs only)"
    )
    parser.add_argument(
        "--always-checkpoint", action="store_true", help="fold the log into the file all the time (local runs)"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "big")
    directory = Path(tempfile.mkdtemp(prefix="rowmill-crash-loop-"))
    if options.executor != "local":
        return _disturb(directory, options.executor, options.kills, seed, options.records)
    try:
        report = kill_loop(
            directory,
            kills=options.kills,
            seed=seed,
            records=options.records,
            latency_ms=options.latency_ms,
            in_flight=options.in_flight,
            always_checkpoints=options.always_checkpoint,
            on_life=_show_progress,
        )
        (directory / "verbs").mkdir()
        print("Now each verb on a stopped run", file=sys.stderr, flush=True)
        verbs = kill_verbs(directory / "verbs", kills=max(2, options.kills // 10 // len(VERBS)), seed=seed)
    except BaseException:
        shutil.rmtree(directory)
        raise
    print("\n".join([*verbs.lines(), *report.lines()]))
    if report.tally.problems or verbs.problems:
        print(f"What is left of it is in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
