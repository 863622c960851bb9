"""A record batch made ready for CSV: only plain columns, everything else as :mod:`rowmill.value.text_column` writes it.

A null is an empty field, an empty text a quoted one (``""``); NaN and infinities are ``nan``, ``inf``, ``-inf``.
"""

from __future__ import annotations

import pyarrow as pa

from rowmill.value.text_column import text_column, text_type


def csv_schema(schema: pa.Schema) -> pa.Schema:
    """The schema :func:`csv_batch` gives to batches of ``schema``."""
    return pa.schema([pa.field(field.name, text_type(field.type)) for field in schema])


def csv_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with every column of a type that CSV can hold as it is."""
    return pa.record_batch([text_column(column) for column in batch.columns], schema=csv_schema(batch.schema))
