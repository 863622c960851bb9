"""Column types and specs for tests of ``spec`` and ``graph`` that need no real generator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rowmill.errors import Problem, SpecError
from rowmill.graph.building import build_graph
from rowmill.graph.graph import Graph
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import (
    Declaration,
    DeclareContext,
    Output,
    Reference,
    SeedColumn,
    SqlAnalysis,
    SqlExpression,
    Strategy,
)
from rowmill.spec.registry import register_column_type
from rowmill.spec.spec import Spec


@register_column_type
class FakeColumn(ColumnConfig):
    """Needs what ``needs`` lists, makes its column, ``also`` and the side effects ``effects``."""

    column_type: Literal["fake"] = "fake"
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    strategy: Literal["cell", "batch", "dataset", "sql"] = "cell"
    model_alias: str | None = None
    sql: str | None = None
    size: int = 1

    def declare(self, context: DeclareContext) -> Declaration:
        """As the fields say."""
        place = f"columns.{context.index}"
        inputs = [Reference(name, f"{place}.needs") for name in self.needs]
        if self.sql is not None:
            inputs += [Reference(name, f"{place}.sql") for name in context.analyse_sql(self.sql).columns]
        outputs = [Output(name, "VARCHAR", drop=self.drop) for name in (self.name, *self.also)]
        return Declaration(
            name=self.name,
            column_type="fake",
            place=place,
            inputs=tuple(inputs),
            outputs=(*outputs, *(Output(name, "VARCHAR", side_effect=True) for name in self.effects)),
            strategy=Strategy.SQL if self.sql is not None else Strategy(self.strategy),
            reason="as the test says",
            resource=context.endpoint(self.model_alias, f"{place}.model_alias") if self.model_alias else None,
            sql=SqlExpression(self.sql, f"{place}.sql") if self.sql is not None else None,
            propagate_skip=self.propagate_skip,
            fingerprint={"size": self.size},
        )


@register_column_type
class FakeSeedColumn(ColumnConfig):
    """A declared column of the seed file."""

    column_type: Literal["fake-seed"] = "fake-seed"

    def declare(self, context: DeclareContext) -> Declaration:
        """One output of a type only the file knows."""
        return Declaration(
            name=self.name,
            column_type="fake-seed",
            place=f"columns.{context.index}",
            inputs=(),
            outputs=(Output(self.name, "", drop=self.drop),),
            strategy=Strategy.SQL,
            reason="read from the seed dataset",
            sql=SeedColumn(self.name),
        )


def analyse_sql(text: str, *, over_dataset: bool = False) -> SqlAnalysis:
    """Takes every word for a column; refuses a text with a question mark."""
    if "?" in text:
        return SqlAnalysis((), "The SQL expression cannot be parsed.")
    return SqlAnalysis(tuple(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", text))))


def column(name: str, *needs: str, **fields: Any) -> FakeColumn:
    """A fake column."""
    return FakeColumn(name=name, needs=needs, **fields)


def graph_of(*columns: ColumnConfig, seed_columns: Sequence[tuple[str, str]] = (), **fields: Any) -> Graph:
    """The graph of a spec of these columns."""
    if seed_columns:
        fields.setdefault("seed_dataset", {"path": "seed.csv"})
    return build_graph(Spec(records=10, columns=columns, **fields), seed_columns, analyse_sql)


def problems_of_graph(
    *columns: ColumnConfig, seed_columns: Sequence[tuple[str, str]] = (), **fields: Any
) -> list[Problem]:
    """The problems building the graph finds."""
    try:
        graph_of(*columns, seed_columns=seed_columns, **fields)
    except SpecError as error:
        return error.problems
    return []


def names(graph: Graph, numbers: Iterable[int] | None = None) -> list[str]:
    """Generator names, of all or of these numbers."""
    return [graph.generators[number].name for number in (range(len(graph.generators)) if numbers is None else numbers)]
