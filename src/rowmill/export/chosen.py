"""Some rows and some columns of a dataset: what ``--where`` and ``--columns`` of an export leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from rowmill.errors import UsageError
from rowmill.export.source import DatasetSource
from rowmill.spec.nearest import did_you_mean


class ConditionReader(Protocol):
    """The part of ``rowmill.store.reading.reader.Reader`` a condition needs."""

    def dataset_schema(self) -> pa.Schema:
        """The columns of the view ``dataset``."""
        ...

    def row_ids_where(self, condition: str) -> pa.Array:
        """The ``row_id`` of every finished row that meets a condition, in order."""
        ...

    def only(self, row_ids: pa.Array) -> DatasetSource:
        """The rows of these numbers."""
        ...


class ChosenRows:
    """The finished rows that meet a condition: a source that can be asked for some of its rows."""

    def __init__(self, reader: ConditionReader, condition: str) -> None:
        """Finds the rows, once. Raises UsageError for a condition that does not run, or does more than read."""
        self._reader = reader
        self._row_ids = reader.row_ids_where(condition)

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        return self._reader.dataset_schema()

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        return self._reader.only(self._row_ids).dataset_batches()

    def dataset_row_ids(self) -> pa.Array:
        """The ``row_id`` of every row, in order."""
        return self._row_ids

    def only(self, row_ids: pa.Array) -> DatasetSource:
        """The same source with only those rows, in order."""
        return self._reader.only(row_ids)


class ChosenColumns:
    """Some columns of a source, in the order they are asked for, with their types."""

    def __init__(self, source: DatasetSource, columns: Sequence[str]) -> None:
        """Raises UsageError for a column the source does not have."""
        self._source = source
        self._columns = list(columns)
        known = source.dataset_schema().names
        for name in columns:
            if name not in known:
                hint = did_you_mean(name, known) or f" It has: {', '.join(known)}."
                raise UsageError(f"The export has no column '{name}'.{hint}")

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        schema = self._source.dataset_schema()
        return pa.schema([schema.field(name) for name in self._columns])

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        for batch in self._source.dataset_batches():
            yield batch.select(self._columns)
