"""SQL and templates of a spec that reach for files, the environment or Python: refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile_run import assert_helps, run_spec

from rowmill.errors import SpecError

_KIND = {"name": "kind", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b"]}}

_REACHING_OUT = [
    "(select content from read_text('/etc/passwd'))",
    "read_text('/etc/passwd')",
    "(from read_csv('/etc/passwd'))",
    "(select count(*) from glob('/*'))",
    "exists(select 1 from '/etc/passwd')",
    "(select max(spec) from state.spec_version)",
    "getenv('HOME')",
    "'HOME'.getenv()",
    "system.main.getenv('HOME')",
    "current_setting('home_directory')",
    "getvariable('x')",
    "list_transform([1], lambda x: getenv('HOME'))[1]",
    "write_log('x')",
    "nextval('x')",
    "random()::varchar",
    "uuid()::varchar",
    "gen_random_uuid()::varchar",
    "now()::varchar",
    "current_timestamp::varchar",
    "current_database()",
    "current_query()",
    "pg_sleep(1)",
    "1); attach '/tmp/rowmill-hostile.db'; --",
    "1; copy (select 1) to '/tmp/rowmill-hostile.csv'",
    "1 from read_text('/etc/passwd')",
    "1) as x, (select 2",
    "kind limit 1",
    "count(*)",
    "row_number() over ()",
    "unnest([1, 2])",
    "*",
    "columns(*)",
    "$1",
    "kind, kind",
    "",
    "--",
    "/*",
    "'",
    "(((((",
    "\0",
    "set enable_external_access = true",
    "install httpfs",
]


@pytest.mark.parametrize(
    ("place", "sql"), [*(("sql", sql) for sql in _REACHING_OUT), *(("skip", sql) for sql in _REACHING_OUT[::5])]
)
def test_sql_that_is_more_than_an_expression_over_the_row_is_refused(tmp_path: Path, place: str, sql: str) -> None:
    if place == "sql":
        column: dict[str, Any] = {"name": "out", "column_type": "expression", "sql": sql}
    else:
        column = {"name": "out", "column_type": "expression", "sql": "kind", "skip": {"when": sql}}
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, [_KIND, column])
    assert_helps(caught.value, "columns.1")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]
    assert not list(Path("/tmp").glob("rowmill-hostile*"))


@pytest.mark.parametrize("sql", ["cast(kind as int)", "1 // 0", "kind::date::varchar", "10000000000 * 10000000000000"])
def test_sql_that_fails_for_a_row_drops_that_row_with_the_reason(tmp_path: Path, sql: str) -> None:
    column = {"name": "out", "column_type": "expression", "sql": f"if(kind = 'a', ({sql})::varchar, 'fine')"}
    ran = run_spec(tmp_path, [_KIND, column], records=6)
    assert len(ran.rows) + len(ran.dropped) == 6
    assert set(ran.column("kind")) <= {"a", "b"}
    assert all(row["out"] == "fine" for row in ran.rows if row["kind"] == "b")
    assert all(row["reason"] == "rejected" and row["message"] for row in ran.dropped)


_PYTHON = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ kind.__init__.__globals__ }}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ kind|attr('__class__') }}",
    "{{ '%s'|format(kind.__class__) }}",
    "{{ '{0.__class__}'.format(kind) }}",
    "{% for x in range(10 ** 9) %}x{% endfor %}",
    "{{ 'x' * 10 ** 9 }}",
    "{{ 9 ** 99999999 }}",
]


@pytest.mark.parametrize("template", _PYTHON)
def test_a_prompt_that_reaches_for_python_is_never_asked(tmp_path: Path, template: str) -> None:
    """Refused with the spec, or each row is dropped with the reason; a request is made for none."""
    safe = {"name": "safe", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ kind }}"}
    hostile = {**safe, "name": "hostile", "prompt": template + "{{ kind }}", "with_trace": True}
    try:
        ran = run_spec(tmp_path, [_KIND, hostile], records=3)
    except SpecError as error:
        assert_helps(error, "columns.1.prompt")
        return
    assert ran.rows == []
    assert {row["reason"] for row in ran.dropped} == {"rejected"}
    for row in ran.dropped:
        assert "hostile.prompt" in row["message"]
        assert "class '" not in row["message"]


@pytest.mark.parametrize(
    "template",
    [
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{{ kind",
        "{% if %}",
        "{{ nothing }}",
    ],
)
def test_a_template_that_cannot_work_is_a_problem_of_the_spec(tmp_path: Path, template: str) -> None:
    column = {"name": "out", "column_type": "expression", "expr": template + "{{ kind }}"}
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, [_KIND, column])
    assert_helps(caught.value, "columns.1.expr")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


@pytest.mark.parametrize(
    ("sql", "skip"),
    [("product::int + product::int", None), ("1", {"when": "product::int > 1 or product::int < 0"})],
    ids=["expression", "skip rule"],
)
def test_an_error_in_a_part_that_an_expression_has_twice_costs_its_row_alone(
    tmp_path: Path, sql: str, skip: dict[str, str] | None
) -> None:
    (tmp_path / "seed.csv").write_text("product\n1\n2\nnone\n")
    column: dict[str, Any] = {"name": "twice", "column_type": "expression", "sql": sql, "dtype": "int"}
    ran = run_spec(tmp_path, [column | ({"skip": skip} if skip else {})], seed_dataset={"path": "seed.csv"}, records=3)
    assert [row["row_id"] for row in ran.rows] == [0, 1]
    assert [(row["row_id"], row["reason"]) for row in ran.dropped] == [(2, "rejected")]


def test_an_error_in_what_two_conditions_of_a_sampler_share_costs_its_row_alone(tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("product\n1\n2\nnone\n")
    choices = {"product::int > 1": {"low": 5, "high": 6}, "product::int < 0": {"low": 7, "high": 8}}
    column = {"name": "size", "column_type": "sampler", "sampler_type": "uniform", "params": {"low": 0, "high": 1}}
    ran = run_spec(tmp_path, [column | {"conditional_params": choices}], seed_dataset={"path": "seed.csv"}, records=3)
    assert [row["row_id"] for row in ran.rows] == [0, 1]
    assert 5 <= ran.rows[1]["size"] < 6
    assert [row["row_id"] for row in ran.dropped] == [2]


@pytest.mark.parametrize("place", ["sql", "skip"])
def test_sql_that_is_nested_too_deeply_is_a_problem_of_the_spec(tmp_path: Path, place: str) -> None:
    nested = "case when 1 = 1 then " * 900 + "kind = 'a'" + " end" * 900
    column: dict[str, Any] = {"name": "out", "column_type": "expression"}
    of_place = {"sql": nested} if place == "sql" else {"expr": "{{ kind }}", "skip": {"when": nested}}
    with pytest.raises(SpecError) as caught:
        run_spec(tmp_path, [_KIND, column | of_place])
    assert_helps(caught.value, "nested too deeply", "columns.1")


def test_the_reason_of_a_drop_is_not_longer_than_people_read(tmp_path: Path) -> None:
    sql = "strptime(repeat(kind, 100000), repeat('%Y', 100000))"
    ran = run_spec(tmp_path, [_KIND, {"name": "out", "column_type": "expression", "sql": sql}])
    assert len(ran.dropped) == 4
    assert all(len(row["message"]) < 5_000 for row in ran.dropped)
