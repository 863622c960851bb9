"""The reading commands beside a living run, from real processes: as if the file were free."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from patient_endpoint import PatientEndpoint, patient_endpoint

import rowmill as library
from rowmill.errors import QueryStopped
from rowmill.inspect.opening import open_reader
from rowmill.inspect.place import DIRECTORY_VARIABLE, LivePlace, live_place


@pytest.fixture
def endpoint() -> Iterator[PatientEndpoint]:
    with patient_endpoint() as endpoint:
        yield endpoint


pytestmark = pytest.mark.usefixtures("sockets")


@pytest.fixture
def waiting_spec(rowmill: CommandLine, endpoint: PatientEndpoint) -> Path:
    """A spec of 40 rows whose model answers when the test says so, two at a time."""
    path = rowmill.directory / "waiting.yaml"
    path.write_text(
        f"""
name: waiting
records: 40
row_group_size: 10
models: [{{alias: writer, provider: openai, base_url: "{endpoint.url}", model: slow, max_parallel_requests: 2}}]
columns: [{{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}}]
"""
    )
    return path


@pytest.fixture
def place(rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint) -> LivePlace:
    """Where the run of :func:`waiting_spec`, which works and waits, can be asked."""
    rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    return live_place(rowmill.directory / "waiting.duckdb")


@pytest.mark.slow
def test_reading_commands_work_while_a_run_holds_the_file_and_after_it(
    rowmill: CommandLine, place: LivePlace, endpoint: PatientEndpoint
) -> None:
    (status,) = json.loads(rowmill.output_of("status", "--format", "json"))
    assert (status["state"], status["rows_finished"]) == ("running", 0)
    assert {r["in_flight"] for r in status["resources"] if r["resource"].endswith("/slow")} == {2}
    assert rowmill.output_of("sql", "select state from run_status", "--format", "csv") == '"state"\n"running"\n'
    assert len(rowmill.output_of("show", "resources", "--format", "jsonl").splitlines()) == 3
    export = rowmill("export", "--format", "jsonl", "--output", "-")
    assert (export.returncode, export.stdout) == (0, "")
    assert "40 not finished yet (the run works on them)" in export.stderr
    assert place.socket.stat().st_mode & 0o777 == 0o600
    assert place.directory.stat().st_mode & 0o777 == 0o700
    with library.RunDatabase.open(rowmill.directory / "waiting.duckdb") as database:
        assert database.status().state == "running"
        endpoint.released.set()
        (working,) = rowmill._running
        assert rowmill.end_of(working).returncode == 0
        assert database.status().state == "finished"
        assert database.to_arrow().num_rows == 40
    assert not place.socket.exists()
    assert not place.note.exists()
    assert rowmill.output_of("sql", "select state from run_status", "--format", "csv") == '"state"\n"finished"\n'


@pytest.mark.slow
def test_a_dataset_is_appended_to_an_export_beside_the_run_and_after_it(
    rowmill: CommandLine, place: LivePlace, endpoint: PatientEndpoint
) -> None:
    beside = rowmill("export", "--layout", "huggingface", "--append", "-o", "hub")
    assert beside.returncode == 0, beside.stderr
    assert "Exported 0 of 40 rows" in beside.stderr
    endpoint.released.set()
    (working,) = rowmill._running
    assert rowmill.end_of(working).returncode == 0
    after = rowmill("export", "--layout", "huggingface", "--append", "-o", "hub")
    assert "Exported 40 of 40 rows" in after.stderr, after.stderr


def test_a_link_to_the_database_leads_to_its_run(rowmill: CommandLine, place: LivePlace) -> None:
    link = rowmill.directory / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(rowmill.directory / "waiting.duckdb")
    assert rowmill.output_of("sql", link, "select state from run_status", "--format", "csv") == '"state"\n"running"\n'


@pytest.mark.slow
def test_two_runs_of_the_same_name_are_told_apart(
    rowmill: CommandLine, place: LivePlace, quick_spec: Path, tmp_path: Path
) -> None:
    other = rowmill.directory / "other" / "waiting.duckdb"
    other.parent.mkdir()
    rowmill.output_of("run", quick_spec, other)
    query = "select name, state from run_status"
    named = [
        json.loads(rowmill.output_of("sql", path, query, "--format", "jsonl")) for path in (other, "waiting.duckdb")
    ]
    assert named == [{"name": "quick", "state": "finished"}, {"name": "waiting", "state": "running"}]


@pytest.mark.slow
def test_a_killed_run_leaves_a_socket_that_stands_in_nobodys_way(
    rowmill: CommandLine, place: LivePlace, endpoint: PatientEndpoint, waiting_spec: Path
) -> None:
    rowmill.output_of("status")
    (working,) = rowmill._running
    working.kill()
    rowmill.end_of(working)
    assert place.has_socket()
    assert json.loads(rowmill.output_of("status", "--format", "jsonl"))["state"] == "stopped"
    endpoint.released.set()
    assert rowmill("run", waiting_spec).returncode == 0
    assert list(place.directory.iterdir()) == []


@pytest.mark.slow
def test_an_endless_query_ends_at_its_time_limit_and_the_run_goes_on(
    rowmill: CommandLine, place: LivePlace, endpoint: PatientEndpoint
) -> None:
    query = "select count(*) from range(10000000) as a, range(10000000) as b where a.range + b.range = -1"
    done = rowmill("sql", query, "--time-limit", "0.2")
    assert done.returncode == 1
    assert "longer than 0.2 s" in done.stderr
    endpoint.released.set()
    (working,) = rowmill._running
    assert rowmill.end_of(working).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["a.range + b.range = -1", "hash(a.range, b.range) % 100000000 = 1"])
def test_a_query_that_has_a_limit_beside_a_run_keeps_it_on_the_file_that_the_run_let_go(
    rowmill: CommandLine, place: LivePlace, endpoint: PatientEndpoint, condition: str
) -> None:
    """Its second half: with rows that come now and then the limit is that of all together."""
    query = f"select a.range as n from range(10000000) as a, range(10000000) as b where {condition}"
    path = rowmill.directory / "waiting.duckdb"
    with open_reader(path, time_limit_s=0.3) as reader:
        endpoint.released.set()
        (working,) = rowmill._running
        assert rowmill.end_of(working).returncode == 0
        with pytest.raises(QueryStopped, match=r"longer than 0\.3 s.* keep the next one from starting"):
            reader.table(query)
        with pytest.raises(QueryStopped), reader.batches(query) as rows:
            rows.read_all()
        assert reader.table("select 1 as one").to_pylist() == [{"one": 1}]
    assert rowmill("run", path).returncode == 0


def test_an_interrupted_query_ends_at_once(rowmill: CommandLine, place: LivePlace) -> None:
    rowmill.output_of("status")
    query = "select count(*) from range(10000000) as a, range(10000000) as b where a.range + b.range = -1"
    asking = rowmill.start("sql", query, "--time-limit", "3000")
    with library.RunDatabase.open(rowmill.directory / "waiting.duckdb") as database:
        running = "select count(*) as n from duckdb_tables()"
        database.sql(running)
    # The command is known to be inside Flight once it has its other imports done: it has mapped the library.
    while "libarrow_flight" not in Path(f"/proc/{asking.pid}/maps").read_text():
        assert asking.poll() is None
    asking.send_signal(signal.SIGINT)
    assert rowmill.end_of(asking).returncode == 130


def test_a_run_whose_socket_cannot_be_made_goes_on_with_a_warning(rowmill: CommandLine, quick_spec: Path) -> None:
    rowmill.environment = {DIRECTORY_VARIABLE: str(rowmill.directory / ("d" * 120))}
    done = rowmill("run", quick_spec)
    assert done.returncode == 0
    assert done.stderr.count("cannot be looked at while it works") == 1
