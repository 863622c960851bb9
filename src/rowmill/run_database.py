"""A run database in Python: reading it, and acting on its run."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import pyarrow as pa

from rowmill.engine import change as engine_change
from rowmill.engine import reopening
from rowmill.engine.preparation import prepare_to_change
from rowmill.engine.reopening import Reopened, prepare_inside
from rowmill.errors import UsageError
from rowmill.export.dataset import ExportReport
from rowmill.export.directory import DirectoryReport
from rowmill.export.format import Compression, ExportFormat, format_of
from rowmill.export.order import ExportOrder, Layout, check_csv_safe, chosen_layout
from rowmill.inspect.difference import Difference, difference
from rowmill.inspect.hands import BY_HAND, drop_rows, ranges_of, retry_deferred, retry_dropped
from rowmill.inspect.limits import limit_of
from rowmill.inspect.opening import open_reader, said_in_words
from rowmill.inspect.shared_reader import SharedReader
from rowmill.inspect.steering import steer
from rowmill.report.page import write_report
from rowmill.running import SpecSource, loaded_spec
from rowmill.running import merge as merge
from rowmill.running import preview as preview
from rowmill.running import preview_async as preview_async
from rowmill.running import run as run
from rowmill.running import run_async as run_async
from rowmill.store.reading.listing import VIEWS, Selection, listing
from rowmill.store.reshape.change import Change
from rowmill.store.turn.control_request import ControlAnswer
from rowmill.ui.row import read_row
from rowmill.ui.row_record import asked_prompt, chosen_columns, row_record
from rowmill.value.plain_arrow import TooWide, plain_table

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status
    from rowmill.ui.server import PageServer


class Extension(NamedTuple):
    """How many rows a run plans, before and after it was extended."""

    records_before: int
    records: int


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
    """A run database: what the run holds, and acting on it, whether a process works on it or not.

    Threads may share it; their queries run at the same time. While it is open no run can start with the file in this
    program, so close it before; what acts on the run lets the file go by itself.
    """

    def __init__(self, path: Path, reader: SharedReader) -> None:
        self.path = path
        self._reader = reader
        self._page: PageServer | None = None
        self._page_wish: tuple[int, bool, Path | None] | None = None

    @classmethod
    def open(cls, path: str | Path) -> RunDatabase:
        """Opens the file.

        Raises :class:`~rowmill.errors.UsageError` if there is none, :class:`~rowmill.errors.Locked`,
        :class:`~rowmill.errors.Incompatible` or :class:`~rowmill.errors.Damaged`.
        """
        return cls(Path(path), SharedReader(Path(path)))

    # What it holds --------------------------------------------------------------------------------

    def status(self) -> Status:
        """How far the run is; with its ``details``: pace, failures, what it waits for. Printed, it is a short table."""
        with self._reader.reading() as reader:
            return reader.detailed_status(time.time())

    def sql(self, query: str) -> pa.Table:
        """The result of a query over the public views; nothing can be changed this way."""
        with self._reader.reading() as reader, reader.hints(query):
            return _known_to_all(reader.table(query))

    def to_arrow(self) -> pa.Table:
        """All finished rows in the order of ``row_id``, in memory."""
        with self._reader.reading() as reader:
            return _known_to_all(pa.Table.from_batches(reader.dataset_batches(), schema=reader.dataset_schema()))

    def show(
        self,
        what: str,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: bool = False,
        limit: int | None = 100,
    ) -> pa.Table:
        """A ready-made listing: rows, groups, ready, deferred, dropped, attempts, events, usage, resources, …

        ``where``: only rows that meet this condition, in SQL; ``columns``: only these; ``values``: of dropped rows also
        what they held; ``limit``: None shows all. Raises :class:`~rowmill.errors.UsageError`.
        """
        if what not in VIEWS:
            raise UsageError(f"There is no listing '{what}'; there are: {', '.join(VIEWS)}.")
        if values and what != "dropped":
            raise UsageError(
                f"--values is for dropped rows: 'rowmill show dropped --values'. '{what}' has no more than it shows."
            )
        with self._reader.reading() as reader:
            selection = Selection(where, _names(columns) or (), limit, values)
            return _known_to_all(listing(reader, what, selection).read_all())

    def show_row(self, row_id: int, *, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """All that is known of one row: values, conversations, attempts, why it was dropped or waits.

        Raises :class:`~rowmill.errors.UsageError` for a row, or a column, that is not there.
        """
        with self._reader.reading() as reader:
            row = read_row(reader, row_id)
        return row_record(row, chosen_columns(row, _names(columns) or ()))

    def show_prompt(self, row_id: int, column: str) -> dict[str, Any]:
        """What the model of a column is or was asked for a row: ``messages``, as they were or would be sent.

        Raises :class:`~rowmill.errors.UsageError` where nothing is asked.
        """
        with self._reader.reading() as reader:
            return asked_prompt(reader, row_id, column).as_record()

    def diff(
        self, other: str | Path | RunDatabase, *, columns: Sequence[str] | None = None, limit: int = 3
    ) -> Difference:
        """Where the finished rows of this one and another differ, by ``row_id``, with at most ``limit`` examples each.

        Raises :class:`~rowmill.errors.UsageError` for a column that neither has.
        """
        there = other.path if isinstance(other, RunDatabase) else Path(other)
        with self._reader.reading() as reader, open_reader(there) as others:
            return difference(reader, others, _names(columns) or (), limit)

    def metrics(self, format: Literal["prometheus", "openmetrics"] = "prometheus") -> str:
        """The figures of the run for a monitoring system. Needs the extra ``metrics``."""
        from rowmill.metrics.collector import MetricsFormat, exposition, read_file

        return exposition(lambda: read_file(self.path), MetricsFormat(format)).decode()

    def report(self, path: str | Path, force: bool = False, *, mode: int | None = None) -> None:
        """Draws the run and its dataset as one HTML file, whole or not at all, with the rights ``mode`` (None: 0600).

        Raises :class:`~rowmill.errors.UsageError` if the file exists (without ``force``) or cannot be written.
        """
        with self._reader.reading() as reader:
            write_report(reader, Path(path), force=force, database=self.path, mode=mode)

    def ui(self, *, port: int = 0, steer: bool = False, beside: str | Path | None = None) -> str:
        """The address of a page that shows the run, living or finished, in a browser on this machine.

        The page is served by a thread of this process until the run database is closed; asked for the same again, the
        address is the same. ``steer``: the page may also act on the run; ``beside``: another run database to compare
        with. Raises :class:`~rowmill.errors.UsageError` if the port is taken.
        """
        from rowmill.ui.server import PageServer  # not for those who never look

        wish = (port, steer, None if beside is None else Path(beside))
        if self._page is not None and self._page_wish != wish:
            self._page.close()
            self._page = None
        if self._page is None:
            self._page = PageServer(
                self.path, port=port, can_steer=steer, beside=wish[2], letting_go=self._reader.let_go
            )
            self._page_wish = wish
        return self._page.url

    # Files of its rows ----------------------------------------------------------------------------

    def export(
        self,
        path: str | Path,
        format: ExportFormat | str | None = None,
        force: bool = False,
        *,
        layout: Layout | None = None,
        compression: Compression | str | None = None,
        processor: str | None = None,
        split: str | None = None,
        partition_by: str | None = None,
        append: bool = False,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        csv_safe: bool = False,
        mode: int | None = None,
    ) -> ExportReport | DirectoryReport:
        """Writes the finished rows to a file or a directory, whole or not at all, in bounded memory.

        :param format: parquet, jsonl, csv or arrow; None: told by the ending of ``path``, in a directory parquet.
        :param force: replaces an existing file, or an earlier export in a directory.
        :param layout: ``file``; ``files`` of nothing but records, one for each part of the split; ``directory``; or
            ``huggingface``, with a dataset card. None: what the other arguments need.
        :param compression: zstd, gzip, none. None: zstd for parquet, gzip for the ending .gz, otherwise none.
        :param processor: rows in the shape of this ``schema_transform`` of the spec.
        :param split: ``train=0.8,test=0.2``: a column with the part of each row.
        :param partition_by: a directory for each value of this column.
        :param append: adds the rows that the directory does not hold yet.
        :param columns: only these, in this order.
        :param where: only rows that meet this condition, in SQL.
        :param csv_safe: puts ' before texts that a spreadsheet would take for formulas.
        :param mode: of the files; None: 0600, or as what they replace.

        Raises :class:`~rowmill.errors.UsageError` if the file exists (without ``force``) or cannot be written.
        """
        target = Path(path)
        chosen = chosen_layout(layout, needs_directory=append or partition_by is not None)
        kind = _format(format)
        if kind is None and chosen == "file":
            kind = format_of(target)
        check_csv_safe(csv_safe, kind)
        order = ExportOrder(
            kind,
            _compression(compression),
            processor,
            split,
            partition_by,
            chosen,
            mode,
            csv_safe,
            _names(columns),
            where,
        )
        with self._reader.reading() as reader:
            protected = reader.seed_files()
            if chosen == "file":
                return order.to_file(reader, target, force=force, database=self.path, protected=protected)
            return order.to_directory(
                reader, target, append=append, force=force, database=self.path, protected=protected
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
        """:meth:`export` into a directory."""
        done = self.export(
            path,
            format,
            force,
            layout=layout,
            compression=compression,
            processor=processor,
            split=split,
            partition_by=partition_by,
            append=append,
            columns=columns,
            where=where,
        )
        assert isinstance(done, DirectoryReport)
        return done

    def push_to_hub(
        self,
        repository: str,
        path: str | Path | None = None,
        *,
        private: bool = False,
        hub_endpoint: str | None = None,
        format: ExportFormat | str | None = None,
        compression: Compression | str | None = None,
        processor: str | None = None,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        append: bool = False,
        force: bool = False,
    ) -> str:
        """Pushes the finished rows to the Hugging Face hub (``HF_TOKEN``); returns the address of the commit.

        ``path``: a directory that keeps what was pushed; ``private``: a new dataset is; otherwise as :meth:`export`.
        """
        order = ExportOrder(
            _format(format),
            _compression(compression),
            processor,
            split,
            layout="huggingface",
            columns=_names(columns),
            where=where,
        )
        with self._reader.reading() as reader:
            _, address = order.to_hub(
                reader,
                repository,
                None if path is None else Path(path),
                private=private,
                endpoint=hub_endpoint,
                append=append,
                force=force,
                database=self.path,
                protected=reader.seed_files(),
            )
        return address

    # Steering, also while a process works on it ----------------------------------------------------

    def pause(self) -> ControlAnswer:
        """Hands out no new work: what runs finishes and is kept."""
        return self._steer("pause")

    def resume(self) -> ControlAnswer:
        """Lets a paused run go on."""
        return self._steer("resume")

    def drain(self) -> ControlAnswer:
        """Finishes what runs, then stops the run."""
        return self._steer("drain")

    def cancel(self) -> ControlAnswer:
        """Stops the run now: running calls are cut off, what arrived is kept."""
        return self._steer("cancel")

    def limit(self, model: str | None, calls: int | None) -> ControlAnswer:
        """Sets how many calls of a model run at once; None as ``calls``: as many as the spec says.

        ``model``: an alias, a resource of ``show("resources")`` or ``local/threads``; None: all tasks in flight.
        """
        if calls is not None and (type(calls) is not int or calls < 1):
            raise UsageError(f"N must be a whole number from 1, or None for what the spec says, not {calls!r}.")
        with self._reader.let_go() as path:
            found = limit_of(path, model)
            return steer(path, "limit", {"resource": found.resource, "calls": calls, "spec_calls": found.calls})

    def drop(
        self,
        rows: str | range | Iterable[int] | None = None,
        *,
        where: str | None = None,
        reason: str = BY_HAND,
        dry_run: bool = False,
    ) -> ControlAnswer:
        """Gives up rows that are worked on: by number (``"3,17,100-199"``, ``[3, 17]``), or ``where``, in SQL."""
        ranges = None if rows is None else ranges_of(rows)
        with self._reader.let_go() as path:
            return drop_rows(path, ranges=ranges, where=where, reason=reason, dry_run=dry_run)

    def retry(
        self, *, dropped: bool = False, deferred: bool = False, where: str | None = None, dry_run: bool = False
    ) -> ControlAnswer:
        """Brings dropped rows back, or ends the waiting of deferred tasks; ``where``: only some, in SQL."""
        if dropped == deferred:
            raise UsageError("Say what to retry: 'rowmill retry DATABASE --dropped', or --deferred.")
        bring_back = retry_deferred if deferred else retry_dropped
        with self._reader.let_go() as path:
            return bring_back(path, where, dry_run=dry_run)

    def _steer(self, verb: str) -> ControlAnswer:
        with self._reader.let_go() as path:
            return steer(path, verb)

    # Changes, while nobody works on it -------------------------------------------------------------

    def extend(self, records: int, row_group_size: int | None = None, *, dry_run: bool = False) -> Extension:
        """Plans more rows: ``records`` in all. The next run makes them."""
        with self._reader.let_go() as path, said_in_words():
            return Extension(*reopening.extend(path, records, row_group_size, time.time(), dry_run=dry_run))

    def rerun(self, column: str, *, where: str | None = None, dry_run: bool = False) -> Reopened:
        """Makes a column again, for all rows or some, and with it what depends on it. The next run makes them."""
        with self._reader.let_go() as path, said_in_words():
            return reopening.rerun(path, column, where, time.time(), dry_run=dry_run)

    def fork(
        self,
        target: str | Path,
        spec: SpecSource | None = None,
        *,
        directory: str | Path | None = None,
        parameters: Mapping[str, object] | None = None,
        keep_values: Collection[str] = (),
    ) -> Change:
        """Copies this run database to ``target``, under another spec: what it lacks, a run of it makes.

        ``spec``: None is the one inside; otherwise as for :func:`rowmill.run`, as ``keep_values`` is.
        Returns what the copy makes anew.
        """
        if parameters and spec is None:
            raise UsageError("The spec inside a run database has its values: --set takes --spec, too.")
        with self._reader.let_go() as path, said_in_words():
            if spec is None:
                prepared = prepare_inside(path)
            else:
                loaded, start, _ = loaded_spec(spec, directory, None, parameters)
                prepared = prepare_to_change(loaded, path, start)
            return engine_change.fork(prepared, path, Path(target), time.time(), keeps=keep_values)

    # ------------------------------------------------------------------------------------------------

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
