"""Readers beside a living run: who asks without a pause waits, not the run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from run_state import RunState, succeeded
from virtual_run import EPOCH, custom, prepared, sampler

from rowmill.engine.invocation import run
from rowmill.errors import QueryStopped
from rowmill.inspect import server as live_server
from rowmill.inspect.message import HolderGone, decoded_status, encoded_status
from rowmill.inspect.query import MAX_WORKING, Queries, QueryStatistics
from rowmill.inspect.serving_share import CALL_CPU_S, SHARE, ServingShare, Turnstile
from rowmill.inspect.status_board import BoardStatistics, StatusBoard
from rowmill.store.reading.reader import Reader

READERS = 8
LOOKING = """
import sys, threading, time
from pathlib import Path
import rowmill
from rowmill.errors import RowmillError
from rowmill.inspect.place import live_place

def look():
    number = 0
    with rowmill.RunDatabase.open(sys.argv[1]) as database:
        status = database.status()
        while status.state == "running":
            (row,) = database.sql("select count(*) as n, count(distinct row_id) as ids from dataset").to_pylist()
            assert row["n"] == row["ids"] >= status.rows_finished, (row, status)
            assert number or not database.sql("from invariant_violation").num_rows
            status = database.status()
            number += 1
    looks.append(number)

looks, failures = [], []
threading.excepthook = lambda args: failures.append(args.exc_value)
print("ready", flush=True)
place = live_place(Path(sys.argv[1]))
pause = threading.Event()
for _ in range(6000):
    if place.has_socket():
        break
    pause.wait(0.005)
readers = [threading.Thread(target=look) for _ in range(int(sys.argv[2]))]
for reader in readers:
    reader.start()
for reader in readers:
    reader.join()
print(len(looks), sum(looks), failures, flush=True)
"""


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Listener:
    """Somebody who waits, until told not to."""

    def __init__(self) -> None:
        self.is_gone = False

    def is_cancelled(self) -> bool:
        return self.is_gone


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RunState]:
    spec = prepared(sampler("rating"), custom("text", made, ["rating"]), records=40, row_group_size=10)
    with RunState(spec, tmp_path / "x.duckdb") as state:
        yield state


async def made(row: dict[str, Any]) -> str:
    return "made"


def test_a_few_queries_go_at_once_and_then_serving_takes_its_share_of_a_core() -> None:
    clock = Clock()
    allowance = ServingShare(clock)
    begun_at: list[float] = []
    for _ in range(2000):
        clock.now_s += allowance.wait_s()
        begun_at.append(clock.now_s)
        allowance.spend(0.004)
    assert begun_at[50] == 100.0, "a person who looks now and then never waits"
    assert (begun_at[-1] - 100.0) * SHARE == pytest.approx(2000 * 0.004, rel=0.05)


def test_a_long_query_is_not_followed_by_a_long_wait() -> None:
    clock = Clock()
    allowance = ServingShare(clock)
    allowance.spend(25.0)
    assert 0.5 < allowance.wait_s() <= 1.0 + 1e-9


def test_calls_pass_at_once_until_their_allowance_is_used_up_and_all_of_them_when_the_server_closes() -> None:
    clock, passed = Clock(), []
    turnstile = Turnstile(clock)
    saved_s = 0.25

    def call() -> None:
        for number in range(2000):
            turnstile.pass_through()
            passed.append(number)

    calling = threading.Thread(target=call)
    calling.start()
    at_once = round(saved_s / CALL_CPU_S)
    _until(lambda: len(passed) >= at_once)
    clock.now_s += 20.0
    later = round(20.0 * SHARE / CALL_CPU_S)
    _until(lambda: len(passed) >= at_once + later)
    assert len(passed) <= at_once + later + 2
    turnstile.open()
    calling.join()
    assert len(passed) == 2000


def test_queries_begin_in_the_order_they_came(state: RunState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowmill.inspect.query.MAX_QUERIES", 1)
    queries = Queries(state.store.connection)
    first = queries.begin("first", 30.0, Listener())
    order: list[int] = []

    def ask(number: int) -> None:
        query = queries.begin(str(number), 30.0, Listener())
        order.append(number)
        queries.end(query)

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for number, thread in enumerate(asking):
        thread.start()
        _until(lambda number=number: len(queries._turns) == number + 1)
    queries.end(first)
    for thread in asking:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    queries.close()


def test_who_waits_for_a_turn_and_goes_away_leaves_the_queue(state: RunState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowmill.inspect.query.MAX_QUERIES", 1)
    queries = Queries(state.store.connection)
    first, listener, raised = queries.begin("first", 30.0, Listener()), Listener(), []

    def ask() -> None:
        with pytest.raises(QueryStopped, match="Nobody waits"):
            queries.begin("second", 30.0, listener)
        raised.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    _until(lambda: len(queries._turns) == 1)
    listener.is_gone = True
    asking.join()
    assert raised
    queries.end(first)
    queries.end(queries.begin("third", 1.0, Listener()))
    queries.close()


@pytest.mark.slow
def test_no_more_than_so_many_are_worked_on_and_waiting_takes_nothing_of_a_time_limit(state: RunState) -> None:
    queries = Queries(state.store.connection)
    with ExitStack() as stack:
        working = [queries.begin(str(number), 30.0, Listener()) for number in range(MAX_WORKING)]
        for query in working:
            stack.enter_context(query.working(Listener()))
        with pytest.raises(QueryStopped, match="run beside the run already"):
            queries.begin("late", 0.1, Listener())
    late = queries.begin("late", 0.1, Listener())
    with late.working(Listener()):
        late.watch()
    for query in [*working, late]:
        queries.end(query)
    queries.close()


def test_all_who_ask_at_a_moment_share_one_status_and_steering_ends_that_moment(state: RunState) -> None:
    clock = Clock()
    calls = {"local": 3}
    board = StatusBoard(state.store.connection, lambda: calls, clock, lambda: EPOCH + 1.0)
    first = decoded_status(board.content())
    assert (first.state, first.rows_finished, first.resources[0].in_flight) == ("running", 0, 3)
    tasks = state.take(free=20).tasks
    state.take([succeeded(task, "made") for task in tasks])
    assert decoded_status(board.content()) == first
    assert board.statistics().readings == 1
    board.forget()
    second = decoded_status(board.content())
    assert (second.rows_finished, board.statistics().readings) == (20, 2)
    clock.now_s += 60.0
    assert decoded_status(board.content()) == second
    assert board.statistics().readings == 3
    board.close()
    with pytest.raises(HolderGone):
        board.content()


def test_a_status_travels_whole(state: RunState) -> None:
    state.take()
    state.write_deferral("text", 0, 1, until_s=60)
    state.write_drop("text", 3)
    status = Reader(state.store.connection).detailed_status(EPOCH + 5.0)
    assert status.details is not None
    assert status.details.drop_reasons
    assert status.details.deferral_reasons
    assert status.details.oldest_row_group is not None
    assert decoded_status(encoded_status(status)) == status


@pytest.mark.slow
def test_eight_readers_that_never_pause_take_a_twentieth_of_a_core_from_a_run_and_no_turn_fails(
    tmp_path: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Throughput falls by less than 5 % beyond the CPU that readers use; what serves them is 5 % itself.

    What readers can keep a run from is the time that threads serve them, as these threads count it themselves.
    A machine that does other things makes the run longer, and with it what serving may take. What the run loses by
    locks beyond that shows on an idle machine only: ``tools/benchmark live`` says it against the CPU they use.
    """
    found: list[tuple[QueryStatistics, BoardStatistics]] = []
    close = live_server.LiveServer.close

    def closed(server: live_server.LiveServer) -> None:
        found.append((server.statistics(), server.status_statistics()))
        close(server)

    monkeypatch.setattr(live_server.LiveServer, "close", closed)
    spec = prepared(custom("text", made, []), custom("more", made, ["text"]), records=40_000, row_group_size=1000)
    database = tmp_path / "x.duckdb"
    looking = subprocess.Popen(
        [sys.executable, "-c", LOOKING, database, str(READERS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "ready\n"
        report = anyio.run(run, spec, database)
        ended, looks, failures = looking.stdout.readline().split(maxsplit=2)
    finally:
        looking.kill()
        looking.communicate()
    assert (report.state, report.rows_finished, report.rows_dropped) == ("finished", 40_000, 0)
    assert (int(ended), failures.strip()) == (READERS, "[]")
    ((queries, board),) = found
    assert int(looks) >= READERS
    assert queries.begun >= int(looks) - READERS, "the last look of each may be at the file"
    with Reader.open(database) as reader:
        assert reader.table("from invariant_violation").num_rows == 0
        ((seconds,),) = (
            reader.table("select epoch(max(ended_at) - min(started_at)) as s from invocation").to_pydict().values()
        )
    saved_up_s = 0.5  # what may go at once, and one query and one status beyond it
    assert queries.cpu_s <= saved_up_s + SHARE * seconds
    assert board.cpu_s <= saved_up_s + 2 * SHARE * seconds
    assert 4 * SHARE == 0.05, "queries, calls for the status, and its two readings"
    assert board.readings < queries.begun, "the status was read once for several"


def _until(holds: Any) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to pass")
