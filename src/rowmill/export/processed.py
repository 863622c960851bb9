"""Finished rows on their way through a processor that a plug-in brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import UsageError
from rowmill.export.source import DatasetSource
from rowmill.spec.processor import RowProcessor
from rowmill.value.kind import is_json
from rowmill.value.plain_arrow import TooWide, plain_table


class Processed:
    """A source whose rows are what a processor makes of another one's."""

    def __init__(self, source: DatasetSource, processor: RowProcessor, kept: Sequence[str]) -> None:
        """``kept`` are columns the export needs, whatever the processor does with them. Raises UsageError."""
        self._source = source
        self._processor = processor
        self._kept = tuple(kept)
        given = source.dataset_schema()
        self._schema = self._process(pa.Table.from_batches([], given)).schema
        self._json = frozenset(field.name for field in given if is_json(field.type))

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`. What was JSON and still is text is JSON."""
        return pa.schema([field.with_type(pa.json_()) if self._is_json(field) else field for field in self._schema])

    def _is_json(self, field: pa.Field) -> bool:
        return field.name in self._json and bool(pa.types.is_string(field.type))

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`. Raises UsageError when the processor fails."""
        for batch in self._source.dataset_batches():
            processed = self._process(pa.Table.from_batches([batch]))
            try:
                processed = processed.cast(self._schema)
            except (pa.ArrowException, ValueError) as error:
                raise self._failure(f"made other columns of some rows than of none: {error}") from error
            for made in processed.combine_chunks().to_batches():
                columns = [
                    pa.ExtensionArray.from_storage(pa.json_(), column) if self._is_json(field) else column
                    for field, column in zip(self._schema, made.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=self.dataset_schema())

    def _process(self, rows: pa.Table) -> pa.Table:
        try:
            rows = plain_table(rows)
        except TooWide as error:
            row = rows["row_id"][error.position].as_py() if "row_id" in rows.column_names else error.position
            raise self._failure(f"cannot take column '{error.column}' of row {row}: {error}") from error
        try:
            processed = self._processor.process(rows)
        except Exception as error:  # of somebody else's code
            raise self._failure(f"failed: {type(error).__name__}: {error}.") from error
        if not isinstance(processed, pa.Table):
            raise self._failure(f"returned {type(processed).__name__}, no pyarrow.Table.")
        if processed.num_rows != rows.num_rows:
            raise self._failure(
                f"returned {plural(processed.num_rows, 'row')} for {rows.num_rows}; it must return each one."
            )
        for position, name in enumerate(self._kept):
            if name in processed.column_names:
                processed = processed.drop_columns([name])
            processed = processed.add_column(position, name, rows[name])
        return processed

    def _failure(self, what: str) -> UsageError:
        return UsageError(f"Processor '{self._processor.name}' {what} Nothing was exported.")
