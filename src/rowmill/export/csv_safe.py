"""Rows whose texts no spreadsheet takes for a formula: a model's answer can begin with ``=`` and send data away."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.export.source import DatasetSource

_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
"""How a text begins that spreadsheets calculate, also after they left white space out, or read wide signs as plain."""


class CsvSafe:
    """A source in which ``'`` stands before each text, and each name of a column, that looks like a formula."""

    def __init__(self, source: DatasetSource) -> None:
        self._source = source

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        names = _safe(pa.array(self._source.dataset_schema().names, type=pa.string())).to_pylist()
        kinds = map(_kind, self._source.dataset_schema().types)
        return pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        schema = self.dataset_schema()
        for batch in self._source.dataset_batches():
            yield pa.RecordBatch.from_arrays([_safe(column) for column in batch.columns], schema=schema)


def _kind(kind: pa.DataType) -> pa.DataType:
    is_texts = pa.types.is_dictionary(kind) and _is_text(kind.value_type)
    return kind.value_type if is_texts else kind


def _safe(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        column = column.dictionary_decode()
    if not _is_text(column.type):
        return column
    marked = pc.binary_join_element_wise(pa.scalar("'", column.type), column, pa.scalar("", column.type))
    return pc.if_else(pc.match_substring_regex(column, _FORMULA), marked, column)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
