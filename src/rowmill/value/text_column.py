"""Arrow values of the engine as plain text, column by column: what CSV and tables show.

Nested values become JSON text, binary base64, dates and times ISO 8601 as in :mod:`rowmill.value.json_column`; NaN and
the infinities are ``nan``, ``inf`` and ``-inf``. JSON is its text.
"""

from __future__ import annotations

import pyarrow as pa

from rowmill.value.json_column import iso_dates, iso_times, iso_timestamps, json_values
from rowmill.value.kind import is_json, is_text, is_truth, truths, union_members

_MOST_PLAIN_SCALE = 5
"""Of decimals with more digits behind the point Arrow writes small ones with an exponent."""


def text_column(column: pa.Array) -> pa.Array:
    """The values as text, or in a type that Arrow writes as text."""
    kind = column.type
    if _is_plain(kind):
        return column
    if is_json(kind):
        return column.storage
    if is_truth(kind):
        return truths(column)
    if pa.types.is_dictionary(kind):
        return text_column(column.dictionary_decode()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        return pa.array(iso_timestamps(column), type=pa.string())
    if pa.types.is_date(kind):
        return pa.array(iso_dates(column), type=pa.string())
    if pa.types.is_time(kind):
        return pa.array(iso_times(column), type=pa.string())
    if pa.types.is_union(kind):
        members = [text_column(column.field(place)).cast(pa.string()) for place in range(kind.num_fields)]
        chosen = [members[member][place] for place, member in enumerate(union_members(column))]
        return pa.array([text.as_py() for text in chosen], type=pa.string())
    texts = json_values(column)
    is_nested = pa.types.is_nested(kind)
    return pa.array(
        [
            None if not valid else text if is_nested else text.strip('"')
            for text, valid in zip(texts, column.is_valid().to_pylist(), strict=True)
        ],
        type=pa.string(),
    )


def text_type(kind: pa.DataType) -> pa.DataType:
    """The type :func:`text_column` gives to values of this type."""
    return kind if _is_plain(kind) else pa.bool_() if is_truth(kind) else pa.string()


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow itself writes values of this type as their text."""
    types = pa.types
    if types.is_decimal(kind):
        return bool(kind.scale <= _MOST_PLAIN_SCALE)
    return bool(types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or is_text(kind))
