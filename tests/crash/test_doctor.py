"""``rowmill doctor``: says what is wrong, changes nothing, and puts back all that a damaged log still holds (D5)."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from budget import Budget
from command_line import CommandLine
from crashing_connection import CrashingConnection
from killed_run import Killed, killed_run
from pyarrow import parquet
from scenario import (
    Driver,
    Specs,
    contradictions,
    copy_of_database,
    new_world,
    outcome_of,
    write_specs,
    written_results,
)

from rowmill.cli import main
from rowmill.engine.doctor import Diagnosis, describe_loss, diagnose, repair
from rowmill.errors import Damaged, Incompatible, RowmillError, UsageError
from rowmill.export.salvage import salvage
from rowmill.store.file.file_system import network_file_system
from rowmill.store.file.log import header_for, read_log
from rowmill.store.layout import schema
from rowmill.store.repair.recovery import find_recovery
from rowmill.store.run_store import RunStore

NOW = 1_800_002_000.0
_HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(scope="module")
def original(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return killed_run(tmp_path_factory.mktemp("killed"), specs, new_world(specs))


@pytest.fixture
def killed(original: Killed, tmp_path: Path) -> Killed:
    """A copy to damage."""
    return Killed(copy_of_database(original.database, tmp_path / "run.duckdb"), original.acknowledged)


@pytest.fixture(scope="module")
def expected(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    with Driver(tmp_path_factory.mktemp("uninterrupted") / "run.duckdb", specs, new_world(specs)) as driver:
        driver.drive()
        return outcome_of(driver.connection)


def digests(directory: Path) -> dict[str, str]:
    """Every file of a directory with its digest."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.is_file()}


def wrong(diagnosis: Diagnosis) -> dict[str, str]:
    """What is wrong, by check."""
    return {finding.check: finding.message for finding in diagnosis.findings if finding.state == "wrong"}


def _damage_header(killed: Killed) -> None:
    """Damages a log in a place that costs no commit."""
    content = bytearray(killed.log.read_bytes())
    content[7] ^= 0x40
    killed.log.write_bytes(content)


# Healthy ------------------------------------------------------------------------------------------------------------


def test_a_killed_run_is_healthy_its_log_replays_and_nothing_is_changed(killed: Killed, tmp_path: Path) -> None:
    before = digests(tmp_path)
    diagnosis = diagnose(killed.database)
    assert (diagnosis.verdict, diagnosis.exit_code) == ("healthy", 0)
    assert wrong(diagnosis) == {}
    assert {finding.check for finding in diagnosis.findings} >= {
        "opens",
        "schema",
        "content",
        "rules",
        "plan",
        "usage",
        "spec",
    }
    log = read_log(killed.database)
    assert log is not None
    assert f"{len(log.commits)} commits replayed" in diagnosis.findings[-7].message
    assert digests(tmp_path) == before
    assert list(tmp_path.iterdir()) == [tmp_path / name for name in before], "no scratch file is left"


def test_there_is_nothing_to_repair_in_a_healthy_database(killed: Killed, tmp_path: Path) -> None:
    before = digests(tmp_path)
    assert repair(killed.database, NOW) is None
    assert digests(tmp_path) == before


def test_the_log_is_known_down_to_its_header(killed: Killed) -> None:
    log = read_log(killed.database)
    assert log is not None
    assert log.records_end == log.size
    assert len(log.commits) > 5
    assert killed.log.read_bytes()[: log.header_end] == header_for(killed.database)


# A damaged log ------------------------------------------------------------------------------------------------------


def _truncate(content: bytes, moments: random.Random) -> bytes:
    return content[: moments.randrange(len(content))]


def _zero_tail(content: bytes, moments: random.Random) -> bytes:
    return content + bytes(moments.choice([16, 512, 4096, 65_536]))


def _zero_end(content: bytes, moments: random.Random) -> bytes:
    zeros = moments.randrange(1, len(content) - 64)
    return content[:-zeros] + bytes(zeros)


def _zero_page(content: bytes, moments: random.Random) -> bytes:
    place = moments.randrange(len(content))
    zeros = min(512, len(content) - place)
    return content[:place] + bytes(zeros) + content[place + zeros :]


def _flip(content: bytes, moments: random.Random) -> bytes:
    place = moments.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << moments.randrange(8))]) + content[place + 1 :]


def _garble(content: bytes, moments: random.Random) -> bytes:
    place = moments.randrange(len(content))
    noise = moments.randbytes(min(32, len(content) - place))
    return content[:place] + noise + content[place + len(noise) :]


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _truncate,
    _zero_tail,
    _zero_end,
    _zero_page,
    _flip,
    _garble,
)


def _commits_left(killed: Killed, damaged: bytes, original: bytes) -> int:
    """How many commits of the original log come before the first byte that differs."""
    same = next(
        (place for place, (one, two) in enumerate(zip(original, damaged, strict=False)) if one != two),
        min(len(original), len(damaged)),
    )
    killed.log.write_bytes(original)
    log = read_log(killed.database)
    assert log is not None
    return sum(end <= same for end in log.commits)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("damage", _DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize(("seconds", "least"), [(2, 1)])
@pytest.mark.slow
def test_a_damaged_log_is_said_to_be_and_what_comes_before_the_damage_is_put_back(
    killed: Killed,
    original: Killed,
    tmp_path: Path,
    specs: Specs,
    expected: dict[str, object],
    damage: Callable[[bytes, random.Random], bytes],
    budget: Budget,
    seconds: float,
    least: int,
) -> None:
    moments = random.Random(f"{damage.__name__} {budget.seed}")
    content = original.log.read_bytes()
    for _ in budget.rounds(seconds, least=least):
        for file in tmp_path.iterdir():
            file.unlink()
        copy_of_database(original.database, killed.database)
        damaged = damage(content, moments)
        left = _commits_left(killed, damaged, content)
        killed.log.write_bytes(damaged)
        before = digests(tmp_path)
        diagnosis = diagnose(killed.database)
        assert digests(tmp_path) == before
        if diagnosis.is_damaged:
            assert diagnosis.exit_code == 6
            assert set(wrong(diagnosis)) == {"log"}
            repaired = repair(killed.database, NOW)
            assert repaired is not None
            assert repaired.after.verdict == "healthy"
            assert repaired.recovery.commits_kept == left
            assert repaired.copy == tmp_path / "run.duckdb.damaged"
            after = digests(tmp_path)
            assert after["run.duckdb.damaged"] == before["run.duckdb"]
            assert after["run.duckdb.damaged.wal"] == before["run.duckdb.wal"]
        world = new_world(specs)
        with CrashingConnection(killed.database) as connection:
            assert contradictions(connection) == []
            world.acknowledged = written_results(connection)
            assert world.acknowledged.items() <= original.acknowledged.items()
            world.attempts = connection.count("select count(*) from attempt")
            if diagnosis.is_damaged:
                assert connection.count("select count(*) from event where kind = 'repaired'") == 1
            for name, row_id, row_group, asked in connection.execute(
                "select g.name, a.row_id, a.row_group, count(*) from state.attempt as a"
                " inner join state.generator as g on a.generator = g.generator group by all"
            ):
                world.asked[name, row_group if row_id is None else row_id] = asked
        with Driver(killed.database, specs, world) as driver:
            driver.drive()
            assert outcome_of(driver.connection) == expected


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("seconds", "least"), [(0, 20), pytest.param(4, 40, marks=pytest.mark.slow)])
def test_a_flipped_bit_anywhere_in_the_log_is_never_passed_over_in_silence(
    killed: Killed, original: Killed, budget: Budget, seconds: float, least: int
) -> None:
    """The engine takes a record that claims to be too long for the end of the log, and drops all that follows."""
    content = original.log.read_bytes()
    silent = []
    inside = budget.some_of(range(64, len(content) - 24), seconds, least=least)
    edges = (*range(64), *range(len(content) - 24, len(content)))
    for place in itertools.chain(edges if seconds else edges[budget.seed % 3 :: 3], inside):
        damaged = bytearray(content)
        damaged[place] ^= 0x80
        killed.log.write_bytes(damaged)
        try:
            store = RunStore.open(killed.database)
        except Damaged:
            continue
        if written_results(store.connection) != original.acknowledged:
            silent.append(place)
        store.close()
        copy_of_database(original.database, killed.database)
    assert silent == []


@pytest.mark.parametrize("place", [1, 7, 15])
def test_a_log_whose_header_alone_is_damaged_loses_nothing(killed: Killed, original: Killed, place: int) -> None:
    content = bytearray(original.log.read_bytes())
    content[place] ^= 0x40
    killed.log.write_bytes(content)
    repaired = repair(killed.database, NOW)
    # Byte 15 may be one that the engine does not look at: then there is nothing to repair.
    assert repaired is not None or place == 15
    assert repaired is None or repaired.recovery.commits_lost == 0
    with CrashingConnection(killed.database) as connection:
        assert written_results(connection) == original.acknowledged


def test_the_log_of_a_later_checkpoint_is_never_replayed_on_an_older_file(killed: Killed, tmp_path: Path) -> None:
    """Somebody put back an old copy of the file beside a newer log."""
    log = read_log(killed.database)
    assert log is not None
    content = bytearray(killed.log.read_bytes())
    content[log.header_end - 3] += 1
    killed.log.write_bytes(content)
    before = digests(tmp_path)
    diagnosis = diagnose(killed.database)
    assert diagnosis.exit_code == 6
    assert "newer version of this database" in wrong(diagnosis)["log"]
    assert diagnosis.recovery is not None
    assert (diagnosis.recovery.commits_kept, diagnosis.recovery.commits_lost) == (0, len(log.commits))
    assert digests(tmp_path) == before


@pytest.mark.slow
def test_the_log_of_another_database_is_never_replayed(killed: Killed, tmp_path: Path, specs: Specs) -> None:
    (tmp_path / "other").mkdir()
    strange = killed_run(tmp_path / "other", specs, new_world(specs))
    shutil.copyfile(strange.log, killed.log)
    repaired = repair(killed.database, NOW)
    assert repaired is not None
    assert repaired.recovery.commits_kept == 0
    with CrashingConnection(killed.database) as connection:
        assert connection.count("select count(*) from attempt") == 0


def test_a_repair_says_how_many_calls_of_which_row_groups_are_made_again(killed: Killed, original: Killed) -> None:
    log = read_log(original.database)
    assert log is not None
    content = bytearray(original.log.read_bytes())
    content[log.commits[-4] + 40] ^= 1
    killed.log.write_bytes(content)
    recovery = diagnose(killed.database).recovery
    assert recovery is not None
    assert (recovery.commits_kept, recovery.commits_lost) == (len(log.commits) - 3, 3)
    text = "; ".join(describe_loss(recovery))
    assert "3 commits from the damage on are lost" in text
    assert "to be generated, for the first time or again" in text
    assert sum(recovery.unfinished.values()) > 0


def test_a_truncated_log_never_loses_more_than_what_was_cut_off(killed: Killed, original: Killed) -> None:
    log = read_log(original.database)
    assert log is not None
    killed.log.write_bytes(original.log.read_bytes()[: log.commits[-2] + 5])
    assert diagnose(killed.database).verdict == "healthy"
    found = read_log(killed.database)
    assert found is not None
    assert found.commits == log.commits[:-1]


# A damaged file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _complete(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("complete") / "done.duckdb"
    with Driver(path, specs, new_world(specs)) as driver:
        driver.drive()
    return path


@pytest.fixture
def finished(_complete: Path, tmp_path: Path) -> Path:
    """A copy of a complete run, to damage."""
    return copy_of_database(_complete, tmp_path / "done.duckdb")


def test_a_damaged_file_is_not_repaired_and_stays_as_it_is(killed: Killed, tmp_path: Path) -> None:
    content = bytearray(killed.database.read_bytes())
    content[4096 : 4096 + 8192] = bytes(8192)
    killed.database.write_bytes(content)
    before = digests(tmp_path)
    diagnosis = diagnose(killed.database)
    assert diagnosis.exit_code == 6
    assert set(wrong(diagnosis)) == {"file"}
    assert "--salvage" in str(diagnosis.findings[-1].advice)
    with pytest.raises(Damaged, match="cannot be repaired"):
        repair(killed.database, NOW)
    assert digests(tmp_path) == before
    with pytest.raises(Damaged, match=r"Nothing of .* can be read"):
        salvage(killed.database, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_block_of_a_file_is_read_and_what_lies_outside_of_damaged_ones_is_saved(
    tmp_path: Path, finished: Path
) -> None:
    path = finished
    with CrashingConnection(path) as connection:
        rows = connection.execute("from dataset order by row_id")
    content = path.read_bytes()
    found, saved_whole, saved_something = 0, 0, 0
    for number, place in enumerate(range(12_288 + 3_000, len(content), 262_144)):
        damaged = bytearray(content)
        damaged[place : place + 64] = bytes(byte ^ 0xFF for byte in damaged[place : place + 64])
        path.write_bytes(damaged)
        before = digests(tmp_path)
        diagnosis = diagnose(path)
        assert digests(tmp_path) == before
        found += diagnosis.is_damaged
        try:
            report = salvage(path, tmp_path / f"saved{number}")
        except Damaged:
            assert diagnosis.is_damaged
            continue
        table = parquet.read_table(tmp_path / f"saved{number}" / "dataset.parquet").to_pylist()
        assert len(table) <= len(rows)
        saved_whole += len(table) == len(rows)
        saved_something += not report.lost or bool(report.rows)
        if len(table) < len(rows):
            assert any(lost.startswith("dataset") for lost in report.lost)
            assert diagnosis.is_damaged
    assert found >= 3
    assert saved_whole >= 3
    assert saved_something > saved_whole or saved_something >= 3


def test_salvage_of_a_healthy_file_saves_everything(tmp_path: Path, finished: Path) -> None:
    path = finished
    report = salvage(path, tmp_path / "saved")
    assert report.lost == []
    with CrashingConnection(path) as connection:
        assert report.rows["dataset"] == connection.count("select count(*) from dataset")
        assert report.rows["attempt"] == connection.count("select count(*) from attempt")
    assert json.loads((tmp_path / "saved" / "spec.json").read_text())["name"] == "scenario"
    with pytest.raises(UsageError, match="exists already"):
        salvage(path, tmp_path / "saved")


# Rules that are broken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        ("delete from state.dataset_row where row_id = 1", "rules"),
        ("update state.run set next_row_group = 99", "rules"),
        ("update state.finished_row_group set first_row = first_row + 1 where row_group = 0", "plan"),
        ('update state.plan_segment set "rows" = "rows" + 100', "plan"),
        (
            "insert into state.usage_total values (1, 3, 'other', timestamp '2026-01-01', 1, 1, 0, 1.0, 999, 0, 0.0,"
            " timestamp '2026-01-01', 0, 0, 0, 0)",
            "usage",
        ),
        ("delete from state.spec_version", "spec"),
    ],
)
def test_a_file_that_was_edited_by_hand_is_damaged_and_says_where(
    tmp_path: Path, finished: Path, edit: str, check: str
) -> None:
    path = finished
    with CrashingConnection(path) as connection:
        connection.execute(edit)
    before = digests(tmp_path)
    diagnosis = diagnose(path)
    assert diagnosis.exit_code == 6
    assert check in wrong(diagnosis)
    with pytest.raises(Damaged, match="cannot be repaired"):
        repair(path, NOW)
    assert digests(tmp_path) == before


# Other files ----------------------------------------------------------------------------------------------------


def _other_database(path: Path) -> None:
    with duckdb.connect(str(path)) as other:
        other.execute("create table mine as select 1 as n")


def _newer(path: Path) -> None:
    content = gzip.decompress((_HERE.parent / "released" / "schema_1.duckdb.gz").read_bytes())
    path.write_bytes(content)
    with duckdb.connect(str(path)) as newer:
        newer.execute("insert into state.schema_version values (9999, '99.0', timestamp '2030-01-01')")


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda path: None, UsageError, "There is no run database"),
        (lambda path: path.mkdir(), UsageError, "is a directory"),
        (lambda path: path.symlink_to("nowhere.duckdb"), UsageError, "is a link to nowhere.duckdb"),
        (lambda path: path.touch(), UsageError, "is empty"),
        (lambda path: path.write_bytes(b"hello, this is no database\n" * 500), Incompatible, "not a run database"),
        (_other_database, Incompatible, "is a DuckDB database, but not a run database"),
        (_newer, Incompatible, "has schema version 9999"),
        (lambda path: os.mkfifo(path), UsageError, "no ordinary file"),
    ],
    ids=["missing", "directory", "dangling link", "empty", "text", "other database", "newer", "pipe"],
)
def test_what_is_no_run_database_of_ours_is_refused_with_the_reason_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], kind: type[RowmillError], words: str
) -> None:
    path = tmp_path / "run.duckdb"
    make(path)
    before = digests(tmp_path)
    for ask in (diagnose, lambda path: repair(path, NOW)):
        with pytest.raises(kind, match=words):
            ask(path)
    assert digests(tmp_path) == before


def test_a_database_of_an_older_rowmill_is_to_be_migrated(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    path.write_bytes(gzip.decompress((_HERE.parent / "released" / "schema_1.duckdb.gz").read_bytes()))
    before = digests(tmp_path)
    diagnosis = diagnose(path)
    assert schema.newest_version() > 1
    assert (diagnosis.verdict, diagnosis.exit_code) == ("older", 5)
    assert any("rowmill migrate" in (finding.advice or "") for finding in diagnosis.findings)
    assert digests(tmp_path) == before


@pytest.mark.slow
def test_a_link_to_a_run_database_is_followed(killed: Killed, original: Killed, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "there" / "link.duckdb"
    link.symlink_to(killed.database)
    assert diagnose(link).verdict == "healthy"
    _damage_header(killed)
    assert diagnose(link).exit_code == 6
    repaired = repair(link, NOW)
    assert repaired is not None
    assert repaired.recovery.commits_lost == 0
    assert link.is_symlink()
    assert diagnose(killed.database).verdict == "healthy"


def test_a_database_on_a_network_file_system_is_warned_of() -> None:
    mounts = (
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 21 0:44 / /mnt/far\\040away rw shared:1 - nfs4 server:/data rw\n"
        "31 30 8:2 / /mnt/far\\040away/local rw - xfs /dev/sdb rw\n"
    )
    assert network_file_system(Path("/mnt/far away/x/run.duckdb"), mounts) == "nfs4"
    assert network_file_system(Path("/mnt/far away/local/run.duckdb"), mounts) is None
    assert network_file_system(Path("/home/run.duckdb"), mounts) is None
    assert network_file_system(Path("/home/run.duckdb"), "no such\nthing") is None


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def rowmill(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.mark.slow
def test_the_command_explains_a_damaged_log_repairs_it_and_then_says_healthy(
    rowmill: CommandLine, killed: Killed, original: Killed, tmp_path: Path
) -> None:
    assert rowmill.output_of("doctor", "run.duckdb").splitlines()[-1] == "healthy"
    _damage_header(killed)
    refused = rowmill("status", "run.duckdb")
    assert refused.returncode == 6
    assert "'rowmill doctor run.duckdb'" in refused.stderr
    before = digests(tmp_path)
    sick = rowmill("doctor", "run.duckdb")
    assert sick.returncode == 6
    assert sick.stdout.splitlines()[-1] == "damaged"
    assert "rowmill doctor run.duckdb --repair" in sick.stdout
    as_json = rowmill("doctor", "run.duckdb", "--format", "json")
    assert as_json.returncode == 6
    found = json.loads(as_json.stdout)
    assert {finding["verdict"] for finding in found} == {"damaged"}
    assert [finding["check"] for finding in found if finding["state"] == "wrong"] == ["log"]
    assert digests(tmp_path) == before
    mended = rowmill("doctor", "run.duckdb", "--repair")
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout.splitlines()[-1] == "healthy"
    assert "run.duckdb.damaged" in mended.stderr
    assert "none is lost" in mended.stderr
    again = rowmill("doctor", "run.duckdb", "--repair")
    assert (again.returncode, again.stderr) == (0, "There is nothing to repair.\n")
    saved = rowmill("doctor", "run.duckdb", "--salvage", "saved")
    assert saved.returncode == 0, saved.stderr
    assert (tmp_path / "saved" / "spec.json").exists()


@pytest.mark.parametrize("options", [(), ("--repair",)])
def test_a_database_that_another_process_holds_is_code_4_and_names_it(
    rowmill: CommandLine, killed: Killed, options: tuple[str, ...]
) -> None:
    with duckdb.connect(str(killed.database)):
        done = rowmill("doctor", "run.duckdb", *options)
    assert done.returncode == 4
    assert str(os.getpid()) in done.stderr


@pytest.mark.parametrize(("make", "code"), [(_other_database, 5), (_newer, 5), (lambda path: path.touch(), 2)])
def test_the_exit_codes_of_files_that_are_not_ours(
    rowmill: CommandLine, tmp_path: Path, make: Callable[[Path], object], code: int
) -> None:
    make(tmp_path / "run.duckdb")
    assert rowmill("doctor", "run.duckdb").returncode == code


def test_a_repair_without_room_for_the_copy_changes_nothing(killed: Killed, original: Killed, tmp_path: Path) -> None:
    _damage_header(killed)
    before = digests(tmp_path)
    program = str(Path(main.__file__).parents[1] / "__main__.py")
    limited = CommandLine(tmp_path, (sys.executable, str(_HERE / "limited_command.py"), "50000", program))
    done = limited("doctor", "run.duckdb", "--repair")
    assert done.returncode == 1, done.stderr
    assert "no room" in done.stderr
    assert digests(tmp_path) == before


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_repair_that_is_killed_at_any_moment_can_be_done_again(
    rowmill: CommandLine, killed: Killed, original: Killed, tmp_path: Path, budget: Budget
) -> None:
    _damage_header(killed)
    content = killed.log.read_bytes()
    began = time.monotonic()
    assert rowmill("doctor", "run.duckdb", "--repair").returncode == 0
    took_s = time.monotonic() - began
    moments = random.Random(budget.seed)
    for _ in budget.rounds(4.0, least=3):
        for file in tmp_path.glob("*run.duckdb*"):
            if file.is_file():
                file.unlink()
        copy_of_database(original.database, killed.database)
        killed.log.write_bytes(content)
        command_line = CommandLine(tmp_path)
        process = command_line.start("doctor", "run.duckdb", "--repair")
        time.sleep(moments.uniform(0.3, 1.0) * took_s)  # a moment to kill at, not a wait for something
        command_line.close()
        assert process.returncode in {-9, 0}
        assert rowmill("doctor", "run.duckdb", "--repair").returncode == 0
        with CrashingConnection(killed.database) as connection:
            assert contradictions(connection) == []
            assert written_results(connection) == original.acknowledged


def test_a_recovery_is_found_without_touching_the_file(killed: Killed, original: Killed, tmp_path: Path) -> None:
    killed.log.write_bytes(original.log.read_bytes()[:-3] + b"abc")
    before = digests(tmp_path)
    recovery = find_recovery(killed.database)
    assert recovery is not None
    assert recovery.commits_lost in {0, 1}
    assert digests(tmp_path) == before
