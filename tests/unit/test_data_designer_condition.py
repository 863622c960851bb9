"""Conditions of DataDesigner in SQL: the same rows, or a word on what cannot be said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import jinja2
import pytest

from rowmill.data_designer.condition import NotSql, as_sql

ROWS: list[dict[str, Any]] = [
    {"age": 20, "kind": "a", "share": 0.5, "flag": True, "order": 1, "p": {"sex": "Male", "age": 30}, "note": "it's"},
    {"age": 30, "kind": "B", "share": -1.0, "flag": False, "order": 2, "p": {"sex": "Female", "age": 9}, "note": "x"},
    {
        "age": 65,
        "kind": "",
        "share": 2.25,
        "flag": True,
        "order": 3,
        "p": {"sex": "Male", "age": 70},
        "note": 'say "b"',
    },
]


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            'create table sample(number int, age int, kind varchar, share double, flag boolean, "order" int,'
            " p struct(sex varchar, age int), note varchar)"
        )
        for number, row in enumerate(ROWS):
            connection.execute("insert into sample values (?, ?, ?, ?, ?, ?, ?, ?)", [number, *row.values()])
        yield connection


@pytest.mark.parametrize(
    "condition",
    [
        "age > 21",
        "age >= 30 and age != 65",
        "age < 30 or kind == 'B'",
        "not (age < 30)",
        "18 < age <= 30",
        "kind in ['a', \"B\"]",
        "kind not in ('a', 'b')",
        "kind in []",
        "'a' in kind",
        "order in [1, 3]",
        "flag",
        "not flag and share < 0",
        "flag == true",
        "p.sex == 'Male' and p['age'] > 50",
        "kind | lower == 'b'",
        "kind|upper in ['A', 'B']",
        'note == "it\'s"',
        "note == 'say \"b\"'",
        "kind | length == 0",
        "share * 2 + 1 > -0.5",
        "age // 10 == 2",
        "age % 2 == 1",
        "age is odd",
        "share | int == 2",
        "(share * 1.9) | int == 0",
        "-age // 10 == -5",
        "-age % 7 == 3",
        "(-age) is odd",
        "(age - 100) is even",
        "age // 7.5 == 5",
        "-age < -40",
        "(age > 21) or (kind == ')(')",
        "1 == 1",
        "kind == none",
        "kind is not none",
        "kind is defined and age > 21",
    ],
)
def test_a_condition_holds_for_the_same_rows(database: duckdb.DuckDBPyConnection, condition: str) -> None:
    template = jinja2.Environment().from_string("{{ " + condition + " }}")
    expected = [number for number, row in enumerate(ROWS) if template.render(row) == "True"]
    query = f"select number from sample where {as_sql(condition)} order by number"
    assert [number for (number,) in database.execute(query).fetchall()] == expected


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("age > ", "it is not valid Jinja"),
        ("range(age) | length > 3", "it uses call"),
        ("kind | replace('a', 'b') == 'b'", "it uses filter 'replace'"),
        ("kind is string", "it uses test 'string'"),
        ("kind[0] == 'a'", "it uses getitem"),
        ("'a' if flag else 'b'", "it uses condexpr"),
        ("age }} {{ kind", "it is not one expression"),
        ("age < 1e400", "not finite"),
        ("not " * 5000 + "flag", "nested too deeply"),
        ("(" * 5000 + "flag" + ")" * 5000, "nested too deeply"),
    ],
)
def test_what_cannot_be_said_in_sql_is_named(condition: str, reason: str) -> None:
    with pytest.raises(NotSql, match=reason.replace("(", r"\(")):
        as_sql(condition)


def test_outer_brackets_are_left_out_only_where_they_belong_together() -> None:
    assert as_sql("a > 1") == "a > 1"
    assert as_sql("a > 1 and b > 2") == "(a > 1) and (b > 2)"
    assert as_sql("a == ')' or b == '('") == "(a = ')') or (b = '(')"


def test_a_name_with_a_quotation_mark_is_quoted() -> None:
    assert as_sql("p['a\"b'] == 1") == 'p."a""b" = 1'
