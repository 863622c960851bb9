"""Making the tables of a run database, and knowing which version of them a file has.

DDL happens only when a database is created or migrated, followed at once by a checkpoint. Creating it is schema
version 1 and every migration after it, so that new and migrated databases are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from rowmill.errors import Damaged, Incompatible
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import fill_script, script, sql_directory, statements_of
from rowmill.version import VERSION

if TYPE_CHECKING:
    from rowmill.store.layout.layout import Layout

sql = statements_of("run")

_MIGRATION = re.compile(r"^(\d{4})_\w+\.sql$")


def migrations() -> list[tuple[int, str]]:
    """Number and file name of every migration, in order; the last number is the schema version of this Rowmill."""
    matches = (_MIGRATION.match(file.name) for file in (sql_directory() / "schema").iterdir())
    return sorted((int(match[1]), match[0]) for match in matches if match)


def newest_version() -> int:
    """The schema version of this Rowmill."""
    return migrations()[-1][0]


def pending(version: int) -> list[tuple[int, str]]:
    """The migrations a database of that version has not seen."""
    return [(number, name) for number, name in migrations() if number > version]


def create_tables(connection: Connection, layout: Layout, seed_columns: list[tuple[str, str]], now: datetime) -> None:
    """Creates everything a new run database holds but rows. The caller's transaction makes it all or nothing."""
    first, *later = (number for number, _ in migrations())
    _run_migrations(connection, layout, [first])
    connection.script(fill_script(script("spec_tables", "wide.sql"), **layout.table_slots))
    if seed_columns:
        columns = ",\n  ".join(f"{quote(name)} {sql_type}" for name, sql_type in seed_columns)
        connection.script(fill_script(script("spec_tables", "seed.sql"), seed_columns=columns))
    _run_migrations(connection, layout, later)
    _record_versions(connection, [first, *later], now)
    create_views(connection, layout)


def migrate_tables(connection: Connection, layout: Layout, numbers: Sequence[int], now: datetime) -> None:
    """Runs these migrations and records them. Migrations are templates with the slots of the spec's tables."""
    _run_migrations(connection, layout, numbers)
    _record_versions(connection, numbers, now)


def _run_migrations(connection: Connection, layout: Layout, numbers: Sequence[int]) -> None:
    names = dict(migrations())
    for number in numbers:
        connection.script(fill_script(script("schema", names[number]), **layout.table_slots))


def _record_versions(connection: Connection, numbers: Sequence[int], now: datetime) -> None:
    parameters = {"versions": list(numbers), "rowmill_version": VERSION, "now": now}
    connection.execute(sql.insert_schema_versions.text, parameters)


def create_views(connection: Connection, layout: Layout) -> None:
    """Creates the public and private views and their comments."""
    for file in sorted((sql_directory() / "views").glob("*.sql")):
        connection.script(fill_script(script("views", file.name), **layout.view_slots))


def is_new(connection: Connection) -> bool:
    """True for a database without any table. Raises Incompatible for one that holds somebody else's tables."""
    try:
        connection.execute(sql.newest_schema_version.text)
        return False
    except duckdb.CatalogException:  # no such table; listing the tables to know takes ten times as long
        pass
    if connection.execute(sql.table_count.text)[0][0]:
        raise Incompatible(f"{connection.path} is a DuckDB database, but not a run database. Name another file.")
    return True


def version_of(connection: Connection) -> int:
    """The schema version of a run database. Raises Incompatible if it is newer than ours, Damaged if there is none."""
    version = connection.execute(sql.newest_schema_version.text)[0][0]
    if version is None:
        raise Damaged(
            f"{connection.path} has tables but no schema version: its creation did not finish. "
            f"'rowmill doctor {connection.path}' checks the rest."
        )
    if version > newest_version():
        raise Incompatible(
            f"{connection.path} has schema version {version}, this Rowmill ({VERSION}) knows up to {newest_version()}. "
            "Use the newer Rowmill that made it. Nothing was changed."
        )
    return int(version)


def check_version(connection: Connection) -> None:
    """Raises Incompatible if the file was made by another schema version, Damaged if it has none."""
    version = version_of(connection)
    if version < newest_version():
        raise older(connection.path, version)


def older(path: Path | None, version: int) -> Incompatible:
    """The error for a file that must be migrated first."""
    return Incompatible(
        f"{path} has schema version {version}, this Rowmill ({VERSION}) works with version {newest_version()}. "
        f"'rowmill migrate {path}' brings it up to date and keeps a copy of the file as it is. Nothing was changed."
    )
