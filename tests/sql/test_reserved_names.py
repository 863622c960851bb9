"""Names that SQL reserves: wherever SQL is taken, the error shows how to quote them; the help's own examples parse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rowmill
from rowmill.cli.main import execute
from rowmill.engine.preparation import prepare
from rowmill.errors import SpecError, UsageError
from rowmill.inspect.opening import open_reader
from rowmill.inspect.selection import dropped_rows
from rowmill.run_database import RunDatabase, run
from rowmill.spec.spec import Spec
from rowmill.store.layout.expression import ExpressionAnalyst
from rowmill.store.reading.listing import Selection, listing

HELP = Path(rowmill.__file__).parent / "help"
RESERVED = [
    "all",
    "any",
    "check",
    "column",
    "desc",
    "end",
    "from",
    "group",
    "limit",
    "order",
    "select",
    "table",
    "user",
]


@pytest.fixture
def analyst() -> Iterator[ExpressionAnalyst]:
    made = ExpressionAnalyst()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("not check.is_valid", 'not "check".is_valid'),
        ("at > 3", '"at" > 3'),
        ("order.total > 5 and kind = 'order'", "\"order\".total > 5 and kind = 'order'"),
        ("end - start", '"end" - start'),
        ("limit + 1 -- the limit", '"limit" + 1 -- the limit'),
        ("case when check then 1 end", 'case when "check" then 1 end'),
    ],
)
def test_a_reserved_name_is_told_with_its_quoted_form(analyst: ExpressionAnalyst, text: str, quoted: str) -> None:
    problem = analyst.analyse(text).problem
    assert problem is not None
    assert problem.endswith(f"so it is quoted: {quoted}")
    assert analyst.analyse(quoted).problem is None


@pytest.mark.parametrize("name", RESERVED)
def test_a_quoted_name_is_a_column_whatever_sql_reserves(analyst: ExpressionAnalyst, name: str) -> None:
    assert analyst.analyse(f'"{name}" is null').columns == (name,)


@pytest.mark.parametrize("text", ["a +", "a b c", "case when a then b", "'check", "(a", ""])
def test_what_quoting_does_not_mend_gets_no_such_hint(analyst: ExpressionAnalyst, text: str) -> None:
    assert "so it is quoted" not in (analyst.analyse(text).problem or "")


def test_every_place_of_a_spec_that_takes_sql_shows_it(tmp_path: Path) -> None:
    sampler = {"column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b"]}}
    spec = Spec.from_data(
        {
            "records": 1,
            "columns": [
                {"name": "order", **sampler},
                {"name": "b", "column_type": "expression", "sql": "order || 'x'"},
                {"name": "c", "column_type": "expression", "expr": "x", "skip": {"when": "order = 'a'"}},
                {"name": "d", **sampler, "conditional_params": {"order = 'a'": {"values": ["c"]}}},
                {"name": "e", "column_type": "select", "sql": "order = 'a'"},
            ],
        }
    )
    with pytest.raises(SpecError) as caught:
        prepare(spec, tmp_path)
    shown = {problem.place for problem in caught.value.problems if '"order"' in problem.message}
    assert {"columns.1.sql", "columns.2.skip.when", "columns.4.sql"} <= shown
    assert any(place.startswith("columns.3.conditional_params") for place in shown)


def test_a_condition_on_the_command_line_shows_it(tmp_path: Path) -> None:
    database = tmp_path / "x.duckdb"
    column = {"name": "order", "column_type": "expression", "sql": "1", "dtype": "int"}
    run({"records": 1, "columns": [column]}, database)
    with pytest.raises(UsageError, match='so it is quoted: "order" = 1'), open_reader(database) as reader:
        listing(reader, "rows", Selection("order = 1", limit=1))
    with pytest.raises(UsageError, match='so it is quoted: "order" = 1'):
        dropped_rows(database, "order = 1")


def test_a_query_shows_it_on_the_command_line_and_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = tmp_path / "x.duckdb"
    column = {"name": "check", "column_type": "expression", "sql": "1", "dtype": "int"}
    run({"records": 1, "columns": [column]}, database)
    query = "select row_id from dataset where check = 1"
    assert execute(["sql", str(database), query]) == 2
    assert 'so it is quoted: select row_id from dataset where "check" = 1' in capsys.readouterr().err
    with RunDatabase.open(database) as opened:
        with pytest.raises(UsageError, match='so it is quoted: select row_id from dataset where "check" = 1'):
            opened.sql(query)
        with pytest.raises(UsageError) as caught:
            opened.sql("select nothing_of_this from dataset")
    assert "quoted" not in str(caught.value)


def test_the_examples_of_the_help_parse(analyst: ExpressionAnalyst) -> None:
    text = (HELP / "columns.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"`(not [^`]*is_valid)`", text) + re.findall(r"--where '(not [^']*)'", text)
    assert len(verdicts) == 2
    for verdict in verdicts:
        assert analyst.analyse(verdict).problem is None
