"""Finished rows in another shape: a record for each row, from a template of the spec.

A text that is exactly ``{{ column }}`` passes the column's value on with its type; any other text becomes text.
A row that cannot be rendered fails the export, with its ``row_id``: nothing is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import JsonValue

from rowmill.errors import GeneratorError, UsageError
from rowmill.export.source import DatasetSource
from rowmill.spec.template import Template

_LONE_COLUMN = re.compile(r"\{\{-?\s*[^\W\d]\w*\s*-?\}\}")

Row = Mapping[str, Any]


class _Field(NamedTuple):
    kind: pa.DataType
    value: Callable[[Row], Any]


class Transformed:
    """A source whose rows are those of another one, in the shape of a template."""

    def __init__(self, source: DatasetSource, name: str, shape: Mapping[str, JsonValue]) -> None:
        """``name`` is the processor's, for errors. Raises UsageError for a list of unlike elements."""
        self._source = source
        self._name = name
        types = {field.name: field.type for field in source.dataset_schema()}
        self._fields = {field: _compiled(part, f"processor {name}, {field}", types) for field, part in shape.items()}

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        return pa.schema([pa.field(name, field.kind) for name, field in self._fields.items()])

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`. Raises UsageError for a row that cannot be rendered."""
        schema = self.dataset_schema()
        for batch in self._source.dataset_batches():
            for start in range(0, batch.num_rows, 4096):
                rows = batch.slice(start, 4096).to_pylist()
                made: dict[str, list[Any]] = {name: [] for name in self._fields}
                for row in rows:
                    self._append(row, made)
                arrays = [pa.array(made[name], type=field.kind) for name, field in self._fields.items()]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _append(self, row: Row, made: dict[str, list[Any]]) -> None:
        for name, field in self._fields.items():
            try:
                made[name].append(field.value(row))
            except GeneratorError as error:
                message = f"Processor '{self._name}' fails for row {row.get('row_id')}: {error} Nothing was exported."
                raise UsageError(message) from error


def _compiled(shape: JsonValue, place: str, types: Mapping[str, pa.DataType]) -> _Field:
    if isinstance(shape, str):
        return _text(shape, place, types)
    if isinstance(shape, Mapping):
        fields = {name: _compiled(inner, f"{place}.{name}", types) for name, inner in shape.items()}
        kind = pa.struct([pa.field(name, field.kind) for name, field in fields.items()])
        return _Field(kind, lambda row: {name: field.value(row) for name, field in fields.items()})
    if isinstance(shape, Sequence):
        elements = [_compiled(inner, f"{place}.{index}", types) for index, inner in enumerate(shape)]
        kind = pa.list_(_common([element.kind for element in elements], place))
        return _Field(kind, lambda row: [element.value(row) for element in elements])
    return _Field(pa.scalar(shape).type if shape is not None else pa.string(), lambda row: shape)


def _text(text: str, place: str, types: Mapping[str, pa.DataType]) -> _Field:
    template = Template(text, place)
    if len(template.references) == 1 and _LONE_COLUMN.fullmatch(text.strip()):
        (column,) = template.references
        if column in types:
            return _Field(types[column], lambda row: row[column])
    return _Field(pa.string(), template.render)


def _common(kinds: Sequence[pa.DataType], place: str) -> pa.DataType:
    """The one type of a list's elements; structs get all fields of any of them."""
    if not kinds:
        return pa.string()
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if all(pa.types.is_struct(kind) for kind in kinds):
        return _common_struct(kinds, place)
    shown = ", ".join(dict.fromkeys(map(str, kinds)))
    raise UsageError(f"The elements of the list are of different types ({shown}) ({place}).")


def _common_struct(kinds: Sequence[pa.DataType], place: str) -> pa.DataType:
    fields: dict[str, list[pa.DataType]] = {}
    for kind in kinds:
        for field in kind:
            fields.setdefault(field.name, []).append(field.type)
    return pa.struct([pa.field(name, _common(types, f"{place}.{name}")) for name, types in fields.items()])
