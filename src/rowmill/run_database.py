"""Python's way in: running a spec, and reading a run database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
import anyio.to_thread
import pyarrow as pa
from anyio import NoEventLoopError
from anyio.lowlevel import current_token

from rowmill.engine import invocation, merging
from rowmill.engine import preview as engine_preview
from rowmill.engine.change import accept_change
from rowmill.engine.ending import RunReport
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.merging import Merged
from rowmill.engine.preparation import prepare, prepare_to_change, prepare_to_run
from rowmill.engine.preview import Preview
from rowmill.engine.reopening import prepare_inside
from rowmill.engine.sharding import default_database
from rowmill.errors import Problem, SpecError, UsageError
from rowmill.export.dataset import ExportReport
from rowmill.export.directory import DirectoryReport
from rowmill.export.format import Compression, ExportFormat
from rowmill.export.order import ExportOrder
from rowmill.graph.shard import ShardOrder
from rowmill.inspect.opening import open_reader, said_in_words
from rowmill.remote.opening import open_workers
from rowmill.report.page import write_report
from rowmill.spec.assembling import refuse_shadowed
from rowmill.spec.executor import ExecutorSettings, executor_settings
from rowmill.spec.loading import LoadedSpec, load_spec, spec_of_data
from rowmill.spec.spec import Spec
from rowmill.store.reading.reader import Reader
from rowmill.task import FinishedRowGroup
from rowmill.value.plain_arrow import TooWide, plain_table

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status
    from rowmill.ui.server import PageServer

SpecSource = str | Path | Spec | LoadedSpec | Mapping[str, Any]
"""A spec file, a loaded spec, or the spec as objects or plain data."""
OnProgress = Callable[["Status"], None]
OnRowGroupFinished = Callable[[FinishedRowGroup], None]


async def run_async(
    spec: SpecSource | None,
    path: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
    accept_changes: bool = False,
    shard: tuple[int, int] | None = None,
    rows: range | None = None,
    on_progress: OnProgress | None = None,
    progress_interval_s: float = 0.5,
    on_row_group_finished: OnRowGroupFinished | None = None,
    executor: str | Mapping[str, Any] | ExecutorSettings | None = None,
) -> RunReport:
    """Starts the run of ``spec``, goes on where it stopped, or does nothing when it is complete.

    ``path`` is the run database (default: ``<name>.duckdb`` in the current directory); a ``spec`` of None
    goes on with the one inside it. Relative paths of a spec that is no file start at ``directory``
    (default: the current one). ``seed``: the seed rows, as an Arrow table or anything that can hand itself
    over as one (a frame of pandas or polars); they are kept in the run database. ``parameters``: values for those of
    the spec. ``accept_changes``: a spec that
    differs from the one inside the run database replaces it, and what it changes is made again; without it such a spec
    is refused. ``shard``: ``(3, 16)`` makes only the third of sixteen parts, ``rows``: ``range(0, 500)`` only those
    rows, in a run database of their own (see :func:`merge`). ``on_progress`` is called about every
    ``progress_interval_s`` seconds. ``on_row_group_finished`` is
    called with a :class:`~rowmill.task.FinishedRowGroup` when the commit that finished a row group is durable, also if
    none of its rows is left; after a crash it may be called again for one (at least once each). Both are called on the
    event loop; what they raise stops the run. ``executor``: where calls are made, if not where the spec says, in the
    same words: ``"processes"`` or ``{"kind": "processes", "workers": 4}``.
    Raises a :class:`~rowmill.errors.RowmillError`.
    """
    order = ShardOrder.asked(shard, rows)
    if spec is None:
        if path is None:
            raise UsageError("Neither a spec nor a run database was given.")
        if parameters:
            raise UsageError("The spec inside a run database has its values; give parameters together with the spec.")
        if seed is not None:
            raise UsageError("The run database holds its seed rows; give seed together with the spec, or leave it out.")
        loaded, database = None, Path(path)
    else:
        loaded = await anyio.to_thread.run_sync(_loaded, spec, directory, seed, parameters)
        database = Path(path) if path is not None else default_database(loaded[0], order)
    with said_in_words():
        prepared = None
        if loaded is not None and accept_changes:
            prepared = await anyio.to_thread.run_sync(prepare_to_change, loaded[0], database, loaded[1])
        elif loaded is not None:
            prepared = await anyio.to_thread.run_sync(prepare_to_run, *loaded[:2], database)
        if prepared is not None and loaded is not None and prepared.seed_file is not None:
            refuse_shadowed(loaded[2], [name for name, _ in prepared.seed_file.columns])
        if accept_changes and database.exists():
            changed = prepared if prepared is not None else await anyio.to_thread.run_sync(prepare_inside, database)
            await anyio.to_thread.run_sync(accept_change, changed, database, time.time())
        return await invocation.run(
            prepared,
            database,
            on_progress=on_progress,
            progress_interval_s=progress_interval_s,
            on_row_group_finished=on_row_group_finished,
            shard=order,
            executor=None if executor is None else executor_settings(executor),
            open_workers=open_workers,
        )


def run(
    spec: SpecSource | None,
    path: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
    accept_changes: bool = False,
    shard: tuple[int, int] | None = None,
    rows: range | None = None,
    on_progress: OnProgress | None = None,
    progress_interval_s: float = 0.5,
    on_row_group_finished: OnRowGroupFinished | None = None,
    executor: str | Mapping[str, Any] | ExecutorSettings | None = None,
) -> RunReport:
    """:func:`run_async` on an event loop of its own. Raises UsageError inside a running one, as in a notebook."""
    _refuse_event_loop("run_async")
    return run_on_event_loop(
        partial(
            run_async,
            spec,
            path,
            directory=directory,
            seed=seed,
            parameters=parameters,
            accept_changes=accept_changes,
            shard=shard,
            rows=rows,
            on_progress=on_progress,
            progress_interval_s=progress_interval_s,
            on_row_group_finished=on_row_group_finished,
            executor=executor,
        )
    )


def merge(whole: str | Path, shards: Iterable[str | Path], *, allow_holes: bool = False) -> Merged:
    """Makes the run database ``whole`` of all shards of a run, which are only read.

    ``allow_holes``: also if shards are missing or unfinished; ``run(None, whole)`` makes the rest. Raises a
    :class:`~rowmill.errors.RowmillError`; then there is no ``whole``.
    """
    with said_in_words():
        return merging.merge(Path(whole), [Path(shard) for shard in shards], time.time(), allow_holes=allow_holes)


async def preview_async(
    spec: SpecSource,
    rows: int = 5,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
) -> Preview:
    """Makes the first ``rows`` rows of a spec, with the requests a run would make for them; writes no file.

    The arguments are those of :func:`run_async`. A notebook shows the result as a table; ``rows`` of it is an Arrow
    table. Raises what a run raises.
    """
    loaded, start, names = await anyio.to_thread.run_sync(_loaded, spec, directory, seed, parameters)
    prepared = await anyio.to_thread.run_sync(prepare, loaded, start)
    if prepared.seed_file is not None:
        refuse_shadowed(names, [name for name, _ in prepared.seed_file.columns])
    return await engine_preview.preview_async(prepared, rows)


def preview(
    spec: SpecSource,
    rows: int = 5,
    *,
    directory: str | Path | None = None,
    seed: object = None,
    parameters: Mapping[str, object] | None = None,
) -> Preview:
    """:func:`preview_async` on an event loop of its own. Raises UsageError inside a running one, as in a notebook."""
    _refuse_event_loop("preview_async")
    return run_on_event_loop(partial(preview_async, spec, rows, directory=directory, seed=seed, parameters=parameters))


def _refuse_event_loop(twin: str) -> None:
    if _is_in_event_loop():
        raise UsageError(f"An event loop is running here (a notebook?): use 'await rowmill.{twin}(…)'.")


def _is_in_event_loop() -> bool:
    try:
        current_token()
    except NoEventLoopError:
        return False
    return True


def _loaded(
    spec: SpecSource, directory: str | Path | None, seed: object, parameters: Mapping[str, object] | None = None
) -> tuple[Spec, Path, tuple[str, ...]]:
    """The spec, where its relative paths start, and the names of its parameters."""
    if isinstance(spec, (str, Path)):
        spec = load_spec(spec, parameters)
        parameters = None
    if parameters and isinstance(spec, (LoadedSpec, Spec)):
        raise UsageError("A spec that is loaded has its values; give parameters to load_spec, or with a file.")
    if isinstance(spec, LoadedSpec):
        return _with_seed(spec.spec, seed), spec.directory, tuple(spec.parameters)
    start = Path(directory) if directory is not None else Path.cwd()
    made, names = (spec, ()) if isinstance(spec, Spec) else spec_of_data(spec, start, parameters)
    return _with_seed(made, seed), start, names


def _with_seed(spec: Spec, seed: object) -> Spec:
    """The spec with seed rows given from Python. Raises SpecError if it names others, or they are no table."""
    if seed is None:
        return spec
    known = spec.seed_dataset
    if known is not None and known.seed_type != "df":
        raise SpecError(
            [Problem("seed_dataset", "The spec names seed data of its own; say seed_type: df, or no seed=.")]
        )
    fields = known.model_dump(exclude_unset=True) if known is not None else {}
    data = {"seed_dataset": {**fields, "seed_type": "df", "df": seed}}
    seeded = Spec.from_data({"records": 0, **data}).seed_dataset
    return spec.model_copy(update={"seed_dataset": seeded})


def _format(name: ExportFormat | str | None) -> ExportFormat | None:
    try:
        return ExportFormat(name) if name is not None else None
    except ValueError:
        raise UsageError(f"There is no export format '{name}'; use one of {', '.join(ExportFormat)}.") from None


def _compression(name: Compression | str | None) -> Compression | None:
    try:
        return Compression(name) if name is not None else None
    except ValueError:
        raise UsageError(f"There is no compression '{name}'; use one of {', '.join(Compression)}.") from None


def _names(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(columns, str):
        raise UsageError(f"columns is a list of names, not a text: ['{columns}'].")
    return tuple(columns) if columns is not None else None


def _known_to_all(table: pa.Table) -> pa.Table:
    """A table without the engine's own types. Raises UsageError for a value that no type of Arrow holds."""
    try:
        return plain_table(table)
    except TooWide as error:
        raise UsageError(f"Column '{error.column}', row {error.position} of the result: {error}") from error


class RunDatabase:
    """A run database, open for reading. Close it before a run goes on with the file."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader
        self._page: PageServer | None = None

    @classmethod
    def open(cls, path: str | Path) -> RunDatabase:
        """Opens the file read-only.

        Raises :class:`~rowmill.errors.UsageError` if there is none, :class:`~rowmill.errors.Locked`,
        :class:`~rowmill.errors.Incompatible` or :class:`~rowmill.errors.Damaged`.
        """
        return cls(Path(path), open_reader(Path(path)))

    def status(self) -> Status:
        """How far the run is; with its ``details``: pace, failures, what it waits for."""
        return self._reader.detailed_status(time.time())

    def report(self, path: str | Path, force: bool = False) -> None:
        """Draws the run and its dataset as one HTML file, whole or not at all.

        Raises :class:`~rowmill.errors.UsageError` if the file exists (without ``force``) or cannot be written.
        """
        write_report(self._reader, Path(path), force=force, database=self.path)

    def sql(self, query: str) -> pa.Table:
        """The result of a query over the public views; nothing can be changed this way."""
        with self._reader.hints(query):
            return _known_to_all(self._reader.table(query))

    def to_arrow(self) -> pa.Table:
        """All finished rows in the order of ``row_id``, in memory."""
        return _known_to_all(
            pa.Table.from_batches(self._reader.dataset_batches(), schema=self._reader.dataset_schema())
        )

    def export(
        self,
        path: str | Path,
        format: ExportFormat | str | None = None,
        force: bool = False,
        *,
        compression: Compression | str | None = None,
        processor: str | None = None,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> ExportReport:
        """Writes the finished rows to a file, whole or not at all, in bounded memory.

        ``format`` is parquet, jsonl, csv or arrow; None: told by the ending of ``path``. ``processor`` names a
        ``schema_transform`` of the spec, ``split`` is ``train=0.8,test=0.2``. ``columns``: only these; ``where``: only
        rows that meet this condition, in SQL. Raises :class:`~rowmill.errors.UsageError` if the file exists (without
        ``force``) or cannot be written.
        """
        order = ExportOrder(
            _format(format), _compression(compression), processor, split, columns=_names(columns), where=where
        )
        return order.to_file(
            self._reader, Path(path), force=force, database=self.path, protected=self._reader.seed_files()
        )

    def export_directory(
        self,
        path: str | Path,
        format: ExportFormat | str | None = None,
        *,
        append: bool = False,
        force: bool = False,
        compression: Compression | str | None = None,
        processor: str | None = None,
        split: str | None = None,
        partition_by: str | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        layout: Literal["files", "directory", "huggingface"] = "directory",
    ) -> DirectoryReport:
        """Writes the finished rows into a directory, whole or not at all; with ``append`` those it lacks.

        ``layout`` ``files``: a file of nothing but records for each part of the split. Otherwise as :meth:`export`.
        """
        order = ExportOrder(
            _format(format),
            _compression(compression),
            processor,
            split,
            partition_by,
            layout,
            columns=_names(columns),
            where=where,
        )
        protected = self._reader.seed_files()
        return order.to_directory(
            self._reader, Path(path), append=append, force=force, database=self.path, protected=protected
        )

    def ui(self, *, port: int = 0, steer: bool = False) -> str:
        """The address of a page that shows the run, living or finished, in a browser on this machine.

        The page is served by a thread of this process until the run database is closed; asked again, the address is
        the same. ``steer``: the page may also act on the run. Raises :class:`~rowmill.errors.UsageError` if the port
        is taken.
        """
        from rowmill.ui.server import PageServer  # not for those who never look

        if self._page is None:
            self._page = PageServer(self.path, port=port, can_steer=steer)
        return self._page.url

    def close(self) -> None:
        """Lets the file go, and ends the page. Safe to call twice."""
        if self._page is not None:
            self._page.close()
            self._page = None
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRunDatabase:
    """The async twin of :class:`RunDatabase`: the same methods, each in a worker thread, one at a time."""

    def __init__(self, database: RunDatabase) -> None:
        self._database = database
        self._lock = anyio.Lock()

    @classmethod
    async def open(cls, path: str | Path) -> AsyncRunDatabase:
        """As :meth:`RunDatabase.open`."""
        return cls(await anyio.to_thread.run_sync(RunDatabase.open, path))

    async def status(self) -> Status:
        """As :meth:`RunDatabase.status`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(self._database.status)

    async def sql(self, query: str) -> pa.Table:
        """As :meth:`RunDatabase.sql`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(self._database.sql, query)

    async def to_arrow(self) -> pa.Table:
        """As :meth:`RunDatabase.to_arrow`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(self._database.to_arrow)

    async def report(self, path: str | Path, force: bool = False) -> None:
        """As :meth:`RunDatabase.report`."""
        async with self._lock:
            await anyio.to_thread.run_sync(self._database.report, path, force)

    async def export(self, path: str | Path, *arguments: Any, **options: Any) -> ExportReport:
        """As :meth:`RunDatabase.export`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(partial(self._database.export, path, *arguments, **options))

    async def export_directory(self, path: str | Path, *arguments: Any, **options: Any) -> DirectoryReport:
        """As :meth:`RunDatabase.export_directory`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(partial(self._database.export_directory, path, *arguments, **options))

    async def ui(self, *, port: int = 0, steer: bool = False) -> str:
        """As :meth:`RunDatabase.ui`."""
        async with self._lock:
            return await anyio.to_thread.run_sync(partial(self._database.ui, port=port, steer=steer))

    async def close(self) -> None:
        """As :meth:`RunDatabase.close`."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await anyio.to_thread.run_sync(self._database.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
