"""Answers kept to be used again: found by what shaped them."""

from __future__ import annotations

from collections.abc import Sequence

from rowmill.store.database.connection import Connection
from rowmill.store.database.statements import statements_of

sql = statements_of("turn/answer")


def find_answers(connection: Connection, keys: Sequence[int]) -> dict[int, str]:
    """The kept answers among those with these keys, as they were kept. Reads committed ones only."""
    if not keys:
        return {}
    literals = ", ".join(str(int(key)) for key in keys)
    return dict(connection.execute(sql.find_answers.fill(answer_keys=literals)))
