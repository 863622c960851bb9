"""Whether an endpoint is away, and how long it rests until it is tried again (F2a). A value without I/O or a clock.

An endpoint that refuses a connection is away. A 502, 503 or 504 and a connection that is lost before any byte may also
be about one request: only several of them in a row, with no answer between them, say that the endpoint is away. While
it is away it rests, longer each time, and is tried with one call at a time.
"""

from __future__ import annotations

_FIRST_REST_S = 0.5
_LONGEST_REST_S = 60.0
_IN_A_ROW = 3
"""So many doubtful failures without an answer between them are about the endpoint."""


class Absence:
    """What is known of one endpoint. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self.since: float | None = None
        """Of the first failure without an answer since."""
        self.rests_until = float("-inf")
        self.is_away = False
        """It is taken to be away."""
        self._in_a_row = 0
        self._rests = 0

    def failed(self, now: float, asked_s: float, *, is_certain: bool) -> bool:
        """Takes note of a call that found nobody; returns whether the endpoint is away. ``asked_s``: a wait it asked
        for."""
        if self.since is None:
            self.since = now
        if now < self.rests_until:  # a call that ran beside the one that said so
            return True
        self._in_a_row += 1
        if not (is_certain or self.is_away or self._in_a_row >= _IN_A_ROW):
            return False
        rest = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0 ** min(self._rests, 20))
        self.rests_until = now + max(rest, asked_s)
        self._rests += 1
        self.is_away = True
        return True

    def answered(self) -> None:
        """Takes note of an answer: it is there."""
        if self.since is not None:
            self.since = None
            self.rests_until = float("-inf")
            self.is_away = False
            self._in_a_row = self._rests = 0
