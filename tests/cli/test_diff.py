"""``rowmill diff``: rows, columns and dropped rows in which two run databases differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_state import RunState
from virtual_run import llm, model, prepared, sampler

from rowmill.cli.main import execute

Compared = Callable[..., str]


@pytest.fixture
def compared(capfdbinary: pytest.CaptureFixture[bytes]) -> Compared:
    """What ``rowmill diff ARGUMENT…`` writes to stdout, or to stderr if it is refused."""

    def diff(*arguments: object, code: int) -> str:
        assert execute(["diff", *map(str, arguments)]) == code
        out, err = capfdbinary.readouterr()
        return (err if code > 1 else out).decode()

    return diff


def _run(path: Path, notes: dict[int, str | None], *, text: str = "note", kind: str = "kind", dropped: int = 9) -> Path:
    spec = prepared(sampler(kind), llm(text, "Write."), models=[model()], records=20, row_group_size=20)
    with RunState(spec, path) as state:
        state.write_row_group(0)
        state.write_drop(text, dropped)
        for row_id, note in notes.items():
            state.sql(
                "insert into state.dataset_row by name select 0 as row_group, $row as row_index, $row as row_id,"
                f" 255 as done_0, 0 as skipped_0, 1 as {kind}, $note as {text}",
                row=row_id,
                note=note,
            )
    return path


def test_a_run_and_its_copy_do_not_differ(quick_run: Path, compared: Compared) -> None:
    copy = shutil.copy(quick_run, quick_run.with_name("copy.duckdb"))
    assert compared(quick_run, copy, code=0) == "No difference: 20 rows in both, 3 columns compared.\n"
    assert json.loads(compared(quick_run, quick_run, "--format", "json", code=0))["equal"] is True


def test_every_kind_of_difference_is_counted_with_examples(tmp_path: Path, compared: Compared) -> None:
    first = _run(tmp_path / "a.duckdb", {0: "x", 1: "same", 2: None, 3: "one", 5: "only"})
    second = _run(tmp_path / "b.duckdb", {0: "y", 1: "same", 2: "", 3: "two", 6: "other"}, dropped=8)
    found: dict[str, Any] = json.loads(compared(first, second, "--limit", "2", "--format", "json", code=1))
    assert (found["rows_compared"], found["rows_changed"], found["equal"]) == (4, 3, False)
    note = next(column for column in found["columns"] if column["name"] == "note")
    assert note["rows_changed"] == 3
    assert note["examples"] == [
        {"row_id": 0, "first": "x", "second": "y"},
        {"row_id": 2, "first": None, "second": ""},
    ]
    assert found["rows_only_first"] == {"rows": 1, "row_ids": [5]}
    assert found["rows_only_second"] == {"rows": 1, "row_ids": [6]}
    assert found["dropped_only_first"] == {"rows": 1, "row_ids": [9]}
    assert found["dropped_only_second"] == {"rows": 1, "row_ids": [8]}
    text = compared(first, second, code=1)
    assert "3 of 4 rows in both differ, 2 columns compared.\nnote: 3 rows\n" in text
    assert '  row 0  - "x"\n         + "y"\n' in text
    assert f"Finished only in {first}: 1 row (5)\n" in text
    assert f"Dropped only in {second}: 1 row (8)\n" in text


def test_a_column_of_one_and_a_column_of_another_type_are_differences(tmp_path: Path, compared: Compared) -> None:
    first = _run(tmp_path / "a.duckdb", {0: "1"}, kind="kind", text="note")
    second = _run(tmp_path / "b.duckdb", {0: "1"}, kind="note", text="remark")
    text = compared(first, second, code=1)
    assert "0 of 1 row in both differ, 1 column compared.\n" in text
    assert f"note is VARCHAR in {first}, BIGINT in {second}.\n" in text
    assert f"Columns only in {first}: kind\n" in text
    assert f"Columns only in {second}: remark\n" in text


def test_two_datasets_without_a_common_column_are_compared_by_their_rows(tmp_path: Path, compared: Compared) -> None:
    first = _run(tmp_path / "a.duckdb", {0: "x", 1: "x"}, kind="b", text="c")
    second = _run(tmp_path / "b.duckdb", {0: "x"}, kind="d", text="e")
    found = json.loads(compared(first, second, "--format", "json", code=1))
    assert (found["rows_compared"], found["rows_changed"], found["columns"]) == (1, 0, [])
    assert found["rows_only_first"]["row_ids"] == [1]


def test_only_the_chosen_columns_count(tmp_path: Path, compared: Compared) -> None:
    first, second = _run(tmp_path / "a.duckdb", {0: "x"}), _run(tmp_path / "b.duckdb", {0: "y"})
    compared(first, second, "--columns", "kind", code=0)
    compared(first, second, "--columns", "kind,note", code=1)
    assert "Did you mean 'note'?" in compared(first, second, "--columns", "nte", code=2)


def test_a_long_value_is_shown_where_it_differs_and_steers_no_terminal(tmp_path: Path, compared: Compared) -> None:
    first = _run(tmp_path / "a.duckdb", {0: "a" * 5000 + "HERE\x1b[2J"})
    second = _run(tmp_path / "b.duckdb", {0: "a" * 5000 + "THERE\u202e"})
    text = compared(first, second, code=1)
    assert "HERE" in text
    assert "THERE\\u202e" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 250
    (column,) = json.loads(compared(first, second, "--columns", "note", "--format", "json", code=1))["columns"]
    assert column["examples"][0]["first"] == "a" * 5000 + "HERE\x1b[2J"


def test_a_run_without_rows_is_compared_with_one_that_has_some(tmp_path: Path, compared: Compared) -> None:
    first, second = _run(tmp_path / "a.duckdb", {}), _run(tmp_path / "b.duckdb", {0: "x"})
    assert f"Finished only in {second}: 1 row (0)" in compared(first, second, code=1)
    third = _run(tmp_path / "c.duckdb", {})
    assert "No difference: 0 rows" in compared(first, third, code=0)


def test_a_file_that_is_not_there_is_no_difference(quick_run: Path, compared: Compared) -> None:
    assert "There is no run database" in compared(quick_run, quick_run.with_name("none.duckdb"), code=2)
