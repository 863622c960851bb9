"""What the rules (help/rules.md) say, as sets in memory: the model the run database is compared with after every step.

It knows rows, done sets and deferrals, and nothing of SQL, bit sets or transactions. Two things it takes from the
database as given, because the rules leave them open: how many row groups enter at once (A3; only bounds and order are
rules), and the exact jitter of a back-off (F2; only its bounds are rules).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

MAX_ATTEMPTS = 3

Key = tuple[str, int, int | None]
"""Generator, row group (-1 for a barrier), row index (None for a batch or a barrier)."""


@dataclass
class Row:
    """A live row of an active row group."""

    group: int
    index: int
    row_id: int
    rating: int
    done: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


@dataclass
class SetModel:
    """The state of a run."""

    generators: ClassVar[tuple[str, ...]] = ("rating", "a", "b", "w", "s", "z")
    """rating (sampler) → a (skipped where rating is 1) → b → w (batch) and s (SQL); z stands alone."""
    upstream: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rating": (),
        "a": ("rating",),
        "b": ("a",),
        "w": ("b",),
        "s": ("b",),
        "z": (),
    }
    cell_tasks: ClassVar[tuple[str, ...]] = ("a", "b", "z")
    batch_tasks: ClassVar[tuple[str, ...]] = ("w",)

    ratings: list[int]
    """What the sampler makes of each row_id (V1: always the same)."""
    groups: dict[int, range] = field(default_factory=dict)
    """The plan: row ids of every row group."""
    next_group: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    """Live rows of active row groups, by row_id."""
    dropped: dict[int, str] = field(default_factory=dict)
    dataset: dict[int, frozenset[str]] = field(default_factory=dict)
    """Finished rows, with the generators skipped for them."""
    finished: set[int] = field(default_factory=set)
    deferred: dict[Key, tuple[int, float]] = field(default_factory=dict)
    """Attempts so far, and not_before."""

    # Plan and admission ---------------------------------------------------------------------------

    def extend(self, records: int, size: int) -> None:
        """Appends a segment; the last partial group stays as it is (P1)."""
        first = max((ids.stop for ids in self.groups.values()), default=0)
        for start in range(first, records, size):
            self.groups[len(self.groups)] = range(start, min(start + size, records))

    def admit(self, next_group: int) -> None:
        """The groups up to there enter, in plan order (A1)."""
        for group in range(self.next_group, next_group):
            for index, row_id in enumerate(self.groups[group]):
                self.rows[row_id] = Row(group, index, row_id, self.ratings[row_id])
        self.next_group = next_group
        self.settle()

    @property
    def active(self) -> list[int]:
        """Row groups that are admitted and not finished."""
        return [group for group in range(self.next_group) if group not in self.finished]

    def live(self, group: int) -> list[Row]:
        """Its live rows."""
        return [row for row in self.rows.values() if row.group == group]

    def working(self) -> list[Row]:
        """Live rows of row groups that are active."""
        return list(self.rows.values())

    def is_complete(self) -> bool:
        """Is there nothing left to do?"""
        return len(self.finished) == len(self.groups)

    # Ready ----------------------------------------------------------------------------------------

    def has_inputs(self, key: Key) -> bool:
        """R3, R4: is the task there to be done, deferred or not?"""
        name, group, index = key
        rows = [row for row in self.live(group) if index is None or row.index == index]
        needs = all(set(self.upstream[name]) <= row.done for row in rows)
        return bool(rows) and needs and any(name not in row.done for row in rows)

    def frontier(self) -> set[Key]:
        """All tasks that have their inputs."""
        keys: set[Key] = {(name, row.group, row.index) for row in self.rows.values() for name in self.cell_tasks}
        keys |= {(name, group, None) for group in self.active for name in self.batch_tasks}
        return {key for key in keys if self.has_inputs(key)}

    def ready(self, now: float) -> set[Key]:
        """Those not deferred beyond now (F4)."""
        return {key for key in self.frontier() if self.deferred.get(key, (0, now))[1] <= now}

    # Outcomes -------------------------------------------------------------------------------------

    def succeed(self, key: Key) -> None:
        """R9: results of rows that are gone, or done, change nothing."""
        name, group, index = key
        for row in self.live(group):
            if index in (None, row.index):
                row.done.add(name)
        self.deferred.pop(key, None)

    def drop(self, key: Key, reason: str) -> None:
        """F3: the row, or those rows of the group a batch stood for."""
        name, group, index = key
        for row in self.live(group):
            if row.index == index or (index is None and name not in row.done):
                self.dropped[row.row_id] = reason
                del self.rows[row.row_id]

    def fail(self, key: Key, attempts: int, until: float) -> None:
        """F2: deferred, or dropped when the attempts are used up."""
        if attempts >= MAX_ATTEMPTS:
            self.drop(key, "retries_exhausted")
        else:
            self.defer(key, attempts, until)

    def defer(self, key: Key, attempts: int, until: float) -> None:
        """F1, F4: only what is still there can wait."""
        if self.has_inputs(key):
            self.deferred[key] = attempts, until

    def settle(self) -> None:
        """R7, S1, S2, K1, K2: everything that needs no task, in topological order; then groups finish."""
        for row in self.rows.values():
            row.done.add("rating")
            if row.rating == 1:
                row.done.add("a")
                row.skipped.add("a")
            for name, needed in (("b", "a"), ("s", "b"), ("w", "b")):
                if needed in row.skipped:
                    row.done.add(name)
                    row.skipped.add(name)
            if "b" in row.done:
                row.done.add("s")
        for group in self.active:
            rows = self.live(group)
            if all(set(self.generators) <= row.done for row in rows):
                self.finished.add(group)
                for row in rows:
                    self.dataset[row.row_id] = frozenset(row.skipped)
                    del self.rows[row.row_id]
        self.deferred = {key: value for key, value in self.deferred.items() if self.has_inputs(key)}

    # What the views must show ---------------------------------------------------------------------

    def cell(self, row: Row, name: str, now: float) -> str:
        """The state of one cell of a live row."""
        key: Key = (name, row.group, None if name in self.batch_tasks else row.index)
        if name in row.skipped:
            return "skipped"
        if name in row.done:
            return "done"
        if self.deferred.get(key, (0, now))[1] > now:
            return "deferred"
        return "ready" if key in self.frontier() else "waiting"

    def progress(self, name: str) -> Mapping[str, int]:
        """The line of the view progress for a generator."""
        cells = sum(map(len, self.groups.values()))
        settled = len(self.dataset) + sum(name in row.done for row in self.rows.values())
        skipped = sum(name in names for names in self.dataset.values()) + sum(
            name in row.skipped for row in self.rows.values()
        )
        deferred = sum(
            name not in row.done and (name, row.group, index) in self.deferred
            for row in self.rows.values()
            for index in (row.index, None)
        )
        waiting = cells - settled - len(self.dropped) - deferred
        return {
            "cells": cells,
            "done": settled - skipped,
            "skipped": skipped,
            "dropped": len(self.dropped),
            "deferred": deferred,
            "waiting": waiting,
        }
