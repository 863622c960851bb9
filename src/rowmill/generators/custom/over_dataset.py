"""Calling a user's function once for all rows: a barrier (R6). Tables or streams in, tables or streams out.

A function that reads a stream and yields its result part by part holds a part in memory, not the dataset: what it
yields is kept in an unnamed file beside the run database until all of it is there, and then written in one transaction.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.errors import GeneratorError
from rowmill.generators.custom.generator import TableFunction
from rowmill.generators.protocol import Call, DatasetGenerator, DatasetRows


class FunctionOverDataset(TableFunction, DatasetGenerator):
    """A function of all rows. Which rows come back is the store's to check."""

    _key = "row_id"

    async def generate_dataset(self, rows: DatasetRows, call: Call) -> pa.Table | pa.RecordBatchReader:
        """``row_id`` and the outputs, with the declared types: a table, or a stream of what was yielded."""
        if self._function.is_async:
            # Read on the event loop: while a barrier runs, no other call does.
            return self._table(await self._result(call, rows.table()), rows.schema.names)
        result: pa.Table | pa.RecordBatchReader = await self._in_thread(lambda: self._work(rows, call))
        return result

    def _work(self, rows: DatasetRows, call: Call) -> pa.Table | pa.RecordBatchReader:
        subject = rows.reader() if self._function.takes_stream else rows.table()
        result = self._call(call, subject)
        if not isinstance(result, Iterator | pa.RecordBatchReader):
            return self._table(result, rows.schema.names)
        try:
            parts = (self._table(part, rows.schema.names) for part in self._parts(result))
            return self._spooled(parts, rows.spool_directory)
        except OSError as error:
            raise GeneratorError(f"The result of column '{self._column}' could not be kept: {error}") from error

    @staticmethod
    def _parts(result: Iterable[Any]) -> Iterator[Any]:
        for part in result:
            yield pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part

    def _spooled(self, parts: Iterator[pa.Table], directory: Path | None) -> pa.RecordBatchReader:
        """What a function yielded, on its way through an unnamed file, which is gone when nobody reads it any more."""
        first = next(parts, None)
        if first is None:
            raise self._broken("yielded nothing; yield tables with 'row_id' and its columns, an empty one for no rows.")
        handle, name = tempfile.mkstemp(prefix=".rowmill-", dir=directory)
        os.close(handle)
        with pa.OSFile(name, "wb") as sink:
            source = pa.OSFile(name, "rb")
            os.unlink(name)  # it lives until whoever gets the stream lets go of it, and never outlives the process
            with pa.ipc.new_stream(sink, first.schema) as writer:
                writer.write_table(first)
                for part in parts:
                    writer.write_table(self._like(part, first.schema))
        return pa.ipc.open_stream(source)

    def _like(self, part: pa.Table, schema: pa.Schema) -> pa.Table:
        try:
            return part.cast(schema)
        except (pa.ArrowException, ValueError) as error:
            raise self._broken(f"yielded tables of different types: {str(error)[:300]}") from error
