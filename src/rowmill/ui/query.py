"""The SQL box: a user's query over the views, bounded in rows and characters, and its whole result as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import pyarrow as pa

from rowmill.errors import QueryStopped, UsageError
from rowmill.export.format import ExportFormat
from rowmill.export.writer import open_writer
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.listing import view_columns
from rowmill.store.reading.reader import Reader
from rowmill.ui.cell import LONG, SHORT, Cell, Cells, shortened
from rowmill.value.kind import is_binary, is_json, is_text
from rowmill.value.python_value import python_values

sql = statements_of("reading/page")

MOST_ROWS = 500
"""Rows of a result that the page shows; a download has all of them."""
MOST_FILE_BYTES = 4 * 2**30
"""Of a download, which is written to a temporary file first."""
DOWNLOAD_S = 600.0


@dataclass(frozen=True, slots=True)
class Result:
    """What the page shows of a result."""

    columns: list[tuple[str, str]]
    """Name and type."""
    rows: list[list[Cell]]
    is_cut: bool
    """There are more rows."""


def ask(reader: Reader, query: str) -> Result:
    """The first rows of a query. Raises UsageError in the engine's words."""
    text = query.strip().rstrip(";")
    try:
        schema = reader.table(sql.types_of.fill(query=text)).schema
    except UsageError:
        # What is no table (EXPLAIN), and what does not run: then its own error, not one about what is around it.
        return _as_it_is(reader.table(query))
    names = [f"c{place}" for place in range(len(schema))]
    columns = ", ".join(
        shortened(name, _sql_type(field.type), SHORT) for name, field in zip(names, schema, strict=True)
    )
    slots = {"query": text, "columns": columns, "names": ", ".join(names)}
    return _shown(reader.table(sql.first_rows_of.fill(**slots), {"limit": MOST_ROWS + 1}), list(schema))


def _as_it_is(table: pa.Table) -> Result:
    """What says something about a query: few texts, which need all their room."""
    columns = [
        [Cell("plan", str(value)[:LONG]) for value in column.slice(0, MOST_ROWS).to_pylist()] for column in table
    ]
    names = [(name, "") for name in table.schema.names]
    return Result(names, [list(row) for row in zip(*columns, strict=True)], table.num_rows > MOST_ROWS)


def _shown(table: pa.Table, fields: list[pa.Field]) -> Result:
    cells = Cells(None)
    types = [_sql_type(field.type) for field in fields]
    columns = [
        [cells.short("", sql_type, value) for value in python_values(column.slice(0, MOST_ROWS))]
        for column, sql_type in zip(table.columns, types, strict=True)
    ]
    names = [(field.name, _type_name(field.type)) for field in fields]
    return Result(names, [list(row) for row in zip(*columns, strict=True)], table.num_rows > MOST_ROWS)


def _sql_type(kind: pa.DataType) -> str:
    """A type of the engine that is read in the same way."""
    if is_text(kind) or pa.types.is_dictionary(kind):
        return "VARCHAR"
    if is_binary(kind):
        return "BLOB"
    if is_json(kind) or pa.types.is_nested(kind):
        return "JSON"
    return "BIGINT"


def _type_name(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:39]}…"


def names(reader: Reader) -> Mapping[str, list[str]]:
    """The views and their columns, for completion."""
    return view_columns(reader)


def download(reader: Reader, query: str, format: ExportFormat) -> IO[bytes]:
    """A whole result as an open temporary file, at its beginning. Raises UsageError, QueryStopped."""
    file: IO[bytes] = tempfile.TemporaryFile(prefix="rowmill-")  # noqa: SIM115  closed by whoever sends it
    try:
        with reader.batches(query) as batches:
            if len(set(batches.schema.names)) < len(batches.schema.names):
                raise UsageError("Two columns of the result have one name: say 'as' to give them two.")
            writer = open_writer(format, cast(BinaryIO, file), batches.schema)
            for batch in batches:
                writer.write(batch)
                if file.tell() > MOST_FILE_BYTES:
                    writer.abandon()
                    raise QueryStopped("The file would be larger than 4 GiB: ask for less, or use 'rowmill export'.")
            writer.finish()
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file
