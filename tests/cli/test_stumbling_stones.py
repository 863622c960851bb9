"""What a new user stumbled over once: each says what is wrong and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from command_line import CommandLine

import rowmill as library
from rowmill.errors import Incompatible, Locked, SpecError, UsageError


def test_a_database_that_is_open_in_this_process_is_locked_not_damaged(quick_spec: Path, quick_run: Path) -> None:
    with library.RunDatabase.open(quick_run), pytest.raises(Locked, match="open in this process"):
        library.run(quick_spec, quick_run)
    assert library.run(quick_spec, quick_run).exit_code == 0


def test_two_runs_of_one_file_in_one_process_are_kept_apart(tmp_path: Path, quick_spec: Path) -> None:
    path = tmp_path / "both.duckdb"
    locked: list[Locked] = []

    async def run() -> None:
        try:
            await library.run_async(quick_spec, path)
        except Locked as error:
            locked.append(error)

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            group.start_soon(run)

    anyio.run(both)
    assert len(locked) == 1
    with library.RunDatabase.open(path) as database:
        assert database.status().rows_finished == 20


def test_an_export_never_overwrites_the_seed_file(rowmill: CommandLine) -> None:
    seed = rowmill.directory / "products.csv"
    seed.write_text("product\nlamp\nchair\n")
    (rowmill.directory / "s.yaml").write_text("records: 2\nseed_dataset: {path: products.csv}\n")
    rowmill.output_of("run", "s.yaml")
    done = rowmill("export", "s.duckdb", "--output", "products.csv", "--force")
    assert (done.returncode, seed.read_text()) == (2, "product\nlamp\nchair\n")
    assert "is the seed data of this run" in done.stderr


def test_a_preview_says_why_rows_were_dropped(rowmill: CommandLine) -> None:
    (rowmill.directory / "s.yaml").write_text(
        "records: 2\ncolumns:\n"
        "  - {name: n, column_type: sampler, sampler_type: bernoulli, params: {p: 0}}\n"
        "  - {name: a, column_type: expression, expr: '{{ 1 / n }}'}\n"
    )
    done = rowmill("preview", "s.yaml", "-n", "2")
    assert done.returncode == 3
    assert "2 rows dropped:" in done.stderr
    assert "division by zero" in done.stderr


def test_a_run_says_why_rows_were_dropped(rowmill: CommandLine) -> None:
    (rowmill.directory / "s.yaml").write_text(
        "records: 4\ncolumns:\n"
        "  - {name: n, column_type: sampler, sampler_type: bernoulli, params: {p: 0}}\n"
        "  - {name: a, column_type: expression, expr: '{{ 1 / n }}'}\n"
    )
    done = rowmill("run", "s.yaml")
    assert done.returncode == 3
    assert "4 × column 'a' (rejected, TemplateError)" in done.stderr


def test_a_missing_key_is_found_before_a_file_is_made(tmp_path: Path) -> None:
    spec = {
        "records": 1,
        "models": [
            {"alias": "m", "base_url": "http://127.0.0.1:9/v1", "model": "x", "api_key": "${ROWMILL_TEST_NO_SUCH_KEY}"}
        ],
        "columns": [{"name": "a", "column_type": "llm-text", "model_alias": "m", "prompt": "hi"}],
    }
    with pytest.raises(SpecError, match="ROWMILL_TEST_NO_SUCH_KEY"):
        library.run(spec, tmp_path / "x.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_running_inside_an_event_loop_names_the_async_twin(tmp_path: Path, quick_spec: Path) -> None:
    async def inside() -> None:
        library.run(quick_spec, tmp_path / "x.duckdb")

    with pytest.raises(UsageError, match="run_async"):
        anyio.run(inside)


def test_a_column_that_is_no_longer_dropped_is_refused_not_ignored(rowmill: CommandLine, quick_spec: Path) -> None:
    shown = quick_spec.read_text()
    quick_spec.write_text(shown.replace("{name: size,", "{name: size, drop: true,"))
    library.run(quick_spec, rowmill.directory / "x.duckdb")
    quick_spec.write_text(shown)
    with pytest.raises(Incompatible, match="'size' is no longer marked 'drop'"):
        library.run(quick_spec, rowmill.directory / "x.duckdb")


def test_a_database_of_the_name_of_its_own_schema_is_refused_in_words(rowmill: CommandLine, quick_spec: Path) -> None:
    for name in ("state.duckdb", "State.v1.duckdb"):
        done = rowmill("run", quick_spec, name)
        assert done.returncode == 2
        assert "cannot be called 'state'" in done.stderr
    assert rowmill("run", quick_spec, "estate.duckdb").returncode == 0


def test_doctor_tells_of_what_a_killed_change_left_and_removes_it_only_when_asked(
    rowmill: CommandLine, quick_run: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = quick_run.with_name(f".{quick_run.name}.{gone.pid}.changed")
    left.write_bytes(b"12345")
    told = rowmill.output_of("doctor", quick_run)
    assert f"left 5 bytes half made: {left.name}" in told
    assert left.exists()
    done = rowmill("doctor", quick_run, "--repair")
    assert (done.returncode, left.exists()) == (0, False)
    assert f"Removed {left.name}" in done.stderr
    assert "nothing to repair" not in done.stderr


def test_a_schema_that_is_the_name_of_a_class_is_explained(rowmill: CommandLine) -> None:
    (rowmill.directory / "s.yaml").write_text(
        "records: 2\nmodels: [{alias: w, provider: simulated, model: m}]\ncolumns:\n"
        "  - {name: a, column_type: llm-structured, model_alias: w, prompt: x, output_format: 'parts:Answer'}\n"
    )
    done = rowmill("validate", "s.yaml")
    assert done.returncode == 2
    assert "not the text 'parts:Answer'" in done.stderr
    assert "model_json_schema()" in done.stderr
    assert "(columns.0.output_format)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status", "rows.csv"], 5, "rows.csv is not a run database. Name another file."),
        (["sql", "from usage", "quick.duckdb"], 2, 'before the query: rowmill sql quick.duckdb "from usage"'),
        (["extend", "quick.duckdb", "--records", "6"], 2, "Say 'records: 20' or more to go on with it, or start a new"),
        (["run", "quick.yaml", "--records", "50"], 2, "is said in its spec: 'records'."),
        (["run", "quick.yaml", "-n", "50"], 2, "there: rowmill extend DATABASE --records 50."),
        (["run", "quick.yaml", "language=de"], 2, "or say --set language=de if it is a parameter"),
        (["run", "quick.yaml", "run.max_tokens=5"], 2, "To set 'run.max_tokens' to '5', write it into the spec"),
        (["run", "quick.yaml", "--rows", "many"], 2, "there: rowmill extend DATABASE --records N."),
        (["pause"], 2, "This directory has other.duckdb, quick.duckdb. Name one after the command, or set ROWMILL_DA"),
    ],
)
def test_a_refusal_says_what_to_do_instead(
    rowmill: CommandLine, quick_run: Path, arguments: list[str], code: int, said: str
) -> None:
    (rowmill.directory / "rows.csv").write_text("a,b\n1,2\n")
    if arguments == ["pause"]:
        (rowmill.directory / "other.duckdb").touch()
    done = rowmill(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.mark.parametrize("arguments", [["-"], ["few.yaml", "few.duckdb", "--shard", "2/2"]])
def test_what_goes_on_with_a_run_of_given_values_is_its_file(rowmill: CommandLine, arguments: list[str]) -> None:
    text = (
        "name: few\nrow_group_size: 10\nrecords: '{{ rows }}'\nparameters: {rows: {type: int}}\n"
        "models: [{alias: w, provider: simulated, model: m, max_parallel_requests: 1, simulation: {latency_ms: 80}}]\n"
        "columns:\n  - {name: a, column_type: llm-text, model_alias: w, prompt: x}\nrun: {max_requests: 1}\n"
    )
    (rowmill.directory / "few.yaml").write_text(text)
    done = rowmill("run", *arguments, "--set", "rows=20", input=text)
    assert done.returncode == 75
    assert "  rowmill run few.duckdb    goes on where it stopped" in done.stderr
