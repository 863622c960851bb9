"""The tables of Walker's alias method: a weighted choice that costs the same however many choices there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple


class AliasTable(NamedTuple):
    """n slots, equally likely. Slot i means choice i below ``thresholds[i]``, else choice ``aliases[i]``."""

    thresholds: list[float]
    aliases: list[int]


def alias_table(weights: Sequence[float]) -> AliasTable:
    """The table for these weights (finite, not negative, not all zero).

    Vose's construction (IEEE Transactions on Software Engineering 17, 1991, 972-975) in whole numbers:
    exact, hence the same on every machine, and a choice of weight 0 is never drawn.
    """
    exact = [Fraction(weight) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    shares = [int(weight * scale) * len(exact) for weight in exact]
    full = sum(shares) // len(exact)
    thresholds = [1.0] * len(exact)
    aliases = list(range(len(exact)))
    poor = [index for index, share in enumerate(shares) if share < full]
    rich = [index for index, share in enumerate(shares) if share > full]
    while poor:
        giver, taker = rich[-1], poor.pop()
        thresholds[taker] = shares[taker] / full
        aliases[taker] = giver
        shares[giver] -= full - shares[taker]
        if shares[giver] <= full:
            rich.pop()
            if shares[giver] < full:
                poor.append(giver)
    return AliasTable(thresholds, aliases)
