"""Users' SQL expressions: which columns they name, and whether they may run at all.

An expression may only be a deterministic scalar over the columns of its row: no subquery, no aggregate, no
table, nothing that reads a clock, a file or chance (V1). One that is evaluated over the whole dataset may use window
functions, and row_id; where their result depends on the order of equal rows, row_id must decide it. Expressions are
parsed and bound in a private in-memory connection without access to anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from rowmill.errors import SqlTooCostly
from rowmill.spec.declaration import SqlAnalysis
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.literal import literal
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.implicit_cast import LONGEST_BINDING_S, ImplicitCast, types_of
from rowmill.store.layout.reserved_names import reserved_name_hint
from rowmill.store.layout.sql_functions import is_repeatable

sql = statements_of("layout/expression")


_kinds: dict[str, Sequence[str]] = {}
"""By name of a function, all in lower case: scalar, aggregate, table, macro."""
_COSTLY_CONSTANT = (
    "A part of the SQL that names no column takes too long or needs too much memory. Make what it builds smaller."
)


_idle: list[tuple[int, Connection]] = []
"""Connections whose analysts are done with them, each with the process that opened it. Nothing is ever made in them."""
_MOST_IDLE = 2


class ExpressionAnalyst:
    """Looks at SQL expressions without running them, on a private connection that :meth:`close` lets go.

    It is taken for the first one: to open it takes 10 ms, and a spec without SQL has none. ``judges``: False for a spec
    that was accepted before, of which only the names have to be known (V6).
    """

    def __init__(self, *, judges: bool = True) -> None:
        self._judges = judges
        self._taken: Connection | None = None
        self._is_spoilt = False
        """The engine ran out of something, or gave up: the connection is for nobody else."""

    @property
    def _connection(self) -> Connection:
        if self._taken is None:
            self._taken = _idle_connection() or Connection(None, threads=1)
        return self._taken

    def analyse(self, text: str, *, over_dataset: bool = False) -> SqlAnalysis:
        """The columns an expression names, in order, or why it is refused.

        ``over_dataset``: it may have window functions and name row_id, which is not among the columns returned.
        """
        try:
            return self._analysed(text, over_dataset)
        except RecursionError:
            return SqlAnalysis((), "The SQL is nested too deeply: split it over several columns.")

    def _analysed(self, text: str, over_dataset: bool) -> SqlAnalysis:
        tree = self._tree(text)
        if tree.get("error"):
            hint = reserved_name_hint(text, self._parses)
            return SqlAnalysis((), f"The SQL cannot be parsed: {tree.get('error_message', 'unknown reason')}.{hint}")
        node = tree["statements"][0]["node"]
        problem = _shape_problem(tree["statements"], node)
        if problem:
            return SqlAnalysis((), problem)
        expression = node["select_list"][0]
        problem = self._problem(expression, over_dataset) if self._judges else None
        if problem:
            return SqlAnalysis((), problem)
        references = tuple(dict.fromkeys(_references(expression, frozenset())))
        names = dict.fromkeys(reference[0] for reference in references)
        columns = tuple(name for name in names if not (over_dataset and name.lower() == _ROW_ID))
        return SqlAnalysis(columns, references=references)

    def hint(self, text: str) -> str:
        """How to write a condition that cannot be parsed because SQL reserves a name in it; else nothing."""
        return "" if self._parses(text) else reserved_name_hint(text, self._parses)

    def _parses(self, text: str) -> bool:
        try:
            return not self._tree(text).get("error")
        except RecursionError:
            return True

    def _tree(self, text: str) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self._connection.execute(sql.parse_expression.text, {"text": text})[0][0])
        return tree

    def binding_problem(self, expression: str, columns: Mapping[str, str], *, over_dataset: bool = False) -> str | None:
        """Why an expression does not fit the types of its columns (name → SQL type), or None."""
        nulls = ", ".join(f"cast(null as {sql_type}) as {quote(name)}" for name, sql_type in columns.items())
        try:
            bound = expression if over_dataset else f"try({expression})"
            with allowance(self._connection, expression, [expression], longest_s=LONGEST_BINDING_S):
                self._connection.execute(sql.bind_expression.fill(expression=bound, typed_nulls=nulls or "null"))
        except SqlTooCostly:
            self._is_spoilt = True
            return _COSTLY_CONSTANT
        except duckdb.Error as error:
            return self._said(error)
        return None

    def _said(self, error: duckdb.Error) -> str:
        self._is_spoilt |= isinstance(error, duckdb.FatalException | duckdb.InternalException)
        return str(error).strip().splitlines()[0]

    def value_problem(self, value: object, sql_type: str) -> str | None:
        """Why a value of the spec does not fit a column's type, or None."""
        try:
            written = literal(value)
            cast = f"cast({written} as {sql_type})"
            source, target = types_of(self._connection, [written, f"cast(null as {sql_type})"], {})
            around = ImplicitCast(source, target).around(written) if source and target else None
            self._connection.execute(sql.evaluate_constant.fill(expression=cast))
        except TypeError as error:
            return str(error)
        except duckdb.Error as error:
            return self._said(error)
        try:
            self._connection.execute(sql.evaluate_constant.fill(expression=around or cast))
        except duckdb.Error as error:
            self._said(error)
            return f"{written} is no {sql_type}: the value would be another one. Write what the column can hold."
        return None

    def cast_problem(self, expression: str, columns: Mapping[str, str], sql_type: str) -> str | None:
        """Why no value of an expression fits a column's type, or None."""
        (source,) = types_of(self._connection, [expression], columns)
        (target,) = types_of(self._connection, [f"cast(null as {sql_type})"], {})
        if source is None or target is None or not ImplicitCast(source, target).never_fits:
            return None
        return (
            f"The SQL gives {source}, which never is {sql_type}: every row would be dropped. Give the column the right "
            f"dtype, or write the cast you want: cast(… as {sql_type})."
        )

    def close(self) -> None:
        """Lets the private connection go: the next analyst takes it. Safe to call twice."""
        if self._taken is None:
            return
        if self._is_spoilt or len(_idle) >= _MOST_IDLE:
            self._taken.close()
        else:
            _idle.append((os.getpid(), self._taken))
        self._taken = None

    def _problem(self, expression: Mapping[str, Any], over_dataset: bool) -> str | None:
        for part in _walk(expression):
            if part.get("class") == "WINDOW" and over_dataset:
                problem = _order_problem(part)
                if problem:
                    return problem
            elif part.get("class") in _REFUSED_CLASSES:
                return _REFUSED_CLASSES[part["class"]]
        return self._function_problem(expression, over_dataset)

    def _kinds_of_functions(self) -> Mapping[str, Sequence[str]]:
        """Of every function of the engine. They are asked for once in a process: that takes as long as to open it."""
        if not _kinds:
            _kinds.update(self._connection.execute(sql.kinds_of_functions.text))
        return _kinds

    def _function_problem(self, expression: Mapping[str, Any], over_dataset: bool) -> str | None:
        calls = [(str(part["function_name"]).lower(), part) for part in _walk(expression) if "function_name" in part]
        if not calls:
            return None
        kinds = self._kinds_of_functions()
        for name, part in sorted(calls, key=lambda call: call[0]):
            if not is_repeatable(name, len(part.get("arguments") or ())):
                return (
                    f"{name}() does not give the same value on every run. "
                    "Use a sampler column for chance, and a seed or parameter for the date."
                )
            known = kinds.get(name, ["scalar"])
            if part.get("class") != "WINDOW" and "scalar" not in known and "macro" not in known:
                if over_dataset:
                    return f"{name}() gives one value for many rows; write {name}(…) over (…) to have it in each."
                kind = "an aggregate" if "aggregate" in known else "not a scalar function"
                return f"{name}() is {kind}; an expression sees one row only."
        return None


def hint_for_query(text: str) -> str:
    """How to write a whole query that cannot be parsed because SQL reserves a name in it; else nothing."""
    return "" if _query_parses(text) else reserved_name_hint(text, _query_parses)


def _query_parses(text: str) -> bool:
    try:
        return bool(duckdb.extract_statements(text))
    except duckdb.Error:
        return False


def hint_for_condition(text: str) -> str:
    """:meth:`ExpressionAnalyst.hint` for a condition somebody gave on the command line."""
    analyst = ExpressionAnalyst()
    try:
        return analyst.hint(text)
    finally:
        analyst.close()


_REFUSED_CLASSES = {
    "SUBQUERY": "A subquery is not allowed: an expression sees one row only.",
    "WINDOW": "A window function is not allowed: an expression sees one row only.",
    "STAR": "'*' is not allowed: name the columns.",
    "PARAMETER": "A parameter ($name or ?) is not allowed: name columns, or write the value.",
    "DEFAULT": "DEFAULT is not allowed in an expression.",
    "POSITIONAL_REFERENCE": "A positional reference (#1) is not allowed: name the column.",
}


_ROW_ID = "row_id"

_BY_POSITION = frozenset(
    {
        "WINDOW_ROW_NUMBER",
        "WINDOW_NTILE",
        "WINDOW_LEAD",
        "WINDOW_LAG",
        "WINDOW_FIRST_VALUE",
        "WINDOW_LAST_VALUE",
        "WINDOW_NTH_VALUE",
    }
)
"""Window functions that tell rows apart that their ORDER BY does not."""

_BY_ORDER = frozenset(
    {"any_value", "arbitrary", "array_agg", "first", "group_concat", "last", "list", "listagg", "string_agg"}
)
"""Aggregates whose result depends on the order of their rows."""


def _order_problem(window: Mapping[str, Any]) -> str | None:
    """Why a window function could give other values on the next run, or None."""
    name = str(window["function_name"]).lower()
    has_row_frame = any(str(window.get(end, "")).endswith("_ROWS") for end in ("start", "end"))
    if window.get("type") not in _BY_POSITION and name not in _BY_ORDER and not has_row_frame:
        return None
    orders = [*(window.get("orders") or []), *(window.get("arg_orders") or [])]
    named = [order["expression"].get("column_names", [""])[-1].lower() for order in orders]
    if _ROW_ID in named:
        return None
    return (
        f"{name}() depends on the order of rows that its ORDER BY finds equal, which may differ from run to run. "
        "Put row_id last: over (order by …, row_id)."
    )


def _idle_connection() -> Connection | None:
    """One that this process opened, not a parent it was forked from."""
    while _idle:
        process, connection = _idle.pop()
        if process == os.getpid():
            return connection
    return None


def _shape_problem(statements: Sequence[Any], node: Mapping[str, Any]) -> str | None:
    if len(statements) != 1 or node.get("type") != "SELECT_NODE":
        return "One scalar expression is expected, not a query."
    if len(node["select_list"]) != 1:
        return "One expression is expected; there is a comma at the top level."
    extra = (
        node["from_table"].get("type") != "EMPTY"
        or node["modifiers"]
        or node["cte_map"]["map"]
        or any(node.get(part) for part in ("where_clause", "having", "sample", "qualify", "group_expressions"))
    )
    if extra:
        return "An expression must not have a FROM, WHERE, GROUP BY, ORDER BY or LIMIT of its own."
    if node["select_list"][0].get("alias"):
        return "An expression must not have an alias; the column's name is its name."
    return None


def _walk(part: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from _walk(value)


def _references(part: Any, bound: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Columns, with the fields of structures, in order of appearance; names that a lambda binds are not columns."""
    if isinstance(part, list):
        for value in part:
            yield from _references(value, bound)
    elif isinstance(part, dict):
        if part.get("class") == "COLUMN_REF":
            names = tuple(map(str, part["column_names"]))
            if names[0].lower() not in bound:
                yield names
            return
        if part.get("class") == "LAMBDA":
            inner = bound | {names[0].lower() for names in _references(part.get("lhs"), frozenset())}
            yield from _references(part.get("expr"), inner)
            return
        for value in part.values():
            yield from _references(value, bound)
