"""The part of the dataset (train, validation, test) a row belongs to: a function of seed and ``row_id`` alone.

So it is the same in every export, whatever its format and order, and stays what it is when the dataset grows.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.export.source import DatasetSource

_WHOLE = 2**64


class Split:
    """Cuts rows into parts by their shares."""

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        """``shares`` are positive and add up to 1; their order counts."""
        self._names = list(shares)
        self._ends = [round(end * _WHOLE) for end in accumulate(shares.values())][:-1]
        self._seed = seed

    def part_of(self, row_id: int) -> str:
        """The part of a row."""
        digest = hashlib.md5(f"{self._seed}:split:{row_id}".encode(), usedforsecurity=False).digest()
        return self._names[bisect_right(self._ends, int.from_bytes(digest[:8], "big"))]

    @property
    def names(self) -> list[str]:
        """The parts, in order."""
        return list(self._names)


class WithSplit:
    """A source with one more column, the part of each row."""

    def __init__(self, source: DatasetSource, split: Split, column: str) -> None:
        """Raises UsageError when the source has such a column, or no ``row_id``."""
        self._source = source
        self._split = split
        self._column = column
        names = source.dataset_schema().names
        if column in names:
            raise UsageError(f"The export has a column '{column}' already; the split cannot be called so, too.")
        if "row_id" not in names:
            raise UsageError("A split needs row_id.")

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        return self._source.dataset_schema().append(pa.field(self._column, pa.string()))

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        for batch in self._source.dataset_batches():
            parts = [self._split.part_of(row_id) for row_id in batch["row_id"].to_pylist()]
            columns = [*batch.columns, pa.array(parts, type=pa.string())]
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema.append(pa.field(self._column, pa.string())))


def shares_of(text: str) -> dict[str, float]:
    """The shares of ``train=0.8,validation=0.1,test=0.1``. Raises UsageError when they are none."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise UsageError(f"'{part}' is no share; write for example train=0.8,validation=0.1,test=0.1.") from None
    return shares
