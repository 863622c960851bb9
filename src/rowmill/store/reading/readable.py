"""What can be read: a run database that is open here, or one whose holder answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rowmill.store.database.question import Queryable
from rowmill.store.reading.status import Status

if TYPE_CHECKING:
    import pyarrow as pa


class Readable(Queryable, Protocol):
    """What reading a run database needs, whether its file is open here or its holder answers."""

    @property
    def path(self) -> Path | None:
        """The file."""
        ...

    @property
    def is_living(self) -> bool:
        """Whether a run that works on the file answers; otherwise the file is open here."""
        ...

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False) -> pa.Table:
        """The result of a query as an Arrow table. ``is_question``: a user's; UsageError unless it only reads."""
        ...

    def batches(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, is_question: bool = False
    ) -> pa.RecordBatchReader:
        """The same as a stream of record batches."""
        ...

    def known_status(self) -> Status | None:
        """Where the run stands, if whoever answers says so without being asked for every part of it; else None."""
        ...

    def interrupt(self) -> None:
        """Stops a running query from another thread."""
        ...

    def close(self) -> None:
        """Lets the database go. Safe to call twice."""
        ...
