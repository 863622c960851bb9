"""A snapshot: one reader's look at a run database beside the writer, in the process that works on it.

It has a connection of its own, in a read-only transaction: it sees one moment of the run, can write nothing, and
neither waits for the writer nor makes it wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of
from rowmill.store.reading.details import read_details
from rowmill.store.reading.reader import query_error
from rowmill.store.reading.status import Details, Status, read_status

named = statements_of("reading/snapshot", "run")


class Snapshot:
    """One look. Made, used and closed by one thread at a time; :meth:`interrupt` may come from any."""

    def __init__(self, instance: Connection, in_flight: Mapping[str, int]) -> None:
        """``in_flight``: calls that run now, per resource: the view ``resource`` shows them."""
        self._connection = instance.beside()
        self._rows: pa.RecordBatchReader | None = None
        calls = {"resources": list(in_flight), "calls": list(in_flight.values())}
        self._connection.execute(named.say_alive.text)
        self._connection.execute(named.mark_in_flight_calls.text, calls)
        self._connection.execute(named.begin_snapshot.text)

    def batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The result of a query as a stream; memory holds a few batches of it.

        Raises UsageError for anything but one query that reads, and for SQL that does not run.
        """
        try:
            self._rows = self._connection.batches(sql, parameters, is_question=True)
        except duckdb.Error as error:
            raise query_error(error) from error
        return self._rows

    def status(self) -> Status:
        """Where the run stands, without details."""
        return read_status(self._connection)

    def details(self, status: Status, now: float) -> Details:
        """The details of a status at ``now`` (seconds since the epoch)."""
        return read_details(self._connection, status, now)

    def interrupt(self) -> None:
        """Stops the running query, and only this one. From any thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Ends the transaction, so that the versions it saw can go. Safe to call twice."""
        if self._rows is not None:
            self._rows.close()  # as long as a result is open, so is the database
            self._rows = None
        with suppress(duckdb.Error):  # an interrupted query has ended the transaction already
            self._connection.execute(named.end_snapshot.text)
        self._connection.close()


class MemoryGauge:
    """How much memory and disk the running queries of an open database take."""

    def __init__(self, instance: Connection) -> None:
        self._connection = instance.beside()
        self.limit_bytes = int(self._connection.execute(named.memory_limit.text)[0][0])
        """What the engine may use in all."""

    def measure(self) -> tuple[int, int]:
        """Bytes in memory and bytes spilled to disk."""
        memory_bytes, spilled_bytes = self._connection.execute(named.memory_of_queries.text)[0]
        return memory_bytes, spilled_bytes

    def close(self) -> None:
        """Lets the database go."""
        self._connection.close()
