"""Tables of counts: the distributions of Poisson and Bernoulli as weights in whole numbers, exact to 96 bits."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rowmill.generators.samplers.alias_table import alias_table

_KEPT_BITS = 96
_WORKING_BITS = 512


def poisson_weights(mean: float) -> dict[int, int]:
    """How likely each number is, in units of 2^-96; numbers less likely than that are left out."""
    exact = Fraction(mean)
    return _weights(lambda k: exact / (k + 1))


def binomial_weights(trials: int, p: float) -> dict[int, int]:
    """The same for the successes in so many trials, with a probability of success below 1."""
    odds = Fraction(p) / (1 - Fraction(p))
    return _weights(lambda k: odds * (trials - k) / (k + 1))


def _weights(ratio: Callable[[int], Fraction]) -> dict[int, int]:
    """Weights by the ratio of the probability of k + 1 to that of k, which must fall with k."""
    working = [1 << _WORKING_BITS]
    total = working[0]
    while True:
        step = ratio(len(working) - 1)
        following = working[-1] * step.numerator // step.denominator
        if step < 1 and following << _KEPT_BITS < total:
            break
        working.append(following)
        total += following
    kept = {k: (weight << _KEPT_BITS) // total for k, weight in enumerate(working)}
    return {k: weight for k, weight in kept.items() if weight}


def count_slots(weights: dict[int, int]) -> tuple[list[int], list[float]]:
    """Walker's table as ``sample_count`` takes it: two counts a slot, and the threshold between them."""
    counts = list(weights)
    table = alias_table(list(weights.values()))
    return [counts[choice] for slot in enumerate(table.aliases) for choice in slot], table.thresholds
