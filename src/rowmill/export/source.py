"""What an export reads: finished rows as a stream of Arrow, as they are or on their way through processors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa


class DatasetSource(Protocol):
    """The part of ``rowmill.store.reading.reader.Reader`` used by exports."""

    def dataset_schema(self) -> pa.Schema:
        """The columns of the view ``dataset``."""
        ...

    def dataset_batches(self) -> Iterator[pa.RecordBatch]:
        """The finished rows in the order of ``row_id``."""
        ...
