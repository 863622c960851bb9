"""Runs in seeded worlds, checked after every turn. See ``simulation.py`` for what is checked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import simulation
from budget import Budget

FIXED_SEEDS = (1, 2, 3, 9, 10, 11, 12, 18, 20, 22, 23, 25, 26, 27, 31, 33, 36, 41, 44, 57)
"""Short ones: with crashes, a drain that was cut off, callbacks that raise, a wrong key, skips, batches, local work."""
LARGER_SEEDS = range(1001, 1021)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seconds", "least"), [(0, 3), pytest.param(6, 4, marks=pytest.mark.slow)])
def test_a_run_in_a_seeded_world_keeps_every_promise(
    tmp_path: Path, budget: Budget, seconds: float, least: int
) -> None:
    for seed in budget.some_of(FIXED_SEEDS, seconds, least=least):
        _simulate(seed, tmp_path, tasks=20)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history(tmp_path: Path) -> None:
    verdicts = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        verdicts.append(simulation.simulate(3, tmp_path / attempt, tasks=20))
    assert verdicts[0] == verdicts[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_larger_run_in_a_seeded_world_keeps_every_promise(tmp_path: Path, budget: Budget) -> None:
    for seed in budget.some_of(LARGER_SEEDS, 6.0, least=1):
        _simulate(seed, tmp_path, tasks=100)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_in_fresh_worlds_keep_every_promise(tmp_path: Path, budget: Budget) -> None:
    for number in budget.rounds(8.0, least=1):
        _simulate(random.Random(f"{budget.seed} {number}").randrange(10**9), tmp_path, tasks=60)


def _simulate(seed: int, directory: Path, *, tasks: int) -> None:
    """On failure the message has the seed."""
    try:
        simulation.simulate(seed, directory, tasks=tasks)
    except Exception as error:
        raise AssertionError(f"replay with: tools/simulate --seed {seed} --tasks {tasks}") from error
