"""A preview: the first rows of a spec, made for real in a run database that exists in memory only."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from rowmill import notebook
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.invocation import work
from rowmill.engine.preparation import Prepared
from rowmill.engine.writer import WriterThread
from rowmill.errors import EndpointAway, UsageError
from rowmill.store.reading.listing import Selection, listing
from rowmill.store.reading.reader import Reader
from rowmill.store.reading.status import DropReason
from rowmill.store.run_store import RunStore
from rowmill.value.plain_arrow import plain_table
from rowmill.value.python_value import python_values

_PATIENCE_S = 20.0
"""Somebody waits for a preview: an endpoint that is away for so long ends it."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a preview made: the finished rows, and why others were dropped."""

    made: pa.Table
    """The rows as the engine hands them over."""
    rows_dropped: int
    drop_reasons: tuple[DropReason, ...]
    attempts: tuple[Mapping[str, Any], ...] = ()
    """Its requests, as the view ``attempt`` has them."""
    rows_lost: int = 0
    """Of the dropped rows those that were lost to errors."""

    @property
    def rows(self) -> pa.Table:
        """The finished rows."""
        return plain_table(self.made)

    def _repr_html_(self) -> str:
        """The rows for a notebook."""
        facts = [("rows", self.made.num_rows), ("dropped", self.rows_dropped)]
        rows = zip(*map(python_values, self.made.columns), strict=True)
        reasons = [notebook.note(str(reason)) for reason in self.drop_reasons]
        return notebook.page("Preview", facts, notebook.table(self.made.schema.names, rows), *reasons)


def preview(prepared: Prepared, rows: int, environ: Mapping[str, str] | None = None) -> Preview:
    """Makes the first ``rows`` rows. Makes the requests a run would make for them; writes no file.

    Raises what a run raises.
    """
    return run_on_event_loop(partial(preview_async, prepared, rows, environ))


async def preview_async(prepared: Prepared, rows: int, environ: Mapping[str, str] | None = None) -> Preview:
    """:func:`preview` inside an event loop."""
    if rows < 1:
        raise UsageError(f"A preview needs at least 1 row, not {rows}.")
    environ = os.environ if environ is None else environ
    run = prepared.spec.run
    patience = run.model_copy(update={"unavailable_after_s": min(run.unavailable_after_s, _PATIENCE_S)})
    spec = prepared.spec.model_copy(update={"records": min(rows, prepared.spec.planned_records), "run": patience})
    async with WriterThread() as writer:
        store = await writer.call(RunStore.in_memory)
        try:
            report = await work(store, writer, replace(prepared, spec=spec), wall_clock=time.time, environ=environ)
            if isinstance(report.stop, EndpointAway):
                raise report.stop
            reader = Reader(store.connection)
            schema = await writer.call(reader.dataset_schema)
            batches = await writer.call(lambda: list(reader.dataset_batches()))
            attempts = await writer.call(lambda: listing(reader, "attempts", Selection()).read_all().to_pylist())
        finally:
            await writer.call(store.close)
    return Preview(
        pa.Table.from_batches(batches, schema),
        report.rows_dropped,
        report.drop_reasons,
        tuple(attempts),
        report.rows_lost,
    )
