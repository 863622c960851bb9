"""What a user's query may be: one statement that only reads this run database.

The engine refuses most of the rest by itself: files, because external access is off; settings, because they are locked;
writes, because a reader's transaction is read-only. What is left are functions that do something when they are selected
from. Only those table functions are let through that are known to read nothing but the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import duckdb

from rowmill.errors import UsageError
from rowmill.store.database.statements import statements_of

named = statements_of("reading/snapshot")

_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\s+", re.IGNORECASE)
_TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns",
        "duckdb_constraints",
        "duckdb_databases",
        "duckdb_functions",
        "duckdb_indexes",
        "duckdb_keywords",
        "duckdb_memory",
        "duckdb_schemas",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "histogram",
        "histogram_values",
        "json_each",
        "json_tree",
        "pragma_storage_info",
        "pragma_table_info",
        "pragma_version",
        "range",
        "repeat",
        "repeat_row",
        "test_all_types",
        "unnest",
    }
)
_REFUSED_FUNCTIONS = frozenset({"currval", "nextval", "setseed", "setval", "sleep_ms", "write_log"})


class Queryable(Protocol):
    """Whoever answers queries."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        ...


def check_question(connection: Queryable, query: str) -> None:
    """Raises UsageError unless ``query`` is a single statement that reads (SELECT in all its forms, EXPLAIN).

    A query that cannot be parsed raises the engine's own error.
    """
    found = duckdb.extract_statements(query)
    if len(found) != 1:
        count = "no query" if not found else f"{len(found)} queries"
        raise UsageError(f"One query is expected, this is {count}. Ask them one by one.")
    kind = _kind(found[0])
    if kind == "MULTI":
        raise UsageError("A PIVOT needs its values here: pivot … on column in (value, …).")
    if kind not in {"SELECT", "EXPLAIN"}:
        raise UsageError(_ONLY_READS.format(kind=kind))
    text = _EXPLAIN.sub("", found[0].query, count=1) if kind == "EXPLAIN" else query
    try:
        tree = json.loads(connection.execute(named.parse_query.text, {"query": text})[0][0])
        if tree.get("error"):
            raise UsageError(_ONLY_READS.format(kind=kind))
        for part in _walk(tree):
            _check_part(part)
    except RecursionError:
        raise UsageError("The query is nested too deeply.") from None


_ONLY_READS = "{kind} would write or change settings; SQL on a run database only reads."


def _kind(found: duckdb.Statement) -> str:
    try:
        return found.type.name
    except ValueError:  # a new kind of statement, which the engine's Python client has no word for
        return "This"


def _check_part(part: dict[str, Any]) -> None:
    if part.get("type") == "TABLE_FUNCTION":
        name = _name(part.get("function") or {})
        if name not in _TABLE_FUNCTIONS:
            raise UsageError(f"The query may only read this run database, and {name}() may do more: it is not allowed.")
    elif _name(part) in _REFUSED_FUNCTIONS:
        raise UsageError(f"{_name(part)}() is not allowed in a query on a run database.")


def _name(part: dict[str, Any]) -> str:
    return str(part.get("function_name", "")).lower()


def _walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from _walk(value)
