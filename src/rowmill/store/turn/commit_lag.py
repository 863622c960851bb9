"""How long results wait from their arrival to their commit (D2): counted turn by turn, written by the second.

What a turn commits can only be measured after it, so it is written by a later one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import pyarrow as pa

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import Rows
from rowmill.store.database.statements import statements_of
from rowmill.task import Outcome

sql = statements_of("turn/commit_lag")

COMMIT_LAG_BOUNDS_MS = (5, 10, 20, 30, 50, 75, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Upper bounds by which lags are counted; about the promise, 50 and 100 ms, they are close together."""
NEW_COMMIT_LAG = pa.schema(
    [("invocation", pa.int32()), ("upper_ms", pa.int32()), ("results", pa.int64()), ("lag_s", pa.float64())]
)


class CommitLags:
    """The lags of one invocation. Used by the thread that takes its turns."""

    def __init__(self, connection: Connection, invocation: int) -> None:
        self._connection = connection
        self._invocation = invocation
        self._results = [0] * (len(COMMIT_LAG_BOUNDS_MS) + 1)
        self._lag_s = [0.0] * len(self._results)
        self._has_begun = False
        self._has_news = False

    def committed(self, outcomes: Sequence[Outcome], now: float) -> None:
        """These outcomes were committed at ``now``. Calls that never started bring no result."""
        lags = sorted(max(now - each.started_at - each.duration_ms / 1000, 0.0) for each in outcomes if each.started_at)
        first = 0
        for place, bound_ms in enumerate(COMMIT_LAG_BOUNDS_MS):
            end = bisect_right(lags, bound_ms / 1000, first)
            self._add(place, lags[first:end])
            first = end
        self._add(len(COMMIT_LAG_BOUNDS_MS), lags[first:])

    def _add(self, place: int, lags: Sequence[float]) -> None:
        if lags:
            self._results[place] += len(lags)
            self._lag_s[place] += sum(lags)
            self._has_news = True

    def write(self) -> None:
        """Writes what was counted so far, if that is more than is written. Belongs into the caller's transaction."""
        if not self._has_news:
            return
        rows = Rows(NEW_COMMIT_LAG)
        bounds = (*COMMIT_LAG_BOUNDS_MS, None)
        for bound, results, lag_s in zip(bounds, self._results, self._lag_s, strict=True):
            rows.append(self._invocation, bound, results, lag_s)
        self._connection.stage("new_commit_lag", rows.table())
        statement = sql.note_commit_lags if self._has_begun else sql.begin_commit_lags
        self._connection.execute(statement.text)
        self._has_begun, self._has_news = True, False
