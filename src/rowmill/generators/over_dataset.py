"""Columns made by looking at all rows at once: ``deduplicate``, ``rank`` and ``select``.

They are barriers (R6): every row group comes as far as it can, then they run once over all rows, inside the database,
then the columns that need them go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rowmill.spec.column import ColumnConfig, Items
from rowmill.spec.declaration import (
    LOCAL,
    DatasetSql,
    Declaration,
    DeclareContext,
    Deduplicate,
    KeepOfDataset,
    Output,
    Reference,
    SqlExpression,
    Strategy,
    ValueOverDataset,
)
from rowmill.spec.dtype import Dtype, sql_type
from rowmill.spec.registry import register_column_type


class _OverDataset(ColumnConfig):
    """What the column types over the dataset have in common."""

    def _declaration(
        self, context: DeclareContext, of: str, source: DatasetSql, inputs: Iterable[Reference], **shaping: Any
    ) -> Declaration:
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=f"columns.{context.index}",
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=(Output(self.name, of, drop=self.drop),),
            strategy=Strategy.DATASET,
            reason="looks at all rows: evaluated in the database when they are there",
            resource=LOCAL,
            may_drop_rows=not isinstance(source, ValueOverDataset),
            dataset_sql=source,
            propagate_skip=self.propagate_skip,
            fingerprint=shaping,
        )

    def _references(self, context: DeclareContext, field: str, text: str) -> list[Reference]:
        """The columns an expression over the dataset names; records a problem if it cannot be used."""
        place = f"columns.{context.index}.{field}"
        analysis = context.analyse_sql(text, over_dataset=True)
        if analysis.problem is not None:
            context.problem(place, analysis.problem)
        return [Reference(column, place) for column in analysis.columns]

    def _named(self, context: DeclareContext, field: str, columns: Iterable[str]) -> list[Reference]:
        return [Reference(name, f"columns.{context.index}.{field}") for name in columns]


@register_column_type
class DeduplicateColumn(_OverDataset):
    """Of rows that are equal in ``columns`` the first stays, the others are dropped as ``duplicate``.

    The column itself is true for every row that stays; others name it in ``requires`` to come after it. Null equals
    null. Which row is first: the smallest by ``order_by``, then by row_id.
    """

    column_type: Literal["deduplicate"] = "deduplicate"
    columns: Items[str] = Field(min_length=1)
    """Of rows that are equal in all of these the first stays; the others are dropped as ``duplicate``, with the row_id
    of the one that stayed. Null equals null."""
    normalize: Items[Literal["case", "whitespace", "punctuation", "accents"]] = ()
    """What does not count in texts: ``case``, ``whitespace``, ``punctuation`` (and symbols), ``accents``."""
    order_by: str | None = Field(default=None, min_length=1)
    """An SQL ``ORDER BY`` list that says which row is the first: ``score desc, len(answer)``. Default: ``row_id``."""

    def declare(self, context: DeclareContext) -> Declaration:
        """One boolean output; needs ``columns`` and what ``order_by`` names."""
        inputs = self._named(context, "columns", self.columns)
        order_by = None
        if self.order_by is not None:
            inputs += self._references(context, "order_by", _place_in_order((), self.order_by))
            order_by = SqlExpression(self.order_by, f"columns.{context.index}.order_by")
        normalize = frozenset(self.normalize)
        return self._declaration(
            context,
            "BOOLEAN",
            Deduplicate(tuple(dict.fromkeys(self.columns)), normalize, order_by),
            inputs,
            columns=sorted(set(self.columns)),
            normalize=sorted(normalize),
            order_by=self.order_by,
        )


@register_column_type
class RankColumn(_OverDataset):
    """A value for every row that depends on the others: its place by ``order_by``, or any ``sql`` over the dataset."""

    column_type: Literal["rank"] = "rank"
    sql: str | None = Field(default=None, min_length=1)
    """In place of ``order_by``: any DuckDB expression with window functions, over columns and ``row_id``: ``score -
    avg(score) over (partition by topic)``."""
    order_by: str | None = Field(default=None, min_length=1)
    """An SQL ``ORDER BY`` list: the row's place from 1; equal rows share one, and the next is left out."""
    partition_by: Items[str] = ()
    """With ``order_by``: places are given within rows that are equal in these columns."""
    dtype: Dtype = "int"
    """Any of the [types](columns.md#types)."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.sql is None) == (self.order_by is None):
            raise ValueError("A rank has exactly one of 'order_by' and 'sql'.")
        if self.sql is not None and self.partition_by:
            raise ValueError("'partition_by' goes with 'order_by'; in 'sql', write over (partition by …).")
        return self

    def declare(self, context: DeclareContext) -> Declaration:
        """One output of type ``dtype``."""
        if self.sql is not None:
            field, text = "sql", self.sql
        else:
            field, text = "order_by", f"rank() over ({_partition(self.partition_by)}order by {self.order_by}\n)"
        inputs = self._references(context, field, text)
        inputs += self._named(context, "partition_by", self.partition_by)
        source = ValueOverDataset(SqlExpression(text, f"columns.{context.index}.{field}"))
        return self._declaration(context, sql_type(self.dtype), source, inputs, sql=text, dtype=self.dtype)


@register_column_type
class SelectColumn(_OverDataset):
    """Rows for which ``sql`` is true, or the first ``top`` by ``order_by``, stay; others are dropped as ``filtered``.

    The column itself is true for every row that stays; others name it in ``requires`` to come after it.
    """

    column_type: Literal["select"] = "select"
    sql: str | None = Field(default=None, min_length=1)
    """A DuckDB condition over the columns and ``row_id``, with window functions. Rows for which it is not true are
    dropped as ``filtered``; null counts as false."""
    top: int | None = Field(default=None, ge=1)
    """In place of ``sql``: so many rows stay, the first ones by ``order_by``; the others are dropped as
    ``filtered``."""
    order_by: str | None = Field(default=None, min_length=1)
    """With ``top``: an SQL ``ORDER BY`` list; equal rows follow each other by row_id."""
    partition_by: Items[str] = ()
    """With ``top``: so many of each group of rows that are equal in these columns."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.sql is None) == (self.top is None):
            raise ValueError("A select has exactly one of 'sql' and 'top'.")
        if self.top is not None and self.order_by is None:
            raise ValueError("'top' needs 'order_by': which rows come first?")
        if self.sql is not None and (self.order_by is not None or self.partition_by):
            raise ValueError("'order_by' and 'partition_by' go with 'top'; in 'sql', write over (…).")
        return self

    def declare(self, context: DeclareContext) -> Declaration:
        """One boolean output."""
        if self.sql is not None:
            field, text, message = "sql", self.sql, "its 'sql' is not true for this row"
        else:
            field, text = "order_by", f"{_place_in_order(self.partition_by, self.order_by or '')} <= {self.top}"
            message = f"not among the first {self.top}" + (" of its group" if self.partition_by else "")
        inputs = self._references(context, field, text)
        inputs += self._named(context, "partition_by", self.partition_by)
        source = KeepOfDataset(SqlExpression(text, f"columns.{context.index}.{field}"), message)
        return self._declaration(context, "BOOLEAN", source, inputs, sql=text)


def _place_in_order(partition_by: Iterable[str], order_by: str) -> str:
    """The expression that numbers rows from 1 in an order that leaves no two equal."""
    return f"row_number() over ({_partition(partition_by)}order by {order_by}\n, row_id)"


def _partition(columns: Iterable[str]) -> str:
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    return f"partition by {names} " if names else ""
