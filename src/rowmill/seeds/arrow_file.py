"""Arrow IPC files (Feather version 2) and streams, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location

_FILE_START = b"ARROW1"


def arrow_file_schema(location: Location, name: str) -> pa.Schema:
    """The columns of a file. Raises SpecError when it is none of Arrow's, OSError."""
    with location.open(name) as file:
        return _reader(file, name).schema


def read_arrow_file(location: Location, names: Sequence[str]) -> pa.Table:
    """The rows of all files, whose columns must be the same. Raises SpecError, OSError."""
    tables = []
    for name in names:
        with location.open(name) as file:
            try:
                tables.append(_reader(file, name).read_all())
            except pa.ArrowException as error:
                raise _broken(name, error) from error
        if not tables[-1].schema.equals(tables[0].schema):
            message = f"{name} has other columns than {names[0]}; all files of a seed dataset have the same."
            raise SpecError([Problem("seed_dataset.path", message)])
    return pa.concat_tables(tables)


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
