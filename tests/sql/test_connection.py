"""The connection: what it remembers of small reads, and tables it mirrors from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import duckdb
import pytest

from rowmill.store.database.connection import Connection
from rowmill.store.database.task_marks import IN_FLIGHT, TaskMarks

_COUNT = "select count(*) from state.kept"


@pytest.fixture
def connection() -> Iterator[Connection]:
    with Connection(None) as found:
        found.script(
            "create schema state; create table state.kept (a integer); create table state.kept_too (a integer)"
        )
        yield found


@pytest.mark.parametrize(
    "write",
    [
        "insert into state.kept values (1)",
        "INSERT INTO state.kept select a from state.kept_too union all select 1",
        "with one as (select 1 as a) insert into state.kept from one",
        "-- Adds one.\nmerge into state.kept as k using (select 1 as a) as n on false when not matched then insert",
    ],
)
def test_a_remembered_read_is_executed_again_after_every_kind_of_write(connection: Connection, write: str) -> None:
    assert connection.recall(_COUNT, "state.kept") == [(0,)]
    connection.execute(write)
    assert connection.recall(_COUNT, "state.kept") == [(1,)]
    connection.execute("update state.kept\nset a = 2")
    assert connection.recall("select a from state.kept", "state.kept") == [(2,)]
    connection.execute("delete from state.kept")
    assert connection.recall(_COUNT, "state.kept") == [(0,)]
    connection.script("insert into state.kept values (1); insert into state.kept values (2)")
    assert connection.recall(_COUNT, "state.kept") == [(2,)]


def test_a_remembered_read_follows_a_roll_back(connection: Connection) -> None:
    with suppress(ZeroDivisionError), connection.transaction():
        connection.execute("insert into state.kept values (1)")
        assert connection.recall(_COUNT, "state.kept") == [(1,)]
        raise ZeroDivisionError
    assert connection.recall(_COUNT, "state.kept") == [(0,)]


def test_a_remembered_read_costs_nothing_as_long_as_only_other_tables_are_written(connection: Connection) -> None:
    other = connection.beside()
    connection.recall(_COUNT, "state.kept")
    other.execute("insert into state.kept values (1)")  # not how it is used: shows whether the table was read
    connection.execute("insert into state.kept_too values (1)")
    assert connection.recall(_COUNT, "state.kept") == [(0,)]
    other.close()


def test_sql_sees_the_tasks_that_are_in_flight_now(connection: Connection) -> None:
    in_flight = TaskMarks(connection, IN_FLIGHT)
    seen = "from in_flight order by all"
    assert connection.execute(seen) == []
    in_flight.add([(0, 3, 1), (1, 3, -1)])
    assert connection.execute(seen) == [(0, 3, 1), (1, 3, -1)]
    in_flight.remove([(0, 3, 1), (0, 9, 9)])
    assert connection.execute(seen) == [(1, 3, -1)]
    assert connection.execute("select count(*) from in_flight as a inner join in_flight as b using (row_group)") == [
        (1,)
    ]
    assert in_flight
    in_flight.remove([(1, 3, -1)])
    assert not in_flight


def test_in_flight_cannot_be_written_from_sql(connection: Connection) -> None:
    TaskMarks(connection, IN_FLIGHT)
    with pytest.raises(duckdb.Error):
        connection.execute("delete from in_flight")
