"""Files that are no run database, or no whole one any more: a clear error, never a part of the data (D5)."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import duckdb
import pytest
from crashing_connection import CrashingConnection
from killed_run import Killed, killed_run
from scenario import Driver, Specs, copy_of_database, new_world, outcome_of, write_specs, written_results

from rowmill.errors import Damaged, Incompatible, RowmillError, UsageError
from rowmill.run_database import RunDatabase
from rowmill.store.file.database_file import check_log
from rowmill.store.file.log import read_log
from rowmill.store.run_store import RunStore


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(scope="module")
def original(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    killed = killed_run(tmp_path_factory.mktemp("killed"), specs, new_world(specs))
    assert killed.log.stat().st_size > 10_000
    return killed


@pytest.fixture
def killed(original: Killed, tmp_path: Path) -> Killed:
    """A copy to damage."""
    return Killed(copy_of_database(original.database, tmp_path / "run.duckdb"), original.acknowledged)


def _open_error(path: Path) -> RowmillError | None:
    """The error of opening a file, for writing and for reading; None if both work. Any other error comes out."""
    errors: list[RowmillError] = []
    for way in (RunStore.open, RunDatabase.open):
        try:
            way(path).close()
        except RowmillError as error:
            errors.append(error)
    assert len(errors) != 1, f"only one way of opening it fails: {errors}"
    if not errors:
        return None
    assert type(errors[0]) is type(errors[1])
    assert str(path) in str(errors[0])
    assert all(word not in str(errors[0]) for word in ("Traceback", "Stack Trace", "please report"))
    return errors[0]


def _open_as_the_next_run(database: Path) -> RowmillError | None:
    try:
        store = RunStore.open(database)
    except RowmillError as error:
        return error
    try:
        if not store.is_new:
            assert store.connection.execute("from invariant_violation") == []
    finally:
        store.close()
    return None


# Other files ----------------------------------------------------------------------------------------------------


def test_an_empty_file_is_a_new_run_database(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    path.touch()
    store = RunStore.open(path)
    assert store.is_new
    store.close()


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"hello, this is no database\n" * 500,
        bytes(8192),
        bytes(range(256)) * 64,
        b"SQLite format 3\0" + bytes(4080),
    ],
    ids=["one byte", "text", "zeros", "bytes", "sqlite"],
)
def test_a_file_of_another_kind_is_named_as_such_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.duckdb"
    path.write_bytes(content)
    error = _open_error(path)
    assert isinstance(error, (Incompatible, Damaged)), error
    assert path.read_bytes() == content


def test_another_duckdb_database_is_incompatible_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("create table mine (n integer)")
        other.execute("insert into mine values (1)")
    error = _open_error(path)
    assert isinstance(error, Incompatible)
    assert "not a run database" in str(error)
    with duckdb.connect(str(path)) as other:
        assert other.execute("select schema_name, table_name from duckdb_tables()").fetchall() == [("main", "mine")]


def test_another_duckdb_database_with_views_only_is_incompatible(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("create view mine as select 1 as n")
    assert isinstance(_open_error(path), Incompatible)


def test_a_run_database_of_a_newer_version_is_incompatible(killed: Killed) -> None:
    with duckdb.connect(str(killed.database)) as engine:
        engine.execute("update state.schema_version set version = version + 1")
    error = _open_error(killed.database)
    assert isinstance(error, Incompatible)
    assert "newer" in str(error)


def test_a_directory_is_a_usage_error(tmp_path: Path) -> None:
    assert isinstance(_open_error(tmp_path), UsageError)


def test_a_link_that_leads_nowhere_is_a_clear_error(tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(tmp_path / "nowhere" / "run.duckdb")
    with pytest.raises(UsageError):
        RunStore.open(link)


def test_a_file_name_with_quotes_and_spaces_works(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s a "run" ; drop — ü.duckdb'
    store = RunStore.open(path)
    store.close()
    assert path.exists()


# A damaged file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4095, 4096, 8192, 12288, 20_000, 262_144, 500_000])
def test_a_file_that_was_cut_off_is_damaged_and_left_alone(killed: Killed, size: int) -> None:
    assert size < killed.database.stat().st_size
    with killed.database.open("r+b") as file:
        file.truncate(size)
    before = killed.database.read_bytes()
    error = _open_error(killed.database)
    assert isinstance(error, (Damaged, Incompatible)), error
    assert killed.database.read_bytes() == before


@pytest.mark.parametrize("offset", [0, 8, 12, 20, 100, 4096, 4104, 8192, 8200, 12288, 12296])
def test_a_garbled_header_is_a_clear_error_or_harmless(killed: Killed, offset: int) -> None:
    with killed.database.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 8)
    error = _open_as_the_next_run(killed.database)
    assert error is None or isinstance(error, (Damaged, Incompatible)), error


@pytest.mark.slow
def test_garbled_blocks_are_never_read_as_data(killed: Killed) -> None:
    """One block after the other: what reads them says that the file is damaged."""
    blocks = range(12_288, killed.database.stat().st_size, 262_144)
    assert len(blocks) >= 4
    content, log = killed.database.read_bytes(), killed.log.read_bytes()
    wrong = []
    damaged_blocks = 0
    for offset in blocks:
        damaged = bytearray(content)
        damaged[offset + 64 : offset + 128] = b"\xa5" * 64
        killed.database.write_bytes(damaged)
        killed.log.write_bytes(log)
        for way in (_read_everything, _read_as_the_writer):
            try:
                way(killed.database)
            except Damaged:
                damaged_blocks += 1
            except Exception as error:  # noqa: BLE001  collected
                wrong.append(f"block at {offset}, {way.__name__}: {type(error).__name__}: {error}"[:200])
    assert wrong == []
    assert damaged_blocks


def _read_everything(database: Path) -> None:
    with RunDatabase.open(database) as opened:
        opened.status()
        assert opened.sql("from invariant_violation").num_rows == 0
        opened.sql("from cell")
        opened.to_arrow()


def _read_as_the_writer(database: Path) -> None:
    store = RunStore.open(database)
    try:
        store.stored_spec()
        store.plan()
        store.begin({}, 2_000_000_000.0)
    finally:
        store.close()


# A damaged log --------------------------------------------------------------------------------------------------


def test_a_whole_log_is_replayed(killed: Killed) -> None:
    with CrashingConnection(killed.database) as connection:
        assert written_results(connection) == killed.acknowledged


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_log_that_was_cut_off_opens_at_an_earlier_commit_or_not_at_all(
    killed: Killed, specs: Specs, share: float
) -> None:
    size = killed.log.stat().st_size
    with killed.log.open("r+b") as file:
        file.truncate(int(size * share))
    error = _open_as_the_next_run(killed.database)
    if error is not None:
        assert isinstance(error, Damaged), error
        return
    with CrashingConnection(killed.database) as connection:
        written = written_results(connection)
        assert written.items() <= killed.acknowledged.items()


def test_a_log_cut_off_at_its_end_loses_at_most_the_last_commit_and_the_run_goes_on(
    killed: Killed, specs: Specs
) -> None:
    with killed.log.open("r+b") as file:
        file.truncate(killed.log.stat().st_size - 7)
    assert _open_as_the_next_run(killed.database) is None
    world = new_world(specs)
    with Driver(killed.database, specs, world) as driver:
        driver.drive()
        assert outcome_of(driver.connection)["state"][0][0] == "finished"


@pytest.mark.parametrize("zeros", [16, 512, 4096, 65_536])
def test_a_log_with_a_tail_of_zeros_is_damaged_or_opens_without_them(killed: Killed, zeros: int) -> None:
    """What a power loss leaves behind: the file has grown, its last pages were never written."""
    with killed.log.open("ab") as file:
        file.write(bytes(zeros))
    _assert_damaged_or_consistent(killed)


@pytest.mark.parametrize("zeros", [16, 512, 4096])
def test_a_log_whose_end_became_zeros_is_damaged_or_opens_without_it(killed: Killed, zeros: int) -> None:
    content = bytearray(killed.log.read_bytes())
    content[-zeros:] = bytes(zeros)
    killed.log.write_bytes(content)
    _assert_damaged_or_consistent(killed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_garbled_log_is_damaged_or_opens_at_an_earlier_commit(killed: Killed, share: float) -> None:
    content = bytearray(killed.log.read_bytes())
    place = int(len(content) * share)
    content[place : place + 32] = b"\xa5" * 32
    killed.log.write_bytes(content)
    _assert_damaged_or_consistent(killed)


def test_a_log_of_another_database_is_never_taken_for_ours(killed: Killed, tmp_path: Path, specs: Specs) -> None:
    other = tmp_path / "other"
    other.mkdir()
    strange = killed_run(other, specs, new_world(specs))
    shutil.copyfile(strange.log, killed.log)
    _assert_damaged_or_consistent(killed)


def test_a_log_that_is_being_written_while_it_is_looked_at_is_not_called_damaged(
    killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks a living run, or steers it, finds its file locked; the log of a run is no matter of theirs."""
    whole = killed.log.read_bytes()
    found = read_log(killed.database)
    assert found is not None
    killed.log.write_bytes(whole[: found.header_end] + b"\xff" * 8 + whole[found.header_end + 8 :])
    with pytest.raises(Damaged):
        check_log(killed.database)
    monkeypatch.setattr(time, "sleep", lambda _: killed.log.write_bytes(whole))  # what the run does meanwhile
    check_log(killed.database)
    assert killed.log.read_bytes() == whole


def _assert_damaged_or_consistent(killed: Killed) -> None:
    file, log = killed.database.read_bytes(), killed.log.read_bytes()
    error = _open_as_the_next_run(killed.database)
    if error is None:
        with CrashingConnection(killed.database) as connection:
            assert written_results(connection).items() <= killed.acknowledged.items()
        return
    assert isinstance(error, Damaged), error
    assert "Nothing was changed" in str(error)
    assert f"'rowmill doctor {killed.database}'" in str(error)
    assert (killed.database.read_bytes(), killed.log.read_bytes()) == (file, log)


def test_a_log_whose_start_is_garbled_is_never_dropped_in_silence(killed: Killed) -> None:
    content = bytearray(killed.log.read_bytes())
    content[:32] = b"\xa5" * 32
    killed.log.write_bytes(content)
    error = _open_as_the_next_run(killed.database)
    if error is not None:
        assert isinstance(error, Damaged), error
        return
    with CrashingConnection(killed.database) as connection:
        assert written_results(connection) == killed.acknowledged, (
            "the commits in the log are lost, and nobody was told"
        )
