"""Runs whose calls are made elsewhere: workers, nodes and drivers are killed or stopped at seeded moments.

    tools/crash_loop --executor processes --kills 100 --seed 7
    tools/crash_loop --executor ray --kills 20 --seed 7

A run asks a model over HTTP, computes, and looks at a row group at a time; some of its rows are refused. Its workers
die of SIGKILL or stand still, its driver dies or stands still for a while; on Ray nodes die and others take their
place. After the death of a driver no process of its own may be left, and what is committed is looked at as the next
process would; then the same command goes on. Once complete, the run has to be the one that nobody disturbed: its
dataset, the rows dropped and why, and every attempt with its tokens, so that no kill was charged to any row.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from copied_database import copy_of_database
from fork_server import ForkServer, fork_server
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.engine.doctor import diagnose
from rowmill.run_database import RunDatabase
from rowmill.store.run_store import RunStore

RECORDS = 480
WORKERS = 2
_IN_FLIGHT = 48
_DEADLINE_S = 120.0
_GONE_WITHIN_S = 10.0
_KILLS_OF_A_RUN = 5
_WORKERS_OF_A_DRIVER = 2
"""Lost on purpose: a task that was to lose a third one would be to blame for it (W4)."""
_SILENCE_S = 2.5
PATIENCE = {"silence_s": _SILENCE_S, "start_s": 20.0}
"""One that stands still before it is ready is given up after ``start_s``."""
_ANSWERS_IN_A_WINDOW = 64
"""In 50 ms, at most (D2): 32 requests at once, of 25 ms each."""
_SHARE_IN_START_UP = 0.25
"""Of the drivers' lives whose first disturbance may come before there is work."""
_BETWEEN = 0.2
"""The longest time between two, as a share of the undisturbed run."""
_FUNCTIONS = """
import hashlib
import time


def digest(row) -> str:
    time.sleep(0.05)
    if row["start"] < 0.05:
        raise ValueError("too small")
    return hashlib.sha256(f"{row['start']:.9f} {row['words']}".encode()).hexdigest()


def place(rows):
    order = sorted(range(rows.num_rows), key=lambda index: rows["digest"][index].as_py())
    found = {index: number for number, index in enumerate(order)}
    return {"row_index": rows["row_index"], "place": [found[index] for index in range(rows.num_rows)]}
"""


class Place(Protocol):
    """Where workers live."""

    executor: Mapping[str, Any]
    environ: Mapping[str, str]
    kinds: Mapping[str, float]
    """What may be done to a run, and how often beside the others."""

    def workers(self, driver: int) -> list[int]:
        """The processes of workers that this driver has now."""
        ...

    def kill_node_of(self, worker: int) -> None:
        """Ends the node a worker is on; another one takes its place."""
        ...

    def left_of(self, driver: int) -> list[int]:
        """What is there still of a driver that has died."""
        ...


class OnThisMachine:
    """Workers that are processes beside the run."""

    executor: Mapping[str, Any] = {"kind": "processes", "workers": WORKERS, **PATIENCE}
    environ: Mapping[str, str] = {}
    kinds: Mapping[str, float] = {
        "worker killed": 4,
        "worker stopped": 1.5,
        "driver killed": 4,
        "driver stopped": 0.5,
        "worker stopped, driver killed": 1,
    }

    def workers(self, driver: int) -> list[int]:
        """See :class:`Place`."""
        return [
            pid
            for pid, told in _commands()
            if told[1:3] == ["-m", "rowmill.remote.processes"] and told[4] == str(driver)
        ]

    def kill_node_of(self, worker: int) -> None:
        """See :class:`Place`: the machine itself is the only node."""
        raise NotImplementedError

    def left_of(self, driver: int) -> list[int]:
        """See :class:`Place`."""
        return self.workers(driver)


def _commands() -> Iterator[tuple[int, list[str]]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if len(told) > 4 and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(process.name), told


@dataclass
class DisturbanceReport:
    """What was done to runs, and what became of them."""

    executor: str
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    answered: int = 0
    repeated: list[int] = field(default_factory=list)
    """Requests that were answered in vain, for each run."""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many processes and nodes were killed or stopped."""
        return self.done.total()

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"{self.executor}, seed {self.seed}: {self.kills} kills in {self.runs} runs in {self.seconds:.0f} s"
        yield "done       " + ", ".join(f"{count} × {what}" for what, count in self.done.most_common())
        if self.kills:
            yield (
                f"requests   {self.answered} answered; {sum(self.repeated) / self.kills:.1f} in vain by a kill, "
                f"{max(self.repeated, default=0)} at most in one run"
            )
        yield from (f"PROBLEM    {problem}" for problem in self.problems)
        yield "FAILED" if self.problems else "The datasets, drops and attempts are those of a run nobody disturbed."


def disturb(
    directory: Path,
    place: Place,
    *,
    kills: int,
    seed: int,
    records: int = RECORDS,
    on_run: Callable[[DisturbanceReport], None] | None = None,
    is_enough: Callable[[int], bool] = lambda kills: False,
    server: ForkServer | None = None,
) -> DisturbanceReport:
    """Disturbs runs ``kills`` times and lets them complete. What is wrong is in the report, not raised.

    ``is_enough`` says of a smaller number whether it will do. Without a ``server`` there is one for this.
    """
    began = time.monotonic()
    report = DisturbanceReport(str(place.executor["kind"]), seed)
    with (
        nullcontext(server)
        if server is not None
        else fork_server({**os.environ, **place.environ, "ROWMILL_SKIP_HEALTH_CHECKS": "1"}) as server,
        provider_simulator(latency_ms=25) as simulator,
    ):
        whole = _Run(directory / "undisturbed", server, simulator, place, records)
        took_s = whole.to_its_end()
        expected = whole.content()
        report.problems += _problems_of_expected(expected, records)
        while report.kills < kills and not is_enough(report.kills) and not report.problems:
            simulator.reset()
            number = report.runs
            run = _Run(directory / f"run_{number}", server, simulator, place, records)
            moments = random.Random(f"{seed} {number}")
            left, before = min(_KILLS_OF_A_RUN, kills - report.kills), report.kills
            report.problems += [
                f"run {number}: {problem}" for problem in run.disturbed(moments, took_s, left, report.done, expected)
            ]
            report.runs += 1
            if not report.problems:
                answered = int(simulator.statistics()["requests"])
                report.answered += answered
                report.repeated.append(answered - records)
                # On a machine that is slow enough a worker is given up for its silence that nobody disturbed.
                losses = max(report.kills - before, run.lost_workers())
                bound = losses * (_IN_FLIGHT + _ANSWERS_IN_A_WINDOW)
                if report.repeated[-1] > bound:
                    report.problems.append(
                        f"run {number}: {report.repeated[-1]} requests were answered in vain, D2 allows {bound}"
                    )
            report.seconds = time.monotonic() - began
            if not report.problems:
                shutil.rmtree(directory / f"run_{number}")
            if on_run is not None:
                on_run(report)
    report.seconds = time.monotonic() - began
    return report


def _problems_of_expected(expected: Mapping[str, Any], records: int) -> list[str]:
    if not expected["dropped"] or len(expected["dataset"]) < records // 2:
        return ["the undisturbed run drops no rows, or too many: it proves nothing"]
    return []


class _Run:
    """One run database, and the drivers that work on it one after the other."""

    def __init__(
        self, directory: Path, server: ForkServer, simulator: RunningSimulator, place: Place, records: int
    ) -> None:
        directory.mkdir()
        (directory / "functions.py").write_text(_FUNCTIONS, encoding="utf-8")
        (directory / "spec.json").write_text(json.dumps(_spec(simulator.url, records, place.executor)))
        self._directory = directory
        self._database = directory / "elsewhere.duckdb"
        self._server = server
        self._place = place
        self._records = records
        self._drivers: list[int] = []

    def _start(self) -> int:
        driver = self._server.start(["run", "spec.json"], self._directory, self._directory / "errors.txt")
        self._drivers.append(driver)
        return driver

    def _said(self) -> str:
        return (self._directory / "errors.txt").read_text(errors="replace")[-2000:]

    def to_its_end(self) -> float:
        """Lets the run go to its end; returns how long that took, in seconds."""
        began = time.monotonic()
        driver = self._start()
        code = self._server.wait(driver, _DEADLINE_S)
        if code != 3:
            self._server.kill(driver)
            raise RuntimeError(f"the last command ended with {code}: {self._said()}")
        return time.monotonic() - began

    def lost_workers(self) -> int:
        """How many workers the run gave up, for whatever reason."""
        with RunDatabase.open(self._database) as database:
            (count,) = database.sql("select count(*) as count from worker where state = 'lost'")["count"].to_pylist()
        return int(count)

    def content(self) -> dict[str, Any]:
        """What has to be the same, whatever happened."""
        return _content(self._database)

    def disturbed(
        self, moments: random.Random, took_s: float, most: int, done: Counter[str], expected: Mapping[str, Any]
    ) -> list[str]:
        """Disturbs the run so many times at most, lets it end; returns what is wrong."""
        left = most
        while left:
            driver = self._start()
            lost, is_killed = 0, False
            if moments.random() > _SHARE_IN_START_UP:
                self._wait_for_work(driver)
            while left and not is_killed and self._server.wait(driver, moments.uniform(0, _BETWEEN * took_s)) is None:
                kinds = dict(self._place.kinds)
                if lost >= _WORKERS_OF_A_DRIVER:
                    kinds = {kind: share for kind, share in kinds.items() if kind.startswith("driver")}
                kind = moments.choices([*kinds], [*kinds.values()])[0]
                if not self._do(kind, driver, moments):
                    continue
                left -= 1
                done[kind] += 1
                lost += not kind.startswith("driver")
                is_killed = kind.endswith("driver killed")
            if is_killed:
                problems = self._after_death(driver, expected)
                if problems:
                    return problems
            else:
                code = self._server.wait(driver, _DEADLINE_S)
                if code != 3:
                    self._server.kill(driver)
                    return [f"the run ended with {code}: {self._said()}"]
                break
        try:
            self.to_its_end()
        except RuntimeError as error:
            return [str(error)]
        return [*self._differences(expected), *self._left_over(self._drivers)]

    def _wait_for_work(self, driver: int) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while self._server.wait(driver, 0.02) is None and time.monotonic() < deadline:
            if b"in flight" in (self._directory / "errors.txt").read_bytes():
                return

    def _do(self, kind: str, driver: int, moments: random.Random) -> bool:
        """Does it, if there is something to do it to."""
        workers = sorted(self._place.workers(driver))
        with suppress(ProcessLookupError):
            if kind == "driver killed":
                return self._server.kill(driver) == -signal.SIGKILL
            if kind == "driver stopped":
                os.kill(driver, signal.SIGSTOP)
                time.sleep(moments.uniform(0.1, _SILENCE_S + 1.5))
                os.kill(driver, signal.SIGCONT)
                return True
            if not workers:
                return False
            worker = moments.choice(workers)
            if kind == "node killed":
                self._place.kill_node_of(worker)
            elif kind == "worker killed":
                os.kill(worker, signal.SIGKILL)
            else:
                os.kill(worker, signal.SIGSTOP)
            if kind == "worker stopped, driver killed":
                time.sleep(moments.uniform(0, 1.0))
                self._server.kill(driver)
            return True
        return False

    def _after_death(self, driver: int, expected: Mapping[str, Any]) -> list[str]:
        problems = self._left_over([driver])
        if not self._database.exists():
            return problems
        copied = copy_of_database(self._database, self._directory / "copy.duckdb")
        with (store := RunStore.open(copied)).connection:
            if store.is_new:  # killed before there was anything
                return problems
        diagnosis = diagnose(copied)
        problems += [f"{one.check}: {one.message}" for one in diagnosis.findings if one.state != "ok"]
        if not problems:
            found = _content(copied)
            for what in ("dataset", "dropped", "attempts"):
                wrong = Counter(found[what]) - Counter(expected[what])
                if wrong:
                    problems.append(f"after a kill {what} has what it never should: {[*wrong][:3]}")
        return problems

    def _differences(self, expected: Mapping[str, Any]) -> list[str]:
        found = self.content()
        problems = []
        for what, wanted in expected.items():
            if found[what] != wanted:
                missing, more = Counter(wanted) - Counter(found[what]), Counter(found[what]) - Counter(wanted)
                problems.append(
                    f"{what} differs from that of the undisturbed run: {missing.total()} missing {[*missing][:3]}, "
                    f"{more.total()} too many {[*more][:3]}"
                )
        return problems

    def _left_over(self, drivers: Sequence[int]) -> list[str]:
        deadline = time.monotonic() + _GONE_WITHIN_S
        while left := {pid for driver in drivers for pid in self._place.left_of(driver)}:
            if time.monotonic() > deadline:
                return [f"workers outlive their driver: {sorted(left)}"]
            time.sleep(0.02)
        return []


def _spec(url: str, records: int, executor: Mapping[str, Any]) -> dict[str, Any]:
    custom = {"column_type": "custom"}
    limit = {"max_parallel_requests": 32}
    return {
        "name": "elsewhere",
        "records": records,
        "row_group_size": 40,
        "seed": 11,
        "models": [{"alias": "writer", "provider": "openai", "base_url": url, "model": "small"} | limit],
        "run": {"executor": dict(executor), "max_in_flight": _IN_FLIGHT, "max_local_workers": 4, "max_attempts": 2},
        "columns": [
            {"name": "start", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}},
            {"name": "words", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ start }}."},
            {
                "name": "digest",
                **custom,
                "generator_function": "functions:digest",
                "required_columns": ["start", "words"],
            },
            {
                "name": "place",
                **custom,
                "generator_function": "functions:place",
                "required_columns": ["digest"],
                "generation_strategy": "batch",
                "dtype": "int",
            },
        ],
    }


def _content(database: Path) -> dict[str, Any]:
    with RunDatabase.open(database) as opened:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(row.values()) for row in opened.sql(sql).to_pylist()]

        return {
            "dataset": rows("from dataset order by row_id"),
            "dropped": rows(
                "select row_id, column_name, reason, error_type, message, attempts from dropped_row order by row_id"
            ),
            "attempts": rows(
                "select generator, row_id, attempt, outcome, error_type, model, input_tokens, output_tokens"
                " from attempt order by all"
            ),
            "usage": rows(
                "select model, sum(requests), sum(succeeded), sum(failed), sum(input_tokens), sum(output_tokens)"
                " from usage group by model"
            ),
            "contradictions": rows("from invariant_violation"),
        }


@contextmanager
def place_of(kind: str) -> Iterator[Place]:
    """Where workers of a kind live; for Ray a cluster of three nodes on this machine is made."""
    if kind == "processes":
        yield OnThisMachine()
        return
    from ray_cluster import ray_cluster
    from ray_place import OnRay

    node = {"num_cpus": 2}
    with ray_cluster([node, node]) as cluster:
        yield OnRay(cluster, WORKERS, PATIENCE)
