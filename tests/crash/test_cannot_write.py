"""The run database cannot be written: no space, no rights, no directory, no file any more (F7)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from command_line import CommandLine
from patient_endpoint import patient_endpoint

from rowmill.run_database import RunDatabase
from rowmill.store.database.connection import Connection
from rowmill.store.file.database_file import create_private_file
from rowmill.store.file.log import log_of
from rowmill.store.run_store import RunStore

_PROGRAM = Path(__file__).resolve().parent / "limited_run.py"

_SPEC = """
name: roomy
records: 400
row_group_size: 20
models:
  - {alias: writer, provider: simulated, model: long, max_parallel_requests: 16,
     simulation: {latency_ms: 0, output_tokens: 1500}}
columns:
  - {name: id, column_type: sampler, sampler_type: uuid}
  - {name: text, column_type: llm-text, model_alias: writer, prompt: "Write about {{ id }}."}
run: {max_active_rows: 60}
"""


@pytest.fixture
def run() -> Iterator[CommandLine]:
    command_line = CommandLine(Path.cwd(), (sys.executable, str(_PROGRAM)))
    yield command_line
    command_line.close()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "roomy.yaml"
    path.write_text(_SPEC)
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The dataset when there is room enough."""
    directory = tmp_path_factory.mktemp("room")
    spec = directory / "roomy.yaml"
    spec.write_text(_SPEC)
    done = CommandLine(directory, (sys.executable, str(_PROGRAM)))(spec, directory / "run.duckdb")
    assert done.returncode == 0, done.stderr
    return _dataset(directory / "run.duckdb")


def _dataset(database: Path) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        rows: list[dict[str, Any]] = opened.to_arrow().to_pylist()
    return rows


def _assert_stopped_with_the_reason(done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 1, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert "Unexpected" not in done.stderr
    assert [line[:7] for line in done.stderr.splitlines()] == ["Error: "], done.stderr
    assert "room" in done.stderr, done.stderr


def _assert_holds(database: Path, acknowledged: set[int]) -> None:
    """Every row group that was reported as finished is there, and nothing contradicts itself."""
    store = RunStore.open(database)
    try:
        if store.is_new:
            assert not acknowledged
            return
        assert store.connection.execute("from invariant_violation") == []
        finished = store.connection.execute("select row_group, rows_finished from row_group where state = 'finished'")
        assert acknowledged <= {row_group for row_group, _ in finished}
        rows = store.connection.execute("select count(*) from dataset")[0][0]
        assert rows == sum(count for _, count in finished)
    finally:
        store.close()


@pytest.mark.parametrize(
    "largest",
    [
        8_192,
        1_600_000,
        4_000_000,
        *(pytest.param(largest, marks=pytest.mark.slow) for largest in (300_000, 1_000_000, 2_400_000)),
    ],
)
def test_a_file_that_cannot_grow_stops_the_run_and_loses_nothing(
    tmp_path: Path, run: CommandLine, spec: Path, expected: list[dict[str, Any]], largest: int
) -> None:
    database = tmp_path / "run.duckdb"
    stopped = run(spec, database, str(largest))
    _assert_stopped_with_the_reason(stopped, "too large")
    _assert_holds(database, {int(line) for line in stopped.stdout.split()})
    done = run(spec, database)
    assert done.returncode == 0, done.stderr
    assert _dataset(database) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, where this user may mount one."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "rowmill-test", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_after_making_room_it_goes_on(
    run: CommandLine, spec: Path, small_disk: Path, expected: list[dict[str, Any]]
) -> None:
    database = small_disk / "run.duckdb"
    stopped = run(spec, database)
    _assert_stopped_with_the_reason(stopped, "No space left on device")
    again = run(spec, database)
    assert again.returncode == 1, again.stderr
    assert "Traceback" not in again.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    _assert_holds(database, {int(line) for line in (stopped.stdout + again.stdout).split()})
    done = run(spec, database)
    assert done.returncode == 0, done.stderr
    assert _dataset(database) == expected


def test_a_disk_without_any_room_is_a_clear_error(run: CommandLine, spec: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(3 * 2**20))
    database = small_disk / "run.duckdb"
    stopped = run(spec, database)
    _assert_stopped_with_the_reason(stopped, "No space left on device")
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert run(spec, database).returncode == 0


# A disk that does not keep what it is given ---------------------------------------------------------------------

_FAILING_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_int calls;

static int fails(void) {
  const char *good = getenv("GOOD_SYNCS");
  return good && atomic_fetch_add(&calls, 1) >= atoi(good);
}

int fsync(int descriptor) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  if (fails()) { errno = EIO; return -1; }
  return real(descriptor);
}

int fdatasync(int descriptor) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
  if (fails()) { errno = EIO; return -1; }
  return real(descriptor);
}
"""


@pytest.fixture(scope="module")
def failing_sync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose fsync and fdatasync fail after a number of calls, to be loaded before the C library."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("making fsync fail takes a C compiler and a linker that preloads libraries")
    directory = tmp_path_factory.mktemp("sync")
    (directory / "failing_sync.c").write_text(_FAILING_SYNC)
    library = directory / "failing_sync.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, directory / "failing_sync.c", "-ldl"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"the compiler cannot make a library: {done.stderr}")
    return library


@pytest.mark.parametrize(
    "good_syncs", [3, 14, *(pytest.param(good_syncs, marks=pytest.mark.slow) for good_syncs in (8, 20))]
)
def test_a_disk_that_cannot_sync_stops_the_run_and_nothing_acknowledged_is_lost(
    tmp_path: Path, run: CommandLine, spec: Path, expected: list[dict[str, Any]], failing_sync: Path, good_syncs: int
) -> None:
    database = tmp_path / "run.duckdb"
    environment = {"LD_PRELOAD": str(failing_sync), "GOOD_SYNCS": str(good_syncs)}
    failing = CommandLine(tmp_path, (sys.executable, str(_PROGRAM)), environment=environment)
    stopped = failing(spec, database)
    assert stopped.returncode == 1, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.stderr.startswith("Error: ")
    if database.exists():
        _assert_holds(database, {int(line) for line in stopped.stdout.split()})
    done = run(spec, database)
    assert done.returncode == 0, done.stderr
    assert _dataset(database) == expected


# No rights, no directory ----------------------------------------------------------------------------------------


@pytest.fixture
def rowmill(tmp_path: Path) -> Iterator[CommandLine]:
    """The command as somebody whom the rights of files bind: root without its power to override them."""
    command: tuple[str, ...] = (sys.executable, "-m", "rowmill")
    if not os.getuid():
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everything, and there is no setpriv to make it less powerful")
        command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *command)
    command_line = CommandLine(tmp_path, command)
    yield command_line
    command_line.close()


def test_a_directory_that_is_not_there_is_named(rowmill: CommandLine, spec: Path) -> None:
    done = rowmill("run", spec, "nowhere/run.duckdb")
    assert done.returncode == 2, done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_without_write_permission_is_named(rowmill: CommandLine, spec: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = rowmill("run", spec, "closed/run.duckdb")
    assert done.returncode == 2, done.stderr
    assert "closed/run.duckdb" in done.stderr
    assert "ermission" in done.stderr
    assert list(closed.iterdir()) == []


@pytest.mark.slow
def test_a_run_database_without_write_permission_is_named_and_stays_as_it_is(
    rowmill: CommandLine, run: CommandLine, spec: Path, tmp_path: Path
) -> None:
    spec.write_text(_SPEC.replace("records: 400", "records: 20"))
    database = tmp_path / "run.duckdb"
    assert run(spec, database).returncode == 0
    before = database.read_bytes()
    database.chmod(0o444)
    done = rowmill("run", spec, "run.duckdb")
    assert done.returncode == 2, done.stderr
    assert "run.duckdb" in done.stderr
    assert "ermission" in done.stderr
    assert database.read_bytes() == before


# The file goes away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_whose_database_is_removed_never_claims_success(tmp_path: Path, replaced: bool) -> None:
    command_line = CommandLine(tmp_path)
    database = tmp_path / "run.duckdb"
    with patient_endpoint() as endpoint:
        (tmp_path / "spec.yaml").write_text(
            f"""
name: waiting
records: 40
row_group_size: 10
models: [{{alias: writer, provider: openai, base_url: "{endpoint.url}", model: slow, max_parallel_requests: 2}}]
columns: [{{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}}]
"""
        )
        try:
            process = command_line.start("run", "spec.yaml", "run.duckdb")
            assert endpoint.asked.wait(30)
            database.unlink()
            if replaced:
                with duckdb.connect(str(database)) as other:
                    other.execute("create table somebody_elses (n integer)")
            endpoint.released.set()
            done = command_line.end_of(process)
        finally:
            command_line.close()
    assert done.returncode == 1, done.stderr
    assert "run.duckdb" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_locked_run_database_is_code_4_and_names_the_process(run: CommandLine, spec: Path, tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with duckdb.connect(str(database)):
        done = run(spec, database)
    assert done.returncode == 4, done.stderr
    assert str(os.getpid()) in done.stderr


def test_a_database_that_another_run_made_meanwhile_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    with Connection(path) as connection:
        connection.script("create table results (value integer)")
    before = path.stat().st_ino, path.read_bytes()
    create_private_file(path)
    assert (path.stat().st_ino, path.read_bytes()) == before
    assert not list(tmp_path.glob(".*"))


def test_who_may_not_read_the_file_may_not_read_its_log(tmp_path: Path) -> None:
    path = tmp_path / "run.duckdb"
    create_private_file(path)
    with Connection(path) as connection:
        for number, mode in enumerate((0o600, 0o640, 0o600)):
            path.chmod(mode)
            with connection.transaction():
                connection.execute(f"create table made_{number} (n integer)")
            assert stat.S_IMODE(log_of(path).stat().st_mode) == mode
            if number == 1:
                connection.checkpoint()
