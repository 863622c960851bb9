"""A real run of real processes against a real server, killed with SIGKILL at seeded moments until it is complete.

    tools/crash_loop --kills 100 --seed 7

Three chained ``llm-text`` columns, 32 requests in flight. First some processes die while they create the run
database, each one of its own; then a run is killed again and again, in start-up and at work, and so are exports of
it; a part of the runs folds its log into the file all the time. Twice the run is extended, the second time in row
groups of another size, while it is unfinished. After every kill the file and its log are copied, opened and checked.
In the end the dataset has to be that of a run nobody interrupted, made at once with the same plan, and the server must
not have answered more requests twice than were in flight or waiting for a commit at the kills.
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
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from fork_server import ForkServer, fork_server  # noqa: E402
from provider_simulator import RunningSimulator, provider_simulator  # noqa: E402
from pyarrow import parquet  # noqa: E402
from verb_loop import VERBS, kill_verbs  # noqa: E402

from rowmill.engine.preparation import prepare  # noqa: E402
from rowmill.run_database import RunDatabase  # noqa: E402
from rowmill.store.run_store import RunStore  # noqa: E402

IN_FLIGHT = 32
COMMIT_WINDOW_S = 0.050
_DEADLINE_S = 200.0
_SHARE_IN_START_UP = 0.3
_SHARE_OF_EXPORTS = 0.06
_SHARE_WITH_CHECKPOINTS = 0.25
_PARTS = ((0.5, 40), (0.25, 40), (0.25, 24))
"""The plan: the share of the records of the first run and of each extension, and the size of their row groups."""
_ENVIRONMENT = {**os.environ, "ROWMILL_SKIP_HEALTH_CHECKS": "1"}
"""Health checks repeat themselves by intention, and here repeated requests are counted."""
_FLAWS: dict[str, Any] = {"transient": 0.01, "rejected": 0.01}

_SPEC = """
name: killed
records: {records}
row_group_size: {row_group_size}
seed: 3
models:
  - {{alias: writer, provider: openai, base_url: "{url}", model: small, max_parallel_requests: {in_flight}}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid}}
  - {{name: first, column_type: llm-text, model_alias: writer, prompt: "Begin {{{{ id }}}}."}}
  - {{name: length, column_type: expression, sql: "length(first)", dtype: int}}
  - {{name: second, column_type: llm-text, model_alias: writer, prompt: "Go on from {{{{ first }}}}"}}
  - {{name: third, column_type: llm-text, model_alias: writer, prompt: "End {{{{ second }}}} after {{{{ length }}}}"}}
# What failed before it was answered fails again when it is asked again: attempts must not run out of kills.
run: {{max_in_flight: {in_flight}, backoff_base_s: 0.05, max_attempts: 100}}
"""


@dataclass
class KillReport:
    """What a kill loop did and found."""

    seed: int
    in_flight: int = IN_FLIGHT
    kills: int = 0
    kills_in_creation: int = 0
    kills_before_work: int = 0
    """Of ``kills``: those before the process had made a request."""
    kills_of_exports: int = 0
    kills_with_checkpoints: int = 0
    """Of ``kills``: those of processes that checkpoint all the time."""
    extensions: int = 0
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
        yield (
            f"{self.kills_with_checkpoints} of them of runs that always checkpoint; {self.extensions} extensions; "
            f"besides {self.kills_of_exports} kills of exports and {self.kills_in_creation} while the run database was "
            "being created"
        )
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
    in_flight: int = IN_FLIGHT,
    kills_in_creation: int | None = None,
    frequent_checkpoints: bool = False,
    on_kill: Callable[[KillReport], None] | None = None,
) -> KillReport:
    """Kills a run ``kills`` times and lets it complete. What is wrong is in the report, not raised."""
    began = time.monotonic()
    records = records or max(600, in_flight * kills)
    report = KillReport(seed, records=records, in_flight=in_flight)
    with fork_server() as server:
        with provider_simulator(**_FLAWS) as quick:
            expected = _uninterrupted(directory, server, quick, records)
        with provider_simulator(latency_ms=latency_ms, **_FLAWS) as simulator:
            loop = _Loop(directory, server, simulator, report, latency_ms / 1000, frequent_checkpoints, on_kill)
            loop.measure_start_up()
            loop.kill_creations(min(max(3, kills // 4), 50) if kills_in_creation is None else kills_in_creation)
            simulator.reset()
            loop.kill_until_complete(kills)
            loop.compare(expected)
    report.seconds = time.monotonic() - began
    return report


def _write_spec(path: Path, url: str, records: int, row_group_size: int, in_flight: int) -> Path:
    path.write_text(_SPEC.format(records=records, row_group_size=row_group_size, url=url, in_flight=in_flight))
    return path


def _write_specs(directory: Path, name: str, url: str, records: int, in_flight: int) -> list[Path]:
    """The spec as the run begins, and after each extension."""
    shares, specs = 0.0, []
    for number, (share, row_group_size) in enumerate(_PARTS):
        shares += share
        path = directory / f"{name}_{number}.yaml"
        specs.append(_write_spec(path, url, round(records * shares), row_group_size, in_flight))
    return specs


def _uninterrupted(directory: Path, server: ForkServer, simulator: RunningSimulator, records: int) -> dict[str, Any]:
    """What a run ends with that has the whole plan from its beginning."""
    specs = _write_specs(directory, "uninterrupted", simulator.url, records, IN_FLIGHT)
    database = directory / "uninterrupted.duckdb"
    store = RunStore.open(database)
    store.create(prepare(specs[0]).blueprint(), time.time())
    for path in specs[1:]:
        extended = prepare(path)
        store.extend(extended.spec.planned_records, extended.spec.row_group_size, time.time())
        store.update_spec(extended.spec, time.time())
    store.close()
    errors = directory / "errors.txt"
    process = server.start(["run", "--quiet", str(specs[-1]), str(database)], directory, errors)
    if server.wait(process, 5 * _DEADLINE_S) not in {0, 3}:
        raise RuntimeError(f"the uninterrupted run failed: {errors.read_text()}")
    return _content(database)


def _content(database: Path) -> dict[str, Any]:
    """The dataset and what is missing from it; the same however often the run was killed."""
    with RunDatabase.open(database) as opened:
        return {
            "state": opened.sql("select state, records, rows_finished, rows_dropped from run_status").to_pylist(),
            "dataset": opened.to_arrow().to_pylist(),
            "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by row_id").to_pylist(),
            "row groups": opened.sql(
                "select row_group, first_row, row_count, rows_finished, rows_dropped from row_group order by row_group"
            ).to_pylist(),
        }


class _Loop:
    """The processes that are started, killed and looked at."""

    def __init__(
        self,
        directory: Path,
        server: ForkServer,
        simulator: RunningSimulator,
        report: KillReport,
        latency_s: float,
        checkpoints: bool,
        on_kill: Callable[[KillReport], None] | None,
    ) -> None:
        self._directory = directory
        self._server = server
        self._simulator = simulator
        self._report = report
        self._latency_s = latency_s
        self._checkpoints = checkpoints
        self._on_kill = on_kill
        self._random = random.Random(report.seed)
        self._specs = _write_specs(directory, "killed", simulator.url, report.records, report.in_flight)
        self._part = 0
        self._database = directory / "killed.duckdb"
        self._exported = directory / "killed.parquet"
        self._start_up_s = 1.0
        self._cells_left = report.records * 3
        self._known = {"rows_finished": 0, "requests": 0}
        report.allowed = 0

    def _start(self, *arguments: str | Path, checkpoints: bool = False) -> int:
        errors = self._directory / "errors.txt"
        return self._server.start(
            [str(argument) for argument in arguments], self._directory, errors, frequent_checkpoints=checkpoints
        )

    def _run(self, checkpoints: bool = False) -> int:
        return self._start("run", "--quiet", self._specs[self._part], self._database, checkpoints=checkpoints)

    def measure_start_up(self) -> None:
        """How long a process takes until it works: a run of no records does nothing else. The second time counts."""
        spec = _write_spec(self._directory / "empty.yaml", self._simulator.url, 0, 40, self._report.in_flight)
        for name in ("empty", "empty again"):
            began = time.monotonic()
            code = self._server.wait(
                self._start("run", "--quiet", spec, self._directory / f"{name}.duckdb"), _DEADLINE_S
            )
            if code:
                raise RuntimeError(f"a run of no records failed: {self._errors(code)}")
            self._start_up_s = time.monotonic() - began

    def kill_creations(self, kills: int) -> None:
        """Kills processes between making the file and the first requests; each begins with no file."""
        for _ in range(kills):
            self._remove_database()
            self._known = {"rows_finished": 0, "requests": 0}
            process = self._run()
            while not self._database.exists() and self._server.wait(process, 0.002) is None:
                pass
            self._server.wait(process, self._random.uniform(0.0, 0.6 * self._start_up_s))
            self._server.kill(process)
            self._report.kills_in_creation += 1
            self._look(f"creation kill {self._report.kills_in_creation}")
        self._remove_database()
        self._known = {"rows_finished": 0, "requests": 0}

    def kill_until_complete(self, kills: int) -> None:
        """Kills the run that many times, at moments that leave it enough to do, then lets it go to its end."""
        report = self._report
        while report.kills < kills:
            self._part = max(self._part, min(len(_PARTS) * report.kills // kills, len(_PARTS) - 1))
            report.extensions = self._part
            if self._known["rows_finished"] and self._random.random() < _SHARE_OF_EXPORTS:
                self._kill_export()
            requests = self._requests()
            checkpoints = self._checkpoints or self._random.random() < _SHARE_WITH_CHECKPOINTS
            process = self._run(checkpoints)
            moment, code = self._wait_for_the_moment(process, requests, kills)
            if code is not None and code not in {0, 3}:
                self._problem(f"the run ended by itself before kill {report.kills + 1}: {self._errors(code)}")
                return
            self._server.kill(process)
            if code is not None:
                # It was complete before its moment came: the next part of the plan is what is left to do.
                if self._part == len(_PARTS) - 1:
                    self._problem(f"the run was complete before kill {report.kills + 1}")
                    return
                self._part += 1
                continue
            report.kills += 1
            report.kills_with_checkpoints += checkpoints
            report.kills_before_work += self._requests() == requests
            self._look(f"kill {report.kills} {moment}")
            if self._on_kill is not None:
                self._on_kill(report)
        self._part = len(_PARTS) - 1
        code = self._server.wait(process := self._run(), 5 * _DEADLINE_S)
        if code is None:
            self._problem("the last run did not end")
            self._server.kill(process)
        elif code not in {0, 3}:
            self._problem(f"the last run failed: {self._errors(code)}")

    def _wait_for_the_moment(self, process: int, requests: int, kills: int) -> tuple[str, int | None]:
        """Waits until the process is to die; returns when that is, and its exit code if it ended before."""
        if self._random.random() < _SHARE_IN_START_UP:
            moment = self._random.uniform(0.0, self._start_up_s)
            return f"{moment:.3f} s after its start", self._server.wait(process, moment)
        # What is left to do of this part, over the kills that are left to come in it.
        left = max((self._part + 1) * kills // len(_PARTS) - self._report.kills, 1)
        work_s = self._cells_left / self._report.in_flight * self._latency_s
        moment = self._random.uniform(0.0, min(1.4 * work_s / left, 0.7 * work_s))
        while self._requests() == requests:
            code = self._server.wait(process, 0.02)
            if code is not None:
                return "", code
        return f"{moment:.3f} s after its first request", self._server.wait(process, moment)

    def _kill_export(self) -> None:
        """Kills an export: its file is not there, or whole, with the rows of an earlier export or of this one."""
        before = parquet.read_metadata(self._exported).num_rows if self._exported.exists() else -1
        process = self._start("export", "--force", "--output", self._exported, self._database)
        self._server.wait(process, self._random.uniform(0.0, self._start_up_s))
        self._server.kill(process)
        self._report.kills_of_exports += 1
        if not self._exported.exists():
            if before >= 0:
                self._problem("a killed export took away the file of an earlier one")
            return
        rows = parquet.read_table(self._exported).num_rows
        if rows not in {before, self._known["rows_finished"]}:
            self._problem(f"a killed export left {rows} rows; {before} or {self._known['rows_finished']} were expected")

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
                    differs = [(one, two) for one, two in zip_longest(wanted, found[what]) if one != two]
                    self._problem(
                        f"{what} differs from that of the uninterrupted run, in {len(differs)} places: {differs[:3]}"
                    )
            row_ids = [row["row_id"] for row in (*found["dataset"], *found["dropped"])]
            if sorted(row_ids) != list(range(report.records)):
                self._problem("not every row is there exactly once")
        statistics = self._simulator.statistics()
        report.requests = statistics["requests"]
        report.answered = statistics["answered"]
        report.repeated = statistics["repeated_bodies"]
        report.allowed = kills_allowed(report.kills, report.in_flight, self._latency_s)
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
        records = sum(share for share, _ in _PARTS[: self._part + 1]) * self._report.records
        self._cells_left = max(round(records) * 3 - int(succeeded), 0)

    def _remove_database(self) -> None:
        for path in self._directory.glob("killed.duckdb*"):
            path.unlink()

    def _problem(self, text: str) -> None:
        self._report.problems.append(f"seed {self._report.seed}: {text}")

    def _errors(self, code: int) -> str:
        text = (self._directory / "errors.txt").read_text(errors="replace").strip()
        return f"exit code {code}, {text[-2000:] or 'no message'}"


def kills_allowed(kills: int, in_flight: int, latency_s: float) -> int:
    """How many requests may be answered twice (D2)."""
    return int(kills * (in_flight + in_flight * COMMIT_WINDOW_S / latency_s))


def _show_progress(report: KillReport) -> None:
    if not report.kills % 50:
        problems = f", {len(report.problems)} problems" if report.problems else ""
        print(f"{report.kills} kills{problems}", file=sys.stderr, flush=True)


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
        "--records",
        type=int,
        default=None,
        help="rows of the dataset (default: enough for the kills)",
    )
    parser.add_argument("--latency-ms", type=float, default=100.0, help="how long a request takes (default 100)")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=f"requests at once (default {IN_FLIGHT})")
    parser.add_argument("--frequent-checkpoints", action="store_true", help="fold the log into the file all the time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "big")
    directory = Path(tempfile.mkdtemp(prefix="rowmill-crash-loop-"))
    try:
        report = kill_loop(
            directory,
            kills=options.kills,
            seed=seed,
            records=options.records,
            latency_ms=options.latency_ms,
            in_flight=options.in_flight,
            frequent_checkpoints=options.frequent_checkpoints,
            on_kill=_show_progress,
        )
        (directory / "verbs").mkdir()
        verbs = kill_verbs(directory / "verbs", kills=max(2, options.kills // 10 // len(VERBS)), seed=seed)
    except BaseException:
        shutil.rmtree(directory)
        raise
    print("\n".join([*verbs.lines(), *report.lines()]))
    if report.problems or verbs.problems:
        print(f"What is left of it is in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
