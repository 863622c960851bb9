"""The engine that reads seed files and converts seed columns: private, in memory, in UTC, and with access to files.

The run database's own connection has no access to the file system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from rowmill.store.database.connection import quote
from rowmill.store.database.literal import literal
from rowmill.store.database.statements import statements_of

sql = statements_of("database/engine", "layout/seed")


class SeedEngine:
    """Raises DuckDB's errors as they are, and those of other people's file systems."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._engine = engine

    def describe(self, reader: str) -> dict[str, str]:
        """Names and types of what a table function or a table gives."""
        rows = self._engine.execute(sql.describe_seed_file.fill(reader=reader)).fetchall()
        return {str(name): str(sql_type) for name, sql_type, *_ in rows}

    def read(self, reader: str) -> pa.Table:
        """All rows of it, in its order."""
        batches = self._engine.sql(sql.read_seed_file.fill(reader=reader)).to_arrow_reader()
        return pa.Table.from_batches(batches, batches.schema)

    def described(self, table: pa.Table) -> dict[str, str]:
        """Names and types of Arrow columns."""
        self._engine.register("seed_file", pa.Table.from_batches([], table.schema))
        return self.describe("seed_file")

    def spelled(self, types: Mapping[str, str]) -> dict[str, str]:
        """Names and types, each type as the engine spells it."""
        if not types:
            return {}
        columns = ", ".join(f"cast(null as {sql_type}) as {quote(name)}" for name, sql_type in types.items())
        return {
            str(name): str(sql_type)
            for name, sql_type, *_ in self._engine.execute(sql.describe_seed_types.fill(columns=columns)).fetchall()
        }

    def misfit(self, column: pa.ChunkedArray, source_type: str, sql_type: str) -> tuple[int, str] | None:
        """Row and text of the first value that is another one in that type, and back again; None: there is none."""
        self._stage(column)
        is_text = source_type == "VARCHAR"
        filled = sql.seed_misfit.fill(
            converted=f"try_cast(value as {sql_type})",
            back="value"
            if is_text or sql_type == "JSON"
            else f"try_cast(try_cast(value as {sql_type}) as {source_type})",
        )
        return self._engine.execute(filled).fetchone()

    def converted(self, column: pa.ChunkedArray, sql_type: str, *, by_json: bool = False) -> pa.ChunkedArray:
        """The column in another type. ``by_json``: as JSON text first."""
        self._stage(column)
        value = f"cast({'to_json(value)' if by_json else 'value'} as {sql_type})"
        return self._engine.sql(sql.convert_seed_column.fill(converted=value)).to_arrow_table().column(0)

    def converted_json(self, column: pa.ChunkedArray, sql_type: str) -> tuple[pa.ChunkedArray, list[str | None]]:
        """JSON texts in a type, and what they are written back as; null where they are no such values."""
        self._stage(column)
        filled = sql.convert_seed_json.fill(converted=f"try_cast(try_cast(value as json) as {sql_type})")
        found = self._engine.sql(filled).to_arrow_table()
        return found.column(0), found.column(1).to_pylist()

    def _stage(self, column: pa.ChunkedArray) -> None:
        table = pa.table({"position": pa.array(range(len(column)), pa.int64()), "value": column})
        self._engine.register("seed_column", table)


@contextmanager
def seed_engine(filesystem: Any = None) -> Iterator[SeedEngine]:
    """A new engine, for as long as it takes. ``filesystem``: of the URLs it is to read, or None."""
    with duckdb.connect() as engine:
        engine.execute(sql.use_utc.text)
        engine.execute(sql.use_gregorian_calendar.text)
        if filesystem is not None:
            engine.register_filesystem(filesystem)
        yield SeedEngine(engine)


def table_function(function: str, names: Sequence[str], options: str = "") -> str:
    """A call of one of the engine's readers of files."""
    return f"{function}({literal(list(names))}{options})"
