"""Bringing a run database made by an older Rowmill up to date, its old file kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rowmill.engine.preparation import Prepared, prepare_stored
from rowmill.errors import Locked, SpecError, UsageError
from rowmill.graph.fingerprint import earlier_fingerprint, fingerprint
from rowmill.store.database.connection import Connection
from rowmill.store.database.held_file import holding
from rowmill.store.database.staging import from_epoch
from rowmill.store.file.engine_errors import mapped
from rowmill.store.layout import migration, schema
from rowmill.store.layout.layout import Layout
from rowmill.store.run_store import RunStore


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a migration did, or would do."""

    path: Path
    from_version: int
    to_version: int
    steps: tuple[str, ...]
    """The migrations, by file name; none if the database was up to date."""
    kept: Path | None
    """Where the old file was copied to; None if nothing was done."""


def migrate(path: Path, now: float, *, dry_run: bool = False) -> MigrationReport:
    """Raises the schema of ``path`` to this Rowmill's, after copying file and log beside themselves.

    The copy is ``<name>.v<version>``. Everything happens in one transaction: after a crash the file has the old schema
    or the new one. ``now``: seconds since the epoch. Raises UsageError (no such file, no run in it, a spec that
    can no longer be read), Locked, Incompatible (not a run database, or a newer one), Damaged or WriteFailed.
    """
    if not path.exists():
        raise UsageError(f"There is no run database {path}.")
    version, prepared = _look(path)
    steps = tuple(name for _, name in schema.pending(version))
    report = MigrationReport(path, version, schema.newest_version(), steps, None)
    if dry_run or not steps:
        return report
    with holding(path) as held:
        kept = held.copy_aside(f"v{version}")
        with Connection(path) as connection:
            if schema.version_of(connection) != version:
                raise Locked(f"{path} was changed by another process just now. Try again.")
            migrate_open(connection, prepared, version, kept.name, now)
    return MigrationReport(path, version, schema.newest_version(), steps, kept)


def migrate_open(connection: Connection, prepared: Prepared, version: int, kept: str, now: float) -> None:
    """The migration itself, over an open connection. ``kept`` names the copy in the run's events."""
    fingerprints = {
        node.number: (fingerprint(node.declaration), earlier_fingerprint(node.declaration))
        for node in prepared.graph.generators
    }
    layout = Layout(prepared.graph, prepared.spec.seed)
    migration.apply(connection, layout, version, fingerprints, kept, from_epoch(now))


def prepare_old(connection: Connection) -> tuple[int, Prepared]:
    """The schema version of an open run database of any age, and the spec inside it."""
    store = RunStore(connection, is_new=False)
    with mapped("looking at the run database"):
        if schema.is_new(connection):
            raise UsageError(f"{connection.path} is empty: no run was ever started in it.")
        version = schema.version_of(connection)
        stored = store.stored_spec()
        seed_columns = store.seed_columns()
    try:
        return version, prepare_stored(stored.text, stored.directory, seed_columns)
    except SpecError as error:
        raise UsageError(
            f"The spec inside {connection.path} cannot be used, nothing was changed: {error}. Put back what it "
            f"needs (its directory is {stored.directory}), then try again."
        ) from error


def _look(path: Path) -> tuple[int, Prepared]:
    with Connection(path, read_only=True) as connection:
        return prepare_old(connection)
