"""New run databases for tests, whose tables were made before.

Most of what a new run database costs are its tables and views, and they depend on little of a spec: names and types of
its columns, and which kinds of generators it has. A file that holds nothing else is made once and copied.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from rowmill.engine.preparation import Prepared
from rowmill.store.database.connection import Connection
from rowmill.store.layout import schema
from rowmill.store.layout.layout import Layout
from rowmill.store.run_store import RunStore

_MOST_KEPT = 48
"""Files of 2 MB."""
_IN_MEMORY = Path("/dev/shm")

Slots = tuple[tuple[str, str], ...]


def new_store(spec: Prepared, path: Path | None) -> RunStore:
    """A store over a new file, in which ``create`` writes only rows. Without ``path`` the file goes when it is closed.

    Its tables are those for ``spec``, and no other spec may be created in it.
    """
    directory = None
    if path is None:
        directory = Path(tempfile.mkdtemp(dir=_parent()))
        path = directory / "run.duckdb"
    layout = Layout(spec.graph, spec.spec.seed)
    seed_columns = spec.seed_file.columns if spec.seed_file is not None else ()
    path.write_bytes(_file_with_tables(_Tables(layout, tuple(seed_columns))))
    path.chmod(0o600)
    return _StoreWithTables(Connection(path), directory)


class _Tables:
    """What the tables of a spec depend on."""

    def __init__(self, layout: Layout, seed_columns: Slots) -> None:
        self.layout = layout
        self.seed_columns = seed_columns
        slots = {**layout.table_slots, **layout.view_slots}
        self._identity = (seed_columns, tuple(sorted(slots.items())), tuple(schema.migrations()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tables) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


@functools.lru_cache(_MOST_KEPT)
def _file_with_tables(tables: _Tables) -> bytes:
    path = Path(tempfile.mkdtemp(dir=_parent())) / "tables.duckdb"
    with Connection(path) as connection:
        with connection.transaction():
            schema.create_tables(connection, tables.layout, list(tables.seed_columns), datetime(2023, 11, 14))
        connection.checkpoint()
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    return content


@functools.cache
def _parent() -> str:
    """A directory for files nobody needs when this process has ended; in memory where there is one."""
    directory = tempfile.mkdtemp(prefix="rowmill-tables-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


class _StoreWithTables(RunStore):
    def __init__(self, connection: Connection, directory: Path | None) -> None:
        super().__init__(connection, is_new=True)
        self._directory = directory

    def _create_tables(self, layout: Layout, seed_columns: list[tuple[str, str]], moment: datetime) -> None:
        """They are there, and say when they were made."""
        self._connection.execute("update state.schema_version set migrated_at = $now", {"now": moment})

    def close(self) -> None:
        if self._directory is not None:
            self._connection.has_written = False  # nobody reads the file again: its log need not be folded into it
        super().close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
