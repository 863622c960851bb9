"""Tests that could go on for ever go on for a time, do what they must at least, and can be done again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from budget import FACTOR_VARIABLE, LONG, SEED_VARIABLE, Budget, factor, new_seed

TESTS = Path(__file__).parents[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds ``budget`` sees, the last of these."""
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[-1])
    return seconds


def test_rounds_end_with_the_time(clock: list[float]) -> None:
    done = []
    for number in Budget().rounds(10.0, least=1):
        done.append(number)
        clock.append(clock[-1] + 3.0)
    assert done == [0, 1, 2, 3]


def test_a_slow_machine_does_what_must_be_done_at_least(clock: list[float]) -> None:
    done = []
    for number in Budget().rounds(10.0, least=3):
        done.append(number)
        clock.append(clock[-1] + 1000.0)
    assert done == [0, 1, 2]


def test_a_greater_budget_goes_on_longer(clock: list[float]) -> None:
    budget = Budget(factor=2.0)
    for _ in budget.rounds(10.0, least=1):
        clock.append(clock[-1] + 3.0)
    assert budget.told == ["7 rounds, 21 of 20 s"]


def test_places_are_tried_once_in_an_order_the_seed_fixes(clock: list[float]) -> None:
    one, again, other = (list(Budget(seed=seed).some_of(range(100), 10.0, least=1)) for seed in (5, 5, 6))
    assert sorted(one) == list(range(100))
    assert one == again != other


def test_there_must_be_as_many_places_as_are_to_be_tried() -> None:
    with pytest.raises(AssertionError, match="at least 3 are to be tried, and there are 2"):
        list(Budget().some_of([1, 2], 10.0, least=3))


def test_the_environment_gives_more_time_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FACTOR_VARIABLE, raising=False)
    assert (factor(is_long=False), factor(is_long=True)) == (1.0, LONG)
    monkeypatch.setenv(FACTOR_VARIABLE, "0.5")
    assert factor(is_long=False) == 0.5
    monkeypatch.setenv(SEED_VARIABLE, "17")
    assert new_seed() == 17
    monkeypatch.delenv(SEED_VARIABLE)
    assert len({new_seed() for _ in range(20)}) > 1


TESTS_WITH_BUDGETS = """
import pytest

@pytest.mark.timeout(1)
def test_that_asks(budget):
    for _ in budget.some_of(range(3), 10.0, least=2):
        pass

def test_that_asks_for_nothing(budget):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(("options", "seconds"), [(["--long"], 200), ([], 10)])
def test_what_was_done_is_told_after_all_tests(tmp_path: Path, options: list[str], seconds: int) -> None:
    (tmp_path / "test_budgets.py").write_text(TESTS_WITH_BUDGETS)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-n",
        "1",
        "--rootdir",
        str(tmp_path),
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": paths, SEED_VARIABLE: "17", FACTOR_VARIABLE: "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert f"test_budgets.py::test_that_asks: 3 of 3 places, 0 of {seconds} s; seed 17" in done.stdout.splitlines()
    assert "asks for a budget and does not use it" in done.stdout
    assert "2 passed, 1 error" in done.stdout
