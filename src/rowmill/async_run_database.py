"""The async twin of a run database in Python."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import anyio
import anyio.to_thread
import pyarrow as pa

from rowmill.engine.reopening import Reopened
from rowmill.export.dataset import ExportReport
from rowmill.export.directory import DirectoryReport
from rowmill.export.format import Compression, ExportFormat
from rowmill.export.order import Layout
from rowmill.inspect.difference import Difference
from rowmill.inspect.hands import BY_HAND
from rowmill.run_database import Extension, RunDatabase
from rowmill.running import SpecSource
from rowmill.store.reshape.change import Change
from rowmill.store.turn.control_request import ControlAnswer

if TYPE_CHECKING:
    from rowmill.store.reading.status import Status

T = TypeVar("T")


class AsyncRunDatabase:
    """The async twin of :class:`.RunDatabase`: the same methods, each in a worker thread, one at a time."""

    def __init__(self, database: RunDatabase) -> None:
        self._database = database
        self._lock = anyio.Lock()

    @classmethod
    async def open(cls, path: str | Path) -> AsyncRunDatabase:
        """As :meth:`RunDatabase.open`."""
        return cls(await anyio.to_thread.run_sync(RunDatabase.open, path))

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    async def _one_at_a_time(self, call: Callable[[], T]) -> T:
        async with self._lock:
            return await anyio.to_thread.run_sync(call)

    async def status(self) -> Status:
        """As :meth:`RunDatabase.status`."""
        return await self._one_at_a_time(self._database.status)

    async def sql(self, query: str) -> pa.Table:
        """As :meth:`RunDatabase.sql`."""
        return await self._one_at_a_time(partial(self._database.sql, query))

    async def to_arrow(self) -> pa.Table:
        """As :meth:`RunDatabase.to_arrow`."""
        return await self._one_at_a_time(self._database.to_arrow)

    async def show(
        self,
        what: str,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        values: bool = False,
        limit: int | None = 100,
    ) -> pa.Table:
        """As :meth:`RunDatabase.show`."""
        return await self._one_at_a_time(
            partial(self._database.show, what, where=where, columns=columns, values=values, limit=limit)
        )

    async def show_row(self, row_id: int, *, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """As :meth:`RunDatabase.show_row`."""
        return await self._one_at_a_time(partial(self._database.show_row, row_id, columns=columns))

    async def show_prompt(self, row_id: int, column: str) -> dict[str, Any]:
        """As :meth:`RunDatabase.show_prompt`."""
        return await self._one_at_a_time(partial(self._database.show_prompt, row_id, column))

    async def diff(
        self,
        other: str | Path | RunDatabase | AsyncRunDatabase,
        *,
        columns: Sequence[str] | None = None,
        limit: int = 3,
    ) -> Difference:
        """As :meth:`RunDatabase.diff`."""
        return await self._one_at_a_time(
            partial(
                self._database.diff,
                other._database if isinstance(other, AsyncRunDatabase) else other,
                columns=columns,
                limit=limit,
            )
        )

    async def metrics(self, format: Literal["prometheus", "openmetrics"] = "prometheus") -> str:
        """As :meth:`RunDatabase.metrics`."""
        return await self._one_at_a_time(partial(self._database.metrics, format))

    async def report(self, path: str | Path, force: bool = False, *, mode: int | None = None) -> None:
        """As :meth:`RunDatabase.report`."""
        await self._one_at_a_time(partial(self._database.report, path, force, mode=mode))

    async def ui(self, *, port: int = 0, steer: bool = False, beside: str | Path | None = None) -> str:
        """As :meth:`RunDatabase.ui`."""
        return await self._one_at_a_time(partial(self._database.ui, port=port, steer=steer, beside=beside))

    async def export(
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
        """As :meth:`RunDatabase.export`."""
        return await self._one_at_a_time(
            partial(
                self._database.export,
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
                csv_safe=csv_safe,
                mode=mode,
            )
        )

    async def export_directory(
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
        """As :meth:`RunDatabase.export_directory`."""
        return await self._one_at_a_time(
            partial(
                self._database.export_directory,
                path,
                format,
                append=append,
                force=force,
                compression=compression,
                processor=processor,
                split=split,
                partition_by=partition_by,
                columns=columns,
                where=where,
                layout=layout,
            )
        )

    async def push_to_hub(
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
        """As :meth:`RunDatabase.push_to_hub`."""
        return await self._one_at_a_time(
            partial(
                self._database.push_to_hub,
                repository,
                path,
                private=private,
                hub_endpoint=hub_endpoint,
                format=format,
                compression=compression,
                processor=processor,
                split=split,
                columns=columns,
                where=where,
                append=append,
                force=force,
            )
        )

    async def pause(self) -> ControlAnswer:
        """As :meth:`RunDatabase.pause`."""
        return await self._one_at_a_time(self._database.pause)

    async def resume(self) -> ControlAnswer:
        """As :meth:`RunDatabase.resume`."""
        return await self._one_at_a_time(self._database.resume)

    async def drain(self) -> ControlAnswer:
        """As :meth:`RunDatabase.drain`."""
        return await self._one_at_a_time(self._database.drain)

    async def cancel(self) -> ControlAnswer:
        """As :meth:`RunDatabase.cancel`."""
        return await self._one_at_a_time(self._database.cancel)

    async def limit(self, model: str | None, calls: int | None) -> ControlAnswer:
        """As :meth:`RunDatabase.limit`."""
        return await self._one_at_a_time(partial(self._database.limit, model, calls))

    async def drop(
        self,
        rows: str | range | Iterable[int] | None = None,
        *,
        where: str | None = None,
        reason: str = BY_HAND,
        dry_run: bool = False,
    ) -> ControlAnswer:
        """As :meth:`RunDatabase.drop`."""
        return await self._one_at_a_time(
            partial(self._database.drop, rows, where=where, reason=reason, dry_run=dry_run)
        )

    async def retry(
        self, *, dropped: bool = False, deferred: bool = False, where: str | None = None, dry_run: bool = False
    ) -> ControlAnswer:
        """As :meth:`RunDatabase.retry`."""
        return await self._one_at_a_time(
            partial(self._database.retry, dropped=dropped, deferred=deferred, where=where, dry_run=dry_run)
        )

    async def extend(self, records: int, row_group_size: int | None = None, *, dry_run: bool = False) -> Extension:
        """As :meth:`RunDatabase.extend`."""
        return await self._one_at_a_time(partial(self._database.extend, records, row_group_size, dry_run=dry_run))

    async def rerun(self, column: str, *, where: str | None = None, dry_run: bool = False) -> Reopened:
        """As :meth:`RunDatabase.rerun`."""
        return await self._one_at_a_time(partial(self._database.rerun, column, where=where, dry_run=dry_run))

    async def fork(
        self,
        target: str | Path,
        spec: SpecSource | None = None,
        *,
        directory: str | Path | None = None,
        parameters: Mapping[str, object] | None = None,
        keep_values: Collection[str] = (),
    ) -> Change:
        """As :meth:`RunDatabase.fork`."""
        return await self._one_at_a_time(
            partial(
                self._database.fork,
                target,
                spec,
                directory=directory,
                parameters=parameters,
                keep_values=keep_values,
            )
        )

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
