"""The content of the seed data a run was made from: its digest, and whether it is still the same (V2).

The digest is made of the rows as they were copied, in the pass that copied them. Beside it rests a mark of each
file (size and time of the last change, or what a file system gives for it). As long as the marks are the same
nothing is read again; files with other marks are, and only other rows count as a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from rowmill.counted import plural
from rowmill.errors import SpecError
from rowmill.seeds.source import SeedSource
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.layout.provenance import Provenance
from rowmill.store.layout.seed_earlier import could_read, read_as_earlier
from rowmill.store.layout.seed_reader import (
    SeedFile,
    describe_source,
    exploded_types,
    kept_source,
    read_seed,
    selected_rows,
)

sql = statements_of("layout/seed")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SeedContent:
    """What seed data holds: how many rows, and a digest of their values, order, and columns with their types."""

    rows: int
    digest: str


def seed_content_of(connection: Connection, seed_file: SeedFile, rows: pa.Table) -> SeedContent:
    """The content of the rows of :func:`~rowmill.store.layout.seed_reader.read_seed`. O(rows), in constant memory."""
    return _content(connection, seed_file.columns, rows)


def _content(connection: Connection, described: Sequence[tuple[str, str]], rows: pa.Table) -> SeedContent:
    columns = ", ".join(quote(name) for name, _ in described)
    types = ", ".join(f"{name} {sql_type}" for name, sql_type in described)
    connection.stage("new_seed", rows)
    try:
        counted, digest = connection.execute(sql.seed_digest.fill(columns=columns), {"types": types})[0]
    finally:
        connection.unstage("new_seed")
    return SeedContent(counted, digest)


def current_seed_content(seed_file: SeedFile) -> SeedContent:
    """The content of the files as they are now; reads them all. Raises SpecError if that is not possible."""
    with Connection(None) as private:
        return seed_content_of(private, seed_file, read_seed(seed_file))


def stored_seed_content(connection: Connection) -> SeedContent | None:
    """The content a run database was made from; None if it has no seed rows, or is of a version without digests."""
    rows = connection.execute(sql.stored_seed_content.text)
    return SeedContent(*rows[0]) if rows else None


def keep_seed_content(connection: Connection, seed_file: SeedFile, content: SeedContent) -> None:
    """Writes the content and the marks of the files down, once, when the run database is created."""
    connection.execute(sql.insert_seed_content.text, {"rows": content.rows, "digest": content.digest})
    _keep_marks(connection, seed_file)


def seed_difference(connection: Connection, seed_file: SeedFile) -> str | None:
    """How the seed data differs from what the run was made from, with the files it is in; None if it does not.

    Reads the files only if one of them has another mark. Raises SpecError if the files cannot be read.
    """
    if seed_file.is_kept:
        return None
    stored = stored_seed_content(connection)
    if stored is None:
        return None
    marks = dict(connection.execute(sql.stored_seed_files.text))
    if _has_marks(seed_file.source, marks):
        return None
    current = current_seed_content(seed_file)
    if current.digest == stored.digest:
        return None
    rows = f", from {stored.rows} to {plural(current.rows, 'row')}" if stored.rows != current.rows else ""
    return f"the seed data changed{rows}: {_where(seed_file, marks)}"


def keep_new_marks(connection: Connection, seed_file: SeedFile) -> None:
    """Keeps the marks the files have now, where :func:`seed_difference` found the same content behind others."""
    if stored_seed_content(connection) is not None:
        marks = dict(connection.execute(sql.stored_seed_files.text))
        if not _has_marks(seed_file.source, marks):
            with connection.transaction():
                connection.execute(sql.delete_seed_files.text)
                _keep_marks(connection, seed_file)


def kept_seed(
    connection: Connection, config: SeedDatasetConfig, source: SeedSource, columns: tuple[tuple[str, str], ...]
) -> SeedFile | None:
    """The seed dataset as a run database with those seed ``columns`` holds it; None if the source says something else.

    A run goes on with the values and types it was made with, whatever a newer version makes of the same files (V6).
    Reads them only if one has another mark. Raises SpecError if they cannot be read and were not read in another way.
    """
    stored = stored_seed_content(connection)
    if stored is None or _has_marks(source, dict(connection.execute(sql.stored_seed_files.text))):
        return kept_source(config, source, columns)
    try:
        seed_file = describe_source(config, source)
        if current_seed_content(seed_file).digest == stored.digest:
            return seed_file.kept_as(columns)
    except SpecError:
        if not could_read(config, source):
            raise
        # What cannot be read any more may still be what was read when the run was made.
    return kept_source(config, source, columns) if _earlier_digest(config, source) == stored.digest else None


def _earlier_digest(config: SeedDatasetConfig, source: SeedSource) -> str | None:
    """The digest of the rows an earlier version read; None if it could not have read them."""
    if not could_read(config, source):
        return None
    try:
        types, rows = read_as_earlier(config, source)
        columns = exploded_types(types, config)
        with Connection(None) as private:
            return _content(private, columns, selected_rows(config, source, rows)).digest
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError, SpecError):
        return None  # then the run was not made from it


def _has_marks(source: SeedSource, stored: dict[str, str]) -> bool:
    if not source.names or stored == dict(source.marks):
        return bool(source.names)
    found = [Provenance.of_mark(mark) for mark in stored.values()]
    now = [Provenance.of_mark(mark) for mark in source.marks.values()]
    return len(found) == len(now) == 1 and found[0] is not None and found[0].is_of(now[0])


def _keep_marks(connection: Connection, seed_file: SeedFile) -> None:
    marks = seed_file.source.marks
    table = pa.table({"path": pa.array(marks, type=pa.string()), "mark": pa.array(marks.values(), type=pa.string())})
    connection.stage("new_seed_file", table)
    try:
        connection.execute(sql.insert_seed_files.text)
    finally:
        connection.unstage("new_seed_file")


def _where(seed_file: SeedFile, stored: dict[str, str]) -> str:
    marks = seed_file.source.marks
    told = [f"{path} is new" for path in marks if path not in stored]
    told += [f"{path} changed" for path, mark in marks.items() if path in stored and stored[path] != mark]
    told += [f"{path} is gone" for path in stored if path not in marks]
    more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return ", ".join([*told[:_SHOWN], *more]) or seed_file.source.title
