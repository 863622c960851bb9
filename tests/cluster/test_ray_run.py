"""Runs whose calls are made on a Ray cluster: the dataset is that of a run in one process, whatever dies."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from processor import waited_for_processor_s
from provider_simulator import provider_simulator
from ray_cluster import RayCluster

from rowmill import RunDatabase
from rowmill.errors import RowmillError

pytestmark = pytest.mark.slow
_HERE = Path(__file__).parent
_KEY = "writers-key-8d41c"
_RESULT = "select row_id, columns(* exclude row_id) from dataset order by row_id"
_WAIT_S = 60


def _columns(**more: Any) -> list[dict[str, Any]]:
    start = {"sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    custom = {"column_type": "custom", "required_columns": ["start"]}
    return [
        {"name": "start", "column_type": "sampler", **start},
        {"name": "slow", "generator_function": "functions:slow", **custom},
        {
            "name": "digest",
            "generator_function": "functions:digest",
            **custom,
            "required_columns": ["slow", "start"],
            **more,
        },
        {
            "name": "rank",
            "generator_function": "functions:rank",
            "dtype": "int",
            "generation_strategy": "batch",
            **custom,
            "required_columns": ["start", "digest"],  # so that it sees no row that is dropped later
        },
    ]


def _write_spec(
    directory: Path,
    columns: list[dict[str, Any]] | None = None,
    records: int = 1000,
    gate: Path | None = None,
    **rest: Any,
) -> None:
    directory.mkdir(exist_ok=True)
    functions = (_HERE / "spec_functions.py").read_text()
    (directory / "functions.py").write_text(functions.replace('GATE = ""', f"GATE = {str(gate or '')!r}"))
    settings = {"max_in_flight": 256, "max_active_rows": 4000, **rest.pop("run", {})}
    spec = {"name": "r", "records": records, "row_group_size": 250, "seed": 5, "run": settings, **rest}
    (directory / "spec.json").write_text(json.dumps({**spec, "columns": columns or _columns()}))


def _rows(directory: Path) -> Any:
    with duckdb.connect(str(directory / "r.duckdb"), read_only=True) as connection:
        assert connection.sql("from invariant_violation").fetchall() == []
        dropped = connection.sql("select row_id, column_name, error_type from dropped_row order by row_id").fetchall()
        return connection.sql(_RESULT).fetchall(), dropped


class Driver:
    """``rowmill run`` on the cluster, and what it says."""

    def __init__(self, directory: Path, environ: dict[str, str], *options: str) -> None:
        command = [sys.executable, "-m", "rowmill", "run", "spec.json", "-v", *options]
        self.process = subprocess.Popen(
            command, cwd=directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Waits until it says so."""
        deadline = time.monotonic() + _WAIT_S
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"It ended without saying {pattern}:\n{''.join(self.said)}")

    def workers(self, number: int) -> list[int]:
        """The processes of its first workers, when they have joined."""
        return [int(self.until(r"Worker \S+ joins: pid (\d+)")[1]) for _ in range(number)]

    def end(self, code: int = 3) -> str:
        """Waits for its end; returns all it said."""
        while (line := self._lines.get(timeout=_WAIT_S)) is not None:
            self.said.append(line)
        said = "".join(self.said)
        assert self.process.wait(10) == code, said
        return said


@contextmanager
def _driver(directory: Path, environ: dict[str, str], *options: str) -> Iterator[Driver]:
    driver = Driver(directory, environ, *options)
    try:
        yield driver
    finally:
        driver.process.kill()
        driver.process.wait()


_ON_RAY = ("--executor", "ray", "--workers", "2")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rows of the same spec, made in one process."""
    directory = tmp_path_factory.mktemp("alone")
    _write_spec(directory)
    with _driver(directory, dict(os.environ), "--executor", "local") as driver:
        driver.end()
    rows, dropped = _rows(directory)
    assert len(rows) > 500
    assert dropped
    return rows, dropped


@pytest.fixture
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not there yet; it is not in the spec's directory, which Ray packs."""
    return tmp_path_factory.mktemp("gate") / "open"


def _node_of(worker: int, cluster: RayCluster) -> str:
    return next(node for node in cluster.nodes if worker in cluster.processes_of(node))


def _some_results(directory: Path) -> None:
    """Returns when a part of the run is committed; the rest waits for the gate."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        with suppress(RowmillError), RunDatabase.open(directory / "r.duckdb") as opened:
            if opened.sql("select sum(done)::bigint as done from progress").to_pylist()[0]["done"] > 300:
                return
        time.sleep(0.1)
    raise AssertionError("Nothing was committed.")


def _eventually_says(command: list[str], directory: Path, text: str) -> str:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        said = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout
        if text in said:
            return said
    raise AssertionError(f"it does not say '{text}': {said}")


def test_w2_a_node_that_is_killed_costs_nothing(cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any) -> None:
    _write_spec(tmp_path, gate=gate)
    with _driver(tmp_path, cluster.environ, *_ON_RAY) as driver:
        worker, _ = driver.workers(2)
        _some_results(tmp_path)
        cluster.kill_node(_node_of(worker, cluster))
        driver.until("is lost")
        gate.touch()
        driver.end()
    assert _rows(tmp_path) == alone


def test_w2_a_frozen_node_is_silent_and_its_calls_are_made_elsewhere(
    cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any
) -> None:
    _write_spec(tmp_path, gate=gate, run={"executor": {"kind": "ray", "workers": 2, "silence_s": 2.5}})
    with _driver(tmp_path, cluster.environ) as driver:
        worker, _ = driver.workers(2)
        _some_results(tmp_path)
        node = _node_of(worker, cluster)
        with cluster.frozen(node):
            driver.until("is lost: it was silent")
            (replacement,) = driver.workers(1)
            assert _node_of(replacement, cluster) != node
            gate.touch()
            driver.end()
    assert _rows(tmp_path) == alone


_ON_ONE_NODE = {"kind": "ray", "workers": 2, "silence_s": 2.5, "num_cpus": 0.5, "resources": {"left": 1}}


def _attempts_charged(directory: Path) -> Any:
    with duckdb.connect(str(directory / "r.duckdb"), read_only=True) as connection:
        return connection.sql("select distinct outcome, error_type from attempt").fetchall()


def test_w3_when_the_only_node_is_frozen_the_run_says_so_and_goes_on_when_it_answers(
    cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any
) -> None:
    _write_spec(tmp_path, gate=gate, run={"executor": _ON_ONE_NODE})
    left, _ = cluster.nodes
    with _driver(tmp_path, cluster.environ) as driver:
        driver.workers(2)
        _some_results(tmp_path)
        with cluster.frozen(left):
            driver.until("No worker of group 'default' is left: its calls wait for one")
            status = [sys.executable, "-m", "rowmill", "status", "r.duckdb"]
            told = _eventually_says(status, tmp_path, "none of 2 is left since")
            assert "the run waits until" in told
            driver.until("did not get ready: None of the 1 nodes that could take a worker answers")
        driver.workers(1)
        gate.touch()
        driver.end()
    assert _rows(tmp_path) == alone
    assert _attempts_charged(tmp_path) == [("rejected", "ValueError")]


def test_w5_when_the_only_node_stays_frozen_the_run_stops_with_75_and_the_same_command_goes_on(
    cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any
) -> None:
    _write_spec(tmp_path, gate=gate, run={"executor": {**_ON_ONE_NODE, "wait_s": 12}})
    left, _ = cluster.nodes
    with _driver(tmp_path, cluster.environ) as driver:
        driver.workers(2)
        _some_results(tmp_path)
        with cluster.frozen(left):
            assert "No worker of group 'default' was left for 12 s (run.executor.wait_s)" in driver.end(75)
    gate.touch()
    with _driver(tmp_path, cluster.environ, *_ON_RAY) as driver:
        driver.end()
    assert _rows(tmp_path) == alone
    assert _attempts_charged(tmp_path) == [("rejected", "ValueError")]


def test_w2_a_worker_that_dies_or_stands_still_is_noticed_and_replaced_soon_and_costs_nothing(
    cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any
) -> None:
    """With the patience that runs have unless told otherwise."""
    _write_spec(tmp_path, gate=gate)
    waited = -waited_for_processor_s(os.getpid())
    hurt = []
    with _driver(tmp_path, cluster.environ, *_ON_RAY) as driver:
        dying, standing = driver.workers(2)
        _some_results(tmp_path)
        for worker, hurts in ((dying, signal.SIGKILL), (standing, signal.SIGSTOP)):
            hurt.append(time.time())
            os.kill(worker, hurts)
            driver.until("is lost")
            driver.workers(1)
        waited += waited_for_processor_s(os.getpid()) + waited_for_processor_s(driver.process.pid)
        gate.touch()
        driver.end()
    assert _rows(tmp_path) == alone
    with duckdb.connect(str(tmp_path / "r.duckdb"), read_only=True) as connection:
        told = 'select epoch("at") from event where kind = $1 order by "at"'
        lost = [at for (at,) in connection.execute(told, ["worker lost"]).fetchall()]
        _, _, *joined = [at for (at,) in connection.execute(told, ["worker joined"]).fetchall()]
    noticed = [after - before for before, after in zip(hurt, lost, strict=True)]
    back = [after - before for before, after in zip(lost, joined, strict=True)]
    print(f"noticed after {noticed} s, another one worked after {back} s more; waited {waited:.2f} s for a processor")
    assert noticed[0] <= 0.5 + waited
    assert noticed[1] <= 7.0 + waited
    assert max(back) <= 3.0 + 2 * waited


def test_w7_after_the_driver_is_killed_the_same_command_goes_on(
    cluster: RayCluster, tmp_path: Path, gate: Path, alone: Any
) -> None:
    _write_spec(tmp_path, gate=gate)
    with _driver(tmp_path, cluster.environ, *_ON_RAY) as driver:
        workers = driver.workers(2)
        _some_results(tmp_path)
        driver.process.kill()
        driver.process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline, "workers outlive their driver"
    gate.touch()
    with _driver(tmp_path, cluster.environ, *_ON_RAY) as driver:
        driver.end()
    assert _rows(tmp_path) == alone


def test_w8_a_key_reaches_workers_and_no_file_or_message(cluster: RayCluster, tmp_path: Path) -> None:
    prompt = "Say something about {{ start }}."
    words = {"name": "words", "column_type": "llm-text", "model_alias": "writer", "prompt": prompt}
    with provider_simulator(latency_ms=5) as simulator:
        writer = {"alias": "writer", "provider": "openai", "base_url": simulator.url, "model": "small"}
        models = [{**writer, "api_key": "${WRITER_KEY}"}]
        groups = {"gpu": {"num_gpus": 1}}
        executor = {"kind": "ray", "workers": 1, "groups": groups}
        _write_spec(tmp_path, [*_columns(worker_group="gpu"), words], 100, models=models, run={"executor": executor})
        with _driver(tmp_path, {**cluster.environ, "WRITER_KEY": _KEY}) as driver:
            said = driver.end()
    assert simulator.url.startswith("http://127.0.0.1")
    assert "ValueError" in said
    rows, dropped = _rows(tmp_path)
    assert all(row[-1] for row in rows)
    assert dropped
    with duckdb.connect(str(tmp_path / "r.duckdb"), read_only=True) as connection:
        messages = connection.sql("select distinct message from dropped_row").fetchall()
    (message,) = messages
    assert re.fullmatch(r"too small, says \*\*\* \(functions\.py:\d+\)", *message)
    for directory in (cluster.temporary, tmp_path):
        found = subprocess.run(["grep", "-rla", _KEY, str(directory)], capture_output=True, check=False, text=True)
        assert (found.stdout, found.returncode) == ("", 1)
    assert _KEY not in said


def test_w6_a_worker_with_other_code_is_refused_by_name(cluster: RayCluster, tmp_path: Path) -> None:
    _write_spec(tmp_path, run={"executor": {"kind": "ray", "workers": 1, "working_dir": "../older"}})
    older = tmp_path.parent / "older"
    older.mkdir(exist_ok=True)
    source = (tmp_path / "functions.py").read_text()
    (older / "functions.py").write_text(source.replace("the first edition", "an older edition"))
    with _driver(tmp_path, cluster.environ) as driver:
        assert re.search(r"Worker default-\d on \S+ is refused: its code of column '(slow|digest|rank)'", driver.end(5))


def test_w6_a_worker_with_another_rowmill_is_refused_by_name(cluster: RayCluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import rowmill.version\nrowmill.version.VERSION = '9.9.9'\n")
    path = os.pathsep.join([str(other), cluster.environ["PYTHONPATH"]])
    executor = {"kind": "ray", "workers": 1, "runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    _write_spec(tmp_path / "spec", run={"executor": executor})
    with _driver(tmp_path / "spec", cluster.environ) as driver:
        assert re.search(r"Worker default-\d on \S+ is refused: it has Rowmill 9\.9\.9", driver.end(5))


_SCRIPT = """
import json, pathlib, sys
import rowmill

FACTOR = 3

def tripled(row):
    return str(round(row["start"] * FACTOR, 6))

spec = json.loads(pathlib.Path("spec.json").read_text())
spec["columns"] = [spec["columns"][0], {"name": "tripled", "column_type": "custom", "generator_function": tripled,
    "required_columns": ["start"]}]
rowmill.run(spec, "r.duckdb", executor={"kind": "ray", "workers": 1})
"""


def test_functions_of_a_script_are_sent_as_they_are(cluster: RayCluster, tmp_path: Path) -> None:
    _write_spec(tmp_path, records=20)
    (tmp_path / "script.py").write_text(_SCRIPT)
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=cluster.environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    rows, _ = _rows(tmp_path)
    assert [row[-1] for row in rows] == [str(round(row[1] * 3, 6)) for row in rows]
