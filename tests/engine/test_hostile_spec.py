"""Specs that are wrong, huge or odd: the right result or every problem at once, and never a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from hostile_run import assert_helps, run_spec, run_text, spec_of

from rowmill.engine.preparation import prepare
from rowmill.engine.preview import preview
from rowmill.errors import SpecError

_KIND: dict[str, Any] = {
    "name": "kind",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["a", "b"]},
}


@pytest.fixture
def rowmill(tmp_path: Path) -> Iterator[CommandLine]:
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.close()


def _template(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "column_type": "expression", "expr": text}


def test_a_cycle_names_all_its_members(tmp_path: Path) -> None:
    columns = [_template("one", "{{ three }}"), _template("two", "{{ one }}"), _template("three", "{{ two }}"), _KIND]
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, columns)
    assert_helps(caught.value, "one", "two", "three", "columns.0")
    assert "kind" not in str(caught.value)


def test_a_column_that_needs_itself_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, [_template("one", "{{ one }}")])
    assert_helps(caught.value, "one", "columns.0.expr")


@pytest.mark.parametrize("row_group_size", [1, 7, 10_000_000])
def test_0_records_are_a_complete_run(tmp_path: Path, row_group_size: int) -> None:
    ran = run_spec(tmp_path, [_KIND, _template("copied", "{{ kind }}")], records=0, row_group_size=row_group_size)
    assert (ran.report.state, ran.report.exit_code, ran.rows) == ("finished", 0, [])


def test_a_row_group_larger_than_the_run_is_one_group(tmp_path: Path) -> None:
    ran = run_spec(tmp_path, [_KIND, _template("copied", "{{ kind }}")], records=3, row_group_size=10_000_000)
    assert [row["row_id"] for row in ran.rows] == [0, 1, 2]


def test_no_columns_at_all_is_a_clear_error_or_rows_without_columns(tmp_path: Path) -> None:
    try:
        ran = run_spec(tmp_path, [])
    except SpecError as error:
        assert_helps(error, "column")
    else:
        assert [row["row_id"] for row in ran.rows] == [0, 1, 2, 3]


_ODD_NAMES = (
    *('say "hi"', "it's", "two words", "größe", "名前", "position", "select", "v", "no_columns", "attempted_0", "a.b"),
    *("x" * 255, "😀"),
)


def test_odd_column_names_work_from_spec_to_dataset(tmp_path: Path) -> None:
    columns: list[dict[str, Any]] = []
    for number, name in enumerate(_ODD_NAMES):
        quoted = '"' + name.replace('"', '""') + '"'
        columns += [
            {**_KIND, "name": name},
            {"name": f"copied {number}", "column_type": "expression", "sql": f"upper({quoted})"},
            {
                "name": f"asked {number}",
                "column_type": "llm-text",
                "model_alias": "writer",
                "prompt": "x",
                "skip": {"when": f"{quoted} = 'a'"},
            },
            {
                "name": name + "2" if len(name) < 255 else "y",
                "column_type": "expression",
                "sql": f"length({quoted})",
                "dtype": "int",
            },
        ]
    ran = run_spec(tmp_path, columns, records=3)
    for number, name in enumerate(_ODD_NAMES):
        assert [value.upper() for value in ran.column(name)] == ran.column(f"copied {number}"), name
        asked = [value is None for value in ran.column(f"asked {number}")]
        assert asked == [value == "a" for value in ran.column(name)], name


@pytest.mark.parametrize(
    "name", ["row_id", "ROW_INDEX", "Row_Group", "done_0", "skipped_12", "", "a\0b", "a\nb", "x" * 256, "a\tb"]
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, [{**_KIND, "name": name}])
    assert_helps(caught.value, "columns.0.name")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "half \\udfff of it"])
@pytest.mark.parametrize("place", ["prompt", "name", "values"])
def test_text_that_cannot_be_stored_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    asked = {"name": "asked", "column_type": "llm-text", "model_alias": "writer", "prompt": "x"}
    columns = {
        "prompt": {**asked, "prompt": "MARK"},
        "name": {**asked, "name": "MARK"},
        "values": {**_KIND, "params": {"values": ["MARK", "b"]}},
    }
    with pytest.raises(SpecError) as caught:
        run_text(tmp_path, json.dumps(spec_of([columns[place]])).replace("MARK", text))
    assert_helps(caught.value, "columns.0")
    assert str(caught.value).encode()


def test_a_spec_of_five_megabytes_works(tmp_path: Path) -> None:
    text = "word " * 1_000_000
    asked = {"name": "asked", "column_type": "llm-text", "model_alias": "writer", "prompt": text + "{{ kind }}"}
    ran = run_spec(tmp_path, [_KIND, asked], records=2)
    assert len(ran.rows) == 2


def test_a_spec_of_fifty_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("records: 1\n# " + "x" * 50_000_000)
    with pytest.raises(SpecError) as caught:
        prepare(path)
    assert_helps(caught.value, "larger than")


@pytest.mark.slow
def test_a_spec_of_300_columns_works(tmp_path: Path) -> None:
    columns = [_KIND, *(_template(f"column {n}", "{{ kind }}") for n in range(100))]
    columns += [{"name": f"sql {n}", "column_type": "expression", "sql": "kind"} for n in range(200)]
    ran = run_spec(tmp_path, columns, records=2)
    assert [len(row) for row in ran.rows] == [302, 302]


_BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{inner}'] * 5)}]" for inner, name in pairwise("abcdefghijklm")
)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 20_000,
        "a: " + "{b: " * 20_000,
        "\n".join("  " * depth + f"k{depth}:" for depth in range(3_000)),
        _BOMB,
        "a: &a {b: *a}",
        "records: !!python/object/apply:os.system ['id']",
        "? [a, b]\n: c",
        "records: 3\nrecords: 4",
        "%YAML 9.9\n---\n}",
        "- just\n- a\n- list",
        "\t\tx",
        "\ufeff",
        "null",
    ],
    ids=["lists", "mappings", "indented", "bomb", "recursive", "python tag", "list as key", "twice", "syntax", "list",
         "tabs", "byte order mark", "null"],
)  # fmt: skip
def test_yaml_that_means_no_good_is_a_clear_error_and_never_a_file(
    tmp_path: Path, rowmill: CommandLine, text: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        prepare(path)
    assert_helps(caught.value)
    assert len(str(caught.value)) < 20_000
    assert [file.name for file in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize("depth", [50, 100_000])
def test_json_that_is_nested_deeply_is_a_clear_error(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"records": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(SpecError) as caught:
        prepare(path)
    assert_helps(caught.value)


@pytest.mark.parametrize("arguments", [["validate"], ["plan"], ["preview"], ["run"]])
def test_no_command_makes_a_file_of_a_wrong_spec(tmp_path: Path, rowmill: CommandLine, arguments: list[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("records: -1\ncolumns: [{name: a, column_type: expression, sql: \"read_text('/etc/passwd')\"}]")
    done = rowmill(*arguments, "spec.yaml")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "records" in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize("arguments", [["validate"], ["plan"], ["preview"]])
def test_validate_plan_and_preview_of_a_good_spec_make_no_file(
    tmp_path: Path, rowmill: CommandLine, arguments: list[str]
) -> None:
    (tmp_path / "seed.csv").write_text("city\nOslo\nRome\n")
    columns = [
        _KIND,
        {"name": "asked", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ city }} {{ kind }}"},
    ]
    (tmp_path / "spec.json").write_text(json.dumps(spec_of(columns, seed_dataset={"path": "seed.csv"})))
    before = sorted(file.name for file in tmp_path.iterdir())
    done = rowmill(*arguments, "spec.json")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_a_preview_in_this_process_makes_no_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec_of([_KIND, _template("copied", "{{ kind }}")])))
    assert preview(prepare(path), 3).rows.num_rows == 3
    assert [file.name for file in tmp_path.iterdir()] == ["spec.json"]
