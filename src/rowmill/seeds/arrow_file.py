"""Arrow IPC files (Feather version 2) and streams, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.errors import Problem, SpecError
from rowmill.seeds.agreement import check_agreement
from rowmill.seeds.location import Location

_FILE_START = b"ARROW1"
_DAY = {unit: 86_400 * per_second for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))}


def arrow_file_schema(location: Location, name: str) -> pa.Schema:
    """The columns of a file. Raises SpecError when it is none of Arrow's, OSError."""
    with location.open(name) as file:
        return _named(name, _reader(file, name).schema)


def read_arrow_file(location: Location, names: Sequence[str]) -> pa.Table:
    """The rows of all files, whose columns must be the same. Raises SpecError, OSError."""
    tables = []
    for name in names:
        with location.open(name) as file:
            try:
                tables.append(_whole(name, _reader(file, name).read_all()))
            except pa.ArrowException as error:
                raise _broken(name, error) from error
        check_agreement({field.name: str(field.type) for field in tables[0].schema},
                        {field.name: str(field.type) for field in tables[-1].schema}, names[0], name)  # fmt: skip
        tables[-1] = tables[-1].select(tables[0].column_names)
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _named(name: str, schema: pa.Schema) -> pa.Schema:
    if "" in schema.names:
        raise SpecError([Problem("seed_dataset.path", f"{name}: its column {schema.names.index('') + 1} has no name.")])
    return schema


def _whole(name: str, table: pa.Table) -> pa.Table:
    """The table, if what its buffers hold is what its types say: no file is read without a look at that."""
    _named(name, table.schema)
    for column, values in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_date64(values.type):  # times that are no dates are told apart by row later
            continue
        if pa.types.is_time(values.type) and _is_within_a_day(values):
            continue
        try:
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            reason = str(error).strip().splitlines()[0].rpartition("Invalid: ")[2]
            message = f"{name}: column {column!r} is damaged: {reason}. Write the file anew."
            raise SpecError([Problem("seed_dataset.path", message)]) from error
    return table


def _is_within_a_day(times: pa.ChunkedArray) -> bool:
    """Whether no time is beyond 24:00, which is one to the engine, and to Arrow none."""
    numbers = times.cast(pa.int64() if times.type.bit_width == 64 else pa.int32())
    numbers.validate(full=True)
    found = pc.min_max(numbers)
    least, most = found["min"].as_py(), found["max"].as_py()
    return least is None or (least >= 0 and most <= _DAY[times.type.unit])


def _reader(file: object, name: str) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    source = pa.PythonFile(file, mode="r")
    try:
        start = source.read(len(_FILE_START))
        source.seek(0)
        return pa.ipc.open_file(source) if start == _FILE_START else pa.ipc.open_stream(source)
    except pa.ArrowException as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> SpecError:
    reason = str(error).strip().splitlines()[0]
    message = f"{name} is not a whole Arrow file: {reason}. Set format if it is something else."
    return SpecError([Problem("seed_dataset.path", message)])
