"""What the rules say of barriers (R6), as sets in memory: the set model with row groups that rest.

A barrier is open until it ran over all rows there are; an extension opens all again. While one is open, rows need
everything but what comes after it. Rows a barrier gave up come back when it is opened again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from set_model import Key, Row, SetModel

BARRIERS = ("u", "d")
AFTER: Mapping[str, frozenset[str]] = {"u": frozenset({"b", "d", "c", "s"}), "d": frozenset({"c", "s"})}
"""What comes after a barrier."""
TASK: Key = ("d", -1, None)
"""The call of the barrier that is one."""


def first_of_each(ratings: Mapping[int, int]) -> dict[int, object]:
    """What u decides, by row_id: of rows with the same rating the first stays."""
    first: dict[int, int] = {}
    for row_id in sorted(ratings):
        first.setdefault(ratings[row_id], row_id)
    return dict.fromkeys(first.values(), True)


def placed(ratings: Mapping[int, int]) -> dict[int, object]:
    """What d decides, by row_id: each row's place by rating; of more than four rows the middle one goes.

    Which one that is changes with every row that joins: finished rows go, and rows that had gone come back.
    """
    order = sorted(ratings, key=lambda row_id: ratings[row_id])
    return {row_id: place for place, row_id in enumerate(order) if len(order) <= 4 or place != len(order) // 2}


@dataclass
class BarrierModel(SetModel):
    """The state of a run with two barriers. ``rows`` are live rows that are not in the dataset, resting ones too."""

    generators: ClassVar[tuple[str, ...]] = ("rating", "a", "u", "b", "d", "c", "s", "z")
    """rating (sampler) → a → u (drops rows of the same rating) → b → d (a function) → c → s (SQL); z stands alone."""
    upstream: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rating": (),
        "a": ("rating",),
        "u": ("rating", "a"),
        "b": ("u",),
        "d": ("rating", "b"),
        "c": ("d",),
        "s": ("c",),
        "z": (),
    }
    cell_tasks: ClassVar[tuple[str, ...]] = ("a", "b", "c", "z")
    batch_tasks: ClassVar[tuple[str, ...]] = ()

    open: set[str] = field(default_factory=lambda: set(BARRIERS))
    resting: set[int] = field(default_factory=set)
    every_row: dict[int, Row] = field(default_factory=dict)
    """All rows that ever were, with what was made for them."""
    value: dict[tuple[str, int], object] = field(default_factory=dict)
    """What barriers made of rows."""
    dropped_by: dict[int, str] = field(default_factory=dict)

    @property
    def active(self) -> list[int]:
        return [group for group in super().active if group not in self.resting]

    def working(self) -> list[Row]:
        return [row for row in self.rows.values() if row.group not in self.resting]

    def live(self, group: int) -> list[Row]:
        return [] if group in self.resting else super().live(group)

    def needed(self) -> set[str]:
        """What rows need while barriers are open."""
        return set(self.generators).difference(self.open, *(AFTER[name] for name in self.open))

    def is_due(self, group: int) -> bool:
        """Has a resting row group work to do?"""
        rows = [row for row in self.rows.values() if row.group == group]
        return not self.open or any(not self.needed() <= row.done for row in rows)

    def ready_barrier(self) -> str | None:
        """R6: the first open barrier, when all row groups rest with nothing to do, and there is a row."""
        if self.next_group < len(self.groups) or self.active or any(map(self.is_due, self.resting)):
            return None
        return next((name for name in BARRIERS if name in self.open and (self.resting or self.dataset)), None)

    def frontier(self) -> set[Key]:
        return super().frontier() | ({TASK} if self.ready_barrier() == "d" else set())

    def has_inputs(self, key: Key) -> bool:
        return self.ready_barrier() == "d" if key == TASK else super().has_inputs(key)

    def is_complete(self) -> bool:
        return super().is_complete() and self.ready_barrier() is None

    def extend(self, records: int, size: int) -> None:
        """All barriers that ran have not seen the new rows; what they gave up comes back with what it had."""
        super().extend(records, size)
        for row_id, name in list(self.dropped_by.items()):
            if name in BARRIERS and name not in self.open:
                self.come_back(row_id)
        self.open = set(BARRIERS)
        self.deferred.pop(TASK, None)

    def come_back(self, row_id: int) -> None:
        """A row of the dataset, or a dropped one, is among the live ones again; a finished group rests."""
        row = self.rows[row_id] = self.every_row[row_id]
        self.dataset.pop(row_id, None)
        self.dropped.pop(row_id, None)
        self.dropped_by.pop(row_id, None)
        if row.group in self.finished:
            self.finished.remove(row.group)
            self.resting.add(row.group)

    def succeed(self, key: Key) -> None:
        if key == TASK:
            self.run_barrier("d")
        else:
            super().succeed(key)

    def drop(self, key: Key, reason: str) -> None:
        before = set(self.dropped)
        super().drop(key, reason)
        self.dropped_by |= dict.fromkeys(set(self.dropped) - before, key[0])

    def settle(self) -> None:
        for row in self.working():
            self.every_row[row.row_id] = row
            row.done.add("rating")
            if "c" in row.done:
                row.done.add("s")
        for group in self.active:
            rows = self.live(group)
            if not all(self.needed() <= row.done for row in rows):
                continue
            if rows and self.open:
                self.resting.add(group)
                continue
            self.finished.add(group)
            for row in rows:
                self.dataset[row.row_id] = frozenset()
                del self.rows[row.row_id]
        self.deferred = {key: value for key, value in self.deferred.items() if self.has_inputs(key)}

    # Barriers -------------------------------------------------------------------------------------

    def seen_by(self, name: str) -> dict[int, int]:
        """The rows a barrier looks at, with their rating: those that live, and those something after it gave up."""
        later = [row_id for row_id, by in self.dropped_by.items() if by in AFTER[name]]
        passed = [row_id for row_id in later if name in self.every_row[row_id].done]
        return {row_id: self.ratings[row_id] for row_id in sorted({*self.rows, *self.dataset, *passed})}

    def run_barrier(self, name: str) -> None:
        """Rows that are not kept are dropped; where a value is new, what comes after it is made again."""
        seen = self.seen_by(name)
        decided = first_of_each(seen) if name == "u" else placed(seen)
        for row_id in seen:
            row = self.every_row[row_id]
            if row_id not in decided:
                self.dropped[row_id], self.dropped_by[row_id] = "duplicate" if name == "u" else "filtered", name
                self.rows.pop(row_id, None)
                self.dataset.pop(row_id, None)
            elif name not in row.done or self.value[name, row_id] != decided[row_id]:
                self.come_back(row_id)
                row.done = row.done - AFTER[name] | {name}
                self.value[name, row_id] = decided[row_id]
        at_rest = {row.group for row in self.rows.values()}
        self.finished |= self.resting - at_rest
        self.resting &= at_rest
        self.open.remove(name)
        self.deferred.pop(TASK, None)
