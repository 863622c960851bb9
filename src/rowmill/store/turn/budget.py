"""The budget: what all invocations together may cost, in dollars, tokens and requests, and until when they may work.

What earlier invocations used is summed up once; each turn adds what it journals itself. A run whose budget is
reached drains: the calls that run already are finished and paid for. A shard of a run has the part of it that its rows
are of all rows.
"""

from __future__ import annotations

import math

from rowmill.counted import beside, plural
from rowmill.errors import BudgetReached
from rowmill.spec.run_settings import RunSettings
from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of

sql = statements_of("turn/outcome")


class Budget:
    """The budget of one run. Used by the turn, after it has journalled its attempts."""

    def __init__(self, connection: Connection, settings: RunSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.deadline = settings.deadline.timestamp() if settings.deadline is not None else None
        """Seconds since the epoch; None: none."""
        self._share = float(connection.execute(sql.budget_share.text)[0][0])
        self._max_cost_usd = settings.max_cost_usd and settings.max_cost_usd * self._share
        self._max_tokens = self._part(settings.max_tokens)
        self._max_requests = self._part(settings.max_requests)
        bounds = self._max_cost_usd, self._max_tokens, self._max_requests
        self._counts = any(bound is not None for bound in bounds)
        self._requests, self._tokens, self._cost_usd = 0, 0, 0.0
        if self._counts:
            self._add(sql.used_so_far.text)

    def _part(self, bound: int | None) -> int | None:
        return bound and math.ceil(bound * self._share)

    def _add(self, query: str) -> None:
        requests, tokens, cost_usd = self._connection.execute(query)[0]
        self._requests += requests
        self._tokens += tokens
        self._cost_usd += cost_usd

    def reached(self, now: float, *, has_attempts: bool) -> BudgetReached | None:
        """What is used up, if anything is; ``now`` is seconds since the epoch.

        ``has_attempts``: attempts of this turn are staged and not counted yet.
        """
        if self._counts and has_attempts:
            self._add(sql.used_by_new_attempts.text)
        if self._max_cost_usd is not None and self._cost_usd >= self._max_cost_usd:
            spent, allowed = beside(self._cost_usd, self._max_cost_usd)
            return self._used_up("max_cost_usd", f"{spent} of {allowed} are spent")
        if self._max_tokens is not None and self._tokens >= self._max_tokens:
            return self._used_up("max_tokens", f"{self._tokens:,} of {plural(self._max_tokens, 'token')} are used")
        if self._max_requests is not None and self._requests >= self._max_requests:
            bound = plural(self._max_requests, "request")
            return self._used_up("max_requests", f"{self._requests:,} of {bound} are made")
        if self.deadline is not None and now >= self.deadline:
            return _reached("deadline", f"{self._settings.deadline:%Y-%m-%d %H:%M:%S %Z} has passed")
        return None

    def _used_up(self, field: str, what: str) -> BudgetReached:
        part = f" (this shard has {100 * self._share:.3g} % of the run's)" if self._share < 1 else ""
        return _reached(field, what + part)


_RUNNING = "calls that run already are finished, and count"


def _reached(field: str, what: str) -> BudgetReached:
    return BudgetReached(
        f"The budget is reached: {what} ({_RUNNING}). Raise run.{field} in the spec and run again to go on."
    )
