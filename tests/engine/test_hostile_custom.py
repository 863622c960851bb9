"""Custom functions that raise, lie, hang or leave: an error of their rows, never of the run (F3, R5, V3)."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from hostile_run import Ran, run_spec

_FUNCTIONS = Path(__file__).resolve().parent / "hostile_functions.py"
_KIND: dict[str, Any] = {
    "name": "kind",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["a", "b"]},
}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory with the functions beside the spec. Threads they hang in are let go in the end."""
    modules = set(sys.modules)
    shutil.copyfile(_FUNCTIONS, tmp_path / "hostile_functions.py")
    yield tmp_path
    for name in set(sys.modules) - modules:
        released = getattr(sys.modules[name], "RELEASED", None)
        if released is not None:
            released.set()


def _run(directory: Path, function: str, **column: Any) -> Ran:
    made = {
        "name": "made",
        "column_type": "custom",
        "generator_function": f"hostile_functions:{function}",
        "required_columns": ["kind"],
        **column,
    }
    # Each attempt once, and no endpoint to protect: all rows fail alike.
    return run_spec(directory, [_KIND, made], run={"max_attempts": 1, "backoff_base_s": 0.01})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", ["cannot do"]),
        ("raises_a_group", ["several"]),
        ("raises_without_words", ["AssertionError"]),
        ("raises_something_unspeakable", ["Unspeakable"]),
        ("exits", ["SystemExit"]),
        ("exits_async", ["SystemExit"]),
        ("recurses", ["recursion"]),
        ("stops_iterating", ["StopIteration"]),
        ("returns_number", ["made", "VARCHAR", "3", "int"]),
        ("returns_text", ["made", "BIGINT", "three", "str"]),
        ("returns_huge_number", ["made", "BIGINT", "9223372036854775808"]),
        ("returns_half_a_surrogate", ["made", "VARCHAR", "ud800"]),
    ],
)
def test_a_function_that_fails_drops_its_rows_with_the_reason(directory: Path, function: str, words: list[str]) -> None:
    ran = _run(directory, function)
    assert ran.rows == []
    assert len(ran.dropped) == 4
    for row in ran.dropped:
        assert row["reason"] == "rejected"
        assert row["column_name"] == "made"
        assert all(word in f"{row['error_type']} {row['message']}" for word in words), row
        assert len(row["message"]) < 5_000


def test_only_the_rows_that_fail_are_dropped(directory: Path) -> None:
    ran = _run(directory, "raises_for_a")
    assert len(ran.rows) + len(ran.dropped) == 4
    assert set(ran.column("kind")) <= {"b"}
    assert set(ran.column("made")) <= {"fine"}


@pytest.mark.parametrize("function", ["never_returns", "never_returns_async"])
def test_a_function_that_never_returns_is_cut_off_at_its_deadline(directory: Path, function: str) -> None:
    ran = _run(directory, function, timeout_s=0.2)
    assert [row["error_type"] for row in ran.dropped] == ["Timeout"] * 4
    assert {row["reason"] for row in ran.dropped} == {"retries_exhausted"}


@pytest.mark.parametrize("function", ["never_returns", "never_returns_async"])
def test_a_function_that_never_returns_does_not_keep_the_process_from_ending(directory: Path, function: str) -> None:
    (directory / "spec.yaml").write_text(
        f"""
records: 2
columns:
  - {{name: made, column_type: custom, generator_function: "hostile_functions:{function}", required_columns: [],
      timeout_s: 0.2}}
run: {{max_attempts: 1}}
"""
    )
    command_line = CommandLine(directory)
    try:
        process = command_line.start("run", "--quiet", "spec.yaml")
        assert process.wait(20) == 3
    finally:
        command_line.close()


def test_a_function_that_changes_the_directory_leads_the_run_nowhere_else(directory: Path) -> None:
    """The file is named by a relative path, and its log is only made when the function is done."""
    (directory / "spec.yaml").write_text(
        """
name: here
records: 6
row_group_size: 2
columns: [{name: made, column_type: custom, generator_function: "hostile_functions:changes_directory",
  required_columns: []}]
"""
    )
    command_line = CommandLine(directory)
    assert command_line("run", "spec.yaml").returncode == 0
    assert command_line.output_of("sql", "here.duckdb", "select made, count(*) from dataset group by all").split() == [
        *("made", "count_star()", "---------", "------------", "elsewhere", "6")
    ]
    assert not list(Path("/").glob("here.duckdb*"))


def test_a_deadline_of_the_run_holds_for_functions_without_one_of_their_own(directory: Path) -> None:
    column = {"name": "made", "column_type": "custom", "generator_function": "hostile_functions:never_returns_async"}
    ran = run_spec(
        directory, [{**column, "required_columns": []}], run={"max_attempts": 1, "task_timeout_s": 0.2}, records=2
    )
    assert [row["error_type"] for row in ran.dropped] == ["Timeout"] * 2


@pytest.mark.timeout(20)
def test_a_function_that_cancels_itself_does_not_end_the_run_in_silence(directory: Path) -> None:
    ran = _run(directory, "cancels_itself")
    assert len(ran.dropped) == 4


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("returns_none", None),
        ("returns_nul", "one\0two"),
        ("returns_ten_megabytes", "0123456789" * 1_000_000),
        ("changes_its_row", "fine"),
        ("prints", "fine"),
    ],
)
def test_an_odd_but_possible_value_is_kept_as_it_is(directory: Path, function: str, value: object) -> None:
    ran = _run(directory, function)
    assert ran.column("made") == [value] * 4
    assert set(ran.column("kind")) <= {"a", "b"}


def test_not_a_number_is_a_number(directory: Path) -> None:
    assert all(value != value for value in _run(directory, "returns_not_a_number").column("made"))


@pytest.mark.parametrize(
    "function",
    [
        "table_of_nothing",
        "table_of_text",
        "table_with_rows_twice",
        "table_of_strangers",
        "table_without_index",
        "table_with_an_index_of_text",
        "table_with_null_index",
        "table_of_other_types",
    ],
)
def test_a_table_that_does_not_fit_its_rows_is_rejected(directory: Path, function: str) -> None:
    ran = _run(directory, function, generation_strategy="batch")
    assert ran.rows == []
    assert {row["reason"] for row in ran.dropped} == {"rejected"}
    assert all(row["message"] for row in ran.dropped)


def test_what_a_function_prints_does_not_get_into_the_data_on_stdout(directory: Path) -> None:
    (directory / "spec.yaml").write_text(
        """
records: 2
columns:
  - {name: made, column_type: custom, generator_function: "hostile_functions:prints", required_columns: []}
"""
    )
    done = CommandLine(directory)("preview", "spec.yaml", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert [line[:1] for line in done.stdout.splitlines()] == ["{", "{"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise ValueError('not today')", ["columns.0.generator_function", "not today"]),
        ("import sys; sys.exit(3)", ["columns.0.generator_function", "SystemExit"]),
        ("def made(:", ["columns.0.generator_function", "SyntaxError"]),
        ("made = 3", ["columns.0.generator_function", "not callable"]),
        ("def made(): return 1", ["columns.0.generator_function", "fn(row)"]),
        ("def maid(row): return 1", ["columns.0.generator_function", "maid"]),
    ],
)
def test_a_module_that_cannot_be_used_is_a_problem_of_the_spec(tmp_path: Path, module: str, words: list[str]) -> None:
    (tmp_path / "functions.py").write_text(module)
    (tmp_path / "spec.yaml").write_text(
        "records: 2\ncolumns:\n"
        "  - {name: made, column_type: custom, generator_function: 'functions:made', required_columns: []}\n"
    )
    done = CommandLine(tmp_path)("run", "spec.yaml")
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "spec.duckdb").exists()


@pytest.mark.timeout(30)
def test_f4_a_deferral_of_a_living_process_is_over_in_time_when_the_clock_is_set_back_by_days(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", time.time)  # what the function sets is undone
    ran = _run(directory, "refuses_once_and_sets_the_clock_back")
    assert ran.column("made") == ["made"] * 4
