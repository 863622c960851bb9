"""Commands that read a spec and leave nothing behind: init, validate, plan, preview."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from command_line import CommandLine

WRONG_SPEC = """
name: wrong
records: 10
modles: []
columns:
  - {name: colour, column_type: sampler, sampler_type: category, params: {values: [red]}}
  - {name: note, column_type: llm-text, model_alias: nobody, prompt: "About {{ colou }}."}
  - {name: a, column_type: expression, sql: "b"}
  - {name: b, column_type: expression, sql: "a"}
"""


WRITTEN = {"spec.yaml", "palmer_penguins.csv", "penguin_functions.py", "rowmill-schema.json"}


def _files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name != "__pycache__"}


def test_init_writes_an_example_that_is_valid(rowmill: CommandLine) -> None:
    done = rowmill("init", "penguins")
    assert done.returncode == 0
    assert set(done.stdout.splitlines()) == {f"penguins/{name}" for name in WRITTEN}
    assert "cd penguins && rowmill run spec.yaml" in done.stderr
    assert "is valid" in rowmill.output_of("validate", "penguins/spec.yaml")


def test_init_writes_into_the_current_directory_by_default(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    assert _files(rowmill.directory) == WRITTEN


def test_init_tells_editors_which_schema_checks_the_spec(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    first, _, rest = (rowmill.directory / "spec.yaml").read_text().partition("\n")
    assert first == "# yaml-language-server: $schema=rowmill-schema.json"
    assert rest == (files("rowmill.example") / "spec.yaml").read_text()
    assert (rowmill.directory / "rowmill-schema.json").read_text() == rowmill.output_of("schema")


def test_schema_prints_the_json_schema_of_the_spec(rowmill: CommandLine) -> None:
    schema = json.loads(rowmill.output_of("schema"))
    assert schema["$schema"].startswith("http://json-schema.org/")
    assert schema["properties"]["records"]["description"]


def test_init_never_overwrites_a_file_and_writes_nothing_if_one_is_there(rowmill: CommandLine) -> None:
    (rowmill.directory / "palmer_penguins.csv").write_text("mine")
    done = rowmill("init")
    assert done.returncode == 2
    assert "'palmer_penguins.csv' exists already" in done.stderr
    assert (rowmill.directory / "palmer_penguins.csv").read_text() == "mine"
    assert _files(rowmill.directory) == {"palmer_penguins.csv"}


def test_validate_of_a_wrong_spec_lists_every_problem_and_creates_no_file(rowmill: CommandLine) -> None:
    (rowmill.directory / "wrong.yaml").write_text(WRONG_SPEC)
    done = rowmill("validate", "wrong.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("Error: ") for line in lines)
    assert any("modles" in line and "models" in line for line in lines)
    assert _files(rowmill.directory) == {"wrong.yaml"}


def test_validate_names_unknown_columns_and_cycles(rowmill: CommandLine) -> None:
    (rowmill.directory / "wrong.yaml").write_text(WRONG_SPEC.replace("modles: []", ""))
    done = rowmill("validate", "wrong.yaml")
    assert done.returncode == 2
    assert "'colou'" in done.stderr
    assert "'colour'" in done.stderr
    assert "columns.1.prompt" in done.stderr
    assert "nobody" in done.stderr
    assert "a" in done.stderr
    assert _files(rowmill.directory) == {"wrong.yaml"}


def test_validate_lists_what_is_wrong_beside_missing_seed_data_and_judges_no_name_that_may_be_in_it(
    rowmill: CommandLine,
) -> None:
    (rowmill.directory / "wrong.yaml").write_text(
        """
records: 4
models: [{alias: writer, provider: simulated, model: m}]
seed_dataset: {path: missing.csv}
columns:
  - {name: kept, column_type: seed-dataset}
  - {name: a, column_type: llm-text, model_alias: wrtier, prompt: "{{ perhaps_seed }} {{ kept }}", requires: [other]}
  - {name: b, column_type: expression, expr: "{{ a "}
  - {name: c, column_type: expression, sql: "now()"}
  - {name: d, column_type: expression, sql: "perhaps_seed || e"}
  - {name: e, column_type: expression, sql: "d"}
processors: [{processor_type: drop_columns, name: few, column_names: ["perhaps_*"]}]
"""
    )
    done = rowmill("validate", "wrong.yaml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for line, words in zip(
        lines, ("no file 'missing.csv'", "'wrtier'", "columns.2.expr", "now()", "in a circle"), strict=True
    ):
        assert words in line
    assert _files(rowmill.directory) == {"wrong.yaml"}


def test_a_missing_spec_file_is_named(rowmill: CommandLine) -> None:
    for command in ("validate", "plan", "preview", "run"):
        done = rowmill(command, "nowhere.yaml")
        assert done.returncode == 2
        assert "nowhere.yaml" in done.stderr
    assert _files(rowmill.directory) == set()


def test_plan_says_how_many_rows_may_be_tried(rowmill: CommandLine, quick_spec: Path) -> None:
    text = quick_spec.read_text()
    assert "records: 20" in text
    quick_spec.write_text(text.replace("records: 20", "records: {accepted: 2000, at_most: 5000}"))
    done = rowmill.output_of("plan", quick_spec)
    assert "until 2,000 are finished, at most 5,000 in all: up to 2.5 times these tasks and requests." in done
    plan = json.loads(rowmill.output_of("plan", quick_spec, "--format", "json"))
    assert (plan["records"], plan["most_records"]) == (2000, 5000)


def test_plan_as_json_counts_tasks_and_requests(rowmill: CommandLine, quick_spec: Path) -> None:
    plan = json.loads(rowmill.output_of("plan", quick_spec, "--format", "json"))
    assert (plan["records"], plan["most_records"], plan["row_groups"], plan["model_requests"]) == (20, 20, 4, 20)
    assert plan["critical_path"][-1] == "note"
    assert _files(rowmill.directory) == {"quick.yaml"}


@pytest.mark.parametrize(
    ("plan_format", "opening"), [("mermaid", "flowchart"), ("dot", "digraph"), ("table", "quick: 20 rows")]
)
def test_plan_draws_and_explains(rowmill: CommandLine, quick_spec: Path, plan_format: str, opening: str) -> None:
    drawn = rowmill.output_of("plan", quick_spec, "--format", plan_format)
    assert drawn.startswith(opening)
    for column in ("colour", "size", "note"):
        assert column in drawn
    assert drawn == rowmill.output_of("plan", quick_spec, "--format", plan_format)


def test_preview_shows_rows_and_writes_no_run_database(rowmill: CommandLine, quick_spec: Path) -> None:
    rows = json.loads(rowmill.output_of("preview", quick_spec, "-n", "3", "--format", "json"))
    assert len(rows) == 3
    assert all(row["colour"] in row["note"] or row["note"] for row in rows)
    assert _files(rowmill.directory) == {"quick.yaml"}


def test_preview_shows_the_rows_the_run_will_have(rowmill: CommandLine, quick_run: Path) -> None:
    preview = json.loads(rowmill.output_of("preview", "quick.yaml", "-n", "3", "--format", "json"))
    dataset = json.loads(rowmill.output_of("sql", quick_run, "from dataset limit 3", "--format", "json"))
    assert preview == dataset


DOUBTFUL_SPEC = """
records: 2
columns:
  - {name: zip, column_type: sampler, sampler_type: category, params: {values: [01234, 2]}}
"""


def test_what_may_be_meant_as_a_text_is_told_by_validate_plan_and_run(rowmill: CommandLine) -> None:
    (rowmill.directory / "spec.yaml").write_text(DOUBTFUL_SPEC)
    warning = "The unquoted 01234 in line 4 is read as the number 1234. For the text write '01234', otherwise 1234."
    for command in ("validate", "plan", "run", "preview"):
        done = rowmill(command, "spec.yaml")
        assert done.returncode == 0
        assert done.stderr.count(f"{warning} (columns.0.params.values.0)") == 1, command
    for command in ("validate", "plan"):
        told = json.loads(rowmill.output_of(command, "spec.yaml", "--format", "json"))
        assert told["warnings"] == [{"place": "columns.0.params.values.0", "message": warning, "suggestion": None}]


def test_validate_writes_what_is_wrong_as_json(rowmill: CommandLine) -> None:
    (rowmill.directory / "wrong.yaml").write_text(WRONG_SPEC)
    done = rowmill("validate", "wrong.yaml", "--format", "json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["valid"] is False
    assert told["problems"][0]["place"] == "modles"
    assert "Unknown field 'modles'" in told["problems"][0]["message"]
    assert len(done.stderr.splitlines()) == len(told["problems"])


def test_validate_writes_that_nothing_is_wrong_as_json(rowmill: CommandLine) -> None:
    (rowmill.directory / "good.yaml").write_text(DOUBTFUL_SPEC.replace("01234", "1"))
    told = json.loads(rowmill.output_of("validate", "good.yaml", "--format", "json"))
    assert told == {"valid": True, "name": "good", "problems": [], "warnings": []}


def test_a_setting_after_the_spec_makes_no_file_of_its_name(rowmill: CommandLine) -> None:
    rowmill.output_of("init")
    before = _files(rowmill.directory)
    done = rowmill("run", "spec.yaml", "records=10")
    assert done.returncode == 2
    assert "'records=10' would be the name of the run database" in done.stderr
    assert "--set records=10 if it is a parameter" in done.stderr
    assert _files(rowmill.directory) == before
