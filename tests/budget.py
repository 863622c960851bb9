"""How long tests go on that could go on for ever: for a time, so that a slower machine does less instead of failing.

A budget is in seconds, and a test says beside it what must be done at least, however long that takes. What was done is
told after all tests, with the seed that does the same again: ``ROWMILL_TEST_SEED=N``. ``tools/test -m slow --long``
gives all of them twenty times as long, enough to try every place where their number is finite;
``ROWMILL_TEST_BUDGET=F`` gives F times as long.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Place = TypeVar("Place")

LONG = 20.0
FACTOR_VARIABLE = "ROWMILL_TEST_BUDGET"
SEED_VARIABLE = "ROWMILL_TEST_SEED"


def factor(*, is_long: bool) -> float:
    """How many times as long as stated budgets last."""
    return LONG if is_long else float(os.environ.get(FACTOR_VARIABLE, "1"))


def new_seed() -> int:
    """That of the environment, or one nobody chose."""
    return int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1_000_000))


@dataclass
class Budget:
    """The time of one test, and its seed."""

    factor: float = 1.0
    seed: int = field(default_factory=new_seed)
    told: list[str] = field(default_factory=list)
    """What was done, a line for each time it was asked."""

    def enough(self, seconds: float, *, least: int, what: str = "rounds") -> Callable[[int], bool]:
        """Says, told how often it was done, whether that is enough: the time is over, and it was at least so many."""
        began = time.monotonic()
        place = len(self.told)
        self.told.append(f"0 {what}")

        def is_enough(done: int) -> bool:
            spent_s = time.monotonic() - began
            self.told[place] = f"{done} {what}, {spent_s:.0f} of {self.factor * seconds:.0f} s"
            return done >= least and spent_s > self.factor * seconds

        return is_enough

    def rounds(self, seconds: float, *, least: int) -> Iterator[int]:
        """0, 1, 2 … until the time is over; at least so many."""
        is_enough = self.enough(seconds, least=least)
        return itertools.takewhile(lambda done: not is_enough(done), itertools.count())

    def some_of(self, places: Sequence[Place], seconds: float, *, least: int) -> Iterator[Place]:
        """These, each once, in an order drawn from the seed, until the time is over; at least so many."""
        assert 0 < least <= len(places), f"at least {least} are to be tried, and there are {len(places)}"
        is_enough = self.enough(seconds, least=least, what=f"of {len(places)} places")
        for done, place in enumerate(random.Random(self.seed).sample(places, len(places))):
            if is_enough(done):
                return
            yield place
        is_enough(len(places))
