"""Reading a run database: status, SQL, the finished rows. Read-only, and without access to any other file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb

from rowmill.errors import Damaged, InternalError, QueryStopped, RowmillError, SpecError, UsageError
from rowmill.store.database.connection import Connection, column_list
from rowmill.store.database.sql_allowance import bounded_time, time_for
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors
from rowmill.store.file.usable import check_exists
from rowmill.store.layout import schema
from rowmill.store.layout.expression import hint_for_query
from rowmill.store.layout.provenance import Provenance
from rowmill.store.reading.details import read_details
from rowmill.store.reading.readable import Readable
from rowmill.store.reading.status import Status, read_status

if TYPE_CHECKING:
    import pyarrow as pa

    from rowmill.store.reading.figures import Figures
    from rowmill.store.reading.requests import AttemptRecord

named = statements_of("layout/seed", "reading/status", "run")

_SLICE_ROWS = 50_000


class Reader:
    """A run database opened for reading, its file or, while a run holds that, a snapshot of the run."""

    def __init__(self, connection: Readable, version: int | None = None) -> None:
        """``version``: the schema version of the file (default: the newest)."""
        self._connection = connection
        self._version = schema.newest_version() if version is None else version

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file ``path``; raises as :func:`open_file` does."""
        return cls(*open_file(path))

    @contextmanager
    def _as_far_as_views_go(self) -> Iterator[None]:
        """What an older file does not have yet is no fault of anybody's: says how to get it."""
        try:
            yield
        except (InternalError, UsageError, duckdb.Error) as error:
            cause = error if isinstance(error, duckdb.Error) else error.__cause__
            is_missing = isinstance(cause, (duckdb.BinderException, duckdb.CatalogException))
            if not is_missing or self._version == schema.newest_version():
                raise
            raise schema.older(self._connection.path, self._version) from error

    def check_version(self) -> None:
        """Raises Incompatible if the file was made by an older Rowmill: before it is changed it must be migrated."""
        if self._version < schema.newest_version():
            raise schema.older(self._connection.path, self._version)

    def status(self) -> Status:
        """Where the run stands."""
        with self._as_far_as_views_go():
            return read_status(self._connection)

    def detailed_status(self, now: float) -> Status:
        """The same with its details: pace, failures, what it waits for. ``now``: seconds since the epoch.

        That of a living run may be a quarter of a second old, its details a second, both some seconds where readers
        never pause; they say when they were read.
        """
        known = self._connection.known_status()
        if known is not None:
            return known
        with self._as_far_as_views_go():
            status = read_status(self._connection)
            return replace(status, details=read_details(self._connection, status, now))

    def figures(self, now: float) -> Figures:
        """The figures a monitoring system asks for. ``now``: seconds since the epoch. O(attempts + dropped rows)."""
        from rowmill.store.reading.figures import read_figures  # not for a status, which is to be quick

        status = self.detailed_status(now)
        with self._as_far_as_views_go():
            return read_figures(self._connection, status, self._version)

    def attempts_from(self, first: int, limit: int) -> list[AttemptRecord]:
        """The attempts with the numbers ``first`` to ``first + limit - 1``, as far as they are there. O(limit)."""
        from rowmill.store.reading.requests import attempts_from

        with self._as_far_as_views_go():
            return attempts_from(self._connection, first, limit)

    def table(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The result of a user's query as an Arrow table. UsageError for SQL that does not run or would write."""
        try:
            return self._connection.arrow(sql, parameters, is_question=True)
        except duckdb.Error as error:
            raise self._query_error(error) from error

    def batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The same as a stream of record batches, without holding the result in memory."""
        try:
            return self._connection.batches(sql, parameters, is_question=True)
        except duckdb.Error as error:
            raise self._query_error(error) from error

    @contextmanager
    def hints(self, query: str) -> Iterator[None]:
        """Whatever is wrong with a user's query inside is told with how to quote a name that SQL reserves."""
        try:
            yield
        except UsageError as error:
            hint = hint_for_query(query)
            if not hint:
                raise
            raise UsageError(f"{error}{hint}") from error

    def _query_error(self, error: duckdb.Error) -> RowmillError:
        found = query_error(error)
        is_missing = isinstance(error, (duckdb.BinderException, duckdb.CatalogException))
        if not is_missing or self._version == schema.newest_version():
            return found
        return UsageError(f"{found} ({schema.older(self._connection.path, self._version)})")

    def seed_files(self) -> list[Path]:
        """The files the run's seed rows came from, as far as they are still there: nothing may overwrite them."""
        from rowmill.spec.seed import SeedDatasetConfig  # not for a status, which is to be quick

        rows = self._connection.execute(named.newest_spec.text)
        seed_dataset = json.loads(rows[0][0]).get("seed_dataset") if rows else None
        if seed_dataset is None:
            return []
        try:
            config = SeedDatasetConfig.model_validate(seed_dataset)
            return [] if config.is_remote else config.files(Path(rows[0][1]))
        except SpecError:
            return []  # they are gone: there is nothing to protect

    def newest_spec(self) -> str:
        """The spec the run goes on with, as JSON."""
        return str(self._connection.execute(named.newest_spec.text)[0][0])

    def dataset_columns(self) -> list[str]:
        """The columns of the view ``dataset``, in order."""
        with self._as_far_as_views_go():
            return [name for (name,) in self._connection.execute(named.dataset_columns.text)]

    def dataset_schema(self, columns: Sequence[str] | None = None) -> pa.Schema:
        """Names and Arrow types of the dataset's columns (default: all)."""
        return self._connection.arrow(named.dataset_schema.fill(columns=self._column_list(columns))).schema

    def dataset_batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The finished rows in ``row_id`` order, slice by slice: memory holds a slice, not the dataset (K4)."""
        with self._as_far_as_views_go():
            first, last, rows = self._connection.execute(named.finished_row_bounds.text)[0]
        if not rows:
            return
        query = named.dataset_slice.fill(columns=self._column_list(columns))
        width = max(_SLICE_ROWS, (last - first + 1) * _SLICE_ROWS // max(rows, 1))
        for start in range(first, last + 1, width):
            bounds = {"first_row": start, "last_row": min(start + width - 1, last)}
            yield from self._connection.arrow(query, bounds).to_batches()

    def dataset_row_ids(self) -> pa.Array:
        """The ``row_id`` of every finished row, in order."""
        with self._as_far_as_views_go():
            return self._connection.arrow(named.dataset_row_ids.text)["row_id"].combine_chunks()

    def row_ids_where(self, condition: str) -> pa.Array:
        """The ``row_id`` of every finished row that meets a condition over the columns of ``dataset``, in order.

        Raises UsageError for a condition that does not run, or does more than read.
        """
        # On lines of its own, so that a comment in the condition ends with it.
        query = named.dataset_row_ids_where.fill(predicate=f"(\n{condition}\n)")
        try:
            return self._of_all_rows(query, condition)["row_id"].combine_chunks()
        except UsageError as error:
            from rowmill.store.layout.expression import hint_for_condition  # not for a status, which is to be quick

            raise UsageError(
                f"The condition {condition!r} cannot be used. {error}{hint_for_condition(condition)}"
            ) from error

    def _of_all_rows(self, query: str, condition: str) -> pa.Table:
        """The result of a query with a user's condition over the dataset. Nobody may be there to stop it: it has a time
        limit, on a free file too. Raises QueryStopped at its end, and what :meth:`table` does."""
        _, _, rows = self._connection.execute(named.finished_row_bounds.text)[0]
        with bounded_time(self._connection, time_for(rows)) as watched:
            try:
                return self.table(query)
            except UsageError as error:
                if not watched.has_fired:
                    raise
                raise QueryStopped(
                    f"The condition {condition!r} took longer than {time_for(rows):,.0f} s and was stopped. Make it "
                    "cheaper: bound the texts and lists it builds or compares."
                ) from error

    def only(self, row_ids: pa.Array, columns: Sequence[str] | None = None) -> SomeRows:
        """The finished rows among ``row_ids`` (which are in order), as another source of rows."""
        return SomeRows(self, row_ids, columns)

    def rows_of(self, row_ids: pa.Array, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The finished rows among ``row_ids`` (which are in order), in bounded memory."""
        query = named.dataset_rows.fill(columns=self._column_list(columns))
        for start in range(0, len(row_ids), _SLICE_ROWS):
            wanted = row_ids.slice(start, _SLICE_ROWS).to_pylist()
            bounds = {"first_row": wanted[0], "last_row": wanted[-1], "row_ids": wanted}
            yield from self._connection.arrow(query, bounds).to_batches()

    def dataset_summary(self, condition: str | None = None) -> list[dict[str, Any]]:
        """Per column: column_name, column_type, distinct (about), filled (values that are not null). Reads all rows.

        ``condition``: of the rows that meet it, as for :meth:`row_ids_where`.
        """
        with self._as_far_as_views_go():
            columns = self._column_list(None)
            types = self._connection.execute(named.dataset_types.text)
            predicate = f"(\n{condition}\n)" if condition is not None else "true"
            query = named.dataset_summary.fill(columns=columns, predicate=predicate)
            summary = self._of_all_rows(query, condition or predicate)
        figures = [column[0].as_py() for column in summary.columns]
        return [
            {"column_name": name, "column_type": sql_type, "distinct": min(distinct, filled), "filled": filled}
            for (name, sql_type), distinct, filled in zip(
                types, figures[: len(types)], figures[len(types) :], strict=True
            )
        ]

    def usage_of_models(self) -> list[dict[str, Any]]:
        """Per model: model, requests, input_tokens, output_tokens, cost_usd, over all invocations."""
        from rowmill.value.python_value import python_rows  # not for a status, which is to be quick

        with self._as_far_as_views_go():
            return list(python_rows(self._connection.arrow(named.usage_of_models.text)))

    def identity(self) -> RunIdentity:
        """Which run this is, and a digest of all that shapes its values."""
        with self._as_far_as_views_go():
            name, made_at, seed, spec_version = self._connection.execute(named.run_identity.text)[0]
            fingerprints = [row[2] for row in self._connection.execute(named.stored_generators.text)]
            seed_digests = [digest for _, digest in self._connection.execute(named.stored_seed_content.text)]
            remade_at = self._connection.execute(named.last_remaking.text)[0][0]
        parts = [str(seed), str(remade_at), *seed_digests, *fingerprints]
        content = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return RunIdentity(name, made_at.isoformat(), seed, content, spec_version)

    def provenance(self) -> list[tuple[str, Provenance]]:
        """The runs whose finished rows are the seed rows of this one, with the path of each."""
        with self._as_far_as_views_go():
            marks = self._connection.execute(named.stored_seed_files.text)
        found = [(path, Provenance.of_mark(mark)) for path, mark in marks]
        return [(path, provenance) for path, provenance in found if provenance is not None]

    def spec_text(self) -> str:
        """The newest spec inside the database, as JSON."""
        return str(self._connection.execute(named.newest_spec.text)[0][0])

    def _column_list(self, columns: Sequence[str] | None) -> str:
        known = self.dataset_columns()
        unknown = [name for name in columns or () if name not in known]
        if unknown:
            raise UsageError(f"The dataset has no column {unknown[0]!r}. It has: {', '.join(known)}.")
        return column_list(columns or known)

    @property
    def is_living(self) -> bool:
        """Whether a run that works on the file answers; otherwise the file is held until this is closed."""
        return self._connection.is_living

    def interrupt(self) -> None:
        """Stops a running query from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Closes the file and lets its lock go."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which run a database holds."""

    name: str
    made_at: str
    """ISO 8601, UTC."""
    seed: int
    content: str
    """A digest of all that shapes its values (V2), and of when some were last made again."""
    spec_version: int
    """The number of the spec it goes by, from 1."""


class SomeRows:
    """Some of the finished rows of a :class:`Reader`, as a source of their own."""

    def __init__(self, reader: Reader, row_ids: pa.Array, columns: Sequence[str] | None = None) -> None:
        self._reader = reader
        self._row_ids = row_ids
        self._columns = columns

    def dataset_schema(self) -> pa.Schema:
        """The columns of the view ``dataset``, or those that were asked for."""
        return self._reader.dataset_schema(self._columns)

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the order of ``row_id``."""
        return self._reader.rows_of(self._row_ids, self._columns)


def open_file(path: Path) -> tuple[Connection, int]:
    """Opens the file of a run database read-only, holding its lock until it is closed; also says its schema version.

    A file of an older Rowmill can be read as far as its views go. Raises UsageError (no such file), Locked (another
    process works on it; names its pid), Damaged or Incompatible (not a run database, or of a newer version).
    """
    check_exists(path)
    connection = Connection(path, read_only=True)
    try:
        if schema.is_new(connection):
            raise UsageError(f"{path} is empty: no run was ever started in it. 'rowmill run SPEC' fills it.")
        return connection, schema.version_of(connection)
    except duckdb.Error as error:
        connection.close()
        raise engine_errors.opening_error(error, path) from error
    except BaseException:
        connection.close()
        raise


def query_error(error: Exception) -> RowmillError:
    """What a failing query of a user means, in the engine's words without its stack and its advice."""
    text = str(error).strip().partition("\n\nPossible solutions:")[0].partition("\n\nStack Trace:")[0]
    if isinstance(error, (duckdb.OutOfMemoryException, MemoryError)):
        return QueryStopped(
            "The query was stopped: it needs more memory than it may take. Bound what it builds (the length of lists "
            "and texts), or ask for fewer rows."
        )
    if isinstance(error, duckdb.Error) and engine_errors.is_corruption(error):
        return Damaged(f"The run database is damaged: {text}. 'rowmill doctor FILE' says what can be done.")
    if isinstance(error, duckdb.PermissionException):
        return UsageError(f"The query may only read this run database: {text.splitlines()[0]}")
    if isinstance(error, (duckdb.InvalidInputException, duckdb.TransactionException)) and "read-only" in text:
        return UsageError("The query would write; SQL on a run database only reads.")
    return UsageError(f"The query does not run: {text}")
