"""Attempts in the order in which they were committed, for who sends them on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rowmill.store.database.question import Queryable
from rowmill.store.database.statements import statements_of
from rowmill.store.file import engine_errors

sql = statements_of("reading/metrics")


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One row of the view ``attempt``, with what is known of its generator. ``started_at`` is UTC without zone."""

    number: int
    generator: str
    column_type: str
    endpoint: str
    row_group: int
    row_index: int
    row_id: int | None
    attempt: int
    outcome: str
    error_type: str | None
    model: str | None
    started_at: datetime
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    finish_reason: str | None


def number_of_attempts(connection: Queryable) -> int:
    """The number the next attempt gets. O(1)."""
    with engine_errors.mapped("counting attempts"):
        return int(connection.execute(sql.number_of_attempts.text)[0][0])


def attempts_from(connection: Queryable, first: int, limit: int) -> list[AttemptRecord]:
    """The attempts with the numbers ``first`` to ``first + limit - 1``, as far as they are there. O(limit)."""
    with engine_errors.mapped("reading attempts"):
        rows = connection.execute(sql.attempts_from.text, {"first": first, "limit": limit})
    return [AttemptRecord(*row) for row in rows]
