"""What ``plan`` and ``validate`` tell of the columns of a seed dataset."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine

SPEC = """
name: seeded
records: 2
seed_dataset: {path: s.csv, types: {n: str}}
columns:
  - {name: made, column_type: expression, sql: "1", dtype: int}
"""
CSV = "zip;n;price;id\n00701;1;11.10;9007199254740993\n12345;2;12;1\n;;;\n"


@pytest.fixture(autouse=True)
def seed(rowmill: CommandLine) -> None:
    (rowmill.directory / "spec.yaml").write_text(SPEC)
    (rowmill.directory / "s.csv").write_text(CSV)


def test_plan_shows_type_origin_and_nulls_of_each_seed_column(rowmill: CommandLine) -> None:
    lines = [" ".join(line.split()) for line in rowmill.output_of("plan", "spec.yaml").splitlines()]
    assert "column type type from nulls remark" in lines
    assert "zip VARCHAR guessed 1" in lines
    assert "n VARCHAR said 1" in lines
    assert any(line.startswith("price VARCHAR guessed 1 all look like numbers") for line in lines)
    assert any("s.csv: its fields are separated by semicolons" in line for line in lines)


def test_plan_as_json_tells_the_same(rowmill: CommandLine) -> None:
    told = json.loads(rowmill.output_of("plan", "spec.yaml", "--format", "json"))["seed_columns"]
    assert [(each["name"], each["type"], each["type_from"], each["nulls"]) for each in told] == [
        ("zip", "VARCHAR", "guessed", 1),
        ("n", "VARCHAR", "said", 1),
        ("price", "VARCHAR", "guessed", 1),
        ("id", "BIGINT", "guessed", 1),
    ]
    assert told[0]["remark"] is None
    assert "2^53" in told[3]["remark"]


def test_plan_tells_what_a_typed_file_says(rowmill: CommandLine) -> None:
    (rowmill.directory / "s.jsonl").write_text('{"n": "007"}\n{"n": null}\n')
    (rowmill.directory / "spec.yaml").write_text(SPEC.replace("s.csv, types: {n: str}", "s.jsonl"))
    (told,) = json.loads(rowmill.output_of("plan", "spec.yaml", "--format", "json"))["seed_columns"]
    assert told == {"name": "n", "type": "VARCHAR", "type_from": "file", "nulls": 1, "remark": None}


def test_plan_without_seed_data_tells_of_none(rowmill: CommandLine) -> None:
    lines = [line for line in SPEC.splitlines() if not line.startswith("seed_dataset")]
    (rowmill.directory / "spec.yaml").write_text("\n".join(lines))
    assert json.loads(rowmill.output_of("plan", "spec.yaml", "--format", "json"))["seed_columns"] == []
    assert "Seed columns" not in rowmill.output_of("plan", "spec.yaml")


def test_validate_warns_of_doubtful_guesses_and_says_the_spec_is_valid(rowmill: CommandLine) -> None:
    done = rowmill("validate", "spec.yaml")
    assert done.returncode == 0
    assert "is valid" in done.stdout
    assert "The seed column 'price' is guessed to be VARCHAR: all look like numbers" in done.stderr
    assert "if they are, say float" in done.stderr
    assert "separated by semicolons" in done.stderr
    assert "'zip'" not in done.stderr


def test_validate_tells_of_a_doubtful_guess_where_an_expression_cannot_use_the_column(rowmill: CommandLine) -> None:
    (rowmill.directory / "spec.yaml").write_text(SPEC.replace('"1"', '"price * 2"'))
    done = rowmill("validate", "spec.yaml")
    assert done.returncode == 2
    assert "(columns.0.sql)" in done.stderr
    assert "The seed column 'price' is guessed to be VARCHAR: all look like numbers" in done.stderr


def test_validate_refuses_what_does_not_fit_a_said_type_with_its_place(rowmill: CommandLine) -> None:
    (rowmill.directory / "spec.yaml").write_text(SPEC.replace("{n: str}", "{price: int, nn: str}"))
    done = rowmill("validate", "spec.yaml")
    assert done.returncode == 2
    assert "no column 'nn'. Did you mean 'n'?" in done.stderr
    (rowmill.directory / "spec.yaml").write_text(SPEC.replace("{n: str}", "{price: int}"))
    assert "s.csv, line 2, column 'price': '11.10' does not fit BIGINT" in rowmill("validate", "spec.yaml").stderr
