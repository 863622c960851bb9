"""Columns of type ``slug``: another column's text as a part of a web address."""

import re
from typing import Literal

from rowmill.generators.protocol import Call, CellGenerator, Runtime
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import LOCAL, Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.task import Row


class SlugColumn(ColumnConfig):
    """What a spec says of the column: its own fields, checked before anything runs."""

    column_type: Literal["slug"] = "slug"
    target_column: str
    separator: str = "-"

    def declare(self, context: DeclareContext) -> Declaration:
        """What the column needs and makes, and what shapes its values."""
        place = f"columns.{context.index}"
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=(Reference(self.target_column, f"{place}.target_column"),),
            outputs=(Output(self.name, "VARCHAR", drop=self.drop),),
            strategy=Strategy.CELL,
            reason="one call a row",
            resource=LOCAL,
            propagate_skip=self.propagate_skip,
            fingerprint={"separator": self.separator},
        )

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The generator that makes the values; ``runtime`` has the spec's models."""
        return SlugGenerator(self)


class SlugGenerator(CellGenerator):
    """One value a row. An exception drops the row with its reason."""

    def __init__(self, column: SlugColumn) -> None:
        self._column = column

    async def generate(self, row: Row, call: Call) -> list[str]:
        """One value per output."""
        text = row[self._column.target_column]
        return [re.sub(r"\W+", self._column.separator, text.lower()).strip(self._column.separator)]
