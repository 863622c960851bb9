"""The SQL of barriers that are evaluated in the database: what they decide over all rows (``barrier.sql``)."""

from __future__ import annotations

from collections.abc import Mapping

from rowmill.graph.graph import GeneratorNode
from rowmill.spec.declaration import DatasetSql, Deduplicate, KeepOfDataset, SqlExpression, ValueOverDataset
from rowmill.store.database.connection import quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.implicit_cast import ImplicitCast

sql = statements_of("reshape/barrier")

_TEXT = "VARCHAR"


def bindable(source: DatasetSql | None, expression: SqlExpression, of: str) -> str:
    """What to bind, over no rows, to learn whether an expression fits its columns; ``of``: the output's type."""
    if isinstance(source, ValueOverDataset):
        return f"cast(({expression.text}\n) as {of})"
    if isinstance(source, KeepOfDataset):
        return f"cast(({expression.text}\n) as boolean)"
    return f"row_number() over (order by {expression.text}\n)"


def decision(node: GeneratorNode, rows: str, types: Mapping[str, str], cast: ImplicitCast | None) -> str:
    """The statement that makes the TEMP table of what a barrier decides.

    ``rows``: the SQL of the rows it looks at; ``types``: SQL type of every column; ``cast``: that of its value, if it
    could change it. A selection has ``$message``.
    """
    source = node.declaration.dataset_sql
    if isinstance(source, Deduplicate):
        keys = ", ".join(_key(name, source.normalize, types[name]) for name in source.columns)
        order_by = f"{source.order_by.text}\n," if source.order_by else ""
        return sql.decide_duplicates.fill(generator_rows=rows, keys=keys, order_by=order_by)
    if isinstance(source, ValueOverDataset):
        value = cast.around(source.expression.text) if cast is not None else None
        value = value or bindable(source, source.expression, node.columns[0].sql_type)
        return sql.decide_value.fill(generator_rows=rows, values=f"{value} as value_0")
    if isinstance(source, KeepOfDataset):
        return sql.decide_selection.fill(generator_rows=rows, predicate=bindable(source, source.predicate, "boolean"))
    raise TypeError(f"generator {node.name} is not evaluated in the database")


def _key(name: str, normalize: frozenset[str], sql_type: str) -> str:
    """A column as it is compared: texts without what does not count."""
    key = f"r.{quote(name)}"
    if sql_type.upper() != _TEXT or not normalize:
        return key
    key = f"nfc_normalize({key})"
    if "accents" in normalize:
        key = f"strip_accents({key})"
    if "case" in normalize:
        key = f"lower({key})"
    if "punctuation" in normalize:
        key = rf"regexp_replace({key}, '[\p{{P}}\p{{S}}]+', '', 'g')"
    if "whitespace" in normalize:
        key = rf"trim(regexp_replace({key}, '\s+', ' ', 'g'))"
    return key
