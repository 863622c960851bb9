"""Files of people for the sampler ``person``: what a field is, it stays (V4)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.generators.samplers.drawn_parameters import ParametersProblem, draw_number
from rowmill.generators.samplers.person_file import PersonParameters

NUMBERS = [draw_number(11, "value", row_id) for row_id in range(50)]


def people_of(directory: Path, name: str, content: str | bytes) -> tuple[str, list[dict[str, Any]]]:
    """The type of the people of a file, and each person once."""
    (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    parameters = PersonParameters(file=name, age_range=(0, 114))
    people = {str(person): person for person in parameters.sampler(directory).draw(NUMBERS)}
    return parameters.sql_type_in(directory), list(people.values())


def problem_of(directory: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(ParametersProblem) as caught:
        people_of(directory, name, content)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["007", "12E5", "11.10", "0x1F", "3:16", "03/04/2025", "yes", "True", "1" * 42, "inf", "NA", " 7", "+1", "-0"],
)
def test_v4_a_text_of_a_csv_file_of_people_stays_that_text(tmp_path: Path, text: str) -> None:
    sql_type, people = people_of(tmp_path, "people.csv", f"name,age,code\nAnn,30,{text}\n")
    assert sql_type == 'STRUCT("name" VARCHAR, "age" BIGINT, "code" VARCHAR, "locale" VARCHAR)'
    assert people == [{"name": "Ann", "age": 30, "code": text, "locale": "en_US"}]


def test_v4_a_field_with_one_spelling_becomes_what_it_is_and_an_empty_one_null(tmp_path: Path) -> None:
    content = 'age,size,member,born,note\n30,1.5,true,1996-01-31,\n31,2.5,false,1995-01-31,""\n'
    sql_type, people = people_of(tmp_path, "people.csv", content)
    fields = '"age" BIGINT, "size" DOUBLE, "member" BOOLEAN, "born" DATE, "note" VARCHAR, "locale" VARCHAR'
    assert sql_type == f"STRUCT({fields})"
    assert {person["age"]: person["note"] for person in people} == {30: None, 31: ""}


@pytest.mark.parametrize("name", ["people.csv.gz", "people.tsv"])
def test_people_may_be_compressed_or_separated_by_tabs(tmp_path: Path, name: str) -> None:
    content: str | bytes = "name\tage\nAnn, Dr.\t30\n"
    if name.endswith(".gz"):
        content = gzip.compress(b'name,age\n"Ann, Dr.",30\n')
    _, people = people_of(tmp_path, name, content)
    assert [person["name"] for person in people] == ["Ann, Dr."]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("people.csv", "name,age\nAnn,30\nBea,40,x\n", "line 3: expected 2 fields"),
        ("people.csv", b"name,age\nAnn,30\nB\xe9a,40\n", "line 3: not UTF-8 text"),
        ("people.csv", "name,age,Name\nAnn,30,x\n", "more than one column is named 'name', 'Name'"),
        ("people.csv", "name,age\nAnn,thirty\n", "no numbers: the column 'age' is VARCHAR"),
        ("people.parquet", b"name,age\nAnn,30\n", "cannot be read as parquet"),
    ],
)
def test_a_file_that_is_in_doubt_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    message = problem_of(tmp_path, name, content)
    assert words in message
    assert name in message


def test_names_of_a_parquet_file_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"age": [30], "Zip": ["1"], "zip": ["2"]}), tmp_path / "people.parquet")
    with pytest.raises(ParametersProblem, match="more than one column is named 'Zip', 'zip'"):
        PersonParameters(file="people.parquet").sql_type_in(tmp_path)
