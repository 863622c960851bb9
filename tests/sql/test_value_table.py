"""Every type the engine has × every form its values take outside of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from value_table import ENTRIES, Entry

from rowmill.export.format import ExportFormat
from rowmill.export.writer import open_writer
from rowmill.spec.template import Template
from rowmill.store.database.connection import Connection
from rowmill.value.json_column import json_values
from rowmill.value.json_value import json_text
from rowmill.value.plain_arrow import plain_table
from rowmill.value.python_value import is_plain, python_values
from rowmill.value.text_column import text_column

each_type = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with Connection(None, threads=1) as opened:
        yield opened


def column(connection: Connection, entry: Entry) -> pa.Table:
    """The value, a NULL, and the value again, of which the first is cut off: offsets count."""
    value = f"({entry.sql})"
    typed = f"select {value} as value union all select null union all select {value}"
    return connection.arrow(f"select value from ({typed})").slice(1).combine_chunks()


def same(found: Any, expected: Any) -> bool:
    """Equality of values and types, in which NaN is NaN and -0.0 is not 0.0."""
    if isinstance(expected, float):
        return isinstance(found, float) and repr(float(found)) == repr(expected)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return isinstance(found, dict) and list(found) == list(expected) and all(
            same(found[key], value) for key, value in expected.items()
        )  # fmt: skip
    return found == expected and (type(found) is type(expected) or isinstance(found, str))


@each_type
def test_a_value_in_python(connection: Connection, entry: Entry) -> None:
    null, found = python_values(column(connection, entry)["value"])
    assert null is None
    if entry.name.startswith(("JSON", "list of JSON")):
        assert found == entry.python
    else:
        assert same(found, entry.python)


@each_type
def test_the_engines_own_conversion_is_used_only_where_it_gives_the_same(connection: Connection, entry: Entry) -> None:
    kind = column(connection, entry).schema.field(0).type
    if is_plain(kind):
        ((found,),) = connection.execute(f"select {entry.sql}")
        assert same(found, entry.python)


@each_type
def test_a_value_in_a_prompt(connection: Connection, entry: Entry) -> None:
    (_, found) = python_values(column(connection, entry)["value"])
    assert Template("<{{ value }}>").render({"value": found}) == f"<{entry.prompt}>"
    assert Template("{{ value ~ '!' }}").render({"value": found}) == f"{entry.prompt}!"


@each_type
def test_a_value_as_json(connection: Connection, entry: Entry) -> None:
    texts = json_values(column(connection, entry)["value"].chunk(0))
    assert texts == ["null", entry.json]
    json.loads(entry.json, parse_constant=pytest.fail)


@each_type
def test_a_python_value_is_the_same_json(connection: Connection, entry: Entry) -> None:
    (_, found) = python_values(column(connection, entry)["value"])
    through_arrow, through_python = json.loads(entry.json), json.loads(json_text(found))
    if entry.name.startswith("timestamp after") or "nanoseconds" in entry.name or "milliseconds" in entry.name:
        assert isinstance(through_python, str)  # the blank of a prompt, or all digits of Python's own type
    else:
        assert through_python == through_arrow
    assert Template("{{ value | tojson }}").render({"value": found}) == (
        json_text(found, ensure_ascii=True, sort_keys=True).replace("'", "\\u0027")
    )


@each_type
def test_a_value_in_a_csv_file(connection: Connection, entry: Entry) -> None:
    null, text = text_column(column(connection, entry)["value"].chunk(0)).cast(pa.string()).to_pylist()
    assert null is None
    assert text == entry.csv
    file = io.BytesIO()
    table = column(connection, entry)
    writer = open_writer(ExportFormat.CSV, file, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish()
    quoted = '"' + entry.csv.replace('"', '""') + '"'
    assert file.getvalue().decode() in {f'"value"\n\n{quoted}\n', f'"value"\n\n{entry.csv}\n'}


def raw(values: pa.ChunkedArray) -> Any:
    """The value behind the NULL; of what Python has no value for, the number that stands for it."""
    try:
        return values.to_pylist()[1]
    except OverflowError:
        kind = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
        return None if pa.types.is_list(values.type) else values.cast(kind).to_pylist()[1]


def known(found: Any, expected: Any, values: pa.ChunkedArray) -> bool:
    if isinstance(expected, int) and not isinstance(expected, bool) and pa.types.is_temporal(values.type):
        return bool(raw(values) == expected or values.cast(pa.int64()).to_pylist()[1] == expected)
    if pa.types.is_interval(values.type):
        return bool(tuple(found) == expected)
    return bool(same(found, expected))


@each_type
def test_a_value_in_everybodys_arrow(connection: Connection, entry: Entry) -> None:
    values = plain_table(column(connection, entry))["value"]
    assert known(raw(values), entry.arrow, values)
    assert not isinstance(values.type, pa.BaseExtensionType)


@each_type
def test_a_value_in_a_parquet_file(connection: Connection, entry: Entry) -> None:
    if entry.in_parquet is None and entry.name == "union":
        pytest.skip("parquet has no unions: the export says so")
    file = io.BytesIO()
    table = column(connection, entry)
    writer = open_writer(ExportFormat.PARQUET, file, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish()
    values = parquet.read_table(pa.BufferReader(file.getvalue()))["value"]
    assert known(raw(values), entry.in_parquet, values)


@each_type
def test_a_value_in_an_arrow_file(connection: Connection, entry: Entry) -> None:
    file = io.BytesIO()
    table = column(connection, entry)
    writer = open_writer(ExportFormat.ARROW, file, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish()
    values = pa.ipc.open_file(pa.BufferReader(file.getvalue())).read_all()["value"]
    assert known(raw(values), entry.arrow, values)


def test_values_of_no_row_are_none(connection: Connection) -> None:
    for entry in ENTRIES:
        nothing = connection.arrow(f"select {entry.sql} as value limit 0")
        assert python_values(nothing["value"]) == []
        assert plain_table(nothing).num_rows == 0
