"""Every exit code of the contract, from a real process; some are new interpreters."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from command_line import CommandLine
from patient_endpoint import PatientEndpoint, patient_endpoint


@pytest.fixture
def endpoint() -> Iterator[PatientEndpoint]:
    with patient_endpoint() as endpoint:
        yield endpoint


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


def test_code_0_when_the_run_is_complete_and_again_when_it_was_complete_before(
    rowmill: CommandLine, quick_spec: Path
) -> None:
    first = rowmill("run", "quick.yaml")
    assert (first.returncode, first.stdout) == (0, "")
    assert "20 of 20 rows" in first.stderr
    again = rowmill("run", "quick.yaml")
    assert again.returncode == 0
    assert "complete" in again.stderr
    alone = rowmill("run", "quick.duckdb")
    assert alone.returncode == 0


def test_code_0_for_a_run_of_0_records(rowmill: CommandLine, quick_spec: Path) -> None:
    quick_spec.write_text(quick_spec.read_text().replace("records: 20", "records: 0"))
    assert rowmill("run", "quick.yaml").returncode == 0
    assert rowmill.output_of("export", "--format", "jsonl", "--output", "-") == ""


def test_code_1_when_every_row_would_fail(rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint) -> None:
    endpoint.status = 401
    endpoint.released.set()
    done = rowmill("run", waiting_spec)
    assert done.returncode == 1
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr
    assert rowmill.output_of("show", "dropped", "--format", "jsonl") == ""


def test_code_1_when_an_export_finds_no_space(rowmill: CommandLine, quick_run: Path) -> None:
    done = rowmill("export", "--format", "csv", "--output", "/dev/full")
    assert done.returncode == 1
    assert "There is no room for '/dev/full': No space left on device. Make room" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("executed")
def test_code_1_and_a_traceback_only_when_asked_for_after_an_unexpected_error(
    rowmill: CommandLine, quick_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rowmill.directory)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as nothing_to_write_to:
        nothing_to_write_to.bind("odd")
    plain = rowmill("export", "--format", "csv", "--output", "odd")
    assert (plain.returncode, "Traceback" in plain.stderr) == (1, False)
    verbose = rowmill("-v", "export", "--format", "csv", "--output", "odd")
    assert (verbose.returncode, "Traceback" in verbose.stderr) == (1, True)


@pytest.mark.usefixtures("executed")
def test_code_2_for_an_invalid_spec(rowmill: CommandLine) -> None:
    (rowmill.directory / "wrong.yaml").write_text("records: many")
    done = rowmill("run", "wrong.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert [path.name for path in rowmill.directory.iterdir()] == ["wrong.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.duckdb"), "There is no run database 'nowhere.duckdb'"),
        (("status", "nowhere.duckdb"), "There is no run database 'nowhere.duckdb'"),
        (("run", "nowhere.duckdb", "quick.yaml"), "the spec comes first"),
        (("run", "quick.yaml", "nowhere/x.duckdb"), "nowhere"),
        (("sql", "quick.duckdb"), "There is no run database 'quick.duckdb'"),
        (("sql", "a.duckdb", "from", "progress"), "quotes"),
    ],
)
def test_code_2_for_a_call_that_makes_no_sense(
    rowmill: CommandLine, quick_spec: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = rowmill(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert [path.name for path in rowmill.directory.iterdir()] == ["quick.yaml"]


def test_code_3_when_rows_were_dropped(rowmill: CommandLine, quick_spec: Path) -> None:
    quick_spec.write_text(quick_spec.read_text().replace("{latency_ms: 1}", "{latency_ms: 1, rejected: 0.3}"))
    done = rowmill("run", "quick.yaml")
    assert done.returncode == 3
    assert "rowmill show dropped" in done.stderr
    assert "rowmill retry quick.duckdb --dropped" in done.stderr
    assert rowmill("run", "quick.yaml").returncode == 3
    assert rowmill("run", "quick.yaml", "--quiet").stderr == ""
    dropped = rowmill.output_of("show", "dropped", "--format", "jsonl").splitlines()
    exported = rowmill.output_of("export", "--format", "jsonl", "--output", "-").splitlines()
    assert 0 < len(dropped) < 20
    assert len(dropped) + len(exported) == 20


def test_code_0_when_rows_were_taken_out_as_the_spec_wants(rowmill: CommandLine, quick_spec: Path) -> None:
    wanted = "  - {name: few, column_type: select, sql: row_id < 5}\n"
    quick_spec.write_text(quick_spec.read_text().rstrip() + "\n" + wanted)
    done = rowmill("run", "quick.yaml")
    assert (done.returncode, "15 dropped (none of them lost to errors)" in done.stderr) == (0, True), done.stderr
    assert "rowmill show dropped" in done.stderr
    assert "rowmill retry" not in done.stderr


BOOM = """columns:
  - {name: broken, column_type: custom, generator_function: "boom:broken", required_columns: []}
"""


@pytest.mark.slow
def test_an_error_of_a_users_function_names_file_and_line_and_has_one_traceback(rowmill: CommandLine) -> None:
    (rowmill.directory / "boom.py").write_text("def broken(row):\n    number = 0\n\n    return 1 / number\n")
    (rowmill.directory / "boom.yaml").write_text("name: boom\nrecords: 6\n" + BOOM)
    for command in ("preview", "run"):
        done = rowmill(command, "boom.yaml", "-v")
        assert done.returncode == 3, done.stderr
        assert done.stderr.count("Traceback") == 1
        assert done.stderr.count('boom.py", line 4') == 1
        assert "division by zero (boom.py:4)" in done.stderr
        assert "Traceback" not in rowmill(command, "boom.yaml").stderr
    shown = rowmill.output_of("show", "dropped", "--columns", "source_line", "--format", "csv")
    assert set(shown.split()) == {'"source_line"', '"boom.py:4"'}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("run", "quick.yaml"), ("run", "quick.duckdb"), ("status",), ("sql", "from progress"), ("export",)]
)
def test_code_4_names_the_process_that_holds_the_run_database(
    rowmill: CommandLine, quick_run: Path, arguments: tuple[str, ...]
) -> None:
    with duckdb.connect(str(quick_run)):
        done = rowmill(*arguments)
    assert done.returncode == 4
    assert str(os.getpid()) in done.stderr


@pytest.mark.slow
def test_code_4_while_an_invocation_works(rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint) -> None:
    working = rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    second = rowmill("run", waiting_spec)
    assert second.returncode == 4
    assert str(working.pid) in second.stderr
    endpoint.released.set()
    assert rowmill.end_of(working).returncode == 0


@pytest.mark.parametrize("arguments", [("run", "other.duckdb"), ("run", "quick.yaml", "other.duckdb"), ("status",)])
def test_code_5_for_a_database_that_is_not_of_this_run(
    rowmill: CommandLine, quick_spec: Path, arguments: tuple[str, ...]
) -> None:
    with duckdb.connect(str(rowmill.directory / "other.duckdb")) as other:
        other.execute("create table mine as select 42 as answer")
    done = rowmill(*arguments)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: ")
    with duckdb.connect(str(rowmill.directory / "other.duckdb")) as other:
        assert other.execute("from mine").fetchall() == [(42,)]


def test_code_5_when_the_spec_changed(rowmill: CommandLine, quick_spec: Path, quick_run: Path) -> None:
    quick_spec.write_text(quick_spec.read_text().replace("Describe a", "Praise a"))
    done = rowmill("run", "quick.yaml")
    assert done.returncode == 5
    assert "note" in done.stderr


@pytest.mark.parametrize("arguments", [("run", "quick.yaml"), ("run", "quick.duckdb"), ("status",), ("export",)])
@pytest.mark.parametrize("damage", ["overwritten", "cut"])
def test_code_6_for_a_damaged_run_database(
    rowmill: CommandLine, quick_run: Path, arguments: tuple[str, ...], damage: str
) -> None:
    content = quick_run.read_bytes()
    quick_run.write_bytes(content[:4096] + bytes(len(content) - 4096) if damage == "overwritten" else content[:5000])
    done = rowmill(*arguments)
    assert done.returncode == 6
    assert "quick.duckdb" in done.stderr
    assert "Traceback" not in done.stderr


def test_code_6_when_a_row_is_missing_after_a_crash(
    rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint
) -> None:
    working = rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    working.kill()
    rowmill.end_of(working)
    endpoint.released.set()
    with duckdb.connect(str(rowmill.directory / "waiting.duckdb")) as database:
        database.execute("delete from state.active_row where row_id = (select max(row_id) from state.active_row)")
    for arguments in (["run", waiting_spec], ["run", "waiting.duckdb"]):
        done = rowmill(*arguments)
        assert done.returncode == 6
        assert "row of an unfinished row group is missing" in done.stderr
        assert "rowmill doctor waiting.duckdb" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quick.yaml"),
        ("status", "--format", "json"),
        ("sql", "from dataset"),
        ("show", "rows", "--format", "jsonl"),
        ("export", "--output", "-", "--format", "jsonl"),
        ("report", "--output", "report.html"),
        ("extend", "--records", "40"),
        ("retry", "--dropped"),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_d5_a_damaged_file_gives_code_6_and_the_way_out_and_never_a_part_of_the_data(
    rowmill: CommandLine, quick_run: Path, arguments: tuple[str, ...]
) -> None:
    content = quick_run.read_bytes()
    damaged = content[:12_288] + bytes([0xA5]) * (len(content) - 12_288)
    quick_run.write_bytes(damaged)
    there = {path.name for path in rowmill.directory.iterdir()}
    done = rowmill(*arguments)
    assert (done.returncode, done.stdout) == (6, "")
    assert "'rowmill doctor" in done.stderr
    assert quick_run.read_bytes() == damaged
    assert {path.name for path in rowmill.directory.iterdir()} == there


def test_d5_doctor_says_what_is_wrong_with_a_damaged_file_and_what_can_be_done(
    rowmill: CommandLine, quick_run: Path
) -> None:
    content = quick_run.read_bytes()
    quick_run.write_bytes(content[:12_288] + bytes([0xA5]) * (len(content) - 12_288))
    done = rowmill("doctor", "--format", "json")
    assert done.returncode == 6
    wrong = [finding for finding in json.loads(done.stdout) if finding["state"] == "wrong"]
    assert {finding["verdict"] for finding in wrong} == {"damaged"}
    assert any("--salvage" in finding["advice"] for finding in wrong)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_code_75_when_stopped_and_the_same_command_goes_on(
    rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint, number: signal.Signals
) -> None:
    working = rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    working.send_signal(number)
    endpoint.released.set()
    stopped = rowmill.end_of(working)
    assert stopped.returncode == 75
    assert f"rowmill run {waiting_spec}" in stopped.stderr
    again = rowmill("run", waiting_spec)
    assert again.returncode == 0
    assert "40 of 40 rows" in again.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("executed")
def test_code_130_when_interrupted_twice_and_the_same_command_goes_on(
    rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint
) -> None:
    working = rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    working.send_signal(signal.SIGINT)
    assert working.stderr is not None
    # The second signal must not arrive together with the first.
    assert any("Stopping" in line for line in working.stderr)
    working.send_signal(signal.SIGINT)
    assert rowmill.end_of(working).returncode == 130
    endpoint.released.set()
    assert rowmill("run", waiting_spec).returncode == 0


@pytest.mark.slow
def test_killed_outright_the_same_command_goes_on(
    rowmill: CommandLine, waiting_spec: Path, endpoint: PatientEndpoint
) -> None:
    working = rowmill.start("run", waiting_spec)
    assert endpoint.asked.wait(30)
    working.kill()
    rowmill.end_of(working)
    endpoint.released.set()
    again = rowmill("run", "waiting.duckdb")
    assert again.returncode == 0
    assert rowmill.output_of("sql", "from invariant_violation", "--format", "jsonl") == ""
