"""Python can do what the command line does, by the same names, and says it in the same words."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
from command_line import CommandLine
from help_page import PAGES

import rowmill
from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as command_line
from rowmill.errors import UsageError
from rowmill.store.reading.status import Status

SPEC: dict[str, Any] = {
    "name": "quick",
    "records": 6,
    "row_group_size": 3,
    "models": [{"alias": "m", "provider": "simulated", "model": "quick", "simulation": {"latency_ms": 0}}],
    "columns": [
        {"name": "n", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}},
        {"name": "note", "column_type": "llm-text", "model_alias": "m", "prompt": "About {{ n }}."},
        {
            "name": "kept",
            "column_type": "expression",
            "sql": "if(n between 0.09 and 0.1, 'x', '1')::int",
            "dtype": "int",
        },
    ],
}

OF_PROGRAMS = {
    "init": "writes files to start from",
    "validate": "load_spec",
    "plan": "what it explains is for people",
    "sql": "RunDatabase.sql",
    "doctor": "for files that do not open",
    "migrate": "for files that do not open",
    "import-config": "writes a file",
    "schema": "for editors",
    "completion": "for shells",
    "mcp": "a server of its own",
    "help": "the pages",
}
"""Commands that Python has in another way, or that are no part of a program's work on a run."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "run": rowmill.run,
    "preview": rowmill.preview,
    "check-models": rowmill.check_models,
    "merge": rowmill.merge,
}
OTHERWISE = {
    "run": {"yes", "spec", "database", "shows_page"},
    "preview": {"yes", "output_format", "spec", "import_functions"},
    "check-models": {"output_format"},
    "retry": set(),
    "export": {"output", "file_format", "repository", "private", "hub_endpoint"},
    "drop": {"row_ids", "yes", "answer_format"},
    "limit": {"arguments", "in_flight", "answer_format"},
    "rerun": {"yes"},
    "fork": set(),
    "diff": {"first", "second", "diff_format"},
    "show": {"words", "show_format", "row_id", "column"},
    "status": {"watch", "interval_s", "output_format", "status_format", "databases", "ascii_only"},
    "ui": {"no_browser", "of_run"},
    "metrics": {"form", "output", "dashboard"},
    "report": {"output"},
}
"""Options that Python says in another way: the file to write, the format of what is printed, consent."""
OF_ALL = {"verbose", "quiet", "log_format", "database", "answer_format", "help"}


def _options(name: str) -> set[str]:
    command = command_line.get_command(click.Context(command_line), name)
    assert command is not None
    return {str(each.name) for each in command.params if not getattr(each, "hidden", False)}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OF_PROGRAMS])
def test_every_option_of_a_command_is_a_parameter_of_the_same_name(name: str) -> None:
    function = FUNCTIONS[name] if name in FUNCTIONS else getattr(rowmill.RunDatabase, name)
    known = set(inspect.signature(function).parameters)
    missing = _options(name) - OF_ALL - OTHERWISE.get(name, set()) - known
    assert not missing, f"rowmill {name}: {missing} are no parameters of {function.__qualname__}{known}"


def test_no_parameter_is_hidden_and_the_async_twins_have_the_same() -> None:
    public = [name for name in vars(rowmill.RunDatabase) if not name.startswith("_")]
    for name in public:
        sync, twin = getattr(rowmill.RunDatabase, name), getattr(rowmill.AsyncRunDatabase, name)
        mine, other = inspect.signature(sync), inspect.signature(twin)
        assert [(p.name, p.default, p.kind) for p in mine.parameters.values()] == [
            (p.name, p.default, p.kind) for p in other.parameters.values()
        ], name
        assert inspect.getdoc(sync)
        assert inspect.iscoroutinefunction(twin)
    for name in ("run", "preview", "merge", "check_models"):
        sync, twin = getattr(rowmill, name), getattr(rowmill, f"{name}_async")
        assert inspect.signature(sync).parameters == inspect.signature(twin).parameters
        assert all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(sync).parameters.values())


def test_the_page_on_python_names_every_function_every_method_and_every_parameter() -> None:
    page = PAGES["python"]
    for name in (each for each in vars(rowmill.RunDatabase) if not each.startswith("_")):
        if name not in {"open", "export_directory"}:
            assert f"`{name}(" in page, name
    for name in rowmill.__all__:
        if name not in {"config", "errors", "generator", "SpecError"}:
            assert name in page, name
    for name in inspect.signature(rowmill.run).parameters:
        assert name in page, name


def test_the_older_names_of_classes_mean_the_same() -> None:
    config = rowmill.config
    assert config.Model is config.ModelConfig
    assert config.SeedDataset is config.SeedDatasetConfig
    assert (config.Skip, config.Tool) == (config.SkipConfig, config.ToolConfig)
    assert not [
        name for name in config.__all__ if name.endswith("Config") and name.removesuffix("Config") not in config.__all__
    ]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "x.duckdb"
    report = rowmill.run(SPEC, path)
    assert (report.exit_code, report.rows_lost) == (3, 1)
    assert str(report).startswith(f"{path} is complete: 5 of 6 rows, 1 dropped.\n  1 × column 'kept'")
    return path


@pytest.mark.slow
def test_a_run_is_extended_retried_and_made_again_from_python(made: Path) -> None:
    with rowmill.RunDatabase.open(made) as database:
        assert database.extend(9, dry_run=True) == (6, 9)
        assert database.extend(9) == (6, 9)
        assert database.retry(dropped=True, dry_run=True).rows == 1
        assert database.retry(dropped=True).outcome == "applied"
        assert database.retry(dropped=True).outcome == "already"
        assert database.rerun("note", where="row_id = 0", dry_run=True).rows == 1
        assert database.rerun("note", where="row_id = 0").columns == ("note",)
    assert rowmill.run(made).records == 9
    with rowmill.RunDatabase.open(made) as database:
        assert database.status().rows_finished == 8
        assert database.status().requests == 9, "a request for each row but the one that was lost before, and one again"
        with pytest.raises(UsageError, match=r"9"):
            database.extend(3)
        assert database.status().rows_finished == 8, "what was refused leaves it readable"


def test_a_run_is_steered_from_python(made: Path) -> None:
    with rowmill.RunDatabase.open(made) as database:
        assert database.extend(12).records == 12
        assert database.pause().outcome == "applied"
        assert database.pause().message.startswith("Already paused")
        assert (
            str(database.resume())
            == database.sql("from event where kind = 'resume'")["detail"][0].as_py().partition(" By ")[0]
        )
        assert database.limit("m", 2).outcome == "applied"
        assert database.limit(None, 5).outcome == "applied"
        assert database.limit("m", None).outcome == "applied"
        with pytest.raises(UsageError, match="no model 'n'"):
            database.limit("n", 2)
        assert database.drop([1, 2, 3]).outcome == "already"
        with pytest.raises(UsageError, match="no row number"):
            database.drop([-1])
        with pytest.raises(UsageError, match="Say which rows"):
            database.drop()
        for verb in (database.drain, database.cancel):
            assert verb().outcome == "already", "nothing works on it"


@pytest.mark.slow
def test_rows_and_columns_are_shown_compared_and_exported_from_python(made: Path, tmp_path: Path) -> None:
    with rowmill.RunDatabase.open(made) as database:
        assert database.show("rows", where="n >= 0", columns=["row_id"], limit=2).num_rows == 2
        assert database.show("dropped", values=True)["n"][0].as_py()
        row = database.show_row(0, columns=["note"])
        assert list(row["columns"]) == ["note"]
        asked = database.show_prompt(0, "note")
        assert asked["messages"][0]["content"].startswith("About 0.")
        assert asked["requests"] == 1
        done = database.export(tmp_path / "x.jsonl", columns=["note"], where="row_id < 3")
        assert (done.rows, done.path) == (2, tmp_path / "x.jsonl")
        parts = database.export(tmp_path / "parts", layout="files", split="train=0.5,test=0.5")
        assert parts.rows == 5
        assert database.export(tmp_path / "grown", append=True).rows == 5
        assert database.export(tmp_path / "grown", append=True).rows == 0
        with pytest.raises(UsageError, match="--csv-safe"):
            database.export(tmp_path / "y.jsonl", csv_safe=True)
        change = database.fork(tmp_path / "copy.duckdb", {**SPEC, "seed": 5})
        assert "seed" in str(change)
        rowmill.run(tmp_path / "copy.duckdb")
        found = database.diff(tmp_path / "copy.duckdb")
        assert not found.is_equal
        assert database.diff(made).is_equal
        assert "rowmill_rows" in database.metrics()
        with pytest.raises(UsageError, match="no listing 'raws'"):
            database.show("raws")
    with pytest.raises(UsageError, match="closed here"):
        database.status()


@pytest.mark.slow
def test_python_says_what_the_command_line_says(rowmill: CommandLine, tmp_path: Path, made: Path) -> None:
    import rowmill as package

    def said(act: Any) -> str:
        with pytest.raises(package.RowmillError) as raised:
            act()
        return str(raised.value)

    with package.RunDatabase.open(made) as database:
        both = [
            (lambda: package.RunDatabase.open(tmp_path / "no.duckdb"), ["status", str(tmp_path / "no.duckdb")]),
            (lambda: database.extend(3), ["extend", str(made), "--records", "3"]),
            (lambda: database.rerun("not"), ["rerun", str(made), "--column", "not", "--yes"]),
            (
                lambda: database.retry(dropped=True, where="raeson = 1"),
                ["retry", str(made), "--dropped", "--where", "raeson = 1"],
            ),
            (lambda: database.show_prompt(0, "n"), ["show", "prompt", str(made), "--row", "0", "--column", "n"]),
            (lambda: database.limit("n", 1), ["limit", str(made), "n", "1"]),
            (lambda: database.fork(made), ["fork", str(made), str(made)]),
            (lambda: package.run(SPEC, made, workers=2), ["run", str(made), "--workers", "2"]),
        ]
        words = [said(act) for act, _ in both[:-1]]
    for expected, (_, arguments) in zip(words, both, strict=False):
        assert rowmill(*arguments).stderr.split() == f"Error: {expected}".split(), arguments


async def _all_of_the_twin(path: Path) -> Status:
    async with await rowmill.AsyncRunDatabase.open(path) as database:
        assert (await database.extend(7)).records == 7
        assert (await database.pause()).outcome == "applied"
        assert (await database.resume()).outcome == "applied"
        assert (await database.show_row(0))["row_id"] == 0
        assert (await database.diff(database)).is_equal
    await rowmill.run_async(path)
    async with await rowmill.AsyncRunDatabase.open(path) as database:
        return await database.status()


@pytest.mark.slow
def test_the_async_twin_acts_too(made: Path) -> None:
    assert anyio.run(_all_of_the_twin, made).rows_finished == 6


def test_models_are_checked_from_python(made: Path) -> None:
    assert [each.alias for each in rowmill.check_models(SPEC, quick=True)] == ["m"]
    assert rowmill.check_models(made, quick=True)[0].usable


def test_a_status_is_printed_as_a_short_table(made: Path) -> None:
    with rowmill.RunDatabase.open(made) as database:
        text = str(database.status())
    lines = text.splitlines()
    assert lines[0] == "quick: finished, 5 of 6 rows finished (83 %), 1 dropped (1 of them lost to errors)"
    assert lines[1].startswith("5 requests, ")
    assert lines[2].split() == ["column", "done", "dropped"]
    assert lines[4].split() == ["note", "5", "1"]
    assert max(map(len, lines)) < 130
    assert "Status(" not in text


def test_threads_read_while_another_one_acts(made: Path) -> None:
    seen: list[int] = []
    with rowmill.RunDatabase.open(made) as database:

        def read() -> None:
            seen.extend(database.sql("select count(*) as n from dataset")["n"][0].as_py() for _ in range(10))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for records in range(7, 10):
            database.extend(records)
        for thread in threads:
            thread.join()
    assert seen == [5] * 30


PROGRAM = """
import os, signal, sys, threading, pathlib
import rowmill

@rowmill.generator(required_columns=["n"])
async def slow(row) -> str:
    import anyio
    pathlib.Path("busy").touch()
    await anyio.sleep(WAIT)
    return "done"

def poke():
    import time
    for _ in range(TIMES):
        while not pathlib.Path("busy").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

config = rowmill.config
spec = config.Spec(name="slow", records=4, row_group_size=1, run={"max_in_flight": 2}, columns=[
    config.SamplerColumn(name="n", sampler_type="uniform", params=config.UniformParameters(low=0, high=1)),
    config.CustomColumn(name="made", generator_function=slow),
])
threading.Thread(target=poke, daemon=True).start()
report = rowmill.run(spec, "slow.duckdb")
print(report.exit_code, report.rows_finished, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("times", "wait", "expected"), [(1, 0.5, "75 2 True"), (2, 60, "130 0 True")])
def test_ctrl_c_drains_a_run_of_a_program_and_a_second_one_cuts_off(
    tmp_path: Path, times: int, wait: float, expected: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("WAIT", str(wait)).replace("TIMES", str(times)))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout.strip() == expected, done.stderr


def test_a_program_that_takes_interrupts_itself_keeps_them(made: Path) -> None:
    own = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        from rowmill.engine.interruption import is_free_to_take_interrupts

        assert not is_free_to_take_interrupts()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert is_free_to_take_interrupts()

        async def inside() -> bool:
            return is_free_to_take_interrupts()

        for backend in ("asyncio", "trio"):
            assert anyio.run(inside, backend=backend), backend
    finally:
        signal.signal(signal.SIGINT, own)


def test_a_thread_cannot_take_interrupts(made: Path) -> None:
    said: list[str] = []

    def work() -> None:
        rowmill.run(made)  # by default it does not even try
        try:
            rowmill.run(made, drain_on_interrupt=True)
        except UsageError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in said[0]


def test_one_interrupt_before_any_work_is_75_as_later(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")  # whoever reads it waits
    process = subprocess.Popen(
        [sys.executable, "-m", "rowmill", "run", "spec.yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    writer = os.open(tmp_path / "spec.yaml", os.O_WRONLY)  # returns when it does
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    os.close(writer)
    assert process.returncode == 75, said
    assert "The same command goes on" in said
