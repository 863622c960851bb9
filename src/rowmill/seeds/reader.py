"""Seed readers of plug-ins: rows from wherever a package knows to fetch them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from rowmill.spec.column import StrictModel


class SeedReader(StrictModel):
    """Reads seed rows. A subclass has the fields a spec gives as ``params``, and :meth:`read`.

    What of the rows is used, and in which order, is not its business: ``selection``, ``explode`` and
    ``sampling_strategy`` come afterwards. The rows are read once, when a run is created; their digest tells whether
    they are still the same.
    """

    def read(self, directory: Path) -> pa.Table:
        """All rows, in an order that stays the same. Relative paths start at ``directory``, that of the spec."""
        raise NotImplementedError(type(self).__name__)

    def columns(self, directory: Path) -> pa.Schema:
        """Names and types of the columns; worth a method of its own where it costs less than reading the rows."""
        return self.read(directory).schema

    def files(self, directory: Path) -> Sequence[Path]:
        """Files of this machine the rows come from: as long as they have the same size and time, nothing is read again.

        Without any the rows are read again, to compare, at every start from the spec.
        """
        return ()
