"""A record batch made ready for CSV: only plain columns, everything else as text.

Nested values become JSON text, binary base64, timestamps ISO 8601 as in :mod:`rowmill.export.json_text`.
A null is an empty field, an empty text a quoted one (``""``); NaN and infinities are ``nan``, ``inf``, ``-inf``.
"""

from __future__ import annotations

import pyarrow as pa

from rowmill.export.json_text import iso_timestamps, json_values


def csv_schema(schema: pa.Schema) -> pa.Schema:
    """The schema :func:`csv_batch` gives to batches of ``schema``."""
    return pa.schema([pa.field(field.name, field.type if _is_plain(field.type) else pa.string()) for field in schema])


def csv_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with every column of a type that CSV can hold as it is."""
    return pa.record_batch([_csv_column(column) for column in batch.columns], schema=csv_schema(batch.schema))


def _csv_column(column: pa.Array) -> pa.Array:
    if _is_plain(column.type):
        return column
    if pa.types.is_timestamp(column.type):
        return pa.array(iso_timestamps(column), type=pa.string())
    if pa.types.is_dictionary(column.type):
        return _csv_column(column.dictionary_decode()).cast(pa.string())
    texts = json_values(column)
    is_nested = pa.types.is_nested(column.type)
    return pa.array(
        [
            None if not valid else text if is_nested else text.strip('"')
            for text, valid in zip(texts, column.is_valid().to_pylist(), strict=True)
        ],
        type=pa.string(),
    )


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_date(kind)
    )
