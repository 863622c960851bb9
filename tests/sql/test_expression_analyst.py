"""Analysts of SQL expressions take over the connection of one that is done, unless its engine gave up."""

from __future__ import annotations

import duckdb
import pytest

from rowmill.store.database.connection import Connection
from rowmill.store.layout import expression
from rowmill.store.layout.expression import ExpressionAnalyst


@pytest.fixture(autouse=True)
def _nothing_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression, "_idle", [])


def taken(analyst: ExpressionAnalyst) -> Connection:
    """The connection it looks at an expression with."""
    assert analyst.analyse("a + 1").columns == ("a",)
    return analyst._connection


def test_the_connection_of_one_that_is_done_is_taken_over_and_never_shared() -> None:
    first, beside, later = ExpressionAnalyst(), ExpressionAnalyst(), ExpressionAnalyst()
    connection = taken(first)
    assert taken(beside) is not connection
    first.close()
    first.close()
    assert taken(later) is connection
    later.close()
    beside.close()


def test_a_connection_of_the_process_this_one_was_forked_from_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, later = ExpressionAnalyst(), ExpressionAnalyst()
    connection = taken(first)
    first.close()
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert taken(later) is not connection
    later.close()
    connection.close()


def test_a_connection_whose_engine_gave_up_is_taken_by_nobody() -> None:
    first, later = ExpressionAnalyst(), ExpressionAnalyst()
    connection = taken(first)
    assert first._said(duckdb.InternalException("INTERNAL Error: gone")) == "INTERNAL Error: gone"
    first.close()
    assert taken(later) is not connection
    later.close()


def test_an_expression_that_does_not_fit_leaves_the_connection_to_others() -> None:
    first, later = ExpressionAnalyst(), ExpressionAnalyst()
    connection = taken(first)
    assert first.binding_problem("a + [1]", {"a": "INTEGER"}) is not None
    first.close()
    assert taken(later) is connection
    assert later.binding_problem("a + 1", {"a": "INTEGER"}) is None
    later.close()
