"""A crash before and after every statement of a run, from its creation to its extension (D1).

What a process that dies before or after a statement leaves behind (a copy of the file and its log, taken while
they are open) is opened, compared with what was acknowledged, and run to its end. Copies that are the same byte for
byte are looked at once. Besides, every statement up to the commit raises once, or each time it is executed: then the
step has left nothing in the file and nothing in the connection, so that it can be done as if nothing had been.

Where there is little time, some of the states are looked at: one in eight, in the slow suite one in three, which ones
says the seed. All of them are with ``--long``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from budget import LONG, Budget
from crashing_connection import CrashingConnection, CrashPoint, SimulatedCrash
from scenario import (
    DRAINED_AFTER_TURNS,
    Driver,
    Specs,
    World,
    contradictions,
    copy_of_database,
    new_world,
    outcome_of,
    write_specs,
    written_results,
)

T = TypeVar("T")


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return write_specs(tmp_path_factory.mktemp("specs"))


@pytest.fixture(scope="module")
def uninterrupted(specs: Specs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the scenario ends with when nothing crashes."""
    with Driver(tmp_path_factory.mktemp("uninterrupted") / "run.duckdb", specs, new_world(specs)) as driver:
        driver.drive(drained_after_turns=DRAINED_AFTER_TURNS)
        assert contradictions(driver.connection) == []
        return outcome_of(driver.connection)


class _Survivors:
    """Opens what crashed processes left behind: each state once, or one in so many."""

    def __init__(self, directory: Path, specs: Specs, expected: dict[str, Any], one_in: int, seed: int) -> None:
        self._directory = directory
        self._specs = specs
        self._expected = expected
        self._one_in = one_in
        self._first = seed % one_in
        self._seen: set[tuple[int, int]] = set()
        self.runs = 0

    def check(self, database: Path, world: World, where: str) -> None:
        """Checks the database a process leaves behind that dies now. ``world`` knows what was acknowledged."""
        digest = _digest(database)
        if digest in self._seen:
            return
        self._seen.add(digest)
        if len(self._seen) % self._one_in != self._first:
            return
        left = copy_of_database(database, self._directory / "left-behind.duckdb")
        world = world.after_the_crash()
        with Driver(left, self._specs, world) as driver:
            is_created = "select count(*) from duckdb_views() where view_name = 'invariant_violation'"
            if driver.connection.count(is_created):
                _check_acknowledged(driver.connection, world, where)
            else:
                assert not world.attempts, where
            driver.drive()
            assert outcome_of(driver.connection) == self._expected, where
            _check_acknowledged(driver.connection, world, where)
        self.runs += 1


class _CrashingDriver(Driver):
    """Crashes before and after every statement of each step, and does the step in the end all the same."""

    def __init__(
        self, database: Path, specs: Specs, world: World, survivors: _Survivors, is_enough: Callable[[int], bool]
    ) -> None:
        """A statement raises in every step it is part of until there were enough crashes, then in the first only."""
        super().__init__(database, specs, world)
        self._survivors = survivors
        self._is_enough = is_enough
        self._raised: dict[str, set[str]] = {name: set() for name in _ALL_OR_NOTHING}
        self.crashes: Counter[str] = Counter()

    def step(self, name: str, function: Callable[[], T]) -> T:
        if name in _ALL_OR_NOTHING:
            before = _digest(self.database)
            raised, number = self._raised[name], 1
            every_time = not self._is_enough(self.crashes.total())
            passing = set() if every_time else raised
            while (statement := self._crash(name, function, number, passing, before)) not in {None, "commit"}:
                raised.add(str(statement))
                number += every_time
        return self._observed(name, function)

    def _crash(
        self, name: str, function: Callable[[], Any], number: int, passing: set[str], before: tuple[int, int]
    ) -> str | None:
        """Does a step until it crashes before that statement; returns which it is, None if it came to its end."""
        connection = self.connection
        connection.crash, connection.crashed_at = CrashPoint(number, passing=passing), None
        with self.trying(), suppress(SimulatedCrash):
            function()
        connection.crash = None
        if connection.crashed_at is not None:
            self.crashes[name] += 1
        if _digest(self.database) != before:
            self._survivors.check(self.database, self.world, f"{name}: crash before {connection.crashed_at}")
        return connection.crashed_at

    def _observed(self, name: str, function: Callable[[], T]) -> T:
        """Does a step for good, and looks at what dying before and after every statement leaves behind."""

        def look(where: str) -> None:
            self.crashes[name] += 1
            self._survivors.check(self.database, self.world, f"{name}: {where}")

        self.connection.observe = look
        try:
            return function()
        finally:
            self.connection.observe = None


_ALL_OR_NOTHING = frozenset({"create", "extend", "update_spec", "begin", "turn", "end"})


def _digest(database: Path) -> tuple[int, int]:
    log = database.with_name(database.name + ".wal")
    return hash(database.read_bytes()), hash(log.read_bytes()) if log.exists() else 0


def _check_acknowledged(connection: CrashingConnection, world: World, where: str) -> None:
    """Every acknowledged result is there, and nothing else; so is every acknowledged request."""
    assert contradictions(connection) == [], where
    assert written_results(connection) == world.acknowledged, where
    assert connection.count("select count(*) from attempt") == world.attempts, where
    assert connection.count("select coalesce(sum(requests), 0) from usage") == world.attempts, where


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seconds", "one_in"), [(0, 8), pytest.param(8, 3, marks=pytest.mark.slow)])
def test_a_crash_at_any_statement_loses_nothing_and_repeats_nothing(
    tmp_path: Path, specs: Specs, uninterrupted: dict[str, Any], budget: Budget, seconds: float, one_in: int
) -> None:
    is_enough = budget.enough(seconds, least=0, what="crashes")
    database = tmp_path / "run.duckdb"
    one_in = 1 if budget.factor >= LONG else one_in
    survivors = _Survivors(tmp_path, specs, uninterrupted, one_in, budget.seed)
    world = new_world(specs)
    with _CrashingDriver(database, specs, world, survivors, is_enough) as driver:
        driver.drive(drained_after_turns=DRAINED_AFTER_TURNS)
        assert outcome_of(driver.connection) == uninterrupted
    assert set(driver.crashes) == _ALL_OR_NOTHING | {"open", "prepare"}
    print(f"{sum(driver.crashes.values())} crashes {dict(driver.crashes)}, {survivors.runs} states opened and run on")
    assert survivors.runs * one_in > 20
    assert sum(driver.crashes.values()) > 1200


def test_the_scenario_has_everything_that_can_happen_to_a_row(uninterrupted: dict[str, Any]) -> None:
    assert {row[2:] for row in uninterrupted["dropped"]} == {
        ("rejected", "Rejected"),
        ("rejected", "SqlError"),
        ("retries_exhausted", "HTTP 503"),
        ("filtered", None),
    }
    finished = [group[4] for group in uninterrupted["groups"]]
    assert len(finished) == 6
    assert 0 in finished
    skipped = {column: count for column, _, count, _ in uninterrupted["skipped"] if count}
    assert {"draft", "review"} <= set(skipped)
