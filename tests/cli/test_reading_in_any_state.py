"""What is asked of a run is answered while it works, while it is paused, when it is over, and by its holder only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_line import CommandLine
from patient_endpoint import PatientEndpoint, patient_endpoint

from rowmill.errors import Locked
from rowmill.inspect.opening import open_reader
from rowmill.inspect.place import DIRECTORY_VARIABLE
from rowmill.inspect.steering import steer
from rowmill.run_database import run
from rowmill.store.reading.listing import VIEWS, Selection, listing

pytestmark = pytest.mark.usefixtures("sockets")

HOLDER = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
READING = [
    ("show", "rows"),
    ("show", "graph"),
    ("status",),
    ("sql", "from progress"),
    ("report", "--output", "out.html"),
    ("export", "--output", "out.jsonl"),
]


@pytest.fixture
def endpoint() -> Iterator[PatientEndpoint]:
    with patient_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def living(rowmill: CommandLine, endpoint: PatientEndpoint) -> Path:
    """A run that works on 12 rows and waits for its model."""
    (rowmill.directory / "waiting.yaml").write_text(
        f"""
name: waiting
records: 12
row_group_size: 4
models: [{{alias: writer, provider: openai, base_url: "{endpoint.url}", model: slow, max_parallel_requests: 2}}]
columns: [{{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}}]
run: {{max_active_row_groups: 1}}
"""
    )
    rowmill.start("run", "waiting.yaml")
    assert endpoint.asked.wait(30)
    return rowmill.directory / "waiting.duckdb"


def listings(database: Path) -> dict[str, int]:
    """Rows of every listing, in part and whole: the same."""
    with open_reader(database) as reader:
        few, every = (
            {what: listing(reader, what, Selection(limit=limit)).read_all().num_rows for what in VIEWS}
            for limit in (1000, None)
        )
    assert few == every
    return few


@pytest.mark.slow
def test_every_listing_of_a_run_that_works_and_is_paused_and_is_over(
    rowmill: CommandLine, living: Path, endpoint: PatientEndpoint
) -> None:
    working = listings(living)
    assert (working["rows"], working["groups"], working["ready"], working["resources"]) == (0, 1, 4, 3)
    assert steer(living, "pause", {}).outcome == "applied"
    assert {**listings(living), "events": 0} == {**working, "events": 0}
    (process,) = rowmill._running
    steer(living, "resume", {})
    endpoint.released.set()
    assert rowmill.end_of(process).returncode == 0
    over = listings(living)
    assert (over["rows"], over["groups"], over["ready"], over["attempts"]) == (12, 3, 0, 12)


@pytest.mark.parametrize("arguments", [("run", "waiting.yaml"), ("extend", "--records", "20"), ("doctor",)])
def test_who_cannot_write_is_told_who_works_on_the_file_since_when_and_what_to_do(
    rowmill: CommandLine, living: Path, arguments: tuple[str, ...]
) -> None:
    (process,) = rowmill._running
    done = rowmill(*arguments)
    assert (done.returncode, done.stdout) == (4, "")
    assert re.search(
        rf"by process {process.pid}, which works on it since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", done.stderr
    )
    for command in ("rowmill status waiting.duckdb", "rowmill drain waiting.duckdb"):
        assert command in done.stderr


def test_python_is_told_the_same(rowmill: CommandLine, living: Path) -> None:
    (process,) = rowmill._running
    done = rowmill("run", "waiting.duckdb")
    with pytest.raises(Locked) as refused:
        run(None, living)
    assert str(refused.value).replace(str(living), "waiting.duckdb") == done.stderr.strip().removeprefix("Error: ")
    assert "which works on it since" in str(refused.value)
    assert (refused.value.pid, refused.value.path) == (process.pid, living)


@pytest.mark.slow
def test_a_run_that_another_user_works_on_says_so_to_whoever_cannot_ask_it(rowmill: CommandLine, living: Path) -> None:
    """Users have a directory of sockets each: from here this run looks like one of somebody else's."""
    (process,) = rowmill._running
    rowmill.environment = {DIRECTORY_VARIABLE: str(rowmill.directory / "mine")}
    # All of them wait a while for an answer: at once.
    asking = {arguments: rowmill.start(*arguments) for arguments in READING}
    for arguments, started in asking.items():
        done = rowmill.end_of(started)
        assert (done.returncode, done.stdout) == (4, ""), arguments
        assert f"is in use by process {process.pid}, which does not answer" in done.stderr, arguments
        assert "belongs to another user" in done.stderr, arguments


@pytest.mark.slow
def test_a_file_that_is_held_by_a_reader_is_said_to_be_read(rowmill: CommandLine, quick_run: Path) -> None:
    with ExitStack() as reading:
        waiting = {}
        # Each waits for its file to be free: all at once, for a file each.
        for verb, *options in (("run",), ("drain",), ("extend", "--records", "30")):
            database = Path(shutil.copy(quick_run, rowmill.directory / f"{verb}.duckdb"))
            reading.enter_context(open_reader(database))
            waiting[verb] = rowmill.start(verb, database.name, *options)
        for verb, started in waiting.items():
            done = rowmill.end_of(started)
            assert (done.returncode, done.stdout) == (4, ""), verb
            assert f"{verb}.duckdb is in use by process {os.getpid()}, which reads it" in done.stderr
            assert f"stop it ('kill -INT {os.getpid()}'), which does the run no harm" in done.stderr


@pytest.mark.slow
def test_a_file_that_another_program_holds_is_locked_and_names_it(quick_run: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(quick_run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Locked, match=f"in use by process {holder.pid}, which does not answer"):
            open_reader(quick_run)
    finally:
        holder.communicate()
    with open_reader(quick_run) as reader:
        assert reader.status().state == "finished"
