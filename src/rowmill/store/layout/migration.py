"""Bringing a run database to the newest schema version: one transaction, followed at once by a checkpoint.

Migrations are numbered and only go forward. The views are dropped before and made anew after them, so that a
migration may change or replace any table.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.layout import schema
from rowmill.store.layout.layout import Layout

sql = statements_of("run")


def apply(
    connection: Connection,
    layout: Layout,
    version: int,
    fingerprints: Mapping[int, tuple[str, str | None]],
    kept: str,
    now: datetime,
) -> None:
    """Raises the schema of the database from ``version`` to the newest one: all of it, or nothing.

    ``fingerprints`` per generator as this Rowmill computes them, and, of one with a function, as older ones did: if
    the run database knows neither, the function has changed, and the next run says so. ``kept`` is where the old file
    was copied to.
    Raises WriteFailed or Damaged.
    """
    with engine_errors.mapped("migrating the run database"):
        with connection.transaction():
            for schema_name, name in connection.execute(sql.own_views.text):
                connection.script(sql.drop_view.fill(view=f"{quote(schema_name)}.{quote(name)}"))
            schema.migrate_tables(connection, layout, [number for number, _ in schema.pending(version)], now)
            schema.create_views(connection, layout)
            stored = {number: digest for number, _, digest in connection.execute(sql.stored_generators.text)}
            for generator, (digest, earlier) in fingerprints.items():
                if earlier is not None and stored[generator] not in {digest, earlier}:
                    continue
                connection.execute(sql.update_fingerprint.text, {"generator": generator, "fingerprint": digest})
            detail = f"from schema version {version} to {schema.newest_version()}; the old file is kept as {kept}"
            parameters = {"now": now, "kind": "migrated", "subject": "run database", "detail": detail}
            connection.execute(sql.insert_event.text, parameters)
        connection.checkpoint()
