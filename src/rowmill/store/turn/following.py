"""Following: rows of another run that finish while this one works become seed rows, and the plan grows by them.

Who looks at the other run offers what is new, from any thread. The next turn appends it to the seed rows and to the
plan, in its own transaction: so the order in which rows came is the order of ``row_id``, and neither ever changes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pyarrow as pa

from rowmill.errors import Interrupted
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of

sql = statements_of("run", "layout/seed")


@dataclass(frozen=True, slots=True)
class FollowedRows:
    """Rows that were taken of another run at one look."""

    rows: pa.Table
    """In the columns of the seed rows."""
    path: str
    mark: str
    """Which run it is, and by which spec it went then."""


class Following:
    """Takes offered rows into the run. Bound to one connection; :meth:`take` belongs to the writer's thread."""

    def __init__(self, connection: Connection, seed_rows: int, row_group_size: int) -> None:
        self._connection = connection
        self._row_group_size = row_group_size
        self._offered: deque[FollowedRows] = deque()
        self._is_over = False
        self.seed_rows = seed_rows
        """How many there are, those of the turn that is taken included."""
        self.stop: Interrupted | None = None
        """Why nothing more is waited for, though the other run is not complete."""

    def offer(self, rows: FollowedRows) -> None:
        """Puts rows in line for the next turn."""
        self._offered.append(rows)

    def end(self, stop: Interrupted | None = None) -> None:
        """Nothing more comes; ``stop``: for now."""
        self.stop = stop
        self._is_over = True

    @property
    def is_over(self) -> bool:
        """Whether all rows there will be are seed rows of this run."""
        return self._is_over and not self._offered

    def take(self) -> int:
        """Appends what was offered to the seed rows and to the plan; how many rows. O(new rows)."""
        added = 0
        while self._offered:
            found = self._offered.popleft()
            count = found.rows.num_rows
            numbers = pa.array(range(self.seed_rows, self.seed_rows + count), type=pa.int64())
            self._connection.stage("new_seed", found.rows.append_column("row_id", numbers))
            try:
                self._connection.execute(sql.copy_seed_rows_in_order.text)
            finally:
                self._connection.unstage("new_seed")
            self._connection.execute(sql.grow_seed_content.text, {"rows": count})
            self._connection.execute(sql.renew_seed_mark.text, {"path": found.path, "mark": found.mark})
            parameters = {"rows": count, "row_group_size": self._row_group_size}
            self._connection.execute(sql.plan_more_rows.text, parameters)
            self.seed_rows += count
            added += count
        return added
