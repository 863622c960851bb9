"""A process that dies while the engine writes over a block the file still needs: the next one puts it back (D1)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import duckdb
import pytest
from command_line import CommandLine
from crashing_connection import CrashingConnection, CrashPoint
from scenario import (
    DRAINED_AFTER_TURNS,
    Driver,
    Specs,
    contradictions,
    copy_of_database,
    new_world,
    outcome_of,
    write_specs,
    written_results,
)

from rowmill.errors import Damaged
from rowmill.store.database import connection as store_connection
from rowmill.store.database.connection import Connection
from rowmill.store.database.held_file import holding
from rowmill.store.file.log import log_of
from rowmill.store.file.undo_file import UndoFile, put_blocks_back, undo_of

HEADERS, BLOCK, PAGE = 12_288, 262_144, 4096


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(params=["writing", "merging"])
def checkpoints_all_the_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_connection, "LONG_LOG_BYTES", 1)
    monkeypatch.setattr(store_connection, "_SELDOM_S", 0.0 if request.param == "merging" else 1e9)


def _blocks(content: bytes) -> list[bytes]:
    return [content[place : place + BLOCK] for place in range(HEADERS, len(content), BLOCK)]


def _structure(connection: CrashingConnection) -> set[int]:
    return {block for (block,) in connection.execute("select block_id from pragma_metadata_info()")}


class _TearingDriver(Driver):
    """At every checkpoint, opens what a process leaves behind that dies while a block is written over."""

    torn = 0
    damaged_without = 0

    def tear_everything(self) -> None:
        self.before = self.database.with_name("before.duckdb")
        self.after_commits = 0
        self.drive(drained_after_turns=DRAINED_AFTER_TURNS)

    def _connect(self) -> CrashingConnection:
        connection = super()._connect()
        connection.observe = self._look
        return connection

    def _look(self, where: str) -> None:
        if where == "before checkpoint":
            copy_of_database(self.database, self.before)
            self.known = dict(self.world.acknowledged)
            self.structure = _structure_of(self.before)
        elif where == "after checkpoint":
            old, new = self.before.read_bytes(), self.database.read_bytes()
            if old[:HEADERS] != new[:HEADERS]:
                self._tear(old, new)

    def _tear(self, old: bytes, new: bytes) -> None:
        """Blocks the old headers need and the checkpoint wrote over: torn at some page each."""
        changed = [
            number
            for number, (one, two) in enumerate(zip(_blocks(old), _blocks(new), strict=False))
            if one != two and number in self.structure
        ]
        for number in changed:
            place = HEADERS + number * BLOCK
            one, two = old[place : place + BLOCK], new[place : place + BLOCK]
            pages = [page for page in range(0, BLOCK, PAGE) if one[page : page + PAGE] != two[page : page + PAGE]]
            page = pages[(0, len(pages) // 2, -1)[self.torn % 3]]
            cut = min(place + page + PAGE, place + BLOCK - PAGE)
            # All other blocks are as the checkpoint wrote them, where nothing is; it shortens the file at its end only.
            written = old[:HEADERS] + new[HEADERS:cut] + old[cut : place + BLOCK] + new[place + BLOCK :]
            self._check(written + old[len(written) :])

    def _check(self, content: bytes) -> None:
        torn = copy_of_database(self.before, self.database.with_name("torn.duckdb"))
        torn.write_bytes(content)
        kept = undo_of(torn)
        without = self.database.with_name("without.duckdb")
        without.write_bytes(content)
        try:
            Connection(without, read_only=True).close()
        except Damaged:
            self.damaged_without += 1
        assert kept.exists()
        with CrashingConnection(torn) as connection:
            if connection.count("select count(*) from duckdb_views() where view_name = 'invariant_violation'"):
                assert contradictions(connection) == []
                assert written_results(connection) == self.known
            connection.has_written = False
        self.torn += 1


def _structure_of(database: Path) -> set[int]:
    copied = copy_of_database(database, database.with_name("structure.duckdb"))
    with CrashingConnection(copied) as connection:
        return _structure(connection)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_checkpoint_that_dies_while_it_writes_over_a_block_is_undone(
    tmp_path: Path, specs: Specs, checkpoints_all_the_time: None
) -> None:
    with _TearingDriver(tmp_path / "run.duckdb", specs, new_world(specs)) as driver:
        driver.tear_everything()
        driver.connection.observe = None
        assert outcome_of(driver.connection)["state"][0][0] == "finished"
    assert driver.torn > 20
    assert driver.damaged_without > driver.torn / 2, "the blocks torn here must be those the file cannot do without"
    assert not undo_of(tmp_path / "run.duckdb").exists()


# Two copies of a file: with a block torn by a checkpoint, and the kept blocks beside it ---------------------------


def _fill(connection: Connection, number: int) -> None:
    with connection.transaction():
        connection.execute(f"create table mine_{number} as select range as n from range({number + 1})")


@pytest.fixture
def torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database whose process died in a checkpoint; it holds the tables mine_0 and mine_1."""
    path = tmp_path / "run.duckdb"
    connection = Connection(path)
    for number in range(3):
        _fill(connection, number)
        if number == 1:
            connection.checkpoint()
    old = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(UndoFile, "discard", lambda self: None)
        connection.checkpoint()
    kept = undo_of(path).read_bytes()
    connection.close()
    new = path.read_bytes()
    assert old[HEADERS : HEADERS + BLOCK] != new[HEADERS : HEADERS + BLOCK]
    path.write_bytes(old[:HEADERS] + new[HEADERS : HEADERS + PAGE] + old[HEADERS + PAGE :])
    undo_of(path).write_bytes(kept)
    return path


def _tables(path: Path) -> list[str]:
    with Connection(path, read_only=True) as connection:
        return [name for (name,) in connection.execute("select table_name from duckdb_tables() order by table_name")]


def test_a_torn_file_opens_also_for_those_who_only_read(torn: Path) -> None:
    assert _tables(torn) == ["mine_0", "mine_1"]


def test_without_the_kept_blocks_the_file_is_damaged(torn: Path) -> None:
    undo_of(torn).unlink()
    with pytest.raises(Damaged, match="checksum"):
        Connection(torn)


@pytest.mark.slow
def test_nobody_puts_blocks_back_while_another_process_has_the_file(torn: Path) -> None:
    before = torn.read_bytes()
    with holding(torn):
        done = CommandLine(torn.parent)("status", torn)
    assert done.returncode == 4, done.stderr
    assert torn.read_bytes() == before
    assert _tables(torn) == ["mine_0", "mine_1"]


@pytest.mark.parametrize("place", [3, 30, 5000, 13_000, -1])
def test_kept_blocks_that_were_not_written_to_their_end_are_never_put_back(torn: Path, place: int) -> None:
    content = bytearray(undo_of(torn).read_bytes())
    content[place] ^= 1
    before = torn.read_bytes()
    for left in (bytes(content), bytes(content[:place]), b""):
        undo_of(torn).write_bytes(left)
        with pytest.raises(Damaged):
            Connection(torn)
        assert torn.read_bytes() == before


def test_kept_blocks_of_an_earlier_checkpoint_are_never_put_back(torn: Path) -> None:
    kept = undo_of(torn).read_bytes()
    with Connection(torn) as connection:
        _fill(connection, 5)
    undo_of(torn).write_bytes(kept)
    before = torn.read_bytes()
    assert _tables(torn) == ["mine_0", "mine_1", "mine_5"]
    assert torn.read_bytes() == before


def test_kept_blocks_of_another_database_are_never_put_back(torn: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    with Connection(other) as connection:
        _fill(connection, 7)
    undo_of(other).write_bytes(undo_of(torn).read_bytes())
    before = other.read_bytes()
    assert _tables(other) == ["mine_7"]
    assert other.read_bytes() == before


def test_blocks_are_kept_for_the_length_of_a_checkpoint_only(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    modes = []

    def look(where: str) -> None:
        if "checkpoint" in where:
            modes.append(undo_of(path).stat().st_mode & 0o777)

    with CrashingConnection(path) as connection:
        for number in range(3):
            _fill(connection, number)
            connection.checkpoint()
            assert not undo_of(path).exists()
            connection.observe = look
        _fill(connection, 3)
        assert not undo_of(path).exists()
    assert modes == [0o600] * 6
    assert [file.name for file in tmp_path.iterdir()] == ["run.duckdb"]


def test_what_a_failed_checkpoint_wrote_over_is_not_kept_instead(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    connection = CrashingConnection(path)
    for number in range(2):
        _fill(connection, number)
        connection.checkpoint()
    _fill(connection, 2)
    connection.crash = CrashPoint(2, raised=duckdb.IOException("no"))
    with pytest.raises(duckdb.IOException):
        connection.checkpoint()
    kept, whole = undo_of(path).read_bytes(), path.read_bytes()
    path.write_bytes(whole[:HEADERS] + b"x" * PAGE + whole[HEADERS + PAGE :])
    connection.crash = CrashPoint(2, raised=duckdb.IOException("again no"))
    with pytest.raises(duckdb.IOException):
        connection.checkpoint()
    assert undo_of(path).read_bytes() == kept
    connection.close()
    assert _tables(path) == ["mine_0", "mine_1", "mine_2"]


def test_the_log_is_folded_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_connection, "LONG_LOG_BYTES", 2 * 1024)
    path = tmp_path / "run.duckdb"
    with Connection(path) as connection:
        folded = []
        for number in range(40):
            _fill(connection, number)
            before = path.read_bytes()[:HEADERS]
            connection.fold_long_log()
            folded.append(path.read_bytes()[:HEADERS] != before)
            assert log_of(path).exists() != folded[-1]
        assert 0 < sum(folded) < len(folded) / 4


def _parts(path: Path) -> int:
    """In how many parts the engine stores a table that was filled bit by bit."""
    with duckdb.connect(str(path), read_only=True) as engine:
        query = "select count(distinct row_group_id) from pragma_storage_info('grown')"
        return int(engine.execute(query).fetchall()[0][0])


@pytest.mark.parametrize(("seldom_s", "most_unmerged", "least"), [(1e9, 512, 12), (0.0, 512, 1), (1e9, 3, 1)])
def test_checkpoints_that_follow_each_other_quickly_merge_nothing_and_others_what_those_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seldom_s: float, most_unmerged: int, least: int
) -> None:
    monkeypatch.setattr(store_connection, "_SELDOM_S", seldom_s)
    monkeypatch.setattr(store_connection, "_MOST_UNMERGED", most_unmerged)
    path = tmp_path / "run.duckdb"
    with Connection(path) as connection:
        connection.script("create table grown (value bigint)")
        for _ in range(12):
            with connection.transaction():
                connection.execute("insert into grown from range(3000)")
            connection.checkpoint()
    assert least <= _parts(path) <= least + 4


def test_the_first_checkpoint_of_a_process_merges_what_earlier_ones_left(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    for number in range(6):
        with Connection(path) as connection:
            connection.script("create table if not exists grown (value bigint)")
            with connection.transaction():
                connection.execute("insert into grown from range(100)")
        assert _parts(path) <= 2, number


@pytest.mark.parametrize("place", [8, 12, 4096 + 40], ids=["mark", "layout", "block size"])
def test_blocks_of_a_layout_nobody_knows_are_neither_kept_nor_put_back(
    torn: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = bytearray(torn.read_bytes())
    foreign[place] ^= 0xFF
    torn.write_bytes(foreign)
    content = undo_of(torn).read_bytes()
    body = bytearray(content[32:])
    body[place] ^= 0xFF  # the copy is whole, and of this very file
    undo_of(torn).write_bytes(content[:24] + struct.pack("<Q", zlib.crc32(body)) + body)
    assert not put_blocks_back(torn)
    assert torn.read_bytes() == foreign
    undo_of(torn).unlink()
    kept = UndoFile(torn)
    kept.keep([0])
    kept.keep([0])
    kept.release()
    assert not undo_of(torn).exists()
    assert caplog.text.count("laid out in a way this version of Rowmill does not know") == 1
