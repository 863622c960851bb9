"""Which SQL functions an expression may call, and that the list holds for the engine that is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rowmill.store.database.connection import Connection
from rowmill.store.layout.expression import ExpressionAnalyst
from rowmill.store.layout.sql_functions import is_repeatable

RAISES_ONLY = {"error"}
"""What the engine calls volatile lest it be evaluated early, though its value (none) is always the same."""


@pytest.fixture
def analyst() -> Iterator[ExpressionAnalyst]:
    found = ExpressionAnalyst()
    yield found
    found.close()


@pytest.mark.parametrize(
    "expression",
    [
        "month(a)",
        "a + 1",
        "a - 1",
        "strftime(a, '%Y-%m')",
        "date_trunc('month', a)",
        "age(a, b)",
        "hour(a)",
        "fmod(a, 2)",
        "list_sum(range(3))",
        "pg_typeof(a)",
        "error('no')",
    ],
)
def test_v5_what_follows_from_its_arguments_is_allowed_whatever_the_engine_says_of_it(
    analyst: ExpressionAnalyst, expression: str
) -> None:
    assert analyst.analyse(expression).problem is None


@pytest.mark.parametrize(
    "expression",
    [
        "now()",
        "today()",
        "age(a)",
        "ago(interval 1 day)",
        "random()",
        "uuid()",
        "upper(uuid()::varchar)",
        "current_setting('threads')",
        "getvariable('a')",
        "pg_postmaster_start_time()",
        "nextval('a')",
        "sleep_ms(1000)",
        "version()",
        '"now"()',
        "NOW()",
    ],
)
def test_v1_clocks_chance_and_state_are_refused_by_name(analyst: ExpressionAnalyst, expression: str) -> None:
    problem = analyst.analyse(expression).problem
    assert problem is not None
    assert "does not give the same value on every run" in problem


@pytest.mark.parametrize("name", ["current_date", "current_user", "localtime"])
def test_v1_clocks_without_parentheses_are_names_of_columns(analyst: ExpressionAnalyst, name: str) -> None:
    """So one that is not defined is refused as every such name is, and the engine never gets to see it."""
    assert analyst.analyse(f"coalesce({name}, a)").columns == (name, "a")


def test_v1_nothing_the_installed_engine_calls_volatile_is_allowed() -> None:
    with Connection(None) as connection:
        volatile = connection.execute(
            "select distinct lower(function_name) from duckdb_functions() "
            "where stability = 'VOLATILE' and function_type in ('scalar', 'macro')"
        )
    names = {name for (name,) in volatile}
    assert "random" in names
    assert {name for name in names if is_repeatable(name, 2)} == RAISES_ONLY
