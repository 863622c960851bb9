"""Columns of type ``seed-dataset``: values of the seed dataset's column of the same name."""

from __future__ import annotations

from typing import Literal

from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import Declaration, DeclareContext, Output, SeedColumn, Strategy
from rowmill.spec.registry import register_column_type


@register_column_type
class SeedDatasetColumn(ColumnConfig):
    """A column of the seed dataset, under its own name.

    Only the file knows its type: the declaration leaves ``sql_type`` empty and the graph builder fills it in.
    """

    column_type: Literal["seed-dataset"] = "seed-dataset"

    def declare(self, context: DeclareContext) -> Declaration:
        """One output without inputs, read set-wise from the seed dataset."""
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=f"columns.{context.index}",
            inputs=(),
            outputs=(Output(self.name, "", drop=self.drop),),
            strategy=Strategy.SQL,
            reason="read from the seed dataset",
            sql=SeedColumn(self.name),
            propagate_skip=self.propagate_skip,
            fingerprint={"seed_column": self.name},
        )
