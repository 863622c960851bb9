"""Distributions of inference parameters: a number that differs from row to row, and is the same after a resume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from rowmill.counted import plural
from rowmill.spec.column import Items, StrictModel

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_TWO_53 = float(2**53)


class UniformDistributionParameters(StrictModel):
    """Any number from ``low`` up to, not including, ``high``."""

    low: _Number
    """The least."""
    high: _Number
    """Excluded."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g}).")
        return self


class UniformDistribution(StrictModel):
    """``{distribution_type: uniform, params: {low, high}}``."""

    distribution_type: Literal["uniform"] = "uniform"
    """All equally likely."""
    params: UniformDistributionParameters
    """The range."""

    def at(self, chance: float) -> float:
        """The value at ``chance``, from 0 up to 1."""
        low, high = self.params.low, self.params.high
        return min(low + chance * (high - low), math.nextafter(high, low))

    def extremes(self) -> Iterable[float]:
        """Numbers that stay within bounds if and only if all values do."""
        return self.params.low, self.params.high


class ManualDistributionParameters(StrictModel):
    """One of ``values``, by their ``weights``; equally likely without."""

    values: Items[_Number] = Field(min_length=1, max_length=10_000)
    """The numbers."""
    weights: Items[Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]] | None = None
    """As many as values. Default: all equal."""

    @field_validator("weights")
    @classmethod
    def _weights_are_not_all_zero(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and not 0 < math.fsum(value) < math.inf:
            raise ValueError("The weights must have a finite sum greater than 0.")
        return value

    @model_validator(mode="after")
    def _one_weight_a_value(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(
                f"{plural(len(self.values), 'value')} and {plural(len(self.weights), 'weight')}: give one to each."
            )
        return self


class ManualDistribution(StrictModel):
    """``{distribution_type: manual, params: {values, weights}}``."""

    distribution_type: Literal["manual"] = "manual"
    """One of a list."""
    params: ManualDistributionParameters
    """The list."""

    def at(self, chance: float) -> float:
        """The value at ``chance``, from 0 up to 1."""
        values, weights = self.params.values, self.params.weights
        if weights is None:
            return values[min(int(chance * len(values)), len(values) - 1)]
        threshold = chance * math.fsum(weights)
        for value, reached in zip(values, itertools.accumulate(weights), strict=True):
            if threshold < reached:
                return value
        return next(value for value, weight in zip(reversed(values), reversed(weights), strict=True) if weight)

    def extremes(self) -> Iterable[float]:
        """Numbers that stay within bounds if and only if all values do."""
        return self.params.values


Distribution = UniformDistribution | ManualDistribution


def chance(seed: int, column: str, parameter: str, row_id: int) -> float:
    """A number from 0 up to 1 that follows from these four alone: in any process, order and run (V1).

    The upper 53 bits of BLAKE2b, which is uniform over its inputs.
    """
    key = f"{seed}\0{column}\0{parameter}\0{row_id}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> 11) / _TWO_53
