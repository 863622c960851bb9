"""Every option a spec can have: a real run of it, killed once with -9, ends as if nobody had killed it (D1, D2)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from budget import Budget
from fork_server import ForkServer, fork_server
from hub_double import hub
from loopback_server import LoopbackHandler, LoopbackServer, serving
from option import IN_FLIGHT, Option
from options import OPTIONS, cases
from options_of_models import TOOL_SERVER
from options_of_seeds import SEED_FILES
from provider_simulator import RunningSimulator, provider_simulator

from rowmill.errors import RowmillError
from rowmill.run_database import RunDatabase

pytestmark = pytest.mark.slow

PLUGIN = Path(__file__).resolve().parent.parent / "plugin"
LATENCY_MS = 60
SECONDS_FOR_EACH = 1.2
"""Less than half of what an option takes."""
_DEADLINE_S = 90.0


class Judge(LoopbackServer):
    """A remote validator that refuses rows with an odd last digit once; ``answered`` are the bodies it judged."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.refused: set[str] = set()
        self.answered: list[str] = []


class _Handler(LoopbackHandler):
    server: Judge

    def respond(self, body: bytes) -> None:
        rows = json.loads(body)["data"]
        codes = {row["code"] for row in rows}
        fails = self.server.refused.isdisjoint(codes) and any(code[-1] in "13579bdf" for code in codes)
        self.server.refused |= codes if fails else set()
        verdicts = [{"is_valid": row["code"] < "8", "length": 1} for row in rows]
        answer = b"{}" if fails else json.dumps({"data": verdicts}).encode()
        if not fails:
            self.server.answered.append(body.decode())
        self.answer(503 if fails else 200, answer)


@contextmanager
def _tools_over(kind: str) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(TOOL_SERVER), f"--{kind}"], stdin=-1, stdout=-1, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


class Surroundings:
    """What the runs reach, and where they are started: one for all options."""

    def __init__(self, stack: ExitStack, packages: Path) -> None:
        options = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        subprocess.run([*options, "--target", str(packages), str(PLUGIN)], check=True, timeout=100)
        flaws: dict[str, Any] = {"malformed": 0.1, "transient": 0.02, "reasoning": "because"}
        self.slow: RunningSimulator = stack.enter_context(provider_simulator(latency_ms=LATENCY_MS, **flaws))
        self.quick: RunningSimulator = stack.enter_context(provider_simulator(**flaws))
        self.judge = stack.enter_context(serving(Judge()))
        library = stack.enter_context(hub())
        library.repositories["someone/birds"] = {"data/p1.parquet": SEED_FILES["seed.parquet"]}
        self.urls = {
            "$HUB": library.url,
            "$JUDGE": f"http://127.0.0.1:{self.judge.server_port}/judge",
            "$TOOLS": stack.enter_context(_tools_over("http")),
            "$SSE_TOOLS": stack.enter_context(_tools_over("sse")),
        }
        self.server: ForkServer = stack.enter_context(
            fork_server({**os.environ, "PYTHONPATH": str(packages), "TOOL_KEY": "sk-tool", "WANTED": "tool"})
        )


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with ExitStack() as stack:
        yield Surroundings(stack, tmp_path_factory.mktemp("packages"))


class Killed:
    """A run in a directory of its own, that waits at its gate until it is opened."""

    def __init__(self, option: Option, directory: Path, surroundings: Surroundings) -> None:
        self._option = option
        self._directory = directory
        self._server = surroundings.server
        self._urls = surroundings.urls

    def start(self, name: str, model: RunningSimulator) -> int:
        """Starts the run in that file, against that simulator."""
        self._option.write(self._directory, model.url, self._urls)
        program = ["script.py", name] if self._option.setup else ["run", "--quiet", "spec.json", name]
        return self._server.start(
            program,
            self._directory,
            self._directory / "errors.txt",
            is_script=bool(self._option.setup),
            environment=self._option.environment,
        )

    def run(self, name: str, model: RunningSimulator) -> int:
        """The exit code of a run that meets no gate."""
        (self._directory / "open").touch()
        code = self._server.wait(self.start(name, model), _DEADLINE_S)
        assert code in {0, 3}, f"exit code {code}: {(self._directory / 'errors.txt').read_text()}"
        return code

    def kill_at_the_gate(self, name: str, model: RunningSimulator) -> None:
        """Starts the run and kills it when its gate keeps the first row back."""
        process = self.start(name, model)
        deadline = time.monotonic() + _DEADLINE_S
        while not (self._directory / "reached").exists():
            code = self._server.wait(process, 0.005)
            assert code is None, f"it ended by itself, {code}: {(self._directory / 'errors.txt').read_text()}"
            assert time.monotonic() < deadline, "it never reached its gate"
        self._server.kill(process)

    def content(self, name: str) -> dict[str, Any]:
        """Everything that must be the same however often a run was killed."""
        database = self._directory / name
        files = Path(f"{database}.files")
        with RunDatabase.open(database) as opened:
            assert opened.sql("from invariant_violation").to_pylist() == []
            dataset = opened.to_arrow()
            return {
                "processed": self._processed(database),
                "schema": str(dataset.schema),
                "dataset": dataset.to_pylist(),
                "dropped": opened.sql("select row_id, column_name, reason from dropped_row order by all").to_pylist(),
                "skipped": opened.sql("select column_name, skipped from progress order by all").to_pylist(),
                "files": {str(one.relative_to(files)): one.read_bytes() for one in files.rglob("*") if one.is_file()},
            }

    def _processed(self, database: Path) -> list[str]:
        exported = []
        for processor in self._option.spec.get("processors", ()):
            file = f"{database.stem}-{processor['name']}.jsonl"
            program = ["export", database.name, "--processor", processor["name"], "--output", file]
            process = self._server.start(program, self._directory, self._directory / "errors.txt")
            assert self._server.wait(process, _DEADLINE_S) == 0, (self._directory / "errors.txt").read_text()
            exported.append((self._directory / file).read_text())
        return exported

    def requests(self, name: str) -> int:
        """How many requests of a model are on record."""
        with RunDatabase.open(self._directory / name) as opened:
            (row,) = opened.sql("select count(*) as requests from attempt where model is not null").to_pylist()
        return int(row["requests"])

    def cells_made(self, name: str) -> tuple[int, int]:
        """How many cells of ``made`` are committed, and how many there will be."""
        with RunDatabase.open(self._directory / name) as opened:
            assert opened.sql("from invariant_violation").to_pylist() == []
            (row,) = opened.sql("select done, cells from progress where column_name = 'made'").to_pylist()
        return row["done"], row["cells"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("table", OPTIONS)
def test_runs_with_each_option_of_a_table_survive_a_kill(
    table: str, tmp_path: Path, surroundings: Surroundings, budget: Budget
) -> None:
    """Where there is little time, some of the options; the seed says which."""
    options = list(cases(table).items())
    some = budget.some_of(options, SECONDS_FOR_EACH * len(options), least=len(options) // 3)
    for number, (name, option) in enumerate(some):
        directory = tmp_path / str(number)
        directory.mkdir()
        try:
            _assert_survives_a_kill(Killed(option, directory, surroundings), option, surroundings)
        except (AssertionError, RowmillError) as error:
            raise AssertionError(f"{table}: {name}: {error}") from error
        shutil.rmtree(directory)


def _assert_survives_a_kill(run: Killed, option: Option, surroundings: Surroundings) -> None:
    surroundings.slow.reset()
    surroundings.judge.answered.clear()
    surroundings.judge.refused.clear()
    run.kill_at_the_gate("killed.duckdb", surroundings.slow)
    done, cells = run.cells_made("killed.duckdb")
    assert 0 < done < cells
    code = run.run("killed.duckdb", surroundings.slow)
    statistics = surroundings.slow.statistics()
    repeated = statistics["repeated_bodies"]
    repeated += len(surroundings.judge.answered) - len(set(surroundings.judge.answered))
    assert run.run("whole.duckdb", surroundings.quick) == code
    expected = run.content("whole.duckdb")
    assert expected["dataset"]
    assert run.content("killed.duckdb") == expected
    # In flight when it died, and answered but not committed yet: the latency is longer than the commit window.
    most_lost = 2 * IN_FLIGHT * max(option.requests, 1)
    assert repeated <= most_lost
    if not option.environment and not surroundings.judge.answered:  # no health checks, and the simulator alone is asked
        assert 0 <= statistics["requests"] - run.requests("killed.duckdb") <= most_lost
