"""What the log says of dropped rows: how many, now and then; each of them for who asks for more."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from rowmill.store.database.staging import Rows
from rowmill.store.layout.layout import Layout
from rowmill.store.reshape.reopening import RowKey

_BETWEEN = timedelta(seconds=10)
_log = logging.getLogger("rowmill.rows")


class DropLog:
    """Adds drops up and says them together, so that a run that drops many does not drown its log.

    It says nothing of rows that were given back meanwhile, as those of a run that stops as too much fails (F6).
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._unsaid: dict[RowKey, tuple[int, str, str | None, str | None]] = {}
        """Generator, reason, type of error and line of the user's code of the rows that were not told of yet."""
        self._of_turn: dict[RowKey, tuple[int, str, str | None, str | None, str | None]] = {}
        """The same with the message, of the turn that is not committed yet."""
        self._said_at: datetime | None = None

    def take(self, drops: Rows) -> None:
        """Notes drops of a turn."""
        for number, row_group, row_index, reason, error, message, _, line in drops.rows:
            self._of_turn.setdefault((row_group, row_index), (number, reason, error, line, message))

    def take_back(self, rows: Iterable[RowKey]) -> None:
        """These rows are dropped no more."""
        for row in rows:
            self._of_turn.pop(row, None)
            self._unsaid.pop(row, None)

    def committed(self, now: datetime) -> None:
        """The turn is committed: says its drops, with those before, if the last was said long enough ago."""
        if not self._of_turn:
            return
        for (row_group, row_index), (number, reason, error, line, message) in self._of_turn.items():
            self._unsaid[row_group, row_index] = number, reason, error, line
            if _log.isEnabledFor(logging.DEBUG):
                fields = {"column": self._name(number), "row_group": row_group, "row_index": row_index}
                fields["reason"] = reason
                _log.debug("Dropped row %d of row group %d: %s: %s", row_index, row_group, error, message, extra=fields)
        self._of_turn.clear()
        if self._said_at is None or now - self._said_at >= _BETWEEN:
            self.say()
            self._said_at = now

    def say(self) -> None:
        """One line for each reason; the messages may quote what a row holds and are not among them."""
        for (number, reason, error, line), rows in Counter(self._unsaid.values()).items():
            name = self._name(number)
            fields = {"column": name, "reason": reason, "error_type": error, "source_line": line, "rows": rows}
            why = ", ".join(each for each in (reason, error, line) if each)
            _log.warning("Dropped %d × column '%s' (%s)", rows, name, why, extra=fields)
        self._unsaid.clear()

    def _name(self, number: int) -> str:
        return self._layout.graph.generators[number].name
