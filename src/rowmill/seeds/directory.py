"""Directories as seed rows: a row for each file, with its text if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from rowmill.errors import Problem, SpecError
from rowmill.seeds.location import Location

LISTING_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source_kind", "source_path", "relative_path", "file_name")]
)
CONTENTS_SCHEMA = LISTING_SCHEMA.append(pa.field("content", pa.string()))


def listing(files: Sequence[tuple[str, str]]) -> pa.Table:
    """One row for each file (name and relative path): what it is called and where it is."""
    return pa.Table.from_pylist([_row(file, "directory_file") for file in files], schema=LISTING_SCHEMA)


def file_contents(location: Location, files: Sequence[tuple[str, str]], encoding: str) -> pa.Table:
    """The same with the whole text of each file. Raises SpecError for files that are not in that encoding."""
    rows = []
    problems = []
    for file in files:
        with location.open(file[0]) as opened:
            content = opened.read()
        try:
            rows.append({**_row(file, "file_contents"), "content": content.decode(encoding)})
        except UnicodeError as error:
            problems.append(
                Problem("seed_dataset.encoding", f"{file[0]} is not encoded as {encoding}: {error}. Set encoding to "
                        "what it is, or leave it out with file_pattern.")
            )  # fmt: skip
    if problems:
        raise SpecError(problems[:20])
    return pa.Table.from_pylist(rows, schema=CONTENTS_SCHEMA)


def _row(file: tuple[str, str], kind: str) -> dict[str, str]:
    name, relative = file
    return {
        "source_kind": kind,
        "source_path": name,
        "relative_path": relative,
        "file_name": PurePosixPath(relative).name,
    }
