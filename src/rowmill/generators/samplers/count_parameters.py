"""Parameters of the samplers that count: ``poisson`` and ``binomial``.

Small means are drawn from an exact table, large ones by rejection; ``sql/functions/sampler.sql`` names the methods.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from rowmill.generators.samplers.count_table import binomial_weights, count_slots, poisson_weights
from rowmill.generators.samplers.parameters import Number, Probability, SamplerParameters
from rowmill.spec.declaration import SamplerCall

_TABLE_BELOW = 100
"""Means from here on are drawn by rejection: tables of some 250 numbers are cheap to write into a statement."""
_GREATEST = 10**15
"""A number with a fraction holds every whole number up to some 9 × 10^15."""


class PoissonParameters(SamplerParameters):
    """How often something happens that happens ``mean`` times on average."""

    mean: Annotated[Number, Field(ge=0, le=_GREATEST)]
    """How often it happens on average."""

    def sql_type(self) -> str:
        return "BIGINT"

    def call(self) -> SamplerCall:
        if self.mean < _TABLE_BELOW:
            return SamplerCall("sample_count", count_slots(poisson_weights(self.mean)))
        b = 0.931 + 2.53 * math.sqrt(self.mean)
        a = -0.059 + 0.02483 * b
        return SamplerCall(
            "sample_poisson", (self.mean, a, b, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2.0))
        )

    def extent(self) -> tuple[float, float]:
        return (0, math.inf if self.mean else 0)


class BinomialParameters(SamplerParameters):
    """The successes in ``n`` trials that each succeed with probability ``p``."""

    n: Annotated[int, Field(ge=0, le=_GREATEST)]
    """Trials."""
    p: Probability
    """How likely each succeeds, 0 to 1."""

    def sql_type(self) -> str:
        return "BIGINT"

    def call(self) -> SamplerCall:
        n, flipped = self.n, self.p > 0.5
        p = 1.0 - self.p if flipped else self.p
        if n * p < _TABLE_BELOW:
            slots, thresholds = count_slots(binomial_weights(n, p))
            return SamplerCall("sample_count", ([n - count for count in slots] if flipped else slots, thresholds))
        spread = math.sqrt(n * p * (1.0 - p))
        b = 1.15 + 2.53 * spread
        a = -0.0873 + 0.0248 * b + 0.01 * p
        alpha = (2.83 + 5.1 / b) * spread
        log_peak = _log_density(math.floor((n + 1) * p), n, p)
        return SamplerCall("sample_binomial", (float(n), p, flipped, a, b, alpha, 0.92 - 4.2 / b, log_peak))

    def extent(self) -> tuple[float, float]:
        return (self.n if self.p == 1 else 0, self.n if self.p else 0)


def _log_density(k: float, n: float, p: float) -> float:
    """The logarithm of the probability of k successes, by the saddle-point expansion of Loader (2000)."""
    return (
        _stirling_error(n)
        - _stirling_error(k)
        - _stirling_error(n - k)
        - _log_deviance(k, n * p)
        - _log_deviance(n - k, n * (1.0 - p))
        + 0.5 * math.log(n / (2.0 * math.pi * k * (n - k)))
    )


def _stirling_error(k: float) -> float:
    square = k * k
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / square) / square) / square) / square) / k


def _log_deviance(k: float, mean: float) -> float:
    """Here k is within one of the mean, so two terms of the series do."""
    v = (k - mean) / (k + mean)
    return (k - mean) * v + 2 * k * v * (v * v / 3 + v**4 / 5)
