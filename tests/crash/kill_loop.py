"""A real run of real processes against a real server, killed with SIGKILL at seeded moments until it is complete.

    tools/crash_loop --kills 100 --seed 7

Three chained ``llm-text`` columns, 32 requests in flight. First some processes die while they create the run
database, each one of its own; then a run is killed again and again, in start-up and at work. After every kill the file
and its log are copied, opened and checked. In the end the dataset has to be that of a run nobody interrupted, and the
server must not have answered more requests twice than were in flight or waiting for a commit at the kills.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from provider_simulator import RunningSimulator, provider_simulator  # noqa: E402

from rowmill.run_database import RunDatabase  # noqa: E402
from rowmill.store.run_store import RunStore  # noqa: E402

IN_FLIGHT = 32
COMMIT_WINDOW_S = 0.050
_DEADLINE_S = 120.0
_SHARE_IN_START_UP = 0.3
_FREQUENT_CHECKPOINTS = TESTS / "crash" / "frequent_checkpoints.py"
_ENVIRONMENT = {**os.environ, "ROWMILL_SKIP_HEALTH_CHECKS": "1"}
"""Health checks repeat themselves by intention, and here repeated requests are counted."""
_FLAWS: dict[str, Any] = {"transient": 0.01, "rejected": 0.01}

_SPEC = """
name: killed
records: {records}
row_group_size: 40
seed: 3
models:
  - {{alias: writer, provider: openai, base_url: "{url}", model: small, max_parallel_requests: {in_flight}}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid}}
  - {{name: first, column_type: llm-text, model_alias: writer, prompt: "Begin {{{{ id }}}}."}}
  - {{name: length, column_type: expression, sql: "length(first)", dtype: int}}
  - {{name: second, column_type: llm-text, model_alias: writer, prompt: "Go on from {{{{ first }}}}"}}
  - {{name: third, column_type: llm-text, model_alias: writer, prompt: "End {{{{ second }}}} after {{{{ length }}}}"}}
run: {{max_in_flight: {in_flight}, backoff_base_s: 0.05}}
"""


@dataclass
class KillReport:
    """What a kill loop did and found."""

    seed: int
    kills: int = 0
    kills_in_creation: int = 0
    kills_before_work: int = 0
    """Of ``kills``: those before the process had made a request."""
    records: int = 0
    requests: int = 0
    answered: int = 0
    repeated: int = 0
    allowed: int = 0
    """How many requests may be answered twice: kills × (in flight + results of one commit window)."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"seed {self.seed}: {self.kills} kills ({self.kills_before_work} in start-up) in {self.seconds:.1f} s"
        yield f"and {self.kills_in_creation} more while the run database was being created"
        yield f"{self.records} records, {self.requests} requests, {self.answered} answered"
        # A kill in start-up repeats nothing, so that the second figure says more than the first.
        per_kill, at_work = (self.repeated / max(n, 1) for n in (self.kills, self.kills - self.kills_before_work))
        yield f"{self.repeated} requests answered twice, {self.allowed} are allowed"
        yield f"which is {per_kill:.1f} a kill, {at_work:.1f} a kill of a process at work"
        yield from self.problems
        yield "FAILED" if self.problems else "Nothing lost, nothing twice."


def kill_loop(
    directory: Path,
    *,
    kills: int,
    seed: int,
    records: int | None = None,
    latency_ms: float = 100.0,
    kills_in_creation: int | None = None,
    frequent_checkpoints: bool = False,
) -> KillReport:
    """Kills a run ``kills`` times and lets it complete. What is wrong is in the report, not raised."""
    began = time.monotonic()
    records = records or max(600, 30 * kills)
    report = KillReport(seed, records=records)
    with provider_simulator(**_FLAWS) as quick:
        expected = _uninterrupted(directory, quick, records)
    with provider_simulator(latency_ms=latency_ms, **_FLAWS) as simulator:
        loop = _Loop(directory, simulator, report, latency_ms / 1000, frequent_checkpoints)
        loop.measure_start_up()
        loop.kill_creations(max(3, kills // 4) if kills_in_creation is None else kills_in_creation)
        simulator.reset()
        loop.kill_until_complete(kills)
        loop.compare(expected)
    report.seconds = time.monotonic() - began
    return report


def _write_spec(path: Path, url: str, records: int) -> Path:
    path.write_text(_SPEC.format(records=records, url=url, in_flight=IN_FLIGHT))
    return path


def _uninterrupted(directory: Path, simulator: RunningSimulator, records: int) -> dict[str, Any]:
    spec = _write_spec(directory / "uninterrupted.yaml", simulator.url, records)
    database = directory / "uninterrupted.duckdb"
    subprocess.run(_command(False, spec, database), check=False, cwd=directory, timeout=_DEADLINE_S)
    return _content(database)


def _command(frequent_checkpoints: bool, spec: Path, database: Path) -> list[str]:
    start = [str(_FREQUENT_CHECKPOINTS)] if frequent_checkpoints else ["-m", "rowmill"]
    return [sys.executable, *start, "run", "--quiet", str(spec), str(database)]


def _content(database: Path) -> dict[str, Any]:
    """The dataset and what is missing from it; the same however often the run was killed."""
    with RunDatabase.open(database) as opened:
        return {
            "state": opened.sql("select state, records, rows_finished, rows_dropped from run_status").to_pylist(),
            "dataset": opened.to_arrow().to_pylist(),
            "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by row_id").to_pylist(),
        }


@contextmanager
def _process(command: Sequence[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block."""
    with (directory / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=_ENVIRONMENT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(_DEADLINE_S)


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


class _Loop:
    """The processes that are started, killed and looked at."""

    def __init__(
        self, directory: Path, simulator: RunningSimulator, report: KillReport, latency_s: float, checkpoints: bool
    ) -> None:
        self._directory = directory
        self._simulator = simulator
        self._report = report
        self._latency_s = latency_s
        self._random = random.Random(report.seed)
        self._spec = _write_spec(directory / "killed.yaml", simulator.url, report.records)
        self._database = directory / "killed.duckdb"
        self._command = _command(checkpoints, self._spec, self._database)
        self._start_up_s = 1.0
        self._cells_left = report.records * 3
        self._known = {"rows_finished": 0, "requests": 0}
        report.allowed = kills_allowed(0, latency_s)

    def measure_start_up(self) -> None:
        """How long a process takes until it works: a run of no records does nothing else."""
        spec = _write_spec(self._directory / "empty.yaml", self._simulator.url, 0)
        began = time.monotonic()
        command = _command(False, spec, self._directory / "empty.duckdb")
        subprocess.run(command, check=True, cwd=self._directory, timeout=_DEADLINE_S)
        self._start_up_s = time.monotonic() - began

    def kill_creations(self, kills: int) -> None:
        """Kills processes between making the file and the first requests; each begins with no file."""
        for _ in range(kills):
            self._remove_database()
            self._known = {"rows_finished": 0, "requests": 0}
            with _process(self._command, self._directory) as process:
                while not self._database.exists() and not _ended_within(process, 0.002):
                    pass
                _ended_within(process, self._random.uniform(0.0, 0.6 * self._start_up_s))
            self._report.kills_in_creation += 1
            self._look(f"creation kill {self._report.kills_in_creation}")
        self._remove_database()
        self._known = {"rows_finished": 0, "requests": 0}

    def kill_until_complete(self, kills: int) -> None:
        """Kills the run that many times, at moments that leave it enough to do, then lets it go to its end."""
        report = self._report
        while report.kills < kills:
            requests = self._requests()
            with _process(self._command, self._directory) as process:
                moment, is_alive = self._wait_for_the_moment(process, requests, kills - report.kills)
                if not is_alive:
                    self._problem(f"the run ended by itself before kill {report.kills + 1}: {self._errors(process)}")
                    return
            report.kills += 1
            report.kills_before_work += self._requests() == requests
            self._look(f"kill {report.kills} {moment}")
        with _process(self._command, self._directory) as process:
            if not _ended_within(process, _DEADLINE_S):
                self._problem(f"the last run did not end within {_DEADLINE_S:.0f} s")
            elif process.returncode not in {0, 3}:
                self._problem(f"the last run failed: {self._errors(process)}")

    def _wait_for_the_moment(self, process: subprocess.Popen[bytes], requests: int, left: int) -> tuple[str, bool]:
        """Waits until the process is to die; returns when that is, and whether it is still alive."""
        if self._random.random() < _SHARE_IN_START_UP:
            moment = self._random.uniform(0.0, self._start_up_s)
            return f"{moment:.3f} s after its start", not _ended_within(process, moment)
        # What is left to do, over the kills that are left to come.
        work_s = self._cells_left / IN_FLIGHT * self._latency_s
        moment = self._random.uniform(0.0, min(1.4 * work_s / left, 0.7 * work_s))
        while self._requests() == requests:
            if _ended_within(process, 0.02):
                return "", False
        return f"{moment:.3f} s after its first request", not _ended_within(process, moment)

    def _requests(self) -> int:
        return int(self._simulator.statistics()["requests"])

    def compare(self, expected: dict[str, Any]) -> None:
        """Compares the end with that of the uninterrupted run, and counts what was asked twice."""
        report = self._report
        self._look("the end")
        if self._database.exists():
            found = _content(self._database)
            for what, wanted in expected.items():
                if found[what] != wanted:
                    self._problem(f"{what} differs from that of the uninterrupted run")
            row_ids = [row["row_id"] for row in (*found["dataset"], *found["dropped"])]
            if sorted(row_ids) != list(range(report.records)):
                self._problem("not every row is there exactly once")
        statistics = self._simulator.statistics()
        report.requests = statistics["requests"]
        report.answered = statistics["answered"]
        report.repeated = statistics["repeated_bodies"]
        report.allowed = kills_allowed(report.kills, self._latency_s)
        if report.repeated > report.allowed:
            self._problem(f"{report.repeated} requests were answered twice, {report.allowed} are allowed")

    def _look(self, when: str) -> None:
        """Opens a copy of what the dead process left behind, as the next process would, and checks it."""
        if not self._database.exists():
            return
        copied = self._directory / "look.duckdb"
        for ending in ("", ".wal"):
            source, target = (path.with_name(path.name + ending) for path in (self._database, copied))
            target.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, target)
        try:
            store = RunStore.open(copied)
        except Exception as error:  # noqa: BLE001  recorded: whatever it is, a kill must not lead to it
            self._problem(f"{when}: the database does not open: {type(error).__name__}: {error}")
            return
        try:
            if not store.is_new:
                self._check(store, when)
        finally:
            store.close()

    def _check(self, store: RunStore, when: str) -> None:
        connection = store.connection
        for violation in connection.execute("from invariant_violation limit 5"):
            self._problem(f"{when}: {violation}")
        twice = connection.execute("select row_id from dataset group by row_id having count(*) > 1 limit 5")
        if twice:
            self._problem(f"{when}: rows are there twice: {twice}")
        rows_finished, requests = connection.execute("select rows_finished, requests from run_status")[0]
        for name, value in {"rows_finished": rows_finished, "requests": requests}.items():
            if value < self._known[name]:
                self._problem(f"{when}: {name} was {self._known[name]} before, now it is {value}")
            self._known[name] = value
        succeeded = connection.execute("select count(*) from attempt where outcome = 'succeeded'")[0][0]
        self._cells_left = self._report.records * 3 - int(succeeded)

    def _remove_database(self) -> None:
        for path in self._directory.glob("killed.duckdb*"):
            path.unlink()

    def _problem(self, text: str) -> None:
        self._report.problems.append(f"seed {self._report.seed}: {text}")

    def _errors(self, process: subprocess.Popen[bytes]) -> str:
        text = (self._directory / "errors.txt").read_text(errors="replace").strip()
        return f"exit code {process.returncode}, {text[-2000:] or 'no message'}"


def kills_allowed(kills: int, latency_s: float) -> int:
    """How many requests may be answered twice (D2)."""
    return int(kills * (IN_FLIGHT + IN_FLIGHT * COMMIT_WINDOW_S / latency_s))


def main() -> int:
    """The command ``tools/crash_loop``."""
    parser = argparse.ArgumentParser(
        prog="tools/crash_loop",
        description="Kills a run with SIGKILL at seeded moments until it is complete, and checks that nothing is lost.",
        epilog="example: tools/crash_loop --kills 100 --seed 7",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how often to kill (default 20)")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="fixes the moments (default: a new one)")
    parser.add_argument(
        "--records", type=int, default=None, help="rows of the dataset (default: 30 a kill, at least 600)"
    )
    parser.add_argument("--latency-ms", type=float, default=100.0, help="how long a request takes (default 100)")
    parser.add_argument("--frequent-checkpoints", action="store_true", help="fold the log into the file all the time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "big")
    with tempfile.TemporaryDirectory(prefix="rowmill-crash-loop-") as directory:
        report = kill_loop(
            Path(directory),
            kills=options.kills,
            seed=seed,
            records=options.records,
            latency_ms=options.latency_ms,
            frequent_checkpoints=options.frequent_checkpoints,
        )
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
