"""The connection to a run database: hardened, with staged Arrow tables and transactions.

The engine runs with external access off and its configuration locked, so that no SQL, not even a
user's, can read another file or write one.
"""

from __future__ import annotations

import math
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import duckdb

from rowmill.errors import Locked, RowmillError, WriteFailed
from rowmill.store.database.question import check_question
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.file.database_file import check_log, claim, file_identity, release, undo_torn_checkpoint
from rowmill.store.file.engine_version import check_engine
from rowmill.store.file.log import log_of
from rowmill.store.file.undo_file import UndoFile
from rowmill.store.file.usable import check_usable, several_names

if TYPE_CHECKING:
    import pyarrow as pa

named = statements_of("database/engine", "reading/show", "run")

_VARIANT = "VARIANT"
_VARIANT_IN_ARROW = b"arrow.parquet.variant"

STORAGE_ROWS = 122_880
"""Rows of a table the engine stores together (it calls them a row group too): one thread reads them."""

_HARDENED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_NO_CHECKPOINTS = {"checkpoint_threshold": "1000TB", "wal_autocheckpoint_entries": "0"}
"""The engine never folds its log into the file by itself: what a checkpoint writes over has to be kept before it."""
_SAME_EVERYWHERE = {
    "default_collation": "",
    "default_null_order": "nulls_last",
    "default_order": "asc",
    "dialect_compatibility_mode": "none",
    "errors_as_json": "false",
    "ieee_floating_point_ops": "true",
    "integer_division": "false",
    "max_expression_depth": "1000",
    "preserve_insertion_order": "true",
    "arrow_large_buffer_size": "false",
    "arrow_lossless_conversion": "true",
    "arrow_output_list_view": "false",
    "arrow_output_version": "1.0",
    "default_block_size": "262144",
    "fsync_mode": "standard",
    "storage_compatibility_version": "v2.0.0",
    "max_vacuum_tasks": "1",
}
"""What shapes values, files and what is durable is said here, whatever the engine's defaults become (V5).

What is handed over as Arrow says its type in full (:mod:`rowmill.value`). The time zone and the calendar are set when a
connection is open: the engine knows them only then.
"""

LONG_LOG_BYTES = 4 * 2**20
"""A log of so many bytes is folded into the file. Nothing can be committed meanwhile: that takes 30 ms or so."""

_SELDOM_S = 10.0
"""A checkpoint that comes so long after the last one merges what earlier ones left in small parts, too. That takes as
long again, or several times as long: too much for one that comes every second."""
_MOST_UNMERGED = 512
"""Checkpoints without merging, one after the other: each part makes later ones a little slower."""


_hardening = threading.Lock()


class StagedTable:
    """An Arrow table under one name in SQL, whose content changes between statements.

    Registering costs a catalog transaction, so each name is registered once and asks this object for its
    content at every scan. All contents have the schema it was made with.
    """

    def __init__(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        self.schema = schema
        self.nothing = pa.Table.from_batches([], schema)
        self.content = self.nothing

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.content.__arrow_c_stream__(requested_schema)


class ArrowStream(Protocol):
    """What the engine can scan again and again: it asks for its rows each time."""

    def __arrow_c_schema__(self) -> object: ...

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


_ROWS_PER_BATCH = 16_384
_MOST_PARSED = 1024
"""Statements: more than a run has."""
_WRITES = re.compile(r"\b(?:insert\s+into|update|delete\s+from|merge\s+into)\s+(state\.\w+)", re.IGNORECASE)
"""How our statements begin to write, and to which table."""


class _Parsed(NamedTuple):
    """A statement as the engine read it."""

    statement: duckdb.Statement | str
    written: str | None
    """The table it writes to."""


_parsed: dict[str, _Parsed] = {}
"""What was executed before, by whichever connection. Reading the text anew takes an eighth of a turn's CPU."""


class Connection:
    """One connection to one database, used by one thread at a time. Raises DuckDB's errors as they are."""

    is_living = False
    """Its file is open here."""
    _engine: duckdb.DuckDBPyConnection
    _claim: Path | None
    _identity: tuple[int, int] | None
    _undo: UndoFile | None

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        threads: int | None = None,
        sources: Mapping[str, Path] | None = None,
        memory_mib: int | None = None,
    ) -> None:
        """Opens ``path``, or a private in-memory database for None; ``sources`` are attached, to be read by name.

        ``memory_mib``: what the engine may hold in memory; None: as much as it thinks right.

        Raises :class:`~rowmill.errors.WrongVersion`, :class:`~rowmill.errors.Locked`,
        :class:`~rowmill.errors.Damaged`, :class:`~rowmill.errors.Incompatible` or :class:`~rowmill.errors.UsageError`.
        """
        check_engine()
        # The same wherever the process goes: a custom function may change its directory.
        self._begin(path, path and Path(os.path.abspath(path)), is_read_only=read_only)
        config: dict[str, Any] = {**_HARDENED, **_NO_CHECKPOINTS, **_SAME_EVERYWHERE}
        if threads is not None:
            config["threads"] = threads
        if memory_mib is not None:
            config["memory_limit"] = f"{memory_mib}MiB"
        sources = sources or {}
        for file in (path, *sources.values()):
            if file is not None:
                check_usable(file)
        linked = next(filter(None, map(several_names, sources.values() or filter(None, [path]))), None)
        if linked is not None and not read_only:
            raise linked
        if path is not None:
            undo_torn_checkpoint(path)
        if path is not None and not read_only:
            check_log(path)
            self._claim = path.resolve()
            claim(self._claim)
        if sources:
            del config["enable_external_access"]
        try:
            self._engine = duckdb.connect(str(self.file or ":memory:"), read_only=read_only, config=config)
        except duckdb.Error as error:
            self._release()
            meaning = engine_errors.opening_error(error, path or Path(":memory:"))
            # Whoever works on the file answers for it.
            raise meaning if linked is None or isinstance(meaning, Locked) else linked from error
        if linked is not None:
            self._engine.close()
            raise linked
        try:
            if path is not None and read_only:
                check_log(path)  # now that nobody can write to it; opened like this, nothing of it is lost
            self._attach(sources)
            self._harden(read_only)
        except RowmillError:
            self._engine.close()
            self._release()
            raise
        except duckdb.Error as error:
            self._engine.close()
            self._release()
            raise engine_errors.opening_error(error, path or Path(":memory:")) from error
        if path is not None and not read_only:
            self._identity = file_identity(path)
            self._undo = UndoFile(path)

    def _begin(self, path: Path | None, file: Path | None, *, is_read_only: bool) -> None:
        """What a connection has before anything was done with it."""
        self.path = path
        self.file = file
        self._log = file and log_of(file)
        self.is_read_only = is_read_only
        self.has_written = False
        """Whether a transaction was committed: then closing folds the log into the file."""
        self._folded_at = -math.inf
        """The last checkpoint, on the monotonic clock."""
        self._unmerged = 0
        """Checkpoints since one that merged."""
        self._claim = self._identity = self._undo = None
        self._staged: dict[str, StagedTable] = {}
        self._remembered: dict[str, list[tuple[Any, ...]]] = {}
        """The rows of queries whose tables were not written to since."""
        self._readers: dict[str, set[str]] = {}
        """Per table, the remembered queries that read it."""

    def beside(self) -> Connection:
        """Another connection to the same open database, with transactions and TEMP tables of its own.

        It may be used by another thread. The file stays open, and locked, until both are closed.
        """
        other = object.__new__(Connection)
        other._begin(self.path, self.file, is_read_only=self.is_read_only)
        other._undo = self._undo.share() if self._undo is not None else None
        other._engine = self._engine.cursor()
        return other

    def _attach(self, sources: Mapping[str, Path]) -> None:
        """Attaches other run databases, to be read; nobody can write to them as long as this connection is open."""
        for name, file in sources.items():
            check_log(file)
            try:
                self._engine.execute(named.attach_source.fill(path=_text(str(file)), name=quote(name)))
            except duckdb.Error as error:
                raise engine_errors.opening_error(error, file) from error
        if sources:
            self._engine.execute(named.forbid_external_access.text)

    def _harden(self, read_only: bool) -> None:
        with _hardening:
            # Those who read a file in one process share it: whoever comes first has locked its settings for all.
            if self._engine.execute(named.has_locked_configuration.text).fetchall() == [(True,)]:
                return
            self._engine.execute(named.use_utc.text)
            self._engine.execute(named.use_gregorian_calendar.text)
            if not read_only:
                # A refusal leaves the file as it was, to the byte, even if its last process left a log behind.
                self._engine.execute(named.keep_log_when_closed.text)
                self._engine.execute(named.allow_settings.text)
            self._engine.execute(named.lock_configuration.text)

    def use_one_thread(self) -> None:
        """From now on no statement of this database is spread over threads of the engine's.

        Handing parts of a small statement around costs more than it gains: a fifth to a third of its CPU, measured.
        """
        self._engine.execute(named.use_one_thread.text)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Runs one statement to its end and returns its rows (counts for a statement that writes)."""
        parsed = _parsed.get(sql) or self._parse(sql)
        if parsed.written is not None:
            self.forget(parsed.written)
        return self._engine.execute(parsed.statement, parameters).fetchall()

    def recall(self, sql: str, *tables: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query that reads ``tables`` alone, such as ``state.run``.

        It is executed only if this connection wrote to one of them since: for tables nobody else writes to meanwhile.
        Its rows are remembered whatever the parameters were; who gives others has to :meth:`forget` them first.
        """
        if sql not in self._remembered:
            self._remembered[sql] = self.execute(sql, parameters)
            for table in tables:
                self._readers.setdefault(table, set()).add(sql)
        return self._remembered[sql]

    def forget(self, table: str) -> None:
        """Has :meth:`recall` look again at what it remembers of a table."""
        for sql in self._readers.pop(table, ()):
            self._remembered.pop(sql, None)

    def _parse(self, sql: str) -> _Parsed:
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        statements = self._engine.extract_statements(sql)
        written = _WRITES.search(sql)
        parsed = _Parsed(
            statements[0] if len(statements) == 1 else sql, written.group(1).lower() if written is not None else None
        )
        _parsed[sql] = parsed
        return parsed

    def script(self, sql: str) -> None:
        """Runs several statements without parameters."""
        self._remembered.clear()
        self._engine.execute(sql).fetchall()

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query."""
        result = self._engine.execute(sql, parameters)
        names = [column[0] for column in result.description or ()]
        return names, result.fetchall()

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """The result of a query as an Arrow table. ``is_question``: a user's; UsageError unless it only reads."""
        if is_question:
            check_question(self, sql)
        table = self._engine.sql(sql, params=parameters).to_arrow_table()
        return self.arrow(self._without_variants(sql, parameters), parameters) if _has_variant(table.schema) else table

    def types(self, sql: str) -> list[str]:
        """The types of a query's columns, as the engine spells them. It is not executed."""
        return [str(kind) for kind in self._engine.sql(sql).types]

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """The same as a stream of record batches; the connection is busy until it is read or closed."""
        if is_question:
            check_question(self, sql)
        reader = self._engine.sql(sql, params=parameters).to_arrow_reader(_ROWS_PER_BATCH)
        return (
            self.batches(self._without_variants(sql, parameters), parameters) if _has_variant(reader.schema) else reader
        )

    def _without_variants(self, sql: str, parameters: Mapping[str, Any] | None) -> str:
        """The query with its VARIANT columns as JSON: a VARIANT comes as bytes that nobody but the engine reads."""
        relation = self._engine.sql(sql, params=parameters)
        casts = [
            f"cast({quote(name)} as {kind.replace(_VARIANT, 'JSON')}) as {quote(name)}"
            for name, kind in zip(relation.columns, map(str, relation.types), strict=True)
            if _VARIANT in kind
        ]
        return named.variants_as_json.fill(casts=", ".join(casts), query=sql.rstrip().rstrip(";"))

    def known_status(self) -> None:
        """Nothing: a file has to be read."""
        return None

    def stage(self, name: str, table: pa.Table) -> None:
        """Makes ``table`` readable under ``name``; a second call with the same schema replaces the content."""
        staged = self._staged.get(name)
        if staged is None or not staged.schema.equals(table.schema):
            staged = self._staged[name] = StagedTable(table.schema)
            self._engine.register(name, staged)
        staged.content = table

    def mirror(self, name: str, living: ArrowStream) -> None:
        """Makes readable under ``name`` what ``living`` holds whenever a statement scans it."""
        self._engine.register(name, living)

    def stage_stream(self, name: str, reader: pa.RecordBatchReader) -> None:
        """Makes a stream readable once under ``name``, without keeping it in memory."""
        self._engine.register(name, reader)

    def unstage(self, name: str) -> None:
        """Forgets a name given by :meth:`stage` or :meth:`stage_stream`."""
        self._staged.pop(name, None)
        self._engine.unregister(name)

    def clear_staged(self) -> None:
        """Lets go of the contents of all staged tables."""
        for staged in self._staged.values():
            staged.content = staged.nothing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written or nothing. A failing roll-back never hides the first error."""
        self._engine.begin()
        try:
            yield
            self._engine.commit()
            self.has_written = True
            self.check_file()
            self._hide_log()
        except BaseException:
            self._remembered.clear()
            # After a failed commit or a fatal error the engine has rolled back by itself and says so; the
            # error that brought us here tells why and goes on.
            with suppress(duckdb.Error):
                self._engine.rollback()
            raise

    def has_long_log(self) -> bool:
        """Is the log so long that it should be folded into the file? Whoever opens the file next has to read it."""
        if self._log is None or not self.has_written:
            return False
        try:
            return self._log.stat().st_size >= LONG_LOG_BYTES
        except FileNotFoundError:
            return False

    def fold_long_log(self) -> None:
        """Folds the log into the file if it is long, unless somebody looks: the engine folds nothing then.

        Raises WriteFailed, or what the engine raises; what is committed is safe in the log then.
        """
        if not self.has_long_log():
            return
        with suppress(duckdb.TransactionException):  # somebody looks; a later turn tries again
            self.checkpoint()

    def checkpoint(self) -> None:
        """Folds the log into the file. Dying in the middle of it loses nothing.

        Raises WriteFailed, or what the engine raises; what is committed is safe in the log then.
        """
        if self._undo is not None:
            self._undo.keep(block for (block,) in self.execute(named.rewritable_blocks.text))
        merges = time.monotonic() - self._folded_at >= _SELDOM_S or self._unmerged >= _MOST_UNMERGED
        self._engine.execute((named.merge_at_checkpoints if merges else named.only_write_at_checkpoints).text)
        self._engine.execute(named.checkpoint.text)
        self._folded_at = time.monotonic()
        self._unmerged = 0 if merges else self._unmerged + 1
        self.has_written = False
        if self._undo is not None:
            self._undo.discard()

    def check_file(self) -> None:
        """Raises WriteFailed if the file was removed or replaced: what is written then is lost when we end."""
        if self.file is not None and self._identity is not None and file_identity(self.file) != self._identity:
            raise WriteFailed(
                f"{self.path} was removed or replaced while the run worked on it: results since then are lost. "
                "Put the file back if you can, then run again."
            )

    def _hide_log(self) -> None:
        """Who may not read the file may not read its log: the engine makes one that everybody may read."""
        if self.file is None or self._log is None or self._identity is None:
            return
        with suppress(OSError):  # there is no log, or it is somebody else's who let us write to it
            mode = stat.S_IMODE(self.file.stat().st_mode)
            if stat.S_IMODE(self._log.stat().st_mode) != mode:
                self._log.chmod(mode)

    def interrupt(self) -> None:
        """Stops a running statement from another thread."""
        self._engine.interrupt()

    def close(self) -> None:
        """Closes the database and lets its lock go. Safe to call twice."""
        self.clear_staged()
        self._staged.clear()
        if self.has_written and self.path is not None:
            # If it fails (no space, an engine that is dead already), the log holds everything, and the next to open
            # the file reads it.
            with suppress(duckdb.Error, WriteFailed):
                self.checkpoint()
        self._engine.close()
        if self._undo is not None:
            self._undo.release()
            self._undo = None
        self._release()

    def _release(self) -> None:
        if self._claim is not None:
            release(self._claim)
            self._claim = None

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _has_variant(schema: pa.Schema) -> bool:
    return any(_is_variant(field) for field in schema)


def _is_variant(field: pa.Field) -> bool:
    if field.metadata is not None and field.metadata.get(b"ARROW:extension:name") == _VARIANT_IN_ARROW:
        return True
    kind = field.type
    return any(_is_variant(kind.field(place)) for place in range(kind.num_fields))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_list(names: Sequence[str]) -> str:
    """Names as a list of SQL identifiers."""
    return ", ".join(quote(name) for name in names)
