"""A living run answers readers: the same rows as its file, of one moment, at nobody's cost."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from run_state import RunState, succeeded
from virtual_run import EPOCH, custom, prepared, sampler

from rowmill.errors import QueryStopped, RowmillError, StateError, UsageError
from rowmill.inspect import query as running_query
from rowmill.inspect.client import LiveConnection
from rowmill.inspect.message import HolderGone
from rowmill.inspect.opening import open_reader
from rowmill.inspect.place import live_place
from rowmill.inspect.server import LiveServer
from rowmill.inspect.serving_share import Turnstile
from rowmill.store.database import connection as store_connection
from rowmill.store.database.statements import all_statements
from rowmill.store.file.log import log_of
from rowmill.store.file.undo_file import undo_of
from rowmill.store.reading.listing import VIEWS, Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import Status
from rowmill.store.turn.control_request import ControlAnswer, ControlRequest

ENDLESS = "select count(*) from range(10000000) as a, range(10000000) as b where a.range + b.range = -1"
LONG = "select range as number, repeat('x', 100) as filler from range(20000000)"


async def made(row: dict[str, Any]) -> str:
    return "made"


@dataclass
class Living:
    """A run database with a server, as in the process that works on it."""

    path: Path
    state: RunState
    server: LiveServer
    calls: dict[str, int] = field(default_factory=dict)

    def connect(self, time_limit_s: float = 30.0) -> LiveConnection:
        return LiveConnection(self.path, time_limit_s)

    def wait_for_queries(self, running: int) -> None:
        """Waits until so many queries run."""
        pause = threading.Event()
        for _ in range(3000):
            if self.server.statistics().running == running:
                return
            pause.wait(0.01)
        raise AssertionError(f"{self.server.statistics()} instead of {running} running")


@pytest.fixture
def living(tmp_path: Path, sockets: Path) -> Iterator[Living]:
    path = tmp_path / "x.duckdb"
    with ExitStack() as stack:
        spec = prepared(sampler("rating"), custom("text", made, ["rating"]), records=40, row_group_size=10)
        state = stack.enter_context(RunState(spec, path))
        place = live_place(path)
        place.announce()
        stack.callback(place.withdraw)
        calls = {"local": 3}

        def steer(request: ControlRequest, _: Callable[[], bool]) -> ControlAnswer:
            return state.store.steer(request, EPOCH)

        server = LiveServer(place, state.store.connection.beside(), lambda: calls, steer)
        stack.callback(server.close)
        tasks = state.take(free=20).tasks
        state.take([succeeded(task, "made") for task in tasks])
        yield Living(path, state, server, calls)


@pytest.fixture
def connection(living: Living) -> Iterator[LiveConnection]:
    found = living.connect()
    yield found
    found.close()


def test_a_query_that_builds_more_than_the_machine_has_ends_alone(living: Living) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with closing(living.connect()) as asking:
        for start in (0, 40000):
            large = f"select len(range(case when range >= {start} then 4000000000 else 1 end)) as n from range(60000)"
            with pytest.raises(RowmillError, match="emory"), asking.batches(large) as rows:
                rows.read_all()
        assert asking.execute("select count(*) from dataset") == [(20,)]
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_the_socket_is_private(living: Living) -> None:
    assert live_place(living.path).socket.stat().st_mode & 0o777 == 0o600
    assert live_place(living.path).directory.stat().st_mode & 0o777 == 0o700


def test_readers_get_what_the_file_holds(living: Living, connection: LiveConnection) -> None:
    direct = living.state.store.connection
    for name in ("read_progress", "dataset_columns", "finished_row_bounds", "newest_spec"):
        text = all_statements()[name].text
        assert connection.execute(text) == direct.execute(text), name
    for what in VIEWS.keys() - {"resources", "admission"}:  # a living run knows more of those; see below
        for selection in (Selection(), Selection(limit=7)):
            asked, read = (listing(Reader(source), what, selection).read_all() for source in (connection, direct))
            assert asked.to_pylist() == read.to_pylist(), what
            assert asked.schema.names == read.schema.names


def test_readers_see_that_the_run_lives_and_what_it_has_in_flight(living: Living) -> None:
    with open_reader(living.path) as reader:
        status = reader.status()
        assert status.state == "running"
        assert {resource.resource: resource.in_flight for resource in status.resources}["local"] == 3
        assert status.rows_finished == 20
        assert reader.detailed_status(EPOCH + 1.0).details is not None
        living.calls["local"] = 5
        table = reader.table("select in_flight from resource where resource = 'local'")
        assert table.to_pylist() == [{"in_flight": 5}]
        assert sum(batch.num_rows for batch in reader.dataset_batches()) == 20
        assert reader.dataset_schema().names == ["row_id", "rating", "text"]


def test_who_asks_for_the_status_again_and_again_waits_for_it(living: Living, connection: LiveConnection) -> None:
    living.server._service.turnstile = Turnstile(lambda: 100.0)
    asked: list[Status | None] = []
    gone: list[bool] = []

    def ask_for_ever() -> None:
        while True:
            asked.append(connection.known_status())

    def ask() -> None:
        with pytest.raises(HolderGone):
            ask_for_ever()
        gone.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    pause = threading.Event()
    for _ in range(3000):
        if len(asked) >= 500:
            break
        pause.wait(0.01)
    assert 500 <= len(asked) <= 501, "a quarter of a second of CPU was saved up, and half a millisecond is a call's"
    living.server.close()
    asking.join()
    assert gone
    assert len(asked) <= 501


def test_a_reader_sees_nothing_of_a_turn_that_is_not_committed(living: Living, connection: LiveConnection) -> None:
    with living.state.store.connection.transaction():
        living.state.sql("delete from state.dataset_row")
        assert connection.execute("select count(*) from dataset") == [(20,)]
    assert connection.execute("select count(*) from dataset") == [(0,)]


@pytest.mark.parametrize(
    "query",
    [
        "insert into state.event select * from state.event",
        "with y as (insert into state.event select * from state.event returning 1 as a) from y",
        "create temp table y (a int)",
        "copy state.run to '/tmp/rowmill-no.csv'",
        "attach ':memory:' as y",
        "set threads = 1",
        "pragma enable_profiling",
        "call force_checkpoint()",
        "from force_checkpoint()",
        "from read_text('/etc/hostname')",
        "from '/etc/hostname'",
        "select sleep_ms(100000)",
    ],
)
def test_the_holder_itself_refuses_what_does_not_only_read(
    living: Living, connection: LiveConnection, query: str
) -> None:
    before = living.state.sql("select count(*) from state.event")
    with pytest.raises(UsageError):
        connection.arrow(query)
    assert living.state.sql("select count(*) from state.event") == before


def test_errors_are_the_same_as_those_of_the_file(living: Living) -> None:
    queries = ["frm x", "from nowhere", "select 1 +", "select cast('a' as int)", "insert into state.run select 1", ""]
    live = open_reader(living.path)
    direct = Reader(living.state.store.connection)
    for query in queries:
        errors: list[RowmillError] = []
        for reader in (live, direct):
            with pytest.raises(RowmillError) as raised:
                reader.table(query)
            errors.append(raised.value)
        assert (type(errors[0]), str(errors[0])) == (type(errors[1]), str(errors[1]))
    live.close()


@pytest.mark.slow
def test_an_endless_query_is_interrupted_and_nothing_else_is(living: Living) -> None:
    impatient, patient = living.connect(time_limit_s=0.3), living.connect()
    counted: list[Any] = []
    other = threading.Thread(
        target=lambda: counted.extend(
            patient.execute("select count(*) from range(8000) as a, range(8000) as b where a.range + b.range = 3")
        )
    )
    other.start()
    with pytest.raises(QueryStopped, match="took longer than"):
        impatient.execute(ENDLESS)
    assert living.state.take().tasks == []
    other.join()
    assert counted == [(4,)]
    assert impatient.execute("select 1") == [(1,)]


def test_a_query_that_takes_too_much_memory_is_interrupted(
    living: Living, connection: LiveConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_query, "_MEMORY_SHARE", 0.004)
    with pytest.raises(QueryStopped, match="memory"):
        connection.execute("select list(range) from range(100000000000)")


def test_a_reader_that_leaves_in_the_middle_ends_its_query(living: Living, connection: LiveConnection) -> None:
    with connection.batches(LONG) as rows:
        assert rows.read_next_batch().num_rows > 0
        assert living.server.statistics().running == 1
    del rows
    living.wait_for_queries(0)


def test_a_query_can_be_interrupted_from_another_thread(living: Living, connection: LiveConnection) -> None:
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            connection.execute(ENDLESS)
        except QueryStopped as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    living.wait_for_queries(1)
    connection.interrupt()
    asking.join()
    assert "interrupted" in str(raised[0])


@pytest.mark.slow
def test_no_more_than_so_many_queries_run_at_once(living: Living) -> None:
    connections = [living.connect() for _ in range(running_query.MAX_QUERIES)]
    streams = [connection.batches(LONG) for connection in connections]
    late = living.connect(time_limit_s=0.2)
    with pytest.raises(QueryStopped, match="run beside the run already"):
        late.execute("select 1")
    streams.pop().close()
    patient = living.connect()
    assert patient.execute("select 1") == [(1,)]
    for connection in [*connections, late, patient]:
        connection.close()


def test_closing_the_server_interrupts_queries_and_lets_the_file_go(living: Living) -> None:
    raised: list[BaseException] = []
    connection = living.connect()

    def ask() -> None:
        try:
            connection.execute(ENDLESS)
        except RowmillError as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    stalled = living.connect()
    rows = stalled.batches(LONG)
    living.wait_for_queries(2)
    living.server.close()
    asking.join()
    assert isinstance(raised[0], (QueryStopped, HolderGone))
    assert not live_place(living.path).has_socket()
    living.state.crash()  # closes the file and opens it again: nothing may keep it
    with pytest.raises((StateError, QueryStopped, pa.ArrowException)):
        rows.read_all()


def test_a_reader_goes_on_with_the_file_when_the_run_has_ended(living: Living) -> None:
    with open_reader(living.path) as reader:
        assert reader.status().state == "running"
        living.server.close()
        living.state.store.close()
        assert reader.status().state == "stopped"
        assert reader.table("select count(*) as n from dataset").to_pylist() == [{"n": 20}]


def test_who_answers_for_another_file_is_not_believed(living: Living) -> None:
    living.path.rename(living.path.with_name("moved.duckdb"))
    living.path.write_bytes(b"another file")
    with pytest.raises(HolderGone, match="another file"):
        living.connect()


@pytest.mark.slow
def test_a_snapshot_that_is_held_does_not_keep_the_log_from_being_folded_for_ever(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come and go without a gap would: the engine folds its log only while nobody looks."""
    monkeypatch.setattr(running_query, "_LONG_LOG_BYTES", 1)
    held = living.connect()
    rows = held.batches(LONG)
    late = living.connect(time_limit_s=0.3)
    with pytest.raises(QueryStopped):
        late.execute("select 1")
    rows.close()
    del rows
    assert living.connect().execute("select 1") == [(1,)]


def test_while_somebody_looks_the_log_stays_and_the_run_goes_on(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_connection, "LONG_LOG_BYTES", 1)
    store = living.state.store.connection
    log = log_of(Path(str(store.file)))

    def commit_and_fold() -> None:
        with store.transaction():
            living.state.sql("delete from state.dropped_row where row_id = -1")
            living.state.sql("update state.run set reason = 'seen'")
        store.fold_long_log()

    rows = living.connect().batches(LONG)
    commit_and_fold()
    commit_and_fold()
    assert log.exists()
    rows.close()
    del rows
    living.server.close()
    commit_and_fold()
    assert not log.exists()
    assert not undo_of(log.with_suffix("")).exists()


@pytest.mark.slow
def test_a_huge_result_is_streamed(living: Living) -> None:
    def peak_mib() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    connection = living.connect()
    with connection.batches("select 1 as number, 'x' as filler from range(1000)") as rows:
        assert sum(batch.num_rows for batch in rows) == 1000
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    with connection.batches("select range as number, repeat('x', 200) as filler from range(10000000)") as rows:
        assert sum(batch.num_rows for batch in rows) == 10_000_000
    assert peak_mib() - before < 400.0, "2 GB of rows were in memory"
    connection.close()
