"""What the log says of dropped rows: how many, now and then; each of them for who asks for more."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta

from rowmill.store.database.staging import Rows
from rowmill.store.layout.layout import Layout

_BETWEEN = timedelta(seconds=10)
_log = logging.getLogger("rowmill.rows")


class DropLog:
    """Adds drops up and says them together, so that a run that drops many does not drown its log."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._unsaid: Counter[tuple[int, str, str | None]] = Counter()
        """Rows per generator, reason and type of error."""
        self._said_at: datetime | None = None

    def take(self, drops: Rows, now: datetime) -> None:
        """Says them, with those before, if the last was said long enough ago; later otherwise."""
        self._unsaid.update((row[0], row[3], row[4]) for row in drops.rows)
        if self._said_at is None or now - self._said_at >= _BETWEEN:
            self.say()
            self._said_at = now
        if _log.isEnabledFor(logging.DEBUG):
            for number, row_group, row_index, reason, error, message, *_ in drops.rows:
                fields = {"column": self._name(number), "row_group": row_group, "row_index": row_index}
                fields["reason"] = reason
                _log.debug("Dropped row %d of row group %d: %s: %s", row_index, row_group, error, message, extra=fields)

    def say(self) -> None:
        """One line for each reason; the messages may quote what a row holds and are not among them."""
        for (number, reason, error), rows in self._unsaid.items():
            name = self._name(number)
            fields = {"column": name, "reason": reason, "error_type": error, "rows": rows}
            why = f"{reason}, {error}" if error else reason
            _log.warning("Dropped %d × column '%s' (%s)", rows, name, why, extra=fields)
        self._unsaid.clear()

    def _name(self, number: int) -> str:
        return self._layout.graph.generators[number].name
