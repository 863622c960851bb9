"""Making the tables of a run database, and knowing which version of them a file has.

DDL happens only here: when a database is created (or migrated), followed at once by a checkpoint.
"""

from __future__ import annotations

import re
from datetime import datetime

from rowmill.errors import Damaged, Incompatible
from rowmill.store.connection import Connection, quote
from rowmill.store.layout import Layout
from rowmill.store.statements import fill_script, script, sql_directory, statement
from rowmill.version import VERSION

_INSERT_SCHEMA_VERSION = statement("insert_schema_version")
_NEWEST_SCHEMA_VERSION = statement("newest_schema_version")
_HAS_STATE_SCHEMA = statement("has_state_schema")
_TABLE_COUNT = statement("table_count")
_CHECKPOINT = statement("checkpoint")

_MIGRATION = re.compile(r"^(\d{4})_\w+\.sql$")


def migrations() -> list[tuple[int, str]]:
    """Number and file name of every migration, in order; the last number is the schema version of this Rowmill."""
    matches = (_MIGRATION.match(file.name) for file in (sql_directory() / "schema").iterdir())
    return sorted((int(match[1]), match[0]) for match in matches if match)


def create_tables(connection: Connection, layout: Layout, seed_columns: list[tuple[str, str]], now: datetime) -> None:
    """Creates everything a new run database holds but rows. The caller's transaction makes it all or nothing."""
    for _, name in migrations():
        connection.script(script("schema", name))
    connection.script(fill_script(script("spec_tables", "wide.sql"), **layout.table_slots))
    if seed_columns:
        columns = ",\n  ".join(f"{quote(name)} {sql_type}" for name, sql_type in seed_columns)
        connection.script(fill_script(script("spec_tables", "seed.sql"), seed_columns=columns))
    create_views(connection, layout)
    version = migrations()[-1][0]
    connection.execute(_INSERT_SCHEMA_VERSION.text, {"version": version, "rowmill_version": VERSION, "now": now})


def create_views(connection: Connection, layout: Layout) -> None:
    """Creates the public and private views and their comments."""
    for file in sorted((sql_directory() / "views").glob("*.sql")):
        connection.script(fill_script(script("views", file.name), **layout.view_slots))


def create_sampler_macros(connection: Connection) -> None:
    """Makes the sampler macros known to this connection (TEMP: they are code, not state)."""
    for file in sorted((sql_directory() / "functions").glob("*.sql")):
        connection.script(script("functions", file.name))


def checkpoint(connection: Connection) -> None:
    """Folds the write-ahead log into the file."""
    connection.execute(_CHECKPOINT.text)


def is_new(connection: Connection) -> bool:
    """True for a database without any table. Raises Incompatible for one that holds somebody else's tables."""
    if connection.execute(_HAS_STATE_SCHEMA.text)[0][0]:
        return False
    if connection.execute(_TABLE_COUNT.text)[0][0]:
        raise Incompatible(f"{connection.path} is a DuckDB database, but not a run database. Name another file.")
    return True


def check_version(connection: Connection) -> None:
    """Raises Incompatible if the file was made by another schema version, Damaged if it has none."""
    version = connection.execute(_NEWEST_SCHEMA_VERSION.text)[0][0]
    known = migrations()[-1][0]
    if version is None:
        raise Damaged(f"{connection.path} has tables but no schema version: its creation did not finish.")
    if version > known:
        raise Incompatible(
            f"{connection.path} has schema version {version}, this Rowmill ({VERSION}) knows up to {known}. "
            "Use the newer Rowmill that made it."
        )
