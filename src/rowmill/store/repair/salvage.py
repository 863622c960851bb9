"""Reading what can still be read of a damaged run database.

The engine checks the checksum of every block it reads and goes on after one that is wrong. So the dataset is read in
ranges of rows, and a range that fails is halved until what is lost is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from rowmill.errors import Damaged, RowmillError
from rowmill.store.database.connection import Connection, quote
from rowmill.store.database.statements import statements_of
from rowmill.store.file.log import log_of
from rowmill.store.repair.recovery import examining, open_error

sql = statements_of("repair/doctor", "run")

_MOST_ROWS = 50_000
_FEWEST_ROWS = 256


@contextmanager
def salvaging(path: Path) -> Iterator[Salvage]:
    """Opens what can be opened of ``path``, read-only, and if need be without its log.

    Raises Locked, or Damaged if the file itself does not open.
    """
    log = log_of(path)
    with examining(path) as examined:
        content = log.read_bytes() if log.is_file() else None
        problem = None
        if content and open_error(examined, content) is not None:
            problem = "what is only in the log (try --repair first)"
            log_of(examined).unlink()
        try:
            connection = Connection(examined, read_only=True)
        except RowmillError as error:
            cause = error.__cause__ if error.__cause__ is not None else error
            raise Damaged(
                f"Nothing of {path} can be read: {str(cause).splitlines()[0]}. "
                "All of it is lost, unless there is a copy."
            ) from error
        with connection:
            yield Salvage(connection, problem)


class Salvage:
    """What can be read of one database. What is lost is said in lists the caller gives."""

    def __init__(self, connection: Connection, log_problem: str | None) -> None:
        self._connection = connection
        self.log_problem = log_problem

    def spec(self) -> str | None:
        """The spec, as JSON; None if it is lost."""
        try:
            rows = self._connection.execute(sql.newest_spec.text)
        except duckdb.Error:
            return None  # lost: the caller says so
        return str(rows[0][0]) if rows else None

    def schema(self, view: str) -> pa.Schema | None:
        """The columns of a view; None if it is lost."""
        query = f"{sql.salvage_view.fill(view=f'main.{quote(view)}')} limit 0"
        try:
            return self._connection.arrow(query).schema
        except duckdb.Error:
            return None  # lost: reading its rows says so

    def view(self, view: str, lost: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of a view, or none."""
        try:
            table = self._connection.arrow(sql.salvage_view.fill(view=f"main.{quote(view)}"))
        except duckdb.Error as error:
            lost.append(f"{view}: {_reason(error)}")
            return
        yield from table.to_batches()

    def dataset(self, lost: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the dataset outside of damaged blocks, in their order."""
        try:
            first, last = self._connection.execute(sql.row_id_bounds.text)[0]
        except duckdb.Error as error:
            if self.schema("dataset") is None:
                lost.append(f"dataset: {_reason(error)}")
                return
            first, last = 0, self._planned_rows() - 1
        if first is None:
            return
        for start in range(first, last + 1, _MOST_ROWS):
            yield from self._range(start, min(start + _MOST_ROWS - 1, last), lost)

    def _planned_rows(self) -> int:
        try:
            return int(self._connection.execute(sql.planned_rows.text)[0][0])
        except duckdb.Error:
            return _MOST_ROWS  # the plan is lost too: look at least at the start

    def _range(self, first: int, last: int, lost: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            table = self._connection.arrow(sql.salvage_dataset.text, {"first_row": first, "last_row": last})
        except duckdb.Error as error:
            if last - first < _FEWEST_ROWS:
                lost.append(f"dataset: rows {first} to {last}: {_reason(error)}")
                return
            middle = (first + last) // 2
            yield from self._range(first, middle, lost)
            yield from self._range(middle + 1, last, lost)
            return
        yield from table.to_batches()


def _reason(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0]
