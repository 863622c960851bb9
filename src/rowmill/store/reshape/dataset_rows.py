"""The rows a barrier's task looks at, read slice by slice while its function runs.

They are read through a cursor of their own, in whatever thread the function runs in: while the task is in flight every
row group waits, so nothing changes them. Memory holds a slice, not the dataset.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from rowmill.errors import GeneratorError
from rowmill.store.database.connection import Connection
from rowmill.store.file import engine_errors
from rowmill.value.plain_arrow import plain_schema, plain_table

_SLICE_ROWS = 10_000


class DatasetRows:
    """See :class:`rowmill.generators.protocol.DatasetRows`. One thread reads at a time; any thread may close it."""

    def __init__(
        self, connection: Connection, query: str, schema: pa.Schema, bounds: tuple[int, int], row_count: int
    ) -> None:
        """``query`` reads the rows from ``$first_row`` to ``$last_row``; ``bounds``: the first and the last row_id."""
        self.schema = plain_schema(schema)
        self.row_count = row_count
        self._query = query
        self._bounds = bounds
        self._cursor = connection.beside()
        self._database = connection.file
        self._reading = threading.Lock()
        self._is_closed = False

    @property
    def spool_directory(self) -> Path | None:
        """Where a large result may be kept until it is written: beside the run database. None for one in memory."""
        return None if self._database is None else self._database.resolve().parent

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in row_id order. May be called again. Raises GeneratorError once the call is over."""
        first, last = self._bounds
        width = max(_SLICE_ROWS, (last - first + 1) * _SLICE_ROWS // max(self.row_count, 1))
        for start in range(first, last + 1 if self.row_count else first, width):
            yield from self._slice({"first_row": start, "last_row": min(start + width - 1, last)})

    def reader(self) -> pa.RecordBatchReader:
        """The same as an Arrow stream."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def table(self) -> pa.Table:
        """All rows at once, in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def _slice(self, bounds: dict[str, Any]) -> list[pa.RecordBatch]:
        with self._reading:
            if self._is_closed:
                self._cursor.close()
                raise GeneratorError("The call is over: its rows can be read no more.", "CallOver")
            try:
                table = self._cursor.arrow(self._query, bounds)
            except duckdb.Error as error:
                raise engine_errors.turn_error(error, "reading rows for a column over the dataset") from error
        batches: list[pa.RecordBatch] = plain_table(table).cast(self.schema).to_batches()
        return batches

    def close(self) -> None:
        """Ends the reading; never waits for a slice that is being read by a function nobody waits for."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._cursor.close()
            finally:
                self._reading.release()
