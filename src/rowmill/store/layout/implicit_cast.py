"""The cast of a user's SQL to its column's type, which must not change the value (V3).

What the expression itself casts is the user's own rounding. The cast to ``dtype`` is ours: a value that would be
rounded, cut or read as something else by it fails instead, and so drops its row. Only pairs of types that can lose
something are looked at, once per invocation; all others are a plain cast.

=========================  ============================================================================================
to                         fits
=========================  ============================================================================================
whole numbers              numbers without a fraction, texts that spell one (``3``, ``3.0``, ``3e0``)
``DOUBLE``, ``FLOAT``      numbers as the nearest one, whole numbers if it is the same; texts that spell a number
``DECIMAL(p, s)``          numbers and texts of at most ``s`` digits behind the point
``BOOLEAN``                truth values, and the texts ``true``, ``false``, ``1`` and ``0``
``DATE``                   times at midnight, texts of a date
``TIMESTAMP``, ``TIME``    what has no smaller parts than theirs; a text without another time zone; no time of a date
``VARCHAR``                everything: it becomes its text
lists, structures, maps    what is the same when it is cast back
=========================  ============================================================================================

A truth value is no number here, and a number no truth value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import duckdb

from rowmill.errors import SqlTooCostly
from rowmill.graph.graph import Graph
from rowmill.spec.declaration import SqlExpression, ValueOverDataset
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.sql_allowance import allowance
from rowmill.store.database.statements import statements_of

sql = statements_of("layout/expression")

_V = "rowmill_value"
_WHOLE = frozenset(
    f"{sign}{size}"
    for sign in ("", "U")
    for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
) | {"BIGNUM"}  # fmt: skip
_FLOAT = frozenset({"DOUBLE", "FLOAT"})
_EXACT_IN = {
    "DOUBLE": frozenset({"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"}),
    "FLOAT": frozenset({"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"}),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_NUMBER_TEXT = r"\s*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?\s*"
_WHOLE_TEXT = r"\s*[+-]?[0-9]+([.]0*)?\s*"
_SURE_DIGITS = f"length(trim(replace(regexp_extract({_V}, '[0-9.]+'), '.', ''), '0')) <= 15"
"""So many digits are told apart by a double: what is whole as one is whole."""
_NO_NANOSECONDS = f"not regexp_matches({_V}, '[.][0-9]{{6}}[0-9]*[1-9]')"
_NEVER = "false"


LONGEST_BINDING_S = 5.0
"""How long the engine may take to bind an expression: it evaluates what names no column then."""


class ImplicitCast(NamedTuple):
    """The type an expression gives, and the one its column has, as the engine spells them."""

    source: str
    target: str

    @property
    def never_fits(self) -> bool:
        """No value but null fits."""
        return _check(self.source, self.target) == _NEVER

    def around(self, expression: str) -> str | None:
        """The expression, cast so that what does not fit fails. None: a plain cast does that, or loses nothing."""
        check = _check(self.source, self.target)
        if check is None:
            return None
        kept = f"case when {_V} is null or ({check}) then cast({_V} as {self.target}) else {_misfit(self.target)} end"
        return f"list_transform([({expression}\n)], lambda {_V}: {kept})[1]"


def _misfit(target: str) -> str:
    """What always fails, with the value in the engine's words. ``error()`` would do, but not within TRY."""
    said = f"concat('{target.replace(chr(39), chr(39) * 2)} does not hold ', cast({_V} as varchar))"
    return f"cast(cast(cast({said} as bigint) as varchar) as {target})"


def implicit_casts(connection: Connection, graph: Graph) -> dict[int, ImplicitCast]:
    """By generator, the casts of SQL expressions to be looked at. An expression that does not bind has none."""
    columns = {output.name: output.sql_type for node in graph.generators for output in node.columns}
    texts: dict[int, str] = {}
    for node in graph.generators:
        own = own_expression(node.declaration.sql, node.declaration.dataset_sql)
        if own is not None:
            texts[node.number] = own.text
    targets = {number: graph.generators[number].columns[0].sql_type for number in texts}
    found = types_of(connection, list(texts.values()), columns)
    wanted = types_of(connection, [f"cast(null as {sql_type})" for sql_type in targets.values()], {})
    casts = {
        number: ImplicitCast(source, target)
        for number, source, target in zip(texts, found, wanted, strict=True)
        if source is not None and target is not None
    }
    return {number: cast for number, cast in casts.items() if _binds(connection, texts[number], cast, columns)}


def own_expression(sql: object, dataset_sql: object) -> SqlExpression | None:
    """The expression whose value a generator's column has, if it is a user's SQL."""
    if isinstance(dataset_sql, ValueOverDataset):
        return dataset_sql.expression
    return sql if isinstance(sql, SqlExpression) else None


def types_of(connection: Connection, expressions: list[str], columns: Mapping[str, str]) -> list[str | None]:
    """The type of each expression over columns of these SQL types, and row_id; None for one that does not bind."""
    if not expressions:
        return []
    try:
        # The engine evaluates what names no column as it binds.
        with allowance(connection, "A type", expressions, longest_s=LONGEST_BINDING_S):
            return list(connection.types(_bound(", ".join(f"({text}\n)" for text in expressions), columns)))
    except (duckdb.Error, SqlTooCostly):
        if len(expressions) == 1:
            return [None]
    return [each for text in expressions for each in types_of(connection, [text], columns)]


def _binds(connection: Connection, text: str, cast: ImplicitCast, columns: Mapping[str, str]) -> bool:
    around = cast.around(text)
    return around is not None and types_of(connection, [around], columns) != [None]


def _bound(expression: str, columns: Mapping[str, str]) -> str:
    known = {"row_id": "BIGINT", **columns}
    nulls = ", ".join(f"cast(null as {sql_type}) as {quote(name)}" for name, sql_type in known.items())
    return sql.bind_expression.fill(expression=expression, typed_nulls=nulls)


def _check(source: str, target: str) -> str | None:
    """The condition under which ``rowmill_value`` fits; None if a cast loses nothing, or fails where it would."""
    if source in {target, '"NULL"'} or target in {"VARCHAR", "JSON"}:
        return None
    if source == "VARCHAR":
        return _text_check(target)
    if source.startswith("ENUM"):
        check = _text_check(target)
        return None if check is None else check.replace(_V, f"cast({_V} as varchar)")
    if source == "JSON":
        return _json_check(target)
    if _is_number(target) and source == "BOOLEAN":
        return _NEVER
    if target == "BOOLEAN" and _is_number(source):
        return _NEVER
    if _is_number(source) and _is_number(target):
        return _number_check(source, target)
    if target.startswith("TIME") and not target.startswith("TIMESTAMP") and source.startswith("TIMESTAMP"):
        return _NEVER
    if source == "TIME WITH TIME ZONE" and target == "TIME":
        return _NEVER
    if source.startswith("TIMESTAMP") and target == "DATE":
        return _same_when_cast_back(source, target)
    if source.startswith(("TIMESTAMP_NS", "TIMESTAMPTZ_NS", "TIME_NS")) and target.startswith("TIME"):
        return _same_when_cast_back(source, target)
    if _is_nested(source) and _is_nested(target):
        return _nested_check(source, target)
    return None


def _is_number(kind: str) -> bool:
    return kind in _WHOLE or kind in _FLOAT or _DECIMAL.fullmatch(kind) is not None


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "TUPLE"))


def _same_when_cast_back(source: str, target: str) -> str:
    return f"cast(cast({_V} as {target}) as {source}) is not distinct from {_V}"


def _number_check(source: str, target: str) -> str | None:
    if target in _FLOAT:
        is_whole = source in _WHOLE and source not in _EXACT_IN[target]
        return _same_when_cast_back(source, target) if is_whole else None
    if source in _WHOLE:
        return None  # what is out of range fails
    decimals = _DECIMAL.fullmatch(source), _DECIMAL.fullmatch(target)
    if decimals[0] and decimals[1] and int(decimals[1][2]) >= int(decimals[0][2]):
        return None
    return _same_when_cast_back(source, target)


def _text_check(target: str) -> str | None:
    decimal = _DECIMAL.fullmatch(target)
    if target in _WHOLE:
        number = f"try_cast({_V} as double)"
        spelled_otherwise = (
            f"regexp_full_match({_V}, '{_NUMBER_TEXT}') and abs({number}) < 9007199254740992 "
            f"and {number} = trunc({number}) and {_SURE_DIGITS}"
        )
        return f"regexp_full_match({_V}, '{_WHOLE_TEXT}') or ({spelled_otherwise})"
    if target in _FLOAT:
        is_whole = f"regexp_full_match({_V}, '\\s*[+-]?[0-9]+\\s*')"
        return (
            f"(regexp_full_match({_V}, '{_NUMBER_TEXT}') and isfinite(cast({_V} as {target})) "
            f"and (not {is_whole} or try_cast(cast({_V} as {target}) as hugeint) = try_cast({_V} as hugeint))) "
            f"and (cast({_V} as {target}) <> 0 or not regexp_matches({_V}, '^\\s*[+-]?[0.]*[1-9]')) "
            f"or regexp_full_match({_V}, '(?i)\\s*([+-]?(inf|infinity)|nan)\\s*')"
        )
    if decimal:
        return f"regexp_full_match({_V}, '\\s*[+-]?[0-9]*([.][0-9]{{0,{decimal[2]}}}0*)?\\s*')"
    if target == "BOOLEAN":
        return f"lower(trim({_V})) in ('true', 'false', '1', '0')"
    if target == "DATE":
        return f"cast({_V} as timestamp) = cast({_V} as date)"
    if target == "TIMESTAMP":
        return f"{_NO_NANOSECONDS} and cast({_V} as timestamptz) = cast({_V} as timestamp)"
    if target.startswith("TIME"):
        return _NO_NANOSECONDS
    return None


def _json_check(target: str) -> str | None:
    if target == "BOOLEAN":
        return f"json_type({_V}) in ('BOOLEAN', 'NULL')"
    if not _is_number(target):
        return None
    kinds = "('BIGINT', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE')"
    number = f"cast({_V} as double)"
    same = "true" if target in _FLOAT else f"{number} = cast(cast({_V} as {target}) as double)"
    return f"json_type({_V}) = 'NULL' or (json_type({_V}) in {kinds} and {same})"


def _nested_check(source: str, target: str) -> str | None:
    if "JSON" in source or "JSON" in target or "VARIANT" in source or "UNION" in source:
        return None
    if re.search(r"\bFLOAT\b", target):
        source = _DECIMAL.sub("FLOAT", source.replace("DOUBLE", "FLOAT"))
    elif re.search(r"\bDOUBLE\b", target):
        source = _DECIMAL.sub("DOUBLE", source)
    return f"cast(cast({_V} as {target}) as {source}) is not distinct from cast({_V} as {source})"
