"""Workers that are processes of this machine: the same dataset, crashes that cost a row, nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from provider_simulator import provider_simulator

import rowmill
from rowmill import RunDatabase
from rowmill.errors import SpecError
from rowmill.remote.messages import Hello, decode
from rowmill.remote.processes import ProcessLauncher

FUNCTIONS = """
import os
import threading
import time

def shout(row) -> str:
    return f"{row['size']:.6f}!"

async def twice(row) -> str:
    return row["loud"] * 2

def total(rows):
    return {"row_index": rows["row_index"], "total": [len(rows)] * len(rows)}

def fragile(row) -> int:
    if row["size"] > 0.97:
        os._exit(3)
    return 1

lock = threading.Lock()
running = 0
most = 0

def at_once(row) -> int:
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    time.sleep(0.01)
    with lock:
        running -= 1
    return most

def dies_once(row) -> int:
    died = os.path.join(os.path.dirname(__file__), "died")
    if row["size"] > 0.9 and not os.path.exists(died):
        open(died, "x").close()
        os.kill(os.getpid(), 9)
    return 1

def key_in_environment(row) -> str:
    started_with = open("/proc/self/environ").read()
    return f"{'WRITER_KEY' in started_with} {os.environ['WRITER_KEY'] == 'sk-very-secret'}"
"""


def _custom(name: str, function: str, needs: list[str], **fields: Any) -> dict[str, Any]:
    reference = f"functions:{function}"
    return {"name": name, "column_type": "custom", "generator_function": reference, "required_columns": needs, **fields}


def _spec(*columns: dict[str, Any], records: int = 40, **fields: Any) -> dict[str, Any]:
    size = {"name": "size", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    return {"name": "elsewhere", "records": records, "row_group_size": 20, "columns": [size, *columns], **fields}


def _rows(path: Path) -> list[dict[str, Any]]:
    with RunDatabase.open(path) as database:
        rows: list[dict[str, Any]] = database.to_arrow().to_pylist()
    return rows


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    return tmp_path


def test_processes_make_the_same_dataset_as_one_process(directory: Path) -> None:
    spec = _spec(
        _custom("loud", "shout", ["size"]),
        _custom("twice", "twice", ["loud"]),
        _custom("total", "total", ["loud"], generation_strategy="batch", dtype="int"),
        {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "Say {{ twice }}."},
        models=[{"alias": "writer", "provider": "simulated", "model": "small", "simulation": {"latency_ms": 1}}],
    )
    rowmill.run(spec, directory / "local.duckdb", directory=directory)
    report = rowmill.run(
        spec, directory / "other.duckdb", directory=directory, executor={"kind": "processes", "workers": 2}
    )
    assert report.exit_code == 0
    assert _rows(directory / "other.duckdb") == _rows(directory / "local.duckdb")


def test_w4_a_function_that_ends_its_process_costs_its_row_and_no_other(directory: Path) -> None:
    spec = _spec(
        _custom("fine", "fragile", ["size"]),
        run={"executor": {"kind": "processes", "workers": 1}, "max_attempts": 1, "backoff_base_s": 0.01},
    )
    report = rowmill.run(spec, directory / "run.duckdb", directory=directory)
    sizes = [row["size"] for row in _rows(directory / "run.duckdb")]
    assert (report.exit_code, report.rows_dropped) == (3, 40 - len(sizes))
    assert 0 < report.rows_dropped < 5
    assert max(sizes) <= 0.97
    with RunDatabase.open(directory / "run.duckdb") as database:
        kinds = database.sql("select distinct error_type from dropped_row").to_pylist()
    assert kinds == [{"error_type": "WorkerDied"}]


def test_w8_a_key_reaches_functions_but_not_the_environment_a_worker_starts_with(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITER_KEY", "sk-very-secret")
    model = {"alias": "writer", "provider": "simulated", "model": "small", "api_key": "${WRITER_KEY}"}
    spec = _spec(_custom("seen", "key_in_environment", []), records=1, models=[model])
    rowmill.run(spec, directory / "run.duckdb", directory=directory, executor={"kind": "processes", "workers": 1})
    assert [row["seen"] for row in _rows(directory / "run.duckdb")] == ["False True"]


def test_w7_a_worker_ends_when_its_driver_lets_go_of_it() -> None:
    async def main() -> tuple[int, int | None]:
        launcher = ProcessLauncher(dict(os.environ))
        link = await launcher.launch("one", "default", frozenset())
        hello = decode(await link.receive())
        assert isinstance(hello, Hello)
        link._frames.close()
        with anyio.fail_after(30):
            await link.wait_ended()
        await launcher.aclose()
        return hello.pid, link._process.pid

    told, started = anyio.run(main)
    assert told == started


@pytest.mark.parametrize("others", [[], [_custom("loud", "shout", ["size"])]])
def test_w9_a_worker_runs_no_more_plain_functions_at_once_than_it_has_threads(
    directory: Path, others: list[dict[str, Any]]
) -> None:
    one = _custom("one", "at_once", ["size"], dtype="int", max_rows_per_call=1, worker_group="one")
    spec = _spec(one, *others, run={"max_local_workers": 1})
    executor = {"kind": "processes", "workers": 2, "groups": {"one": {"workers": 1}}}
    report = rowmill.run(spec, directory / "run.duckdb", directory=directory, executor=executor)
    assert report.exit_code == 0, report.message
    assert {row["one"] for row in _rows(directory / "run.duckdb")} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(("refused", "is_killed"), [(0.0, False), (0.01, False), (0.0, True)])
def test_w9_calls_that_wait_at_workers_never_make_more_requests_at_once_than_the_model_takes(
    directory: Path, refused: float, is_killed: bool
) -> None:
    others = [_custom("killed", "dies_once", ["size"], dtype="int", max_rows_per_call=1)] if is_killed else []
    text = {"name": "text", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ size }}"}
    with provider_simulator(latency_ms=8, rate_limited=refused, retry_after="0.1") as server:
        model = {"alias": "writer", "base_url": server.url, "model": "small", "max_parallel_requests": 25}
        spec = _spec(text, *others, records=2000, models=[model], run={"trace": True})
        executor = {"kind": "processes", "workers": 3}
        report = rowmill.run(spec, directory / "run.duckdb", directory=directory, executor=executor)
        assert (report.exit_code, report.rows_finished) == (0, 2000), report.message
        assert (directory / "died").exists() == is_killed
        asked = server.statistics()
    # What a killed worker asked the server still answers, for a moment.
    assert 20 <= asked["greatest_concurrency"] <= (25 + 25 // 3 + 1 if is_killed else 25)
    assert asked["repeated_bodies"] <= (25 if is_killed else 0)
    with RunDatabase.open(directory / "run.duckdb") as database:
        assert database.sql("from invariant_violation").num_rows == 0
        (most,) = database.sql("select max(attempts) as most from deferred_task").column("most").to_pylist()
    assert most is None


def test_a_group_of_workers_that_is_not_defined_is_named(directory: Path) -> None:
    spec = _spec(_custom("loud", "shout", ["size"], worker_group="gpu"))
    with pytest.raises(SpecError, match="no group of workers 'gpu'"):
        rowmill.run(spec, directory / "run.duckdb", directory=directory, executor="processes")


@pytest.mark.slow
def test_a_call_that_is_cut_off_counts_what_it_asked_wherever_it_is_made(directory: Path) -> None:
    code = "async def asks(row, params, models) -> str:\n    return (await models['writer'].chat('Well?')).text\n"
    (directory / "functions.py").write_text(code, encoding="utf-8")
    slow = {"latency_ms": 60_000}
    spec = _spec(
        _custom("asked", "asks", ["size"], model_aliases=["writer"]),
        records=3,
        models=[{"alias": "writer", "provider": "simulated", "model": "small", "simulation": slow}],
        run={"task_timeout_s": 0.5, "max_attempts": 1, "max_error_share": 1.0},
    )
    told = []
    for name, executor in (("local", "local"), ("other", {"kind": "processes", "workers": 1})):
        rowmill.run(spec, directory / f"{name}.duckdb", directory=directory, executor=executor)
        with RunDatabase.open(directory / f"{name}.duckdb") as database:
            attempts = "select model, outcome, error_type, count(*) as times from attempt group by all order by all"
            told.append(
                (database.sql(attempts).to_pylist(), database.status().requests, database.status().rows_dropped)
            )
    assert told[0] == told[1]
    assert told[0][1:] == (3, 3)


@pytest.mark.slow
def test_functions_that_hold_the_interpreter_run_at_once_in_two_processes(directory: Path) -> None:
    code = """
import ctypes
import os
import time

_system = ctypes.PyDLL(None)  # unlike others, its calls keep the interpreter

def holds(row) -> str:
    began = time.monotonic()
    _system.usleep(10_000)
    return f"{os.getpid()} {began} {time.monotonic()}"
"""
    (directory / "functions.py").write_text(code, encoding="utf-8")
    spec = _spec(_custom("held", "holds", ["size"], max_rows_per_call=1), records=600, row_group_size=300)
    rowmill.run(spec, directory / "run.duckdb", directory=directory, executor={"kind": "processes", "workers": 2})
    held: dict[str, list[tuple[float, float]]] = {}
    for row in _rows(directory / "run.duckdb"):
        pid, began, ended = row["held"].split()
        held.setdefault(pid, []).append((float(began), float(ended)))
    assert len(held) == 2
    first = max(min(began for began, _ in calls) for calls in held.values())
    last = min(max(ended for _, ended in calls) for calls in held.values())
    both = [(began, ended) for calls in held.values() for began, ended in calls if first <= began and ended <= last]
    assert len(both) > 100
    # Each process holds its interpreter nearly all the time: nothing between them waits for the other.
    assert sum(ended - began for began, ended in both) > 1.6 * (last - first)
