"""Which rows of a seed dataset are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from rowmill.counted import plural
from rowmill.errors import Problem, SpecError
from rowmill.spec.column import StrictModel

_Index = Annotated[int, Field(strict=True, ge=0, le=2**62)]


class IndexRange(StrictModel):
    """The rows from index ``start`` to index ``end``, both included, counted from 0."""

    start: _Index
    """The first row, from 0."""
    end: _Index
    """The last row, included."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"The range ends ({self.end}) before it starts ({self.start}); both ends are included.")
        return self

    def bounds(self, rows: int) -> tuple[int, int]:
        """First row and count of the selection in a dataset of that many rows."""
        if self.end >= rows:
            raise SpecError(
                [
                    Problem(
                        "seed_dataset.selection.end",
                        f"The seed dataset has {plural(rows, 'row')}, the last one is {rows - 1}.",
                    )
                ]
            )
        return self.start, self.end - self.start + 1


class PartitionBlock(StrictModel):
    """Part ``index`` (from 0) of the dataset cut into ``num_partitions``; the remainder goes to the last."""

    index: _Index
    """Which part, from 0."""
    num_partitions: Annotated[int, Field(strict=True, ge=1, le=2**62)]
    """How many parts there are."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.index >= self.num_partitions:
            raise ValueError(
                f"Partition {self.index} does not exist: {self.num_partitions} partitions are numbered "
                f"0 to {self.num_partitions - 1}."
            )
        return self

    def bounds(self, rows: int) -> tuple[int, int]:
        """First row and count of the selection in a dataset of that many rows."""
        if self.num_partitions > rows:
            message = (
                f"The seed dataset has {plural(rows, 'row')}; it cannot be cut into "
                f"{plural(self.num_partitions, 'partition')}."
            )
            raise SpecError([Problem("seed_dataset.selection.num_partitions", message)])
        size = rows // self.num_partitions
        first = self.index * size
        return first, rows - first if self.index == self.num_partitions - 1 else size


def _choose_selection(value: object) -> object:
    # Chosen by hand: a union would report the errors of both kinds.
    if not isinstance(value, Mapping):
        return value
    if "index" in value or "num_partitions" in value:
        return PartitionBlock.model_validate(value)
    return IndexRange.model_validate(value)


Selection = Annotated[IndexRange | PartitionBlock, BeforeValidator(_choose_selection)]
"""A part of the seed rows: a range or a block."""
