"""What a process leaves behind that is killed in the middle of the scenario: a file, and a log full of commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from scenario import Driver, Specs, World, copy_of_database


@dataclass(frozen=True)
class Killed:
    """What a process left behind that was killed: a file, and a log with a number of commits in it."""

    database: Path
    acknowledged: dict[tuple[str, int], object]

    @property
    def log(self) -> Path:
        return self.database.with_name(self.database.name + ".wal")


class _Enough(Exception):
    """The driver has come far enough."""


class _StoppingDriver(Driver):
    turns = 0

    def step(self, name: str, function: Callable[[], object]) -> object:  # type: ignore[override]
        result = function()
        self.turns += name == "turn"
        if self.turns == 9:
            raise _Enough
        return result


def killed_run(directory: Path, specs: Specs, world: World) -> Killed:
    with _StoppingDriver(directory / "working.duckdb", specs, world) as driver:
        with pytest.raises(_Enough):
            driver.drive()
        left = copy_of_database(directory / "working.duckdb", directory / "killed.duckdb")
    return Killed(left, world.acknowledged)
