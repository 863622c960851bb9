"""What a user's query may be: one statement that reads, and nothing that does something else on the way."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from rowmill.errors import UsageError
from rowmill.store.database.connection import Connection
from rowmill.store.database.question import check_question


@pytest.fixture
def connection() -> Iterator[Connection]:
    with Connection(None) as connection:
        connection.script("create table x as select 1 as a, 2 as b")
        yield connection


@pytest.mark.parametrize(
    "query",
    [
        "from x",
        "select a, count(*) from x group by all;",
        "with y as (select * from x) from y",
        "with recursive r as (select 1 as a union all select a + 1 from r where a < 5) from r",
        "values (1), (2)",
        "table x",
        "describe x",
        "summarize x",
        "show tables",
        "show all tables",
        "pivot x on a in (1, 2) using sum(b)",
        "unpivot x on a, b into name n value v",
        "explain from x",
        "EXPLAIN ANALYZE select * from x",
        "from range(3), unnest([1, 2])",
        "select column_name from duckdb_columns()",
        "select * from json_each('[1]')",
        "select 1 -- a comment",
        "/* a comment */ select 1",
    ],
)
def test_a_query_that_reads_is_let_through_and_runs(connection: Connection, query: str) -> None:
    check_question(connection, query)
    connection.execute(query)


@pytest.mark.parametrize(
    "query",
    [
        "insert into x values (1, 2)",
        "update x set a = 1",
        "delete from x",
        "merge into x using x as y on x.a = y.a when matched then delete",
        "create table y (a int)",
        "create temp table y (a int)",
        "create view y as from x",
        "create macro f() as 1",
        "drop table x",
        "alter table x add column c int",
        "truncate x",
        "comment on table x is 'y'",
        "copy x to '/tmp/rowmill-no.csv'",
        "copy (from x) to '/tmp/rowmill-no.csv'",
        "export database '/tmp/rowmill-no'",
        "import database '/tmp/rowmill-no'",
        "attach ':memory:' as y",
        "detach y",
        "use y",
        "set threads = 1",
        "set variable rowmill_live = true",
        "reset threads",
        "set search_path = 'state'",
        "pragma database_list",
        "pragma enable_profiling",
        "call force_checkpoint()",
        "checkpoint",
        "force checkpoint",
        "vacuum",
        "analyze",
        "load json",
        "install json",
        "update extensions",
        "begin",
        "commit",
        "rollback",
        "prepare p as select 1",
        "execute p",
        "deallocate p",
        "explain insert into x values (1, 2)",
        "explain analyze insert into x values (1, 2)",
        "explain analyze from force_checkpoint()",
        "from force_checkpoint()",
        "from CHECKPOINT()",
        'from "checkpoint"()',
        "from system.main.force_checkpoint()",
        "select (select count(*) from force_checkpoint())",
        "select 1 union all from force_checkpoint()",
        "summarize from force_checkpoint()",
        "with y as (from force_checkpoint()) from x",
        "with y as materialized (select * from force_checkpoint()) from x, y",
        "select * from x where a in (select 1 from force_checkpoint())",
        "from query('from force_checkpoint()')",
        "from query_table('x')",
        "from json_execute_serialized_sql('{}')",
        "from enable_logging()",
        "from truncate_duckdb_logs()",
        "from read_text('/etc/hostname')",
        "from read_csv('/etc/hostname')",
        "from glob('/etc/*')",
        "from sniff_csv('/etc/hostname')",
        "from parquet_metadata('/etc/hostname')",
        "from arrow_scan(1, 2, 3)",
        "from pandas_scan(1)",
        "from duckdb_secrets()",
        "from seq_scan('x')",
        "select sleep_ms(1)",
        "select a from x order by sleep_ms(1)",
        "select nextval('s')",
        "select write_log('x')",
        "select 1; select 2",
        "select 1; insert into x values (1, 2)",
        "",
        ";",
        "-- nothing",
    ],
)
def test_a_query_that_does_anything_else_is_refused(connection: Connection, query: str) -> None:
    with pytest.raises(UsageError):
        check_question(connection, query)
    assert connection.execute("from x") == [(1, 2)]


def test_a_query_that_cannot_be_parsed_is_explained_by_the_engine(connection: Connection) -> None:
    with pytest.raises(duckdb.ParserException, match="frm"):
        check_question(connection, "frm x")


def test_a_pivot_without_values_says_what_to_write(connection: Connection) -> None:
    with pytest.raises(UsageError, match="on column in"):
        check_question(connection, "pivot x on a")
