"""Keeping where workers elsewhere stand, for the view ``worker`` and the status."""

from __future__ import annotations

from rowmill.store.database.connection import Connection
from rowmill.store.database.staging import NEW_WORKER, NEW_WORKER_GROUP, Rows, from_epoch
from rowmill.store.database.statements import statements_of
from rowmill.worker import GroupFacts, WorkerFacts, WorkerNews

sql = statements_of("turn/worker")

MOST_ENDED_WORKERS = 1000
"""So many workers that ended are kept for looking back."""


def keep_workers(connection: Connection, invocation: int, news: WorkerNews) -> None:
    """Keeps what is new of workers and groups. Belongs into the caller's transaction."""
    this = {"invocation": invocation}
    if news.workers:
        rows = Rows(NEW_WORKER)
        for facts in news.workers:
            rows.append(*_kept(facts))
        connection.stage("new_worker", rows.table())
        connection.execute(sql.forget_workers.text, this)
        connection.execute(sql.keep_workers.text, this)
        if any(facts.ended_at is not None for facts in news.workers):
            connection.execute(sql.bound_workers.text, {"most": MOST_ENDED_WORKERS})
    if news.groups:
        rows = Rows(NEW_WORKER_GROUP)
        for group in news.groups:
            rows.append(*_kept(group))
        connection.stage("new_worker_group", rows.table())
        connection.execute(sql.forget_worker_groups.text)
        connection.execute(sql.keep_worker_groups.text, this)


def _kept(facts: WorkerFacts | GroupFacts) -> list[object]:
    return [from_epoch(value) if isinstance(value, float) else value for value in facts]
