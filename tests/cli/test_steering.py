"""Steering a run from other processes: while it works, and when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest
from command_line import CommandLine
from copied_tables import new_store
from patient_endpoint import PatientEndpoint, patient_endpoint

from rowmill.engine.preparation import prepare

pytestmark = pytest.mark.usefixtures("sockets")


@pytest.fixture
def endpoint() -> Iterator[PatientEndpoint]:
    with patient_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def working(rowmill: CommandLine, endpoint: PatientEndpoint) -> Popen[str]:
    """A run of 12 rows whose model answers when the test says so, two at a time."""
    (rowmill.directory / "waiting.yaml").write_text(
        f"""
name: waiting
records: 12
row_group_size: 4
models: [{{alias: writer, provider: openai, base_url: "{endpoint.url}", model: slow, max_parallel_requests: 2}}]
columns: [{{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}}]
run: {{backoff_base_s: 600.0, backoff_max_s: 600.0}}
"""
    )
    process = rowmill.start("run", "waiting.yaml")
    assert endpoint.asked.wait(30)
    return process


def state_of(rowmill: CommandLine) -> str:
    return str(json.loads(rowmill.output_of("sql", "select state from run_status", "--format", "jsonl"))["state"])


def said(rowmill: CommandLine, *arguments: str | Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(rowmill.output_of(*arguments, "--format", "json"))
    return answer


def test_a_working_run_is_paused_and_goes_on_when_it_is_resumed(
    rowmill: CommandLine, working: Popen[str], endpoint: PatientEndpoint
) -> None:
    assert said(rowmill, "pause")["outcome"] == "applied"
    endpoint.released.set()
    assert state_of(rowmill) == "paused"
    again = rowmill("pause")
    assert (again.returncode, again.stdout) == (0, "")
    assert "Already paused" in again.stderr
    query = "select count(*) as n from attempt"
    assert json.loads(rowmill.output_of("sql", query, "--format", "jsonl"))["n"] <= 2
    assert working.poll() is None
    assert said(rowmill, "resume")["outcome"] == "applied"
    assert rowmill.end_of(working).returncode == 0
    events = rowmill.output_of("sql", "select kind from event where kind in ('pause', 'resume')", "--format", "jsonl")
    assert [json.loads(line)["kind"] for line in events.splitlines()] == ["pause", "resume"]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "code"), [("drain", 75), ("cancel", 130)])
def test_a_working_run_is_stopped_from_elsewhere_and_goes_on_later(
    rowmill: CommandLine, working: Popen[str], endpoint: PatientEndpoint, verb: str, code: int
) -> None:
    assert said(rowmill, verb)["outcome"] == "applied"
    if verb == "drain":
        endpoint.released.set()
    assert rowmill.end_of(working).returncode == code
    endpoint.released.set()
    assert said(rowmill, verb) == {
        "verb": verb,
        "outcome": "already",
        "message": "Already stopped: nothing works on the run.",
        "rows": 0,
    }
    assert rowmill("run", "waiting.yaml").returncode == 0


@pytest.mark.slow
def test_rows_of_a_working_run_are_dropped_by_hand(
    rowmill: CommandLine, working: Popen[str], endpoint: PatientEndpoint
) -> None:
    would = rowmill("drop", "--where", "row_id < 3 and note is null", "--dry-run")
    assert (would.returncode, would.stderr) == (0, "3 rows would be dropped.\n")
    unsure = rowmill("drop", "--rows", "0-2")
    assert unsure.returncode == 2
    assert "3 rows would be dropped. Add --yes" in unsure.stderr
    assert rowmill.output_of("show", "dropped", "--format", "jsonl") == ""
    assert said(rowmill, "drop", "--rows", "0-2", "--reason", "withdrawn", "--yes")["rows"] == 3
    endpoint.released.set()
    assert rowmill.end_of(working).returncode == 0
    dropped = [json.loads(line) for line in rowmill.output_of("show", "dropped", "--format", "jsonl").splitlines()]
    assert [(row["row_id"], row["reason"], row["message"]) for row in dropped] == [
        (row_id, "by_hand", "withdrawn") for row_id in range(3)
    ]
    assert rowmill.output_of("sql", "from invariant_violation", "--format", "jsonl") == ""


@pytest.mark.slow
def test_dropped_rows_come_back_into_a_working_run(
    rowmill: CommandLine, working: Popen[str], endpoint: PatientEndpoint
) -> None:
    said(rowmill, "drop", "--rows", "0-2", "--yes")
    would = rowmill("retry", "--dropped", "--where", "row_id < 2", "--dry-run")
    assert "2 dropped rows where row_id < 2 would come back." in would.stderr
    done = rowmill("retry", "--dropped", "--where", "row_id < 2")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "2 rows back.")
    assert "no dropped rows where row_id < 2" in rowmill("retry", "--dropped", "--where", "row_id < 2").stderr
    endpoint.released.set()
    assert rowmill.end_of(working).returncode == 0
    dropped = [json.loads(line) for line in rowmill.output_of("show", "dropped", "--format", "jsonl").splitlines()]
    assert [row["row_id"] for row in dropped] == [2]
    assert rowmill.output_of("sql", "from invariant_violation", "--format", "jsonl") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drop",), "Say which rows"),
        (("drop", "--rows", "3-1"), "no row number"),
        (("drop", "--where", "nonsense = 1"), "cannot be used"),
        (("drop", "--where", "1 in (select 1 from force_checkpoint())"), "not allowed"),
        (("drop", "--where", "true); delete from state.run; select (1"), "cannot be used"),
        (("limit", "wirter", "1"), "Did you mean 'writer'?"),
        (("limit", "writer", "9"), "from 1 to 2"),
        (("limit", "writer", "none"), "whole number"),
        (("limit", "1"), "Give MODEL N"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    rowmill: CommandLine, stopped: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = rowmill(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert rowmill.output_of("sql", "from event where kind in ('drop', 'limit')", "--format", "jsonl") == ""


@pytest.fixture
def stopped(rowmill: CommandLine) -> Path:
    """A run that was drained before it had begun to work, in no time."""
    (rowmill.directory / "waiting.yaml").write_text(
        """
name: waiting
records: 12
row_group_size: 4
models: [{alias: writer, provider: simulated, model: quick, max_parallel_requests: 2}]
columns: [{name: note, column_type: llm-text, model_alias: writer, prompt: "Say yes."}]
"""
    )
    prepared = prepare(rowmill.directory / "waiting.yaml")
    with closing(new_store(prepared, rowmill.directory / "waiting.duckdb")) as store:
        store.create(prepared.blueprint(), 0.0)
    return rowmill.directory / "waiting.duckdb"


@pytest.mark.slow
def test_a_stopped_run_is_steered_directly_and_stays_so_when_it_is_run_again(
    rowmill: CommandLine, stopped: Path
) -> None:
    assert said(rowmill, "limit", "writer", "1")["outcome"] == "applied"
    assert said(rowmill, "limit", "--in-flight", "7")["outcome"] == "applied"
    assert said(rowmill, "pause")["outcome"] == "applied"
    paused = rowmill.start("run", "waiting.yaml")
    assert paused.stderr is not None
    lines = []
    for line in paused.stderr:
        lines.append(line)
        if "paused" in line:
            break
    assert "rowmill resume" in lines[-1]
    assert said(rowmill, "resume")["outcome"] == "applied"
    assert rowmill.end_of(paused).returncode == 0
    query = "select configured_limit from resource where resource like 'simulated/%'"
    assert json.loads(rowmill.output_of("sql", query, "--format", "jsonl")) == {"configured_limit": 1}
    assert said(rowmill, "limit", "writer", "spec")["outcome"] == "applied"
    assert said(rowmill, "pause")["message"] == "The run is complete; there is nothing to pause."


def test_a_paused_run_goes_on_when_it_is_run_with_resume(rowmill: CommandLine, stopped: Path) -> None:
    said(rowmill, "pause")
    assert rowmill("run", "waiting.yaml", "--resume").returncode == 0


@pytest.mark.slow
def test_deferred_tasks_of_a_stopped_run_need_not_wait(
    rowmill: CommandLine, working: Popen[str], endpoint: PatientEndpoint
) -> None:
    spec = rowmill.directory / "waiting.yaml"
    assert said(rowmill, "drain")["outcome"] == "applied"
    endpoint.status = 503
    endpoint.released.set()
    assert rowmill.end_of(working).returncode == 75
    count = "select count(*) as n from deferred_task where not_before > (select updated_at from run_status)"
    assert json.loads(rowmill.output_of("sql", count, "--format", "jsonl"))["n"] == 2
    would = rowmill("retry", "--deferred", "--where", "attempts = 0", "--dry-run")
    assert (would.returncode, would.stderr) == (0, "2 deferred tasks would be ready at once.\n")
    done = rowmill("retry", "--deferred")
    assert (done.returncode, done.stderr) == (0, "2 deferred tasks ready again.\n")
    assert rowmill("retry", "--deferred").stderr == "None of these tasks waits: there is nothing to retry.\n"
    endpoint.status = 200
    assert rowmill("run", spec).returncode == 0
