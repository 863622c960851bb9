"""A run whose row groups are in every place one can be in, and how it goes on from there.

Four rows, finished; extended by fourteen, so that its barrier opens again and a duplicate waits for it in a row group
that is otherwise finished. Of the new row groups one waits for the barrier, two are parked behind an endpoint that
rests, two are active with a deferred task each, and one that waited has work to do, as a dropped row of it was taken
back by hand; the last is not admitted. What the endpoints answer depends on the row and on how often they were asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rowmill.engine.preparation import Prepared, prepare
from rowmill.errors import RateLimited, Rejected, Transient
from rowmill.spec.spec import Spec
from rowmill.store.database.connection import Connection
from rowmill.store.run_store import RunStore
from rowmill.store.turn.control_request import ControlRequest
from rowmill.task import Outcome, OutcomeKind, Request, Task, classify

NOW = 1_800_000_000.0
_REST_S = 900.0
_PLAIN = {0, 1, 2, 3, 4, 5, 9, 12, 13, 16}
"""Rows whose draft needs no review."""
_ALIKE = {1: 0, 9: 2, 13: 8}
"""Rows that are duplicates of others."""
_LAST_TURN = 40
_EXTENDED = 18


def spec(records: int) -> Prepared:
    """The run, as it begins (4 records) or as it is extended."""
    models = [
        {"alias": name, "provider": "simulated", "model": name, "max_parallel_requests": 4}
        for name in ("writer", "editor", "checker")
    ]
    columns: list[dict[str, Any]] = [
        {"name": "mood", "column_type": "sampler", "sampler_type": "category", "params": {"values": ["a", "b", "c"]}},
        {"name": "draft", "column_type": "llm-text", "model_alias": "writer", "prompt": "{{ mood }}"},
        {
            "name": "review",
            "column_type": "llm-text",
            "model_alias": "editor",
            "prompt": "{{ draft }}",
            "skip": {"when": "draft like 'plain%'"},
        },
        {"name": "subject", "column_type": "expression", "sql": "split_part(draft, '#', 2)", "dtype": "str"},
        {
            "name": "unique",
            "column_type": "deduplicate",
            "columns": ["subject"],
            "requires": ["review"],
            "propagate_skip": False,
        },
        {"name": "polish", "column_type": "llm-text", "model_alias": "checker", "prompt": "{{ draft }}"},
    ]
    columns[-1]["requires"] = ["unique"]
    data = {
        "name": "every-place",
        "records": records,
        "row_group_size": 2,
        "seed": 5,
        "models": models,
        "columns": columns,
        "run": {"max_active_row_groups": 2, "max_attempts": 3, "backoff_base_s": 60, "max_error_share": 1.0},
    }
    return prepare(Spec.from_data(data))


class Life:
    """One run database from process to process, driven turn by turn."""

    def __init__(self, database: Path, now: float = NOW, asked: Mapping[tuple[str, int], int] | None = None) -> None:
        self.database = database
        self.now = now
        self.asked: Counter[tuple[str, int]] = Counter(asked or {})
        self.rests_until = now

    def begin(self, records: int) -> RunStore:
        """Opens the database as an invocation does; one that is not there is created."""
        self.prepared = spec(records)
        store = RunStore.open(self.database)
        if store.is_new:
            store.create(self.prepared.blueprint(), self.now)
        store.extend(records, 2, self.now)
        store.update_spec(self.prepared.spec, self.now)
        store.begin(self.prepared.limits, self.now)
        self.turn = store.turn(self.prepared.spec, self.prepared.graph)
        return store

    def take_turns(self, *, rests: bool) -> bool:
        """Takes turns until the run is complete or waits for nothing but time; whether it is complete.

        ``rests``: the editor refuses every call.
        """
        outcomes: list[Outcome] = []
        for _ in range(_LAST_TURN):
            free = dict(self.prepared.limits)
            if self.now < self.rests_until:
                free["simulated/editor"] = 0
            result = self.turn.take(outcomes, free, self.now)
            if result.complete:
                return True
            outcomes = [self._ask(task, rests=rests) for task in result.tasks]
            self.now += 0.25
            if not outcomes and not result.again:
                if rests:
                    return False
                assert result.next_not_before is not None, "the run waits for nothing"
                self.now = max(self.now, result.next_not_before)
        raise AssertionError("the run comes to no end")

    def _ask(self, task: Task, *, rests: bool) -> Outcome:
        name = self.prepared.graph.generators[task.generator].name
        row = task.row_id
        assert row is not None
        self.asked[name, row] += 1
        error: Exception | None = None
        if name == "review" and rests:
            error = RateLimited("slow down", _REST_S)
            self.rests_until = self.now + _REST_S
        elif (name, row) == ("draft", 5) and self.asked[name, row] == 1:
            error = Rejected("not this time")
        elif (name, row) in (("draft", 10), ("draft", 14)) and self.asked[name, row] == 1:
            error = Transient("try again", "HTTP 503")
        kind, message = (type(error).__name__, str(error)) if error is not None else (None, None)
        model = str(self.prepared.graph.generators[task.generator].declaration.resource).partition("/")[2]
        request = Request(model, self.now, 1.0, 10, 5, None, kind, message)
        if error is not None:
            return Outcome(classify(error), task, None, error, [request], self.now, 1.0)
        return Outcome(OutcomeKind.SUCCEEDED, task, [self._value(name, row)], None, [request], self.now, 1.0)

    @staticmethod
    def _value(name: str, row: int) -> str:
        kind = "plain" if row in _PLAIN else "long"
        return f"{kind} {name} of row {row}#{_ALIKE.get(row, row)}"


def take_back(row_group: int, row_index: int) -> ControlRequest:
    """The wish that a dropped row be tried again."""
    return ControlRequest("take back", "retry_dropped", {"rows": [[row_group, row_index]]}, "somebody", NOW)


def stop_in_every_place(database: Path) -> Life:
    """Drives a new run until its row groups are in all places, and leaves the file as a process that dies does."""
    life = Life(database)
    with_four = life.begin(4)
    assert life.take_turns(rests=False)
    with_four.end("complete", life.now)
    with_four.close()
    store = life.begin(_EXTENDED)
    assert not life.take_turns(rests=True)
    store.close()
    stopped = RunStore.open(database)
    assert stopped.steer(take_back(2, 1), life.now).outcome == "applied"
    stopped.close()
    return life


def go_on(life: Life) -> dict[str, Any]:
    """Lets the run go on to its end; what came of it."""
    store = life.begin(_EXTENDED)
    assert life.take_turns(rests=False)
    store.end("complete", life.now)
    try:
        return outcome_of(store.connection)
    finally:
        store.close()


def never_stopped(database: Path) -> dict[str, Any]:
    """The same run of all records in one go, the row taken back while it works."""
    life = Life(database)
    store = life.begin(4)
    assert life.take_turns(rests=False)
    store.end("complete", life.now)
    store.close()
    store = life.begin(_EXTENDED)
    assert not life.take_turns(rests=True)
    life.turn.control.submit(take_back(2, 1))
    assert life.take_turns(rests=False)
    store.end("complete", life.now)
    try:
        return outcome_of(store.connection)
    finally:
        store.close()


def asked_so_far(connection: Connection) -> dict[tuple[str, int], int]:
    """How often each cell was asked for, as the file tells."""
    rows: Sequence[tuple[str, int, int]] = connection.execute(
        "select generator, row_id, count(*) from attempt where model is not null group by all"
    )
    return {(name, row_id): count for name, row_id, count in rows}


def places_of(connection: Connection) -> list[tuple[int, str]]:
    """Where the admitted row groups are, by the public view."""
    return [
        (group, state) for group, state in connection.execute("select row_group, state from row_group order by all")
    ]


def outcome_of(connection: Connection) -> dict[str, Any]:
    """What is the same however often the run was stopped."""
    assert connection.execute("from invariant_violation") == []
    return {
        "dataset": connection.execute("from dataset order by row_id"),
        "dropped": connection.execute("select row_id, column_name, reason from dropped_row order by row_id"),
        "groups": connection.execute(
            "select row_group, state, first_row, row_count, rows_finished, rows_dropped from row_group order by all"
        ),
        "progress": connection.execute("select column_name, done, skipped, dropped from progress order by column_name"),
        "state": connection.execute("select state, records, rows_finished, rows_dropped from run_status"),
    }
