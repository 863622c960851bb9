"""Finished rows in another shape: a record for each row, from a template of the spec.

A text that is exactly ``{{ column }}`` passes the column's value on with its type; any other text becomes text.
A row that cannot be rendered fails the export, with its ``row_id``: nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import JsonValue

from rowmill.errors import GeneratorError, UsageError
from rowmill.export.source import DatasetSource
from rowmill.spec.template import ROW, Template
from rowmill.value.python_value import python_values

_ROWS_AT_ONCE = 4096

Row = Mapping[str, Any]


class _Rows:
    """Some rows: as Arrow, and the columns that templates read as Python values."""

    def __init__(self, batch: pa.RecordBatch, rendered: frozenset[str], failed: Callable[[Row, GeneratorError], None]):
        self.batch = batch
        self._failed = failed
        names = [name for name in batch.schema.names if name in rendered or name == "row_id"]
        columns = [python_values(batch[name]) for name in names]
        self.rows: list[Row] = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        if not names:
            self.rows = [{}] * batch.num_rows

    def rendered(self, template: Template) -> pa.Array:
        """The texts a template makes of the rows."""
        texts = []
        for row in self.rows:
            try:
                texts.append(template.render(row))
            except GeneratorError as error:
                self._failed(row, error)
        return pa.array(texts, type=pa.string())


class _Field(NamedTuple):
    kind: pa.DataType
    values: Callable[[_Rows], pa.Array]


class Transformed:
    """A source whose rows are those of another one, in the shape of a template."""

    def __init__(self, source: DatasetSource, name: str, shape: Mapping[str, JsonValue]) -> None:
        """``name`` is the processor's, for errors. Raises UsageError for a list of unlike elements."""
        self._source = source
        self._name = name
        compiler = _Compiler({field.name: field.type for field in source.dataset_schema()})
        self._fields = {field: compiler.field(part, f"processor {name}, {field}") for field, part in shape.items()}
        self._rendered = frozenset(compiler.rendered)

    def dataset_schema(self) -> pa.Schema:
        """See :class:`~rowmill.export.source.DatasetSource`."""
        return pa.schema([pa.field(name, field.kind) for name, field in self._fields.items()])

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """See :class:`~rowmill.export.source.DatasetSource`. Raises UsageError for a row that cannot be rendered."""
        schema = self.dataset_schema()
        for batch in self._source.dataset_batches():
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                rows = _Rows(batch.slice(start, _ROWS_AT_ONCE), self._rendered, self._fail)
                arrays = [field.values(rows) for field in self._fields.values()]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _fail(self, row: Row, error: GeneratorError) -> None:
        message = f"Processor '{self._name}' fails for row {row.get('row_id')}: {error} Nothing was exported."
        raise UsageError(message) from error


class _Compiler:
    """Reads a shape. ``rendered`` gathers the columns its templates read."""

    def __init__(self, types: Mapping[str, pa.DataType]) -> None:
        self._types = types
        self.rendered: set[str] = set()

    def field(self, shape: JsonValue, place: str) -> _Field:
        """What makes the values of one field."""
        if isinstance(shape, str):
            return self._text(shape, place)
        if isinstance(shape, Mapping):
            return _struct({name: self.field(inner, f"{place}.{name}") for name, inner in shape.items()})
        if isinstance(shape, Sequence):
            elements = [self.field(inner, f"{place}.{index}") for index, inner in enumerate(shape)]
            return _list(elements, _common([element.kind for element in elements], place))
        kind = pa.scalar(shape).type if shape is not None else pa.string()
        return _Field(kind, lambda rows: pa.array([shape] * rows.batch.num_rows, type=kind))

    def _text(self, text: str, place: str) -> _Field:
        template = Template(text, place)
        lone = Template(text.strip(), place).lone
        if lone is not None and lone.column in self._types and not (lone.is_of_row and ROW in self._types):
            return _Field(self._types[lone.column], lambda rows: rows.batch[lone.column])
        self.rendered.update(template.needed(self._types))
        return _Field(pa.string(), lambda rows: rows.rendered(template))


def _struct(fields: Mapping[str, _Field]) -> _Field:
    parts = [pa.field(name, field.kind) for name, field in fields.items()]

    def values(rows: _Rows) -> pa.Array:
        if not fields:
            return pa.array([{}] * rows.batch.num_rows, type=pa.struct([]))
        return pa.StructArray.from_arrays([field.values(rows) for field in fields.values()], fields=parts)

    return _Field(pa.struct(parts), values)


def _list(elements: Sequence[_Field], kind: pa.DataType) -> _Field:
    width = len(elements)

    def values(rows: _Rows) -> pa.Array:
        count = rows.batch.num_rows
        offsets = pa.array(range(0, count * width + 1, width) if width else [0] * (count + 1), type=pa.int32())
        if not width or not count:
            return pa.ListArray.from_arrays(offsets, pa.nulls(0, kind), type=pa.list_(kind))
        together = pa.concat_arrays([_as(element.values(rows), kind) for element in elements])
        order = pa.array([place * count + row for row in range(count) for place in range(width)], type=pa.int64())
        return pa.ListArray.from_arrays(offsets, together.take(order), type=pa.list_(kind))

    return _Field(pa.list_(kind), values)


def _as(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Structs with all fields of ``kind``: those they do not have are null."""
    if values.type == kind:
        return values
    names = {field.name for field in values.type}
    fields = [
        _as(values.field(field.name), field.type) if field.name in names else pa.nulls(len(values), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=values.is_null())


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
