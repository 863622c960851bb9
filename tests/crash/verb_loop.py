"""The verbs that change a stopped run, killed with SIGKILL at seeded moments, then done again.

Each works on a complete run with dropped rows. After every kill the database is copied, opened and checked. In the end
the verb is done for good and the run goes on: the dataset has to be that of a verb nobody killed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fork_server import ForkServer, fork_server
from provider_simulator import provider_simulator
from scenario import copy_of_database

from rowmill.run_database import RunDatabase
from rowmill.store.run_store import RunStore

_DEADLINE_S = 120.0

_SPEC = """
name: verbs
records: 48
row_group_size: 10
seed: 6
models:
  - {{alias: writer, provider: openai, base_url: "{url}", model: small, max_parallel_requests: 8}}
columns:
  - {{name: id, column_type: sampler, sampler_type: uuid}}
  - {{name: first, column_type: llm-text, model_alias: writer, prompt: "Begin {{{{ id }}}}."}}
  - {{name: length, column_type: expression, sql: "length(first)", dtype: int}}
  - {{name: second, column_type: llm-text, model_alias: writer, prompt: "{wish} {{{{ first }}}}"}}
run: {{backoff_base_s: 0.05, max_attempts: 100, max_error_share: 1.0}}
"""
_ARGUMENTS = {
    "extend": ["extend", "run.duckdb", "--records", "61", "--row-group-size", "7"],
    "retry": ["retry", "run.duckdb", "--dropped"],
    "rerun": ["rerun", "run.duckdb", "--column", "first", "--where", "row_id % 3 = 0", "--yes"],
    "accept": ["run", "changed.yaml", "run.duckdb", "--accept-changes", "--yes", "--quiet"],
    "fork": ["fork", "run.duckdb", "forked.duckdb", "--spec", "changed.yaml"],
    "doctor": ["doctor", "run.duckdb", "--repair"],
}
VERBS = tuple(_ARGUMENTS)


@dataclass
class VerbReport:
    """What was killed, and what was wrong."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    """Per verb, those that died; the others were done before their moment."""
    ended: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """The report for people."""
        killed = ", ".join(f"{count} of {verb}" for verb, count in sorted(self.kills.items()))
        yield (
            f"seed {self.seed}: {self.kills.total()} kills of verbs on stopped runs in {self.seconds:.0f} s: {killed}; "
            f"{self.ended.total()} were done before their moment"
        )
        yield from (f"PROBLEM    {problem}" for problem in self.problems)


def kill_verbs(directory: Path, *, kills: int, seed: int, server: ForkServer | None = None) -> VerbReport:
    """Kills every verb ``kills`` times. What is wrong is in the report, not raised.

    Without a ``server`` there is one for this.
    """
    report = VerbReport(seed)
    began = time.monotonic()
    with (
        nullcontext(server) if server is not None else fork_server() as server,
        provider_simulator(rejected=0.1, latency_ms=2) as simulator,
    ):
        base = directory / "base"
        base.mkdir()
        for name, wish in (("spec", "Go on from"), ("changed", "Contradict")):
            (base / f"{name}.yaml").write_text(_SPEC.format(url=simulator.url, wish=wish))
        done = _do(server, base, ["run", "spec.yaml", "run.duckdb", "--quiet"])
        if done != 3:
            report.problems.append(f"the run ended with {done}: {_errors(base)}")
            return report
        for verb in VERBS:
            _kill_verb(server, directory, base, verb, kills, report)
    report.seconds = time.monotonic() - began
    return report


def _do(server: ForkServer, directory: Path, arguments: list[str]) -> int | None:
    return server.wait(server.start(arguments, directory, directory / "errors.txt"), _DEADLINE_S)


def _errors(directory: Path) -> str:
    return (directory / "errors.txt").read_text(errors="replace")[-1000:]


def _fresh(base: Path, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for name in ("spec.yaml", "changed.yaml"):
        (directory / name).write_bytes((base / name).read_bytes())
    copy_of_database(base / "run.duckdb", directory / "run.duckdb")
    return directory


def _finish(server: ForkServer, directory: Path, verb: str) -> tuple[dict[str, Any] | str, float]:
    """Does the verb, lets the run go on; returns what it ends with, or what is wrong, and how long the verb took."""
    began = time.monotonic()
    done = _do_the_verb(server, directory, verb)
    took_s = time.monotonic() - began
    return done or _go_on(server, directory, verb), took_s


def _target_of(verb: str) -> str:
    return "forked.duckdb" if verb == "fork" else "run.duckdb"


def _do_the_verb(server: ForkServer, directory: Path, verb: str) -> str | None:
    """What is wrong, if something is."""
    if verb == "fork" and (directory / _target_of(verb)).exists():
        return None
    code = _do(server, directory, _ARGUMENTS[verb])
    return None if code in {0, 3} else f"{verb} ended with {code}: {_errors(directory)}"


def _go_on(server: ForkServer, directory: Path, verb: str) -> dict[str, Any] | str:
    """Lets the run go on to its end; what it ends with, or what is wrong."""
    target = _target_of(verb)
    code = _do(server, directory, ["run", target, "--quiet"])
    if code not in {0, 3}:
        return f"the run after {verb} ended with {code}: {_errors(directory)}"
    with RunDatabase.open(directory / target) as opened:
        return {
            "state": opened.sql("select state, records, rows_finished, rows_dropped from run_status").to_pylist(),
            "dataset": opened.to_arrow().to_pylist(),
            "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by row_id").to_pylist(),
            "row groups": opened.sql(
                "select row_group, state, first_row, row_count, rows_finished from row_group order by row_group"
            ).to_pylist(),
        }


def _kill_verb(server: ForkServer, directory: Path, base: Path, verb: str, kills: int, report: VerbReport) -> None:
    moments = random.Random(f"{report.seed} {verb}")
    where = _fresh(base, directory / f"{verb}_unkilled")
    expected, took_s = _finish(server, where, verb)
    if isinstance(expected, str):
        report.problems.append(expected)
        return
    where = _fresh(base, directory / verb)
    for kill in range(kills):
        process = server.start(_ARGUMENTS[verb], where, where / "errors.txt")
        code = server.wait(process, moments.uniform(0.0, took_s))
        server.kill(process)
        (report.ended if code is not None else report.kills)[verb] += 1
        for name in ("run.duckdb", "forked.duckdb"):
            _look(where / name, directory / "look.duckdb", f"{verb}, kill {kill + 1}", report)
        if code is not None and kill + 1 < kills:
            _fresh(base, where)
    found, _ = _finish(server, where, verb)
    if isinstance(found, str):
        report.problems.append(found)
        return
    for what, wanted in expected.items():
        if found[what] != wanted:
            report.problems.append(f"after kills of {verb}, {what} differs from that of a {verb} nobody killed")


def _look(database: Path, copied: Path, when: str, report: VerbReport) -> None:
    if not database.exists():
        return
    try:
        store = RunStore.open(copy_of_database(database, copied))
    except Exception as error:  # noqa: BLE001  recorded: whatever it is, a kill must not lead to it
        report.problems.append(f"{when}: {database.name} does not open: {type(error).__name__}: {error}")
        return
    try:
        report.problems += [f"{when}: {row}" for row in store.connection.execute("from invariant_violation limit 5")]
    finally:
        store.close()
